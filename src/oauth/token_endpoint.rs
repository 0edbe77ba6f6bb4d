use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::{CodeVerifier, UnverifiedTokens};
use crate::http_client::{HttpClientError, SendLimits, WEB_PAGE, is_web_page};
use crate::scalekit::Scalekit;
use crate::secret::SecretString;

/// A refresh delays the requests of its session, and must end well before the ~30 s in which the
/// environment still accepts a repeated one.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Scalekit {
    /// Exchanges the code of a callback for tokens (grant `authorization_code`). A code works once.
    /// [`UnverifiedTokens::verify`] verifies them.
    ///
    /// `redirect_uri` must be exactly that of the authorization URL.
    ///
    /// # Errors
    /// See [`OAuthError`].
    #[doc(alias("authenticateWithCode", "authenticate_with_code"))]
    pub async fn exchange_code(
        &self,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&CodeVerifier>,
    ) -> Result<UnverifiedTokens, OAuthError> {
        let fields =
            [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect_uri)];
        let verifier = verifier.map(|verifier| ("code_verifier", verifier.expose()));
        self.token_request(fields.into_iter().chain(verifier)).await
    }

    /// Exchanges a refresh token for new tokens (grant `refresh_token`). The old refresh token is
    /// then spent: use the new one. [`UnverifiedTokens::verify_refreshed`] verifies them.
    ///
    /// # Errors
    /// [`OAuthError::InvalidGrant`] means that the session has ended. Other errors do not.
    #[doc(alias("refreshAccessToken", "refresh_access_token"))]
    pub async fn refresh(
        &self,
        refresh_token: &SecretString,
    ) -> Result<UnverifiedTokens, OAuthError> {
        self.token_request([
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose()),
        ])
        .await
    }

    /// Requests a token for this application itself (grant `client_credentials`).
    ///
    /// # Errors
    /// See [`OAuthError`].
    pub async fn client_credentials(
        &self,
        scopes: &[&str],
    ) -> Result<UnverifiedTokens, OAuthError> {
        let scopes = scopes.join(" ");
        let scope = (!scopes.is_empty()).then_some(("scope", scopes.as_str()));
        self.token_request([("grant_type", "client_credentials")].into_iter().chain(scope)).await
    }

    async fn token_request<'a>(
        &self,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<UnverifiedTokens, OAuthError> {
        let request = self.build_token_request(fields)?;
        let sent = request.body().clone();
        read_response(&self.send(request).await?, &sent)
    }

    fn build_token_request<'a>(
        &self,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Request<Bytes>, OAuthError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        form.append_pair("client_id", self.client_id());
        form.append_pair("client_secret", self.client_secret().expose());
        Request::post(self.endpoint("/oauth/token").as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .extension(SendLimits { timeout: TIMEOUT, ..SendLimits::default() })
            .body(Bytes::from(form.finish()))
            .map_err(|_| OAuthError::UnexpectedResponse("its URL is not valid"))
    }
}

