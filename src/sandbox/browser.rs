//! A simulated browser for the pages of the sandbox, for tests.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::with_query;

pub(crate) fn log_in(
    environment: &Environment,
    authorization_url: &str,
    email: &str,
) -> Result<String, LoginFailed> {
    let opened = open(environment, authorization_url)?;
    let Some(transaction) = hidden_transaction(&opened) else { return arrived(&opened) };
    let mut signed_in = submit(environment, "/login", &transaction, &[("email", email)], None)?;
    let mut location = arrived(&signed_in)?;
    if location.starts_with("/login?") {
        // The domain of the address has an identity provider.
        let asked = visit(environment, Method::GET, &location, String::new(), None)?;
        let Some(transaction) = hidden_transaction(&asked) else { return arrived(&asked) };
        signed_in = submit(environment, "/login", &transaction, &[("email", email)], None)?;
        location = arrived(&signed_in)?;
    }
    if !location.starts_with("/consent?") {
        return Ok(location);
    }
    let cookie = signed_in.headers().get(header::SET_COOKIE);
    let asked = visit(environment, Method::GET, &location, String::new(), cookie)?;
    let Some(transaction) = hidden_transaction(&asked) else { return arrived(&asked) };
    arrived(&submit(environment, "/consent", &transaction, &[("action", "allow")], cookie)?)
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
    let target = authorization_url
        .strip_prefix(&url)
        .filter(|rest| rest.starts_with('/'))
        .ok_or_else(|| LoginFailed {
            status: StatusCode::MISDIRECTED_REQUEST,
            reason: format!("the authorization URL is not at {url}"),
        })?;
    visit(environment, Method::GET, target, String::new(), None)
}

fn submit(
    environment: &Environment,
    target: &str,
    transaction: &str,
    fields: &[(&str, &str)],
    cookie: Option<&HeaderValue>,
) -> Result<Response<Bytes>, LoginFailed> {
    let fields = fields.iter().map(|(name, value)| (*name, Some(*value)));
    let form: Vec<_> = [("transaction", Some(transaction))].into_iter().chain(fields).collect();
    let form = with_query("", &form);
    visit(environment, Method::POST, target, form.trim_start_matches('?').to_owned(), cookie)
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
    let request = Request::builder()
        .method(Method::POST)
        .uri(link.strip_prefix(&url).unwrap_or(link))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from("action=allow"))
        .map_err(|error| LoginFailed {
            status: StatusCode::BAD_REQUEST,
            reason: error.to_string(),
        })?;
    let location = arrived(&environment.route(&request))?;
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
    let (_, rest) =
        std::str::from_utf8(page.body()).ok()?.split_once(r#"name="transaction" value=""#)?;
    rest.split_once('"').map(|(transaction, _)| transaction.to_owned())
}

fn visible_text(html: &[u8]) -> String {
    let html = String::from_utf8_lossy(html);
    let outside_tags = html
        .split_once("<main")
        .map_or(&*html, |(_, main)| main)
        .split('<')
        .filter_map(|part| part.split_once('>'))
        .map(|(_, text)| text);
    outside_tags.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}
