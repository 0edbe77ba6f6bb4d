use std::error::Error as StdError;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use url::form_urlencoded;

use super::PasswordlessLogin;
use super::answer::{PasswordlessFailure, conclude};
use super::attempt::MailAttempt;
use super::page::{self, LinkQuestion};
use super::service::passwordless_service;
use crate::origin::is_navigation;
use crate::secret::SecretString;
use crate::telemetry;

/// Longer than any token.
const MAX_TOKEN_BYTES: usize = 512;

/// Where magic links lead: `GET /passwordless/verify?link_token=…`. Made by
/// [`PasswordlessLogin::link`].
///
/// In the browser that asked for the mail it logs in at once and sends the person to where the
/// login began. Anywhere else, and for who only fetches in advance, it shows a page whose button
/// sends the token to [`Verify`](super::Verify). That uses nothing up, as long as the environment
/// refuses a link under the id of another request, which a browser with a login of its own tries.
#[derive(Clone, Debug)]
pub struct Link(pub(super) PasswordlessLogin);

impl Link {
    async fn answer<B>(&self, request: &Request<()>, _: B) -> Response<Bytes>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let login = &self.0;
        let token = match link_token(request) {
            Ok(token) => token,
            Err(failure) => return login.refuse(failure, request, None),
        };
        let is_opened = request.method() == Method::GET
            && is_navigation(request)
            && !is_in_advance(request.headers());
        let attempts = MailAttempt::all(&login.0.sessions, request.headers());
        let may_be_foreign = !login.0.same_browser_only;
        match attempts.is_empty() {
            false if is_opened => match login.verify_own_link(&token, attempts).await {
                Ok((verified, attempt)) => login.log_in(verified, Some(&attempt), request).await,
                Err(PasswordlessFailure::LinkRefused) if may_be_foreign => {
                    self.ask(&token, request)
                }
                Err(failure) => login.refuse(failure, request, None),
            },
            true if login.0.same_browser_only => {
                login.refuse(PasswordlessFailure::OtherBrowser, request, None)
            }
            _ => self.ask(&token, request),
        }
    }

    fn ask(&self, token: &SecretString, request: &Request<()>) -> Response<Bytes> {
        let login = &self.0;
        let host = login.0.sessions.public_url().host_str().unwrap_or("this app");
        let question = match LinkQuestion::new(host, login.verify_path(), token.clone()) {
            Ok(question) => question,
            Err(error) => {
                telemetry::internal_error("passwordless_link", &error);
                return login.refuse(PasswordlessFailure::Misconfigured, request, None);
            }
        };
        let page = match &login.0.link_page {
            Some(page) => page(&question),
            None => question.page(),
        };
        let mut response = Response::new(Bytes::new());
        page::show(&mut response, page);
        conclude(response.headers_mut(), []);
        response
    }
}

passwordless_service!(Link);

fn link_token(request: &Request<()>) -> Result<SecretString, PasswordlessFailure> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(PasswordlessFailure::MethodNotAllowed { allow: "GET, HEAD" });
    }
    let query = request.uri().query().unwrap_or_default();
    let mut tokens =
        form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "link_token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) if is_link_token(&token) => Ok(token.into_owned().into()),
        _ => Err(PasswordlessFailure::MalformedRequest),
    }
}

pub(super) fn is_link_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a browser fetches the page before anybody wants to see it.
fn is_in_advance(headers: &HeaderMap) -> bool {
    let mentions = |name: &str, word: &str| {
        headers.get_all(name).iter().any(|value| {
            value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains(word))
        })
    };
    let purposes = ["sec-purpose", "purpose", "x-purpose", "x-moz"];
    purposes.iter().any(|name| mentions(name, "prefetch") || mentions(name, "preview"))
}
