use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::ConnectAccount;
use super::attempt::ConnectAttempt;
use super::rejection::ConnectAccountError;
use crate::api::connected_accounts::{AccountKey, NewConnectedAccount};
use crate::middleware::page;
use crate::middleware::page::escaped;
use crate::middleware::route::route;
use crate::middleware::route_response::redirect;
use crate::session::Session;
use crate::util::cache_control::{set_no_store, vary_on_cookie};
use crate::util::telemetry;

/// Redirects a user to the consent page: `POST`, from the app's own pages. `GET` shows a small page
/// with the user's name and the button. Returned by [`ConnectAccount::start`], behind
/// [`RequireSession`](crate::RequireSession).
///
/// A page of the app with its own button should show the user's name too: a link on another site
/// may have logged the browser in as another user, to whom the mailbox would then be connected.
#[derive(Clone, Debug)]
pub struct Start {
    pub(super) connect: ConnectAccount,
}

impl Start {
    async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.start(&request).await {
            Ok(response) => response,
            Err(failure) => self.connect.reject(failure, &request, None),
        }
    }

    async fn start(&self, request: &Request<()>) -> Result<Response<Bytes>, ConnectAccountError> {
        let connect = &self.connect;
        let (sessions, path) = (connect.sessions(), connect.path());
        let session = Session::from_extensions(request.extensions())
            .ok_or(ConnectAccountError::Misconfigured)?;
        match *request.method() {
            // The button starts an attempt, whose cookie the return needs.
            Method::GET => Ok(sessions
                .redirect_to_canonical_host(request, path)
                .unwrap_or_else(|| self.page(&session, sessions.origin_of(request).host_name()))),
            Method::POST => match sessions.form_at_canonical_host(request, path) {
                Some(page) => Ok(page),
                // It creates an account: a page of another origin must not do so for the user.
                None if sessions.is_cross_origin(request) => Err(ConnectAccountError::CrossSite),
                None => self.begin_attempt(&session, request).await,
            },
            _ => Err(ConnectAccountError::MethodNotAllowed { allow: "GET, POST" }),
        }
    }

    async fn begin_attempt(
        &self,
        session: &Session,
        request: &Request<()>,
    ) -> Result<Response<Bytes>, ConnectAccountError> {
        let connect = &self.connect;
        let sessions = connect.sessions();
        let identifier = connect.identifier(session);
        let now = sessions.now();
        let attempt =
            ConnectAttempt::start(connect, session, &identifier, now).map_err(|error| {
                telemetry::internal_error("connect_account", &error);
                ConnectAccountError::Misconfigured
            })?;
        let cookies = sessions
            .store_short_lived(&attempt, request.headers())
            .ok_or(ConnectAccountError::Misconfigured)?;

        let account = AccountKey::new(&connect.inner.connection_name, &identifier);
        let accounts = connect.accounts();
        accounts
            .get_or_create(&NewConnectedAccount::new(&account))
            .await
            .map_err(ConnectAccountError::from_api)?;
        let verify_url = sessions.origin_of(request).url(connect.verify_path());
        let link = accounts
            .verified_authorization_link(&account, &verify_url, attempt.state())
            .await
            .map_err(ConnectAccountError::from_api)?;
        // Last: an attempt that the environment's limits reject must not use up the store.
        connect.expect_callback(attempt.state(), &identifier).await?;
        Ok(redirect(StatusCode::SEE_OTHER, link.url().as_str(), cookies))
    }

    /// Returns the page with the user's name and the button.
    fn page(&self, session: &Session, host: &str) -> Response<Bytes> {
        let config = &self.connect.inner;
        let message = format!(
            "You are logged in to {host} as {}. The connected account will belong to this user",
            session.account_name(),
        );
        let form = format!(
            "<form method=\"post\" action=\"{}\"><button>Connect</button></form>\n\
             <p class=\"hint\">If that is not you, <a href=\"{}\">go back</a> and log out.</p>",
            escaped(&config.path),
            escaped(&config.start_page),
        );
        let title = format!("Connect {}", config.connection_name);
        let mut response = Response::default();
        page::show(&mut response, page::page("", &title, &message, form));
        set_no_store(response.headers_mut());
        vary_on_cookie(response.headers_mut());
        response
    }
}

route!(Start.connect);
