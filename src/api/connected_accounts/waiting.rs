//! Waiting for a user who is at the service's pages.

use std::future::IntoFuture;
use std::time::Duration;

use aws_lc_rs::rand;
use futures::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::events::Told;
use super::{AccountEvents, AccountKey, ConnectedAccount, ConnectedAccountStatus};
use super::{ApiError, ConnectedAccountsApi};

const DEADLINE: Duration = Duration::from_secs(5 * 60);
/// The first pause; each is half as long again as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Waits until an account is `ACTIVE`. Made by
/// [`ConnectedAccountsApi::wait_until_active`]; `.await` it, or drop it to stop waiting.
///
/// The API is asked at once and then again after 1 s, 1.5 s and so on up to 10 s, with some jitter. An
/// environment that does not answer is asked again too.
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

    /// Looks at once when a webhook tells of the account.
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
        let mut told = self.events.as_ref().map_or_else(Told::nothing, AccountEvents::listen);
        let mut pause = FIRST_PAUSE;
        loop {
            let mut wanted = Duration::ZERO;
            match self.accounts.get(&self.key).await {
                Ok(account) if account.is_active() => return Ok(account),
                Ok(account) => {
                    *last = account.status;
                    if *last == Some(ConnectedAccountStatus::Disconnected) {
                        return Err(WaitError::Disconnected);
                    }
                }
                Err(ApiError::RateLimited { retry_after, .. }) => {
                    wanted = retry_after.unwrap_or_default();
                }
                Err(ApiError::Unavailable(_)) => {}
                Err(error) => return Err(error.into()),
            }
            // Nobody's haste shortens what the environment has asked for.
            if !wanted.is_zero() {
                sleep(jittered(pause).max(wanted)).await;
            } else if timeout(jittered(pause), told.about(&self.key)).await.is_ok() {
                pause = FIRST_PAUSE;
                continue;
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
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
    /// It was disconnected: no waiting makes it active, only another consent.
    #[error("the account is disconnected: its user has to connect it anew")]
    Disconnected,
}

fn last_known(last: &Option<ConnectedAccountStatus>) -> String {
    last.as_ref().map_or_else(String::new, |status| format!(": it is {status}"))
}

/// Between three quarters of the pause and all of it, so that those who began together part.
fn jittered(pause: Duration) -> Duration {
    let mut jitter = [0];
    // Without randomness there is no jitter, which harms nobody.
    let _ = rand::fill(&mut jitter);
    let [jitter] = jitter;
    pause.mul_f64(1.0 - f64::from(jitter) / 1020.0)
}