/// Returned when the token endpoint issues no tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OAuthError {
    /// The code or refresh token is spent, expired or revoked.
    #[error("the code or refresh token is no longer valid (invalid_grant)")]
    InvalidGrant,
    /// The environment rejected the request. Usually the credentials or the redirect URI are wrong.
    /// `code` is one of RFC 6749 section 5.2.
    #[error(
        "the environment rejected the token request: {code} (check client id, secret and redirect URI)"
    )]
    Rejected {
        /// For instance `invalid_client`.
        code: String,
    },
    /// The environment is unreachable, overloaded or failing. Try again later.
    #[error("the token endpoint is unavailable: {0}")]
    Unavailable(#[source] TokenEndpointUnavailable),
    /// The response is not the token endpoint's: the environment URL may be wrong.
    #[error("the token endpoint sent an unexpected response: {0} (check the environment URL)")]
    UnexpectedResponse(&'static str),
}

/// Why the token endpoint is unavailable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenEndpointUnavailable {
    /// There was no response.
    #[error("{0} (check the environment URL, the network and any proxy)")]
    NoResponse(#[source] HttpClientError),
    /// The response was 429 or 5xx.
    #[error("it responded with {0} (try again later)")]
    Status(StatusCode),
}

impl From<HttpClientError> for OAuthError {
    fn from(error: HttpClientError) -> Self {
        Self::Unavailable(TokenEndpointUnavailable::NoResponse(error))
    }
}

#[derive(Deserialize)]
struct Success {
    access_token: String,
    refresh_token: Option<String>,
    id_token: Option<String>,
    expires_in: Option<Value>,
    scope: Option<String>,
}

/// A number of seconds, as a number or as text; otherwise `None`.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// The tokens or the error, without any value of `sent`.
fn read_response(response: &Response<Bytes>, sent: &[u8]) -> Result<UnverifiedTokens, OAuthError> {
    let status = response.status();
    if status == StatusCode::OK {
        let success: Success = serde_json::from_slice(response.body())
            .map_err(|_| unexpected(response, "200 without tokens"))?;
        return Ok(UnverifiedTokens {
            access_token: success.access_token.into(),
            refresh_token: success.refresh_token.filter(|token| !token.is_empty()).map(Into::into),
            id_token: success.id_token.filter(|token| !token.is_empty()).map(Into::into),
            expires_in: success.expires_in.as_ref().and_then(seconds),
            scope: success.scope,
        });
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(OAuthError::Unavailable(TokenEndpointUnavailable::Status(status)));
    }
    if status.is_redirection() {
        return Err(OAuthError::UnexpectedResponse("a redirect"));
    }
    if !status.is_client_error() {
        return Err(OAuthError::UnexpectedResponse("neither tokens nor an OAuth error"));
    }
    match serde_json::from_slice(response.body()) {
        Ok(Failure { error }) if error == "invalid_grant" => Err(OAuthError::InvalidGrant),
        Ok(Failure { error }) if is_error_code(&error) && !contains(sent, &error) => {
            Err(OAuthError::Rejected { code: error })
        }
        _ => Err(unexpected(response, "an error that is not a token endpoint's")),
    }
}

fn unexpected(response: &Response<Bytes>, otherwise: &'static str) -> OAuthError {
    OAuthError::UnexpectedResponse(if is_web_page(response) { WEB_PAGE } else { otherwise })
}

fn contains(sent: &[u8], text: &str) -> bool {
    sent.windows(text.len().max(1)).any(|part| part == text.as_bytes())
}

/// Whether a text of the environment is an error code that may be logged: nothing that could be a
/// token, or a message.
pub(crate) fn is_error_code(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &'static str) -> Result<UnverifiedTokens, OAuthError> {
        let response = Response::builder().status(status).body(Bytes::from(body)).unwrap();
        read_response(&response, b"grant_type=refresh_token&client_secret=test_abcdef")
    }

    #[test]
    fn optional_members_may_be_missing() {
        let all = r#"{"access_token":"a","refresh_token":"r","id_token":"i","expires_in":"299"}"#;
        let tokens = response(200, all).unwrap();
        assert_eq!(tokens.expires_in, Some(Duration::from_secs(299)));
        assert_eq!(tokens.refresh_token.as_ref().map(SecretString::expose), Some("r"));
        assert!(!format!("{tokens:?}").contains("\"a\""));
        let fraction = response(200, r#"{"access_token":"a","expires_in":299.5}"#).unwrap();
        assert_eq!(fraction.expires_in, Some(Duration::from_millis(299_500)));
        let least =
            response(200, r#"{"access_token":"a","refresh_token":"","expires_in":-1}"#).unwrap();
        assert!(least.refresh_token.is_none() && least.expires_in.is_none());
    }

    #[test]
    fn only_invalid_grant_ends_a_session() {
        let definite = response(400, r#"{"error":"invalid_grant","error_description":"gone"}"#);
        assert!(matches!(definite, Err(OAuthError::InvalidGrant)));
        let rejected = response(401, r#"{"error":"invalid_client"}"#);
        assert!(matches!(rejected, Err(OAuthError::Rejected { code }) if code == "invalid_client"));
        for status in [429, 500, 502, 503, 504] {
            let busy = response(status, r#"{"error":"invalid_grant"}"#);
            assert!(matches!(busy, Err(OAuthError::Unavailable(_))), "{status}");
        }
        for (status, body) in [
            (200, "<html>"),
            (307, ""),
            (400, "<html>"),
            (400, r#"{"error":"Hello <b>"}"#),
            (404, ""),
        ] {
            let other = response(status, body);
            assert!(matches!(other, Err(OAuthError::UnexpectedResponse(_))), "{status} {body}");
        }
    }

    #[test]
    fn unexpected_responses_are_described() {
        for (status, body, what) in [
            (200, " <!doctype html>", WEB_PAGE),
            (403, "<html>", WEB_PAGE),
            (200, "{}", "200 without tokens"),
            (301, "<html>", "a redirect"),
            (404, r#"{"code":5}"#, "an error that is not a token endpoint's"),
            (400, r#"{"error":"test_abcdef"}"#, "an error that is not a token endpoint's"),
        ] {
            let Err(OAuthError::UnexpectedResponse(named)) = response(status, body) else {
                panic!("{status} {body} is another error")
            };
            assert_eq!(named, what, "{status} {body}");
        }
    }
}
