use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::http_client::HttpClientError;
use crate::scalekit::MissingToken;

/// Returned when a call of the API fails.
///
/// # Gateways
///
/// A gateway between app and environment may respond in place of the API. An error is the API's if
/// its body has an `error_code`, a `code` of gRPC (1 to 16, or its name), or the error of a tool.
/// Other bodies with 4xx are an [`UnexpectedResponse`](Self::UnexpectedResponse), but for 401 and
/// 429, which are taken as they are. 408, 421, 425 and 499 are [`Unavailable`](Self::Unavailable)
/// with any body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The call is invalid and was not sent. Caused by the caller.
    #[error("the API call cannot be sent: {0}")]
    InvalidCall(&'static str),
    /// The environment rejected the request as invalid (400 and similar). Caused by the caller.
    #[error("the API rejected the request: {0}")]
    InvalidRequest(ErrorResponse),
    /// The resource does not exist in the environment (404).
    #[error("the API does not know this resource: {0}")]
    NotFound(ErrorResponse),
    /// The organization has no directory. Its administrators have to set one up.
    #[error("organization {organization_id} has no directory")]
    NoDirectory {
        /// The organization.
        organization_id: String,
    },
    /// The resource exists already, or was changed meanwhile (409).
    #[error("the API call conflicts with the current state: {0}")]
    Conflict(ErrorResponse),
    /// The environment rejected the client ID or secret. Caused by the configuration.
    #[error("the environment rejected the credentials: {code} (check client id and secret)")]
    Credentials {
        /// For instance `invalid_client`.
        code: String,
    },
    /// The API rejected a newly issued access token (401). Caused by the configuration.
    #[error("the API rejected the access token: {0} (check client id and environment URL)")]
    Unauthorized(ErrorResponse),
    /// The application is not allowed to make this call (403). Caused by the configuration.
    #[error("the API does not allow this: {0}")]
    Forbidden(ErrorResponse),
    /// Too many calls (429), of this application to the environment or of the environment to a
    /// tool's provider. Try again later.
    #[error("too many API calls: {response}")]
    RateLimited {
        /// The environment's error.
        response: ErrorResponse,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
    /// The environment is unreachable or failing. Try again later.
    #[error("the API is unavailable: {0}")]
    Unavailable(#[source] Unavailable),
    /// The environment does not have the operation (405, 501). A sandbox does not have all of them.
    /// Trying again does not help.
    #[error("the environment does not have this operation: {0}")]
    NotImplemented(ErrorResponse),
    /// The response is not the API's: the environment URL may be wrong, or a proxy may be in
    /// between.
    #[error("the environment sent an unexpected response: {what} (check the environment URL)")]
    UnexpectedResponse {
        /// Description of the response.
        what: &'static str,
        /// Its status, if known.
        status: Option<StatusCode>,
    },
}

impl ApiError {
    /// The environment's error, if the API sent one.
    #[must_use]
    pub fn response(&self) -> Option<&ErrorResponse> {
        match self {
            Self::Conflict(response)
            | Self::Forbidden(response)
            | Self::InvalidRequest(response)
            | Self::NotFound(response)
            | Self::NotImplemented(response)
            | Self::RateLimited { response, .. }
            | Self::Unauthorized(response)
            | Self::Unavailable(Unavailable::Failing(response)) => Some(response),
            Self::Credentials { .. }
            | Self::InvalidCall(_)
            | Self::NoDirectory { .. }
            | Self::Unavailable(_)
            | Self::UnexpectedResponse { .. } => None,
        }
    }

    /// Whether the call may succeed later: the API is busy or unavailable, or a proxy has rejected the
    /// call in its place.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unavailable(_) => true,
            error => error.is_foreign_rejection(),
        }
    }

    /// Whether the call was rejected, in a form that is not known to be the API's: by a proxy, or because
    /// the environment URL is wrong.
    pub(crate) fn is_foreign_rejection(&self) -> bool {
        matches!(self, Self::UnexpectedResponse { status: Some(status), .. } if status.is_client_error())
    }

    /// The same without text that may repeat this secret.
    pub(super) fn without(mut self, secret: &str) -> Self {
        // Exhaustive, so that no error with a response is forgotten.
        match &mut self {
            Self::Conflict(response)
            | Self::Forbidden(response)
            | Self::InvalidRequest(response)
            | Self::NotFound(response)
            | Self::NotImplemented(response)
            | Self::RateLimited { response, .. }
            | Self::Unauthorized(response)
            | Self::Unavailable(Unavailable::Failing(response)) => {
                // A message may be cut, so that the secret is not found in it.
                response.message = None;
                let code = &mut response.error_code;
                code.take_if(|code| code.contains(secret) || secret.contains(&**code));
            }
            Self::Credentials { .. }
            | Self::InvalidCall(_)
            | Self::NoDirectory { .. }
            | Self::Unavailable(Unavailable::MissingToken(_) | Unavailable::NoResponse(_))
            | Self::UnexpectedResponse { .. } => {}
        }
        self
    }

    pub(super) fn unexpected(what: &'static str) -> Self {
        Self::UnexpectedResponse { what, status: None }
    }
}

