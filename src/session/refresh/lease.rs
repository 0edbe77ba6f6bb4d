//! The refresh of one session as a state machine, for concurrent requests on many replicas.
//!
//! Two values in the shared store. The store measures their lifetimes, so that no two clocks are
//! compared:
//!
//! ```text
//! entry   (none) ──publish──▶ Newest{g+1} ──publish──▶ Newest{g+2} …    one per session, replaced
//!            ├──▶ Unverified{g} ──┘    the token of g is spent, the keys for the result are missing
//!            └───────────────────┴──▶ Ended    invalid_grant, or the session was logged out
//!
//! lease   (none) ──acquire──▶ Held ──▶ RequestedRecently (10 s) | FailedRecently (1 s)
//!            ▲                  └── released, or the holder has died: 18 s
//! ```
//!
//! `g` is the generation of a session: the number of its refreshes. The holder of the lease calls
//! the token endpoint. The entry changes by compare-and-set only, and is read again under the
//! lease, so that a refresh token is never spent if a newer result exists. Tokens that cannot be
//! verified yet are a result too: any replica verifies them later, and spends no token before that.
//!
//! A published result stays until the cookie of its generation was presented (see
//! [`presented`](super::presented)), so that a lost response ends no session: a request with an older
//! cookie gets the newest result. This does not detect theft: a copied cookie is valid until the
//! session is revoked.
//!
//! If the store does not accept a result, this process keeps it until the store does, and extends
//! its lease meanwhile. That lease does not block the refresh of the newer cookie: it names the
//! generation whose token is spent, and a newer one takes it over.
//!
//! If the app allows it, an expired session is refreshed without a lease while the store is unavailable.
//! Then each process may spend the same token once. The result is kept and published as above; a
//! rejection is not definite, because the store may have a newer result.
//!
//! The lease (18 s) and the token call of the next holder (10 s) are together shorter than the 30 s
//! or so in which the environment still accepts a spent refresh token, so that another replica can
//! recover from a crash.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::RefreshTrigger;
use super::backend::{ExchangeResult, RefreshBackend, StoredState, Verification};
use super::entry::{RefreshEntry, SealedGeneration};
use crate::shared_store::StoreError;

/// For this time after a failure, no refresh is tried.
pub(super) const FAILURE_LIFETIME: Duration = Duration::from_secs(1);
/// Within this time, the app can request one refresh of a session.
const REQUESTED_INTERVAL: Duration = Duration::from_secs(10);
/// Longer than the sum of a token call (10 s), a verification (5 s) and an attempt to store the
/// result (2 s).
pub(super) const LEASE: Duration = Duration::from_secs(18);

/// The lease on a session's refresh, or why there is none for a short time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum LeaseValue {
    Held {
        owner: String,
        /// The generation whose refresh token is spent.
        generation: u32,
    },
    /// The last refresh failed less than a second ago.
    #[serde(rename = "failed")]
    FailedRecently,
    /// A refresh that the app requested succeeded less than ten seconds ago.
    #[serde(rename = "refreshed")]
    RequestedRecently,
}

impl LeaseValue {
    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether it is held for an older generation than this: then that refresh is complete, and the lease
    /// may be taken over. Only its result may be unpublished.
    pub(super) fn is_of_older_than(&self, generation: u32) -> bool {
        matches!(self, Self::Held { generation: held, .. } if *held < generation)
    }
}

/// The result of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RefreshResult<R = String> {
    /// A newer generation exists, and its result is no longer kept: it was presented long ago.
    Superseded,
    /// Logged out or revoked.
    Ended,
    /// No newer session was found, and the trigger allows no refresh.
    NoneNewer,
    /// The environment rejected the refresh token with `invalid_grant`.
    InvalidGrant,
    /// The newest session, sealed for the store: the result of an earlier or another refresh.
    Newer(String),
    /// The result of this refresh.
    Refreshed(R),
    /// Unknown: the environment or the store is unavailable.
    Unavailable,
}

/// Refreshes a session of this generation, or returns the result of another refresh.
pub(super) async fn refresh<B: RefreshBackend>(
    backend: &B,
    generation: u32,
    owner: String,
    trigger: RefreshTrigger,
) -> RefreshResult<B::Refreshed> {
    let lease = LeaseValue::Held { owner, generation }.encode();
    let run = RefreshRun { backend, generation, lease, trigger };
    let mut state = State::CheckEntry;
    loop {
        state = match state {
            State::Done(outcome) => return outcome,
            state => run.step(state).await,
        };
    }
}

