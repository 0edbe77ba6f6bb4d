//! Waiting for a user who is at the service's pages.

use std::future::IntoFuture;
use std::time::Duration;

use futures::future::{BoxFuture, join};
use tokio::time::{sleep, timeout};

use super::events::SignedPayload;
use super::{AccountEvents, AccountKey, ConnectedAccount, ConnectedAccountStatus};
use super::{ApiError, ConnectedAccountsApi};
use crate::util::jitter::jitter;

const DEADLINE: Duration = Duration::from_secs(5 * 60);
/// The first pause; each is half as long again as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// However much is told, there is this long between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(750);

/// Waits until an account is `ACTIVE`. Made by
/// [`ConnectedAccountsApi::wait_until_active`]; `.await` it, or drop it to stop waiting.
///
/// The API is asked at once and then again after 1 s, 1.5 s and so on up to 10 s, with some jitter. An
/// environment that does not respond is asked again too. An account that is disconnected at first
/// is waited for like any other: its user may be connecting it anew.
#[derive(Clone, Debug)]
#[must_use = "nothing happens until it is awaited"]
pub struct WaitUntilActive {
    accounts: ConnectedAccountsApi,
    key: AccountKey,
    deadline: Duration,
    events: Option<AccountEvents>,
}

impl WaitUntilActive {
    pub(super) fn new(accounts: ConnectedAccountsApi, key: AccountKey) -> Self {
        Self { accounts, key, deadline: DEADLINE, events: None }
    }

    /// How long to wait at most, 5 minutes unless set.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Looks when a webhook tells of the account: at once, or 0.75 s after the look before. Where
    /// more than 64 tell of other accounts while one look is under way, it may be missed, and the
    /// usual pause passes.
    pub fn events(mut self, events: &AccountEvents) -> Self {
        self.events = Some(events.clone());
        self
    }

    async fn run(self) -> Result<ConnectedAccount, WaitError> {
        let mut last = None;
        let deadline = self.deadline;
        let waited = timeout(deadline, self.poll(&mut last)).await;
        waited.unwrap_or(Err(WaitError::Deadline { last }))
    }

    async fn poll(
        self,
        last: &mut Option<ConnectedAccountStatus>,
    ) -> Result<ConnectedAccount, WaitError> {
        // Before the first look, so that no event falls between the two.
        let mut told =
            self.events.as_ref().map_or_else(SignedPayload::nothing, AccountEvents::listen);
        let mut pause = FIRST_PAUSE;
        loop {
            // This look sees whatever was told until now.
            told.forget();
            let mut least = SHORTEST_PAUSE;
            match self.accounts.get(&self.key).await {
                Ok(account) if account.is_active() => return Ok(account),
                Ok(account) => {
                    let disconnected = ConnectedAccountStatus::Disconnected;
                    // One that was so from the start may stay so until its user consents.
                    let was_another = last.as_ref().is_some_and(|last| *last != disconnected);
                    *last = account.status;
                    if was_another && *last == Some(disconnected) {
                        return Err(WaitError::Disconnected);
                    }
                }
                Err(ApiError::RateLimited { retry_after, .. }) => {
                    least = least.max(retry_after.unwrap_or(pause));
                }
                Err(ApiError::Unavailable(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let told = timeout(pause.mul_f64(jitter(0.25)), told.about(&self.key));
            // No one's haste shortens `least`.
            let (told, ()) = join(told, sleep(least)).await;
            pause = match told {
                Ok(()) => FIRST_PAUSE,
                Err(_) => (pause * 3 / 2).min(LONGEST_PAUSE),
            };
        }
    }
}

impl IntoFuture for WaitUntilActive {
    type Output = Result<ConnectedAccount, WaitError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// The account did not become active.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The API does not tell of it, for instance because it was deleted meanwhile.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The user has not finished in time; the link may be made anew.
    #[error("the account did not become active in time{}", last_known(last))]
    Deadline {
        /// What the account was last, if that is known.
        last: Option<ConnectedAccountStatus>,
    },
    /// It was disconnected meanwhile: no waiting makes it active, only another consent.
    #[error("the account was disconnected: its user has to connect it anew")]
    Disconnected,
}

fn last_known(last: &Option<ConnectedAccountStatus>) -> String {
    last.as_ref().map_or_else(String::new, |status| format!(": it is {status}"))
}
