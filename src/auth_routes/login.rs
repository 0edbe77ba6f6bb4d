use std::collections::HashSet;

use bytes::Bytes;
use http::{Request, Response};
use url::form_urlencoded;

use super::LoginError;
use super::login_attempt::LoginTrigger;
use super::login_start::LoginStart;
use super::route::LoginRouteState;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::oauth::SsoError;
use crate::session::origins::AppOrigin;
use crate::util::diagnosis::{CheckError as _, Shown};
use crate::util::host_redirect::REDIRECT_PARAM;
use crate::util::query::QueryParam;
use crate::util::return_to::{IDP_INITIATED_LOGIN, ReturnTo};
use crate::util::telemetry;

/// Starts logins: `GET /login`. Returned by [`Sessions::login`](crate::Sessions::login).
///
/// * `return_to` is the page after the login: a path of this app; other values are ignored. The
///   same applies to `target_link_uri`, a URL of this app, when a third party starts the login
///   (OpenID Connect Core section 4). If `iss` is present, it must be the environment's.
/// * `error` reports that an IdP-initiated login has failed: 400.
/// * `prompt=none` logs the user in without interaction, if that is possible. Otherwise the login
///   starts again with interaction.
/// * `prompt=login` requires the user's credentials again: the session then has a new
///   [`authenticated_at`](crate::Session::authenticated_at).
/// * All other parameters are forwarded to the environment's authorization endpoint: the documented
///   ones (`organization_id`, `connection_id`, `login_hint`, `domain_hint`, `provider`, `prompt`)
///   and the undocumented ones of invitations; at most twenty of at most 2 KiB each. Parameters
///   that secure the login are never forwarded.
#[derive(Clone, Debug)]
#[must_use]
pub struct Login {
    pub(super) state: LoginRouteState,
}

/// Parameters that this service sets itself, or that have no meaning at the authorization endpoint.
const NOT_FORWARDED: [&str; 23] = [
    "claims",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "domain",
    "dpop_jkt",
    "error_description",
    "id_token_hint",
    IDP_INITIATED_LOGIN,
    "max_age",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "state",
    REDIRECT_PARAM,
];
const MAX_FORWARDED: usize = 20;
const MAX_FORWARDED_BYTES: usize = 2048;

impl Login {
    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        self.state.sessions.login_route().record_request();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let page = self.return_to(&query, self.state.sessions.origin_of(&request));
        self.start(&request, query, page.clone()).unwrap_or_else(|error| {
            let is_repeated = matches!(error, LoginError::SessionCookieLost { .. });
            self.state.reject_login(error, &request, is_repeated.then_some(&page), [])
        })
    }

    fn return_to(&self, query: &Query, origin: &AppOrigin) -> ReturnTo {
        let wanted = query
            .return_to
            .as_deref()
            .and_then(ReturnTo::parse)
            .or_else(|| origin.page(query.target_link_uri.as_deref()?));
        self.state.sessions.allowed_return_to(wanted, &[])
    }

    fn start(
        &self,
        request: &Request<()>,
        query: Query,
        return_to: ReturnTo,
    ) -> Result<Response<Bytes>, LoginError> {
        LoginError::require_method(request.method(), "GET, HEAD")?;
        if let Some(error) = query.error {
            return Err(LoginError::AuthorizationFailed { error: SsoError::parse(&error) });
        }
        let sessions = &self.state.sessions;
        // A login for another issuer is rejected (OpenID Connect Core, section 4).
        let ours = sessions.scalekit().environment_url();
        if let Some(issuer) = query.issuer.as_deref().filter(|issuer| *issuer != ours) {
            return Err(LoginError::IssuerMismatch.logged("iss", Shown(ours), Shown(issuer)));
        }
        if let Some(redirect) = sessions.redirect_to_canonical_host(request, sessions.login_path())
        {
            return Ok(redirect);
        }
        let encoded = request.uri().query().unwrap_or_default();
        if QueryParam::find(encoded, IDP_INITIATED_LOGIN).first.is_some() {
            telemetry::idp_initiated_login_ignored();
        }
        LoginStart {
            sessions,
            origin: sessions.origin_of(request),
            headers: request.headers(),
            return_to,
            trigger: query.trigger(),
            parameters: query.forwarded,
        }
        .redirect()
    }
}

route!(Login.state);
on_rejection!(Login, RouteRejection<LoginError>, state.renderer);

/// The query parameters of a login.
#[derive(Debug, Default)]
struct Query {
    return_to: Option<String>,
    target_link_uri: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
    forwarded: Vec<(String, String)>,
}

impl Query {
    /// The first value of a repeated parameter counts.
    fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        let mut seen = HashSet::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() || !seen.insert(name.clone()) {
                continue;
            }
            match &*name {
                "return_to" => parsed.return_to = Some(value.into_owned()),
                "target_link_uri" => parsed.target_link_uri = Some(value.into_owned()),
                "iss" => parsed.issuer = Some(value.into_owned()),
                "error" => parsed.error = Some(value.into_owned()),
                name if NOT_FORWARDED.contains(&name) => {}
                name => {
                    let fits = name.len() <= MAX_FORWARDED_BYTES
                        && value.len() <= MAX_FORWARDED_BYTES
                        && parsed.forwarded.len() < MAX_FORWARDED;
                    if fits {
                        parsed.forwarded.push((name.to_owned(), value.into_owned()));
                    }
                }
            }
        }
        parsed
    }

    fn trigger(&self) -> LoginTrigger {
        match self.forwarded.iter().find(|(name, _)| name == "prompt") {
            Some((_, prompt)) if prompt == "none" => LoginTrigger::PromptNone,
            Some((_, prompt)) if prompt.split(' ').any(|one| one == "login") => {
                LoginTrigger::PromptLogin
            }
            _ => LoginTrigger::User,
        }
    }
}
