use bytes::Bytes;
use http::{Method, Request, Response};
use url::form_urlencoded;

use super::PasswordlessLogin;
use super::attempt::EmailAttempt;
use super::confirmation_page::LinkConfirmation;
use super::rejection::PasswordlessLoginError;
use super::verify_credential::Credential;
use crate::middleware::page;
use crate::middleware::route::route;
use crate::middleware::route_response::set_route_headers;
use crate::secret::SecretString;
use crate::util::fetch_metadata::is_navigation;
use crate::util::pasted;
use crate::util::query::QueryParam;
use crate::util::telemetry;

/// Longer than any token.
const MAX_TOKEN_BYTES: usize = 512;

/// A placeholder for an attempt in a link's path.
const NO_ATTEMPT: &str = "-";

/// Receives magic links: `GET /passwordless/verify/{attempt}?link_token=…`. Returned by
/// [`PasswordlessLogin::link`].
///
/// In the browser of the attempt, it logs in at once and redirects to the page where the login
/// began. In other browsers it shows a page with a button that sends the token to
/// [`Verify`](super::Verify). Showing the page does not use the link up.
///
/// It also shows the page when the environment rejects the link for the request that the browser
/// knows, because another e-mail may have been sent meanwhile. A link without an attempt in its
/// path is tried with the newest attempt of the browser, as for a form.
#[derive(Clone, Debug)]
pub struct Link {
    pub(super) login: PasswordlessLogin,
}

impl Link {
    async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        let (login, request) = (&self.login, &request);
        let same_browser_only = login.inner.same_browser_only;
        let token = match link_token(request) {
            Ok(token) => token,
            Err(failure) => return login.reject(failure, request, None),
        };
        let is_opened = request.method() == Method::GET && is_navigation(request);
        let id = attempt_id(request.uri().path());
        match EmailAttempt::find(login.sessions(), request.headers(), id) {
            Some(attempt) if is_opened => {
                let credential = Credential::OwnLink { token: token.clone(), attempt };
                match login.log_in(&credential, request.headers()).await {
                    // It may belong to a request that this browser does not know, or no longer.
                    Err(PasswordlessLoginError::InvalidLink) if !same_browser_only => {
                        self.ask(token, None, request)
                    }
                    outcome => login.conclude(outcome, &credential, request),
                }
            }
            None if same_browser_only => {
                login.reject(PasswordlessLoginError::BrowserMismatch, request, None)
            }
            own => self.ask(token, own.map(|attempt| attempt.id), request),
        }
    }

    /// Shows the page with the button; `own` is this browser's attempt, if the link belongs to it.
    fn ask(
        &self,
        token: SecretString,
        own: Option<String>,
        request: &Request<()>,
    ) -> Response<Bytes> {
        let login = &self.login;
        let host = login.sessions().origin_of(request).host_name();
        let confirmation = match LinkConfirmation::new(host, login.verify_path(), token, own) {
            Ok(confirmation) => confirmation,
            Err(error) => {
                telemetry::internal_error("passwordless_link", &error);
                return login.reject(PasswordlessLoginError::Misconfigured, request, None);
            }
        };
        let page = match &login.inner.confirmation_page {
            Some(page) => page(&confirmation),
            None => confirmation.page(),
        };
        let mut response = Response::default();
        page::show(&mut response, page);
        set_route_headers(response.headers_mut(), []);
        response
    }
}

route!(Link.login);

impl PasswordlessLogin {
    /// Returns the path of a link of this attempt of the browser, or of none.
    pub(super) fn link_path(&self, token: &SecretString, attempt: Option<&EmailAttempt>) -> String {
        let token: String = form_urlencoded::byte_serialize(token.expose().as_bytes()).collect();
        let attempt = attempt.map_or(NO_ATTEMPT, |attempt| &attempt.id);
        format!("{}/{attempt}?link_token={token}", self.verify_path())
    }
}

fn link_token(request: &Request<()>) -> Result<SecretString, PasswordlessLoginError> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(PasswordlessLoginError::MethodNotAllowed { allow: "GET, HEAD" });
    }
    QueryParam::find(request.uri().query().unwrap_or_default(), "link_token")
        .single()
        .map(|token| pasted::unwrap_lines(&token))
        .filter(|token| is_link_token(token))
        .map(SecretString::from)
        .ok_or(PasswordlessLoginError::InvalidRequest)
}

pub(super) fn is_link_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Returns the last segment of the path, wherever the routes are nested.
fn attempt_id(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|last| *last != "verify")
}