/// The state of a [`RefreshRun`].
enum State<R> {
    /// Searches for a newer result.
    CheckEntry,
    /// Spends the refresh token without a lease: the store is unavailable, and the app allows it.
    Alone,
    /// Tries to get the lease.
    Acquire,
    /// Holds the lease, and reads the entry again: the earlier read may be outdated.
    Recheck,
    /// Verifies the tokens of an earlier exchange.
    Verify {
        seen: Option<Bytes>,
        tokens: String,
    },
    /// Spends the refresh token of the session, or that of unverified tokens.
    Exchange {
        seen: Option<Bytes>,
        unverified: Option<String>,
    },
    /// Replaces the entry that was read by the result.
    Publish {
        seen: Option<Bytes>,
        exchanged: ExchangeResult<R>,
    },
    /// The entry has changed: the session was ended, its cookie was presented, or the lease had
    /// expired and another refresh was faster.
    Overtaken {
        exchanged: ExchangeResult<R>,
    },
    /// Waits for the holder of the lease.
    Wait,
    /// Releases the lease, and returns this result.
    Release(RefreshResult<R>),
    Done(RefreshResult<R>),
}

struct RefreshRun<'a, B> {
    backend: &'a B,
    generation: u32,
    /// The value by which this run holds the lease.
    lease: Bytes,
    trigger: RefreshTrigger,
}

