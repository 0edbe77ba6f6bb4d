//! Waits for a user to authorize an account.

use std::future::IntoFuture;
use std::time::Duration;

use futures::future::{BoxFuture, join};
use tokio::time::{sleep, timeout};

use super::events::AccountUpdates;
use super::{AccountEvents, AccountKey, ConnectedAccount};
use super::{ApiError, ConnectedAccountsApi};
use crate::model::ConnectedAccountStatus;
use crate::util::jitter::jitter;

const TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The first interval; each is 1.5 times the previous one.
const INITIAL_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Minimum interval between two requests, however many events arrive.
const MIN_PAUSE: Duration = Duration::from_millis(750);

/// Waits until an account is `ACTIVE`. Returned by [`ConnectedAccountsApi::wait_until_active`];
/// `.await` it, or drop it to stop waiting.
///
/// Polls the API at once and then after 1 s, 1.5 s and so on up to 10 s, with some jitter. Failed
/// requests are retried at the next interval. An account that is disconnected at first may become
/// active, because its user may be reconnecting it.
#[derive(Clone, Debug)]
#[must_use = "nothing happens until it is awaited"]
pub struct WaitUntilActive {
    accounts: ConnectedAccountsApi,
    key: AccountKey,
    timeout: Duration,
    events: Option<AccountEvents>,
}

impl WaitUntilActive {
    pub(super) fn new(accounts: ConnectedAccountsApi, key: AccountKey) -> Self {
        Self { accounts, key, timeout: TIMEOUT, events: None }
    }

    /// Sets the maximum time to wait. Default: 5 minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Polls early when a webhook event is about the account: at once, or 0.75 s after the previous
    /// request. If more than 64 events about other accounts arrive during one request, the event
    /// may be missed, and the usual interval passes.
    pub fn events(mut self, events: &AccountEvents) -> Self {
        self.events = Some(events.clone());
        self
    }

    async fn run(self) -> Result<ConnectedAccount, WaitError> {
        let mut last = None;
        timeout(self.timeout, self.poll(&mut last))
            .await
            .unwrap_or(Err(WaitError::Timeout { last }))
    }

    async fn poll(
        self,
        last: &mut Option<ConnectedAccountStatus>,
    ) -> Result<ConnectedAccount, WaitError> {
        // Subscribed before the first request, so that no event is missed in between.
        let mut events =
            self.events.as_ref().map_or_else(AccountUpdates::none, AccountEvents::listen);
        let mut pause = INITIAL_PAUSE;
        loop {
            // This request covers all events so far.
            events.skip_received();
            let mut least = MIN_PAUSE;
            match self.accounts.get(&self.key).await {
                Ok(account) if account.is_active() => return Ok(account),
                Ok(account) => {
                    let disconnected = ConnectedAccountStatus::Disconnected;
                    let previous = std::mem::replace(last, account.status);
                    // An account that was disconnected from the start may stay so until its user
                    // consents.
                    if previous.is_some_and(|previous| previous != disconnected)
                        && *last == Some(disconnected)
                    {
                        return Err(WaitError::Disconnected);
                    }
                }
                Err(ApiError::RateLimited { retry_after, .. }) => {
                    least = least.max(retry_after.unwrap_or(pause));
                }
                // A gateway's rejection before any response may mean that the environment URL is wrong.
                Err(error)
                    if error.is_temporary()
                        && (last.is_some() || !error.is_foreign_rejection()) => {}
                Err(error) => return Err(error.into()),
            }
            let event = timeout(pause.mul_f64(jitter(0.25)), events.next_for(&self.key));
            // Events never shorten `least`.
            let (event, ()) = join(event, sleep(least)).await;
            pause = match event {
                Ok(()) => INITIAL_PAUSE,
                Err(_) => (pause * 3 / 2).min(MAX_PAUSE),
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

/// Returned when the account did not become active.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The API does not know the account, for instance because it was deleted meanwhile.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The user has not finished in time. A new link can be created.
    #[error("the account did not become active in time{}", last_known(last))]
    Timeout {
        /// The last known status.
        last: Option<ConnectedAccountStatus>,
    },
    /// The account was disconnected meanwhile: only a new consent makes it active.
    #[error("the account was disconnected: its user has to reconnect it")]
    Disconnected,
}

fn last_known(last: &Option<ConnectedAccountStatus>) -> String {
    last.as_ref().map_or_else(String::new, |status| format!(": it is {status}"))
}
