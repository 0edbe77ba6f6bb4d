//! The app's hooks before an e-mail: its own limits, and variables for the recipient.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::HeaderMap;

/// The time limit of a hook.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Returned by a hook to reject an e-mail: that of
/// [`before_send`](super::PasswordlessLoginBuilder::before_send) or
/// [`recipient_variables`](super::PasswordlessLoginBuilder::recipient_variables).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendDenied {
    /// No e-mail is sent, and the response is the same as if one was: for addresses that may not
    /// log in, so that the response does not reveal them.
    #[error("the app sends no e-mail to this address")]
    Silently,
    /// A limit of the app is exceeded: 429.
    #[error("a limit of the app on e-mails is exceeded")]
    TooManyEmails {
        /// The value of `Retry-After`. Default: one minute.
        retry_after: Option<Duration>,
    },
    /// The limits cannot be checked: 503. Also used for a hook that takes longer than thirty
    /// seconds.
    #[error("the limits of the app on e-mails cannot be checked: {0}")]
    Unavailable(#[source] Arc<dyn StdError + Send + Sync>),
}

impl SendDenied {
    /// Creates [`SendDenied::Unavailable`]; for `map_err`.
    pub fn unavailable(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable(error.into().into())
    }
}

/// A hook of the app, which gets the address and the headers of the request.
#[derive(Clone)]
pub(super) struct SendHook<T>(Arc<Hook<T>>);

type Hook<T> = dyn Fn(String, HeaderMap) -> BoxFuture<'static, Result<T, SendDenied>> + Send + Sync;

impl<T: 'static> SendHook<T> {
    pub(super) fn new<F, Fut>(hook: F) -> Self
    where
        F: Fn(String, HeaderMap) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, SendDenied>> + Send + 'static,
    {
        Self(Arc::new(move |email, headers| Box::pin(hook(email, headers))))
    }

    pub(super) async fn call(&self, email: &str, headers: &HeaderMap) -> Result<T, SendDenied> {
        tokio::time::timeout(TIMEOUT, (self.0)(email.to_owned(), headers.clone()))
            .await
            .unwrap_or_else(|late| Err(SendDenied::unavailable(late)))
    }
}

impl<T> fmt::Debug for SendHook<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendHook")
    }
}
