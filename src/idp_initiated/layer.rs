use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower_layer::Layer;

use super::IdpInitiatedRedirectService;
use crate::auth_routes::{LoginError, LoginRouteState, LoginStart, LoginTrigger, is_redirect_loop};
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route_rejection::RouteState as _;
use crate::middleware::route_response::redirect;
use crate::session::Sessions;
use crate::shared_store::KeyNamespace;
use crate::token::{IdpInitiatedLogin, IdpInitiatedLoginExpectations, TokenError};
use crate::util::diagnosis::CheckError as _;
use crate::util::return_to::ReturnTo;
use crate::util::telemetry;

/// Middleware that turns IdP-initiated logins into logins that the app starts. See the
/// [module docs](crate::idp_initiated).
#[derive(Clone)]
#[must_use]
pub struct IdpInitiatedRedirect {
    state: LoginRouteState,
    issuers: Arc<[String]>,
}

impl IdpInitiatedRedirect {
    /// Creates a layer that starts logins of these sessions.
    pub fn new(sessions: &Sessions) -> Self {
        Self { state: LoginRouteState::new(sessions), issuers: Arc::new([]) }
    }

    /// Accepts tokens of IdP-initiated logins only with this `iss`. Can be called several times.
    /// Default: `iss` is not checked, because some environments set it to the app's own address.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers = self.issuers.iter().cloned().chain([issuer.into()]).collect();
        self
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.state.sessions
    }

    pub(super) fn reject_speculative<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        self.state.reject_speculative(request)
    }

    pub(super) fn reject(&self, failure: LoginError, request: &Request<()>) -> Response<Bytes> {
        self.state.reject_login(failure, request, None, [])
    }

    /// Returns the response to an IdP-initiated login.
    pub(super) async fn response(&self, token: &str, request: &Request<()>) -> Response<Bytes> {
        let sessions = self.sessions();
        // First: the token can be used once.
        if let Some(redirect) = sessions.redirect_to_canonical_host(request, sessions.login_path())
        {
            return redirect;
        }
        self.start_login(token, request)
            .await
            .unwrap_or_else(|failure| self.reject(failure, request))
    }

    async fn start_login(
        &self,
        token: &str,
        request: &Request<()>,
    ) -> Result<Response<Bytes>, LoginError> {
        let (sessions, headers) = (self.sessions(), request.headers());
        let login = self.verify(token).await?;
        // Before the token is spent: once the loop has ended, the user can continue with it.
        if is_redirect_loop(sessions, headers) {
            return Err(LoginError::RedirectLoop.logged(
                "idp_initiated_login",
                "a browser that returns from its login",
                "three that did not",
            ));
        }
        if !self.is_first_use(&login).await {
            return Ok(redirect(
                StatusCode::FOUND,
                &sessions.login_target_for(request, None, false),
                [],
            ));
        }
        let origin = sessions.origin_of(request);
        let page = login
            .relay_state
            .and_then(|text| ReturnTo::parse(&text).or_else(|| origin.page(&text)))
            .filter(|page| page.as_str().len() <= MAX_PAGE_BYTES);
        LoginStart {
            sessions,
            origin,
            headers,
            return_to: sessions.allowed_return_to(page, &[]),
            trigger: LoginTrigger::IdpInitiated,
            parameters: [
                ("connection_id", login.connection_id),
                ("organization_id", login.organization_id),
                ("login_hint", login.login_hint),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
        }
        .redirect()
    }

    async fn verify(&self, token: &str) -> Result<IdpInitiatedLogin, LoginError> {
        let scalekit = self.sessions().scalekit();
        IdpInitiatedLoginExpectations { issuers: &self.issuers, client_id: scalekit.client_id() }
            .verify(token, scalekit.remote_keys(), scalekit.clock().now())
            .await
            .map_err(|error| match error {
                TokenError::KeysUnavailable => LoginError::Unavailable,
                error => LoginError::InvalidIdpInitiatedLogin { error },
            })
    }

    /// Whether the token is used for the first time. If the store is unavailable, it counts as
    /// used: an ordinary login is always possible.
    async fn is_first_use(&self, login: &IdpInitiatedLogin) -> bool {
        let sessions = self.sessions();
        let key = sessions.store_key(KeyNamespace::IdpInitiatedLogin, login.fingerprint.as_str());
        let ttl = login.replay_window(sessions.now());
        sessions.store().put_if_absent(&key, USED, ttl).await.unwrap_or_else(|error| {
            telemetry::internal_error("idp_initiated_login", &error);
            false
        })
    }
}

on_rejection!(IdpInitiatedRedirect, RouteRejection<LoginError>, state.renderer);

/// Longer ones would not leave enough space for the cookies of the counted attempts.
const MAX_PAGE_BYTES: usize = 512;

const USED: Bytes = Bytes::from_static(b"used");

impl fmt::Debug for IdpInitiatedRedirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdpInitiatedRedirect")
            .field("sessions", self.sessions())
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for IdpInitiatedRedirect {
    type Service = IdpInitiatedRedirectService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IdpInitiatedRedirectService { inner, layer: self.clone() }
    }
}
