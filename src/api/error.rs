use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::http_client::HttpClientError;
use crate::scalekit::NoToken;

/// A call of the API came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The call cannot be sent as it stands. The caller's doing; nothing was sent.
    #[error("the API call cannot be sent: {0}")]
    InvalidCall(&'static str),
    /// The environment refuses the request as such (400 and others of its kind). The caller's
    /// doing.
    #[error("the API refused the request: {0}")]
    InvalidRequest(ErrorAnswer),
    /// There is no such thing in the environment (404).
    #[error("the API knows no such thing: {0}")]
    NotFound(ErrorAnswer),
    /// The organization has no directory: its administrators have to set one up. Nobody's fault.
    #[error("organization {organization_id} has no directory")]
    NoDirectory {
        /// The organization that was asked for.
        organization_id: String,
    },
    /// It is there already, or was changed meanwhile (409).
    #[error("the API call conflicts with what is there: {0}")]
    Conflict(ErrorAnswer),
    /// The environment gives no token for the client id and secret. A matter of configuration.
    #[error("the environment refused the credentials: {code} (check client id and secret)")]
    Credentials {
        /// For instance `invalid_client`.
        code: String,
    },
    /// The API does not accept a token it has just been given for (401). A matter of
    /// configuration.
    #[error("the API did not accept the access token: {0} (check client id and environment URL)")]
    Unauthorized(ErrorAnswer),
    /// This application may not do that (403). A matter of configuration.
    #[error("the API does not allow this: {0}")]
    Forbidden(ErrorAnswer),
    /// Too many calls (429), of this application to the environment or of the environment to a
    /// tool's provider: try again later.
    #[error("too many API calls: {answer}")]
    RateLimited {
        /// What the environment says.
        answer: ErrorAnswer,
        /// When to try again, if told.
        retry_after: Option<Duration>,
    },
    /// The environment is out of reach or failing: try again later.
    #[error("the API is unavailable: {0}")]
    Unavailable(#[source] Unavailable),
    /// The answer is none of the API's: the environment URL may be wrong, or a proxy in between.
    #[error("the environment gave an unexpected answer: {what} (check the environment URL)")]
    UnexpectedAnswer {
        /// What it is instead.
        what: &'static str,
        /// Its status, if one is known.
        status: Option<StatusCode>,
    },
}

impl ApiError {
    /// What the environment says, when it was the API that answered.
    #[must_use]
    pub fn answer(&self) -> Option<&ErrorAnswer> {
        match self {
            Self::Conflict(answer)
            | Self::Forbidden(answer)
            | Self::InvalidRequest(answer)
            | Self::NotFound(answer)
            | Self::RateLimited { answer, .. }
            | Self::Unauthorized(answer)
            | Self::Unavailable(Unavailable::Failing(answer)) => Some(answer),
            Self::Credentials { .. }
            | Self::InvalidCall(_)
            | Self::NoDirectory { .. }
            | Self::Unavailable(_)
            | Self::UnexpectedAnswer { .. } => None,
        }
    }

    pub(super) fn unexpected(what: &'static str) -> Self {
        Self::UnexpectedAnswer { what, status: None }
    }
}

/// Why the API is unavailable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// It answered 5xx. The call may have been carried out.
    #[error("it answered {0} (try again later)")]
    Failing(ErrorAnswer),
    /// There was no answer. Unless there was no connection, the call may have been carried out.
    #[error("{0} (check the environment URL, the network and any proxy)")]
    NoAnswer(#[source] HttpClientError),
    /// There was no token to call with; the call was not sent.
    #[error("no access token: {0}")]
    NoToken(#[source] Arc<dyn StdError + Send + Sync>),
}

/// What the API says about an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The environment's name for the error, for instance `RATE_LIMITED`: letters, digits, `_`, `-`
    /// and `.`, at most 64.
    pub error_code: Option<String>,
    /// A sentence for developers, not for users: cut to 300 characters, without control characters
    /// and without anything that looks like a token or an e-mail address.
    pub message: Option<String>,
}

impl fmt::Display for ErrorAnswer {
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
            error => Self::Unavailable(Unavailable::NoAnswer(error)),
        }
    }
}

impl From<NoToken> for ApiError {
    fn from(reason: NoToken) -> Self {
        match reason {
            NoToken::Refused { code } => Self::Credentials { code },
            NoToken::Unavailable(error) => Self::Unavailable(Unavailable::NoToken(error)),
            NoToken::UnexpectedAnswer(what) => Self::unexpected(what),
        }
    }
}

impl ErrorAnswer {
    /// Whether code or message has one of these words in it, in small letters.
    pub(crate) fn speaks_of(&self, words: &[&str]) -> bool {
        self.texts().any(|text| words.iter().any(|word| text.contains(word)))
    }

    /// Code and message, in small letters.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        let texts = [self.error_code.as_deref(), self.message.as_deref()];
        texts.into_iter().flatten().map(str::to_ascii_lowercase)
    }
}
