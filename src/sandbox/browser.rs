//! A simulated browser for the pages of the sandbox, for tests.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use url::form_urlencoded;

use crate::sandbox::environment::Environment;

pub(crate) fn log_in(
    environment: &Environment,
    authorization_url: &str,
    email: &str,
) -> Result<String, LoginFailed> {
    let mut page = open(environment, authorization_url)?;
    let mut cookie = None;
    let (mut target, mut field) = ("/login", ("email", email));
    loop {
        let Some(transaction) = hidden_transaction(&page) else { return arrived(&page) };
        let response = submit(environment, target, &transaction, &[field], cookie.as_ref())?;
        let location = arrived(&response)?;
        match location.split_once('?') {
            // The domain of the address has an identity provider.
            Some(("/login", _)) => {}
            Some(("/consent", _)) => (target, field) = ("/consent", ("action", "allow")),
            _ => return Ok(location),
        }
        cookie = response.headers().get(header::SET_COOKIE).cloned();
        page = visit(environment, Method::GET, &location, String::new(), cookie.as_ref())?;
    }
}

pub(crate) fn fail_log_in(
    environment: &Environment,
    authorization_url: &str,
    error: &str,
) -> Result<String, LoginFailed> {
    let opened = open(environment, authorization_url)?;
    let Some(transaction) = hidden_transaction(&opened) else { return arrived(&opened) };
    let form = [("action", "fail"), ("error", error)];
    arrived(&submit(environment, "/login", &transaction, &form, None)?)
}

fn open(
    environment: &Environment,
    authorization_url: &str,
) -> Result<Response<Bytes>, LoginFailed> {
    let url = environment.lock().environment_url.clone();
    match authorization_url.strip_prefix(&url) {
        Some(target) if target.starts_with('/') => {
            visit(environment, Method::GET, target, String::new(), None)
        }
        _ => Err(LoginFailed {
            status: StatusCode::MISDIRECTED_REQUEST,
            reason: format!("the authorization URL is not at {url}"),
        }),
    }
}

fn submit(
    environment: &Environment,
    target: &str,
    transaction: &str,
    fields: &[(&str, &str)],
    cookie: Option<&HeaderValue>,
) -> Result<Response<Bytes>, LoginFailed> {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("transaction", transaction)
        .extend_pairs(fields)
        .finish();
    visit(environment, Method::POST, target, form, cookie)
}

fn visit(
    environment: &Environment,
    method: Method,
    target: &str,
    form: String,
    cookie: Option<&HeaderValue>,
) -> Result<Response<Bytes>, LoginFailed> {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(form))
        .map_err(|error| LoginFailed {
            status: StatusCode::BAD_REQUEST,
            reason: error.to_string(),
        })?;
    // Attributes after the cookie count as more cookies, which are ignored.
    if let Some(cookie) = cookie {
        request.headers_mut().insert(header::COOKIE, cookie.clone());
    }
    Ok(environment.route(&request))
}

pub(crate) fn consent(environment: &Environment, link: &str) -> Result<String, LoginFailed> {
    let url = environment.lock().environment_url.clone();
    let target = link.strip_prefix(&url).unwrap_or(link);
    let form = "action=allow".to_owned();
    let location = arrived(&visit(environment, Method::POST, target, form, None)?)?;
    Ok(if location.starts_with('/') { format!("{url}{location}") } else { location })
}

/// Returned when the login page does not redirect to the application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox responded with {status}: {reason}")]
#[non_exhaustive]
pub struct LoginFailed {
    /// The status of the page.
    pub status: StatusCode,
    /// The text of that page.
    pub reason: String,
}

pub(crate) fn arrived(response: &Response<Bytes>) -> Result<String, LoginFailed> {
    response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
        .ok_or_else(|| LoginFailed {
            status: response.status(),
            reason: visible_text(response.body()),
        })
}

fn hidden_transaction(page: &Response<Bytes>) -> Option<String> {
    let page = std::str::from_utf8(page.body()).ok()?;
    let (_, value) = page.split_once(r#"name="transaction" value=""#)?;
    value.split_once('"').map(|(transaction, _)| transaction.to_owned())
}

fn visible_text(html: &[u8]) -> String {
    let html = String::from_utf8_lossy(html);
    html.split_once("<main")
        .map_or(&*html, |(_, main)| main)
        .split('<')
        .filter_map(|part| part.split_once('>'))
        .flat_map(|(_, text)| text.split_whitespace())
        .collect::<Vec<_>>()
        .join(" ")
}
