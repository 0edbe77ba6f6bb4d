//! The app's hook that admits or denies a verified login.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::LocalSession;

/// The time limit of the hook.
const DEADLINE: Duration = Duration::from_secs(30);

/// Returned by a login hook to reject a verified login.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginHookError {
    /// The user may not use the app: 403.
    #[error("the user may not use the app")]
    Denied,
    /// The hook could not decide, for instance because a database is unavailable: 503. Also used
    /// for a hook that takes longer than thirty seconds.
    #[error("the login hook is unavailable: {0}")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
}

impl LoginHookError {
    /// Creates [`LoginHookError::Unavailable`]; for `map_err`.
    pub fn unavailable(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }
}

/// The app's hook: from a verified identity `T` to a session.
pub(crate) struct LoginHook<T>(Arc<Hook<T>>);

type Hook<T> = dyn Fn(T) -> BoxFuture<'static, Result<LocalSession, LoginHookError>> + Send + Sync;

impl<T> LoginHook<T> {
    pub(crate) fn new<F, Fut>(admit: F) -> Self
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<LocalSession, LoginHookError>> + Send + 'static,
    {
        Self(Arc::new(move |identity| Box::pin(admit(identity))))
    }

    pub(crate) async fn call(&self, identity: T) -> Result<LocalSession, LoginHookError> {
        tokio::time::timeout(DEADLINE, (self.0)(identity))
            .await
            .unwrap_or_else(|late| Err(LoginHookError::unavailable(late)))
    }
}

impl<T> Clone for LoginHook<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for LoginHook<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginHook")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hook_is_cancelled_after_thirty_seconds() {
        let login_hook = LoginHook::new(|seconds| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Err(LoginHookError::Denied)
        });
        assert!(matches!(login_hook.call(29).await, Err(LoginHookError::Denied)));
        let late = login_hook.call(31).await.unwrap_err();
        assert!(matches!(late, LoginHookError::Unavailable(_)), "{late}");
        assert!(late.to_string().contains("is unavailable"), "{late}");
    }
}
