use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::ConnectAccount;
use super::answer::ConnectFailure;
use super::attempt::ConnectAttempt;
use crate::api::connected_accounts::{AccountKey, NewConnectedAccount};
use crate::auth_routes::{answering_service, redirect};
use crate::origin::is_navigation;
use crate::session::Session;
use crate::telemetry;

/// Sends a user to let the app into their account: `POST` or `GET`, from the app's own pages; who
/// opens it from elsewhere, or after a login, is sent to the app's
/// [page with the button](super::ConnectAccountBuilder::start_page). Made by
/// [`ConnectAccount::start`], behind [`RequireSession`](crate::RequireSession).
#[derive(Clone, Debug)]
pub struct StartConnecting(pub(super) ConnectAccount);

impl StartConnecting {
    async fn answer(&self, request: Request<()>) -> Response<Bytes> {
        match self.start(&request).await {
            Ok(response) => response,
            Err(failure) => self.0.refuse(failure, &request, None),
        }
    }

    async fn start(&self, request: &Request<()>) -> Result<Response<Bytes>, ConnectFailure> {
        let status = match *request.method() {
            Method::GET => StatusCode::FOUND,
            Method::POST => StatusCode::SEE_OTHER,
            _ => return Err(ConnectFailure::MethodNotAllowed { allow: "GET, POST" }),
        };
        let sessions = &self.0.0.sessions;
        // It makes an account: a page of another site must not do so in the user's name.
        if sessions.is_cross_site(request.headers()) {
            // A login that it took to get here ends so: the app's own page has the button.
            return match is_navigation(request) {
                true => Ok(redirect(StatusCode::SEE_OTHER, &self.0.0.start_page, [])),
                false => Err(ConnectFailure::CrossSite),
            };
        }
        let session = request.extensions().get::<Session>();
        let session = session.ok_or(ConnectFailure::Misconfigured)?;
        let identifier = self.0.identifier(session);
        let now = sessions.scalekit().clock().now();
        let attempt =
            ConnectAttempt::start(&self.0, session, &identifier, now).map_err(|error| {
                telemetry::internal_error("connect_account", &error);
                ConnectFailure::Misconfigured
            })?;
        let cookies = self.0.0.sessions.keep_attempt(&attempt, request.headers());
        let cookies = cookies.ok_or(ConnectFailure::Misconfigured)?;
        self.0.expect_return(attempt.state()).await?;

        let account = AccountKey::of(&self.0.0.connection_name, identifier);
        let accounts = self.0.accounts();
        let created = accounts.get_or_create(&NewConnectedAccount::new(&account)).await;
        created.map_err(|error| ConnectFailure::of_api(&error))?;
        let verify_url = self.0.0.verify_url.as_str();
        let link =
            accounts.verified_authorization_link(&account, verify_url, attempt.state()).await;
        let link = link.map_err(|error| ConnectFailure::of_api(&error))?;
        Ok(redirect(status, link.url().as_str(), cookies))
    }
}

answering_service!(StartConnecting);
