use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::http_client::HttpClientError;
use crate::scalekit::MissingToken;

/// A call of the API came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The call cannot be sent as it stands. The caller's doing; nothing was sent.
    #[error("the API call cannot be sent: {0}")]
    InvalidCall(&'static str),
    /// The environment rejects the request as such (400 and others of its kind). The caller's
    /// doing.
    #[error("the API rejected the request: {0}")]
    InvalidRequest(ErrorResponse),
    /// There is no such thing in the environment (404).
    #[error("the API knows no such thing: {0}")]
    NotFound(ErrorResponse),
    /// The organization has no directory: its administrators have to set one up. No one's fault.
    #[error("organization {organization_id} has no directory")]
    NoDirectory {
        /// The organization that was asked for.
        organization_id: String,
    },
    /// It is there already, or was changed meanwhile (409).
    #[error("the API call conflicts with what is there: {0}")]
    Conflict(ErrorResponse),
    /// The environment gives no token for the client id and secret. A matter of configuration.
    #[error("the environment rejected the credentials: {code} (check client id and secret)")]
    Credentials {
        /// For instance `invalid_client`.
        code: String,
    },
    /// The API does not accept a token it has just been given for (401). A matter of
    /// configuration.
    #[error("the API did not accept the access token: {0} (check client id and environment URL)")]
    Unauthorized(ErrorResponse),
    /// This application may not do that (403). A matter of configuration.
    #[error("the API does not allow this: {0}")]
    Forbidden(ErrorResponse),
    /// Too many calls (429), of this application to the environment or of the environment to a
    /// tool's provider: try again later.
    #[error("too many API calls: {response}")]
    RateLimited {
        /// What the environment says.
        response: ErrorResponse,
        /// When to try again, if told.
        retry_after: Option<Duration>,
    },
    /// The environment is out of reach or failing: try again later.
    #[error("the API is unavailable: {0}")]
    Unavailable(#[source] Unavailable),
    /// The response is none of the API's: the environment URL may be wrong, or a proxy in between.
    #[error("the environment gave an unexpected answer: {what} (check the environment URL)")]
    UnexpectedResponse {
        /// What it is instead.
        what: &'static str,
        /// Its status, if one is known.
        status: Option<StatusCode>,
    },
}

impl ApiError {
    /// What the environment says, when it was the API that answered.
    #[must_use]
    pub fn response(&self) -> Option<&ErrorResponse> {
        match self {
            Self::Conflict(response)
            | Self::Forbidden(response)
            | Self::InvalidRequest(response)
            | Self::NotFound(response)
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

    pub(super) fn unexpected(what: &'static str) -> Self {
        Self::UnexpectedResponse { what, status: None }
    }
}

/// Why the API is unavailable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// It answered 5xx. The call may have been carried out.
    #[error("it answered {0} (try again later)")]
    Failing(ErrorResponse),
    /// There was no response. Unless there was no connection, the call may have been carried out.
    #[error("{0} (check the environment URL, the network and any proxy)")]
    NoResponse(#[source] HttpClientError),
    /// There was no token to call with; the call was not sent.
    #[error("no access token: {0}")]
    MissingToken(#[source] Arc<dyn StdError + Send + Sync>),
}

/// What the API says about an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// The environment's name for the error, for instance `RATE_LIMITED`: letters, digits, `_`, `-`
    /// and `.`, at most 64.
    pub error_code: Option<String>,
    /// A sentence for developers, not for users: cut to 300 characters, without control characters
    /// and without anything that looks like a token or an e-mail address.
    pub message: Option<String>,
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
            HttpClientError::BodyTooLarge { .. } => Self::unexpected("it is too large"),
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

impl ErrorResponse {
    /// Whether code or message has one of these words in it, in small letters.
    pub(crate) fn speaks_of(&self, open_enum: &[&str]) -> bool {
        self.texts().any(|text| open_enum.iter().any(|word| text.contains(word)))
    }

    /// Code and message, in small letters.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        let texts = [self.error_code.as_deref(), self.message.as_deref()];
        texts.into_iter().flatten().map(str::to_ascii_lowercase)
    }
}