/// Why the API is unavailable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The API or a proxy responded with 5xx; or with 408, 421, 425 or 499, which do not concern the
    /// call. It may have been processed.
    #[error("it responded with {0} (try again later)")]
    Failing(ErrorResponse),
    /// There was no response. Unless the connection failed, the call may have been processed.
    #[error("{0} (check the environment URL, the network and any proxy)")]
    NoResponse(#[source] HttpClientError),
    /// No access token could be obtained; the call was not sent.
    #[error("no access token: {0}")]
    MissingToken(#[source] Arc<dyn StdError + Send + Sync>),
}

/// An error response of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// The environment's error code, for instance `RATE_LIMITED`: letters, digits, `_`, `-` and
    /// `.`, at most 64.
    pub error_code: Option<String>,
    /// A message for developers, not for users: limited to 300 characters, without control
    /// characters and without anything that looks like a token or an e-mail address.
    pub message: Option<String>,
}

impl ErrorResponse {
    /// Whether code or message contains one of these words, in lower case.
    pub(crate) fn mentions(&self, words: &[&str]) -> bool {
        self.texts().any(|text| words.iter().any(|word| text.contains(word)))
    }

    /// Code and message, in lower case.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        [self.error_code.as_deref(), self.message.as_deref()]
            .into_iter()
            .flatten()
            .map(str::to_ascii_lowercase)
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = &self.error_code {
            write!(f, ", {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

impl From<HttpClientError> for ApiError {
    fn from(error: HttpClientError) -> Self {
        match error {
            HttpClientError::BodyTooLarge { .. } => {
                Self::unexpected("a response that is too large")
            }
            error => Self::Unavailable(Unavailable::NoResponse(error)),
        }
    }
}

impl From<MissingToken> for ApiError {
    fn from(reason: MissingToken) -> Self {
        match reason {
            MissingToken::Rejected { code } => Self::Credentials { code },
            MissingToken::Unavailable(error) => Self::Unavailable(Unavailable::MissingToken(error)),
            MissingToken::UnexpectedResponse(what) => Self::unexpected(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_a_secret_repeats_it_neither_as_message_nor_as_code() {
        let response = ErrorResponse {
            status: StatusCode::BAD_REQUEST,
            error_code: Some("sk_1".to_owned()),
            message: Some("sk_1 is unknown".to_owned()),
        };
        for error in [
            ApiError::Conflict,
            ApiError::Forbidden,
            ApiError::InvalidRequest,
            ApiError::NotFound,
            ApiError::NotImplemented,
            ApiError::Unauthorized,
            |response| ApiError::RateLimited { response, retry_after: None },
            |response| ApiError::Unavailable(Unavailable::Failing(response)),
        ] as [fn(ErrorResponse) -> ApiError; 8]
        {
            let error = error(response.clone()).without("sk_1");
            let response = error.response().unwrap();
            assert_eq!((&response.error_code, &response.message), (&None, &None), "{error}");
        }
    }
}
