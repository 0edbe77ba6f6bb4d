//! The app's hook, which decides on each verified login.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::LocalSession;

/// The time limit of the hook.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Returned by a login hook to reject a verified login.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginHookError {
    /// The user may not use the app: 403.
    #[error("the user may not use the app")]
    Denied,
    /// The hook could not decide, for instance because a database is unavailable: 503. Also used
    /// for a hook that takes longer than thirty seconds.
    #[error("the login hook is unavailable: {0}")]
    Unavailable(#[source] Arc<dyn StdError + Send + Sync>),
}

impl LoginHookError {
    /// Creates [`LoginHookError::Unavailable`]; for `map_err`.
    pub fn unavailable(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable(error.into().into())
    }
}

/// What a login hook decides about a verified login. Returned by the hook of
/// [`on_login`](super::SessionsBuilder::on_login).
///
/// ```
/// use tower_scalekit::session::{LocalSession, LoginDecision, User};
///
/// // The session has the tokens of the login, and a claim of the app.
/// let accepted = LoginDecision::accept().app_claim("plan", "pro");
///
/// // The session is the app's own.
/// let mut user = User::default();
/// user.id = "7".to_owned();
/// let local = LoginDecision::from(LocalSession::new(user).roles(["member"]));
/// # let _ = (accepted, local);
/// ```
#[derive(Clone)]
#[must_use]
pub struct LoginDecision(pub(super) Decision);

#[derive(Clone)]
pub(super) enum Decision {
    Accept { app_claims: Map<String, Value> },
    Local(Box<LocalSession>),
}

impl LoginDecision {
    /// Begins a session with the tokens of the login.
    pub fn accept() -> Self {
        Self(Decision::Accept { app_claims: Map::new() })
    }

    /// Adds a claim of the app's own to the session, which
    /// [`Session::app_claims`](super::Session::app_claims) returns. It stays unchanged until the
    /// session ends, also when tokens are refreshed, so it fits what rarely changes, such as an ID
    /// in the app's database. All of them together have at most 2,048 bytes as JSON; a login with
    /// more fails with 500. They are sealed in the cookie, or kept in the shared store.
    pub fn app_claim(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self(match self.0 {
            Decision::Accept { mut app_claims } => {
                app_claims.insert(name.into(), value.into());
                Decision::Accept { app_claims }
            }
            Decision::Local(local) => Decision::Local(Box::new(local.app_claim(name, value))),
        })
    }
}

// By hand: the claims may be personal data.
impl fmt::Debug for LoginDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Decision::Accept { .. } => "LoginDecision::accept",
            Decision::Local(_) => "LoginDecision::local",
        })
    }
}

/// Begins the app's own session, without the tokens of the login.
impl From<LocalSession> for LoginDecision {
    fn from(local: LocalSession) -> Self {
        Self(Decision::Local(Box::new(local)))
    }
}

/// The app's hook: from a verified login `T` to a decision `D`.
pub(crate) struct LoginHook<T, D>(Arc<Hook<T, D>>);

type Hook<T, D> = dyn Fn(T) -> BoxFuture<'static, Result<D, LoginHookError>> + Send + Sync;

/// Why a login hook returned no decision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookFailure {
    #[error(transparent)]
    Rejected(#[from] LoginHookError),
    #[error("the login hook panicked")]
    Panicked,
}

impl<T: 'static, D: 'static> LoginHook<T, D> {
    pub(crate) fn new<F, Fut>(hook: F) -> Self
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<D, LoginHookError>> + Send + 'static,
    {
        Self(Arc::new(move |login| Box::pin(hook(login))))
    }

    pub(crate) async fn call(&self, login: T) -> Result<D, HookFailure> {
        // The closure itself may panic too. It can break no state of this crate.
        let deciding = AssertUnwindSafe(async { (self.0)(login).await }).catch_unwind();
        match tokio::time::timeout(TIMEOUT, deciding).await {
            Ok(Ok(decided)) => Ok(decided?),
            Ok(Err(_)) => Err(HookFailure::Panicked),
            Err(late) => Err(LoginHookError::unavailable(late).into()),
        }
    }
}

impl<T, D> Clone for LoginHook<T, D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, D> fmt::Debug for LoginHook<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginHook")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hook_is_cancelled_after_thirty_seconds() {
        let hook = LoginHook::<u64, LoginDecision>::new(|seconds| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Err(LoginHookError::Denied)
        });
        let denied = hook.call(29).await.unwrap_err();
        assert!(matches!(denied, HookFailure::Rejected(LoginHookError::Denied)), "{denied}");
        let late = hook.call(31).await.unwrap_err();
        assert!(matches!(late, HookFailure::Rejected(LoginHookError::Unavailable(_))), "{late}");
        assert!(late.to_string().contains("is unavailable"), "{late}");
    }

    #[tokio::test]
    async fn a_panic_of_the_closure_or_its_future_is_caught() {
        let hook = LoginHook::<bool, LoginDecision>::new(|in_closure| {
            assert!(!in_closure, "in the closure");
            async { panic!("in the future") }
        });
        for in_closure in [true, false] {
            let failure = hook.call(in_closure).await.unwrap_err();
            assert!(matches!(failure, HookFailure::Panicked), "{failure}");
        }
    }
}
