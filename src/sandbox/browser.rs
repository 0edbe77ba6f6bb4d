//! A user at the pages of the sandbox, for tests.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use crate::sandbox::Sandbox;
use crate::sandbox::parameters::with_query;

impl Sandbox {
    /// Opens an authorization link of a connected account, allows it, and gives where the user is
    /// sent then: to the application's `user_verify_url`, or to the sandbox's last page.
    ///
    /// # Errors
    ///
    /// When a page shows that leads nowhere: the link was used, or users have to be verified and it
    /// says not where.
    pub fn consent(&self, link: &str) -> Result<String, LoginFailed> {
        let url = self.environment_url();
        let target = link.strip_prefix(&url).unwrap_or(link);
        let request = Request::builder().method(Method::POST).uri(target);
        let request = request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from("action=allow"))
            .map_err(|error| LoginFailed {
                status: StatusCode::BAD_REQUEST,
                reason: error.to_string(),
            })?;
        let location = crate::sandbox::browser::arrived(&self.environment.route(&request))?;
        Ok(if location.starts_with('/') { format!("{url}{location}") } else { location })
    }
}

impl Sandbox {
    /// Opens an authorization URL in a fresh browser, signs in as this user at the page that shows,
    /// the environment's or that of an identity provider, and gives the URL the browser is sent
    /// back to, with its `code` and `state` or its `error`.
    ///
    /// At a resource the person then allows the client all it asks for. An unknown address signs
    /// up. Faults of the endpoints do not show here and requests are not counted.
    ///
    /// # Errors
    ///
    /// When a page shows that leads nowhere: an unknown client, a redirect URI that is not allowed,
    /// a user of another organization.
    pub fn log_in(&self, authorization_url: &str, email: &str) -> Result<String, LoginFailed> {
        let opened = self.open(authorization_url)?;
        let Some(transaction) = hidden_transaction(&opened) else { return arrived(&opened) };
        let mut signed_in = self.submit("/login", &transaction, &[("email", email)], None)?;
        let mut location = arrived(&signed_in)?;
        if location.starts_with("/login?") {
            // The address has led to its identity provider.
            let asked = self.visit(Method::GET, &location, String::new(), None)?;
            let Some(transaction) = hidden_transaction(&asked) else { return arrived(&asked) };
            signed_in = self.submit("/login", &transaction, &[("email", email)], None)?;
            location = arrived(&signed_in)?;
        }
        if !location.starts_with("/consent?") {
            return Ok(location);
        }
        let cookie = signed_in.headers().get(header::SET_COOKIE);
        let asked = self.visit(Method::GET, &location, String::new(), cookie)?;
        let Some(transaction) = hidden_transaction(&asked) else { return arrived(&asked) };
        arrived(&self.submit("/consent", &transaction, &[("action", "allow")], cookie)?)
    }

    /// Opens an authorization URL that selects a connection, lets its identity provider fail in the
    /// way of this error code, such as `invalid_saml_response`, and gives the URL the browser is
    /// sent back to.
    ///
    /// # Errors
    ///
    /// When a page shows that leads nowhere, no connection is selected, or the code is not one of
    /// those at the identity provider's page.
    pub fn fail_log_in(&self, authorization_url: &str, error: &str) -> Result<String, LoginFailed> {
        let opened = self.open(authorization_url)?;
        let Some(transaction) = hidden_transaction(&opened) else { return arrived(&opened) };
        let form = [("action", "fail"), ("error", error)];
        arrived(&self.submit("/login", &transaction, &form, None)?)
    }

    fn open(&self, authorization_url: &str) -> Result<Response<Bytes>, LoginFailed> {
        let url = self.environment_url();
        let rest = authorization_url.strip_prefix(&url).filter(|rest| rest.starts_with('/'));
        let target = rest.ok_or_else(|| LoginFailed {
            status: StatusCode::MISDIRECTED_REQUEST,
            reason: format!("the authorization URL is not at {url}"),
        })?;
        self.visit(Method::GET, target, String::new(), None)
    }

    fn submit(
        &self,
        target: &str,
        transaction: &str,
        fields: &[(&str, &str)],
        cookie: Option<&HeaderValue>,
    ) -> Result<Response<Bytes>, LoginFailed> {
        let fields = fields.iter().map(|(name, value)| (*name, Some(*value)));
        let form: Vec<_> = [("transaction", Some(transaction))].into_iter().chain(fields).collect();
        let form = with_query("", &form);
        self.visit(Method::POST, target, form.trim_start_matches('?').to_owned(), cookie)
    }

    fn visit(
        &self,
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
        // The attributes after the cookie read as more cookies, which nobody asks for.
        if let Some(cookie) = cookie {
            request.headers_mut().insert(header::COOKIE, cookie.clone());
        }
        Ok(self.environment.route(&request))
    }
}

/// The login page did not lead back to the application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox answered {status}: {reason}")]
#[non_exhaustive]
pub struct LoginFailed {
    /// The status of the page that shows.
    pub status: StatusCode,
    /// The text of that page.
    pub reason: String,
}

pub(crate) fn arrived(response: &Response<Bytes>) -> Result<String, LoginFailed> {
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    location.map(str::to_owned).ok_or_else(|| LoginFailed {
        status: response.status(),
        reason: visible_text(response.body()),
    })
}

fn hidden_transaction(page: &Response<Bytes>) -> Option<String> {
    let html = std::str::from_utf8(page.body()).ok()?;
    let (_, rest) = html.split_once(r#"name="transaction" value=""#)?;
    rest.split_once('"').map(|(transaction, _)| transaction.to_owned())
}

fn visible_text(html: &[u8]) -> String {
    let html = String::from_utf8_lossy(html);
    let main = html.split_once("<main").map_or(&*html, |(_, main)| main);
    let outside_tags =
        main.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text);
    let text = outside_tags.collect::<Vec<_>>().join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