impl<B: RefreshBackend> RefreshRun<'_, B> {
    async fn step(&self, state: State<B::Refreshed>) -> State<B::Refreshed> {
        match state {
            State::CheckEntry => match self.backend.read_entry().await {
                Ok(seen) => {
                    self.check_entry(&seen).unwrap_or(State::Done(RefreshResult::Unavailable))
                }
                Err(_)
                    if self.trigger == RefreshTrigger::Due && self.backend.may_exchange_alone() =>
                {
                    State::Alone
                }
                Err(_) => State::Done(RefreshResult::Unavailable),
            },
            State::Alone => self.exchange_alone().await,
            // The store may have set the lease, and only its response was lost.
            State::Acquire => {
                self.acquire().await.unwrap_or(State::Release(RefreshResult::Unavailable))
            }
            State::Recheck => {
                self.recheck().await.unwrap_or(State::Release(RefreshResult::Unavailable))
            }
            State::Verify { seen, tokens } => self.verify(seen, tokens).await,
            State::Exchange { seen, unverified } => self.exchange(seen, unverified).await,
            State::Publish { seen, exchanged } => self.publish(seen, exchanged).await,
            State::Overtaken { exchanged } => self.overtaken(exchanged).await,
            State::Wait if self.backend.wait_for_holder().await => State::CheckEntry,
            State::Wait => State::Done(RefreshResult::Unavailable),
            State::Release(outcome) => {
                self.backend.release(self.lease.clone()).await;
                State::Done(outcome)
            }
            State::Done(outcome) => State::Done(outcome),
        }
    }

    fn check_entry(&self, seen: &Option<Bytes>) -> Result<State<B::Refreshed>, StoreError> {
        Ok(match self.decided_by(seen)? {
            Some(outcome) => State::Done(outcome),
            None if self.trigger == RefreshTrigger::LookUpOnly => {
                State::Done(RefreshResult::NoneNewer)
            }
            None => State::Acquire,
        })
    }

    async fn exchange_alone(&self) -> State<B::Refreshed> {
        if !self.backend.is_ready().await {
            return State::Done(RefreshResult::Unavailable);
        }
        match self.backend.exchange(None).await {
            // The store may have a newer result, which cannot be read.
            Some(ExchangeResult::InvalidGrant) | None => {
                self.backend.sleep_after_failure().await;
                State::Done(RefreshResult::Unavailable)
            }
            Some(exchanged) => self.publish_later(exchanged).await,
        }
    }

    async fn acquire(&self) -> Result<State<B::Refreshed>, StoreError> {
        if self.backend.set_lease(None, self.lease.clone(), LEASE).await? {
            return Ok(State::Recheck);
        }
        let seen = self.backend.read_lease().await?;
        match seen.as_deref().and_then(LeaseValue::decode) {
            Some(LeaseValue::FailedRecently) => {
                return Ok(State::Done(RefreshResult::Unavailable));
            }
            Some(LeaseValue::RequestedRecently) => {
                // The result was published before the lease showed it.
                if self.trigger == RefreshTrigger::Requested
                    && let Some(newest) =
                        RefreshEntry::decode_seen(&self.backend.read_entry().await?)?
                            .and_then(RefreshEntry::newest_verified)
                    && newest.generation >= self.generation
                {
                    return Ok(State::Done(RefreshResult::Newer(newest.session)));
                }
            }
            Some(lease) if lease.is_of_older_than(self.generation) => {}
            Some(LeaseValue::Held { .. }) | None => return Ok(State::Wait),
        }
        let acquired = self.backend.set_lease(seen, self.lease.clone(), LEASE).await?;
        Ok(if acquired { State::Recheck } else { State::Wait })
    }

    async fn recheck(&self) -> Result<State<B::Refreshed>, StoreError> {
        let seen = self.backend.read_entry().await?;
        if let Some(outcome) = self.decided_by(&seen)? {
            return Ok(State::Release(outcome));
        }
        Ok(match self.backend.newer_elsewhere().await? {
            // The result was presented and is no longer kept; or it was published after the lease
            // had expired.
            StoredState::Superseded => State::Release(
                self.decided_by(&self.backend.read_entry().await?)?
                    .unwrap_or(RefreshResult::Superseded),
            ),
            StoredState::Ended => State::Release(RefreshResult::Ended),
            StoredState::Newer(sealed) => State::Release(RefreshResult::Newer(sealed)),
            StoredState::Same => match self.unverified(&seen)? {
                Some(tokens) => State::Verify { seen, tokens },
                None if self.backend.is_ready().await => State::Exchange { seen, unverified: None },
                None => State::Release(RefreshResult::Unavailable),
            },
        })
    }

    async fn verify(&self, seen: Option<Bytes>, tokens: String) -> State<B::Refreshed> {
        match self.backend.verify(&tokens).await {
            Verification::Rejected => State::Exchange { seen, unverified: None },
            Verification::AccessTokenUnusable => State::Exchange { seen, unverified: Some(tokens) },
            Verification::Unavailable => self.fail().await,
            Verification::Verified(refreshed) => {
                State::Publish { seen, exchanged: ExchangeResult::Refreshed(refreshed) }
            }
        }
    }

    async fn exchange(
        &self,
        seen: Option<Bytes>,
        unverified: Option<String>,
    ) -> State<B::Refreshed> {
        if self.backend.is_lease_short() {
            match self.backend.set_lease(Some(self.lease.clone()), self.lease.clone(), LEASE).await
            {
                Ok(true) => {}
                Ok(false) => return State::Wait,
                Err(_) => return State::Release(RefreshResult::Unavailable),
            }
        }
        match self.backend.exchange(unverified.as_deref()).await {
            Some(exchanged) => State::Publish { seen, exchanged },
            None => self.fail().await,
        }
    }

    /// Records the failure for a second.
    async fn fail(&self) -> State<B::Refreshed> {
        match self.end_lease(LeaseValue::FailedRecently, FAILURE_LIFETIME).await {
            Ok(false) => State::Wait,
            Ok(true) => State::Done(RefreshResult::Unavailable),
            Err(_) => State::Release(RefreshResult::Unavailable),
        }
    }

    async fn publish(
        &self,
        seen: Option<Bytes>,
        exchanged: ExchangeResult<B::Refreshed>,
    ) -> State<B::Refreshed> {
        let (entry, outcome) = match &exchanged {
            ExchangeResult::Refreshed(refreshed) => (
                self.newest(B::sealed_result(refreshed)),
                RefreshResult::Refreshed(refreshed.clone()),
            ),
            ExchangeResult::Unverified(tokens) => match self.unverified_entry(&seen, tokens) {
                Some(entry) => (entry, RefreshResult::Unavailable),
                None => return self.fail().await,
            },
            ExchangeResult::InvalidGrant => (RefreshEntry::Ended, RefreshResult::InvalidGrant),
        };
        // Another holder may have spent the token and have its result.
        let is_rejected = matches!(outcome, RefreshResult::InvalidGrant);
        if is_rejected && !self.holds_lease().await {
            return State::Wait;
        }
        match self.backend.set_entry(seen.clone(), &entry).await {
            // Unverified tokens are published, but there is no session to return.
            Ok(true) if matches!(outcome, RefreshResult::Unavailable) => self.fail().await,
            Ok(true) if !is_rejected && self.trigger == RefreshTrigger::Requested => {
                // If the store fails, the lease expires.
                drop(self.end_lease(LeaseValue::RequestedRecently, REQUESTED_INTERVAL).await);
                State::Done(outcome)
            }
            Ok(true) => State::Release(outcome),
            Ok(false) => State::Overtaken { exchanged },
            Err(_) if self.backend.wait_to_retry().await => State::Publish { seen, exchanged },
            Err(_) => self.publish_later(exchanged).await,
        }
    }

    async fn overtaken(&self, exchanged: ExchangeResult<B::Refreshed>) -> State<B::Refreshed> {
        match self.backend.read_entry().await.and_then(|seen| Ok((self.decided_by(&seen)?, seen))) {
            Ok((Some(outcome), _)) => State::Release(outcome),
            // Those are the newest tokens, whichever replica received them.
            Ok((None, seen))
                if matches!(self.unverified(&seen), Ok(Some(_)))
                    && !matches!(exchanged, ExchangeResult::Refreshed(_)) =>
            {
                State::Release(RefreshResult::Unavailable)
            }
            Ok((None, seen)) if self.backend.wait_to_retry().await => {
                State::Publish { seen, exchanged }
            }
            Ok((None, _)) => self.publish_later(exchanged).await,
            Err(_) if self.backend.wait_to_retry().await => State::Overtaken { exchanged },
            Err(_) => self.publish_later(exchanged).await,
        }
    }

    /// Keeps a result that the store does not accept, and publishes it in the background.
    async fn publish_later(&self, exchanged: ExchangeResult<B::Refreshed>) -> State<B::Refreshed> {
        match exchanged {
            // These are the session's only valid tokens. Until they are published, the lease
            // prevents other replicas from spending the old one again.
            ExchangeResult::Refreshed(refreshed) => {
                self.backend.keep_unpublished(
                    self.newest(B::sealed_result(&refreshed)),
                    self.lease.clone(),
                );
                State::Done(RefreshResult::Refreshed(refreshed))
            }
            ExchangeResult::Unverified(tokens) => {
                if let Some(entry) = self.unverified_entry(&None, &tokens) {
                    self.backend.keep_unpublished(entry, self.lease.clone());
                }
                State::Done(RefreshResult::Unavailable)
            }
            // The store may have a newer result that could not be read.
            ExchangeResult::InvalidGrant => State::Release(RefreshResult::Unavailable),
        }
    }

    /// Returns the outcome if the entry has a newer result, or the session has ended.
    fn decided_by(
        &self,
        seen: &Option<Bytes>,
    ) -> Result<Option<RefreshResult<B::Refreshed>>, StoreError> {
        let Some(entry) = RefreshEntry::decode_seen(seen)? else { return Ok(None) };
        Ok(match entry.newest_verified() {
            None => Some(RefreshResult::Ended),
            Some(last) if last.generation > self.generation => {
                Some(RefreshResult::Newer(last.session))
            }
            Some(_) => None,
        })
    }

    /// Returns the tokens of this generation's refresh if they are not verified yet.
    fn unverified(&self, seen: &Option<Bytes>) -> Result<Option<String>, StoreError> {
        Ok(match RefreshEntry::decode_seen(seen)? {
            Some(RefreshEntry::Unverified { base, tokens })
                if base.generation == self.generation =>
            {
                Some(tokens)
            }
            Some(_) | None => None,
        })
    }

    /// Returns the entry for the result of this refresh.
    fn newest(&self, sealed: &str) -> RefreshEntry {
        RefreshEntry::Newest(SealedGeneration::new(
            self.generation.saturating_add(1),
            sealed.to_owned(),
        ))
    }

    /// Returns the entry for tokens that are not verified yet.
    fn unverified_entry(&self, seen: &Option<Bytes>, tokens: &str) -> Option<RefreshEntry> {
        let base =
            match RefreshEntry::decode_seen(seen).ok()?.and_then(RefreshEntry::newest_verified) {
                Some(last) if last.generation == self.generation => last,
                _ => SealedGeneration::new(self.generation, self.backend.sealed()?),
            };
        Some(RefreshEntry::Unverified { base, tokens: tokens.to_owned() })
    }

    async fn holds_lease(&self) -> bool {
        matches!(self.backend.read_lease().await, Ok(lease) if lease.as_ref() == Some(&self.lease))
    }

    /// Replaces the lease by the result of the refresh. Returns `false` if the lease has expired.
    async fn end_lease(&self, result: LeaseValue, ttl: Duration) -> Result<bool, StoreError> {
        self.backend.set_lease(Some(self.lease.clone()), result.encode(), ttl).await
    }
}
