//! The refresh as a state machine, for one session among any number of requests and replicas.
//!
//! All agree through one entry of the shared store, changed only by compare-and-set:
//!
//! ```text
//!            lease                 publish
//!   (none) ─────────▶ Leased{g+1} ─────────▶ Newest{g+1}   kept a minute for late requests
//!      ▲                   │  │
//!      │  lease runs out   │  ├────────────▶ Failed{g}     kept a second
//!      └───────────────────┘  └────────────▶ Ended         the environment said invalid_grant,
//!                                                          or the session was logged out
//! ```
//!
//! `g` counts the refreshes of the session, so that an entry tells whether it is newer than what a
//! request has brought. Whoever finds a lease waits; whoever finds a newer result uses it. A holder
//! that dies leaves its lease to run out: lease and token deadline together are shorter than the
//! ~30 s in which the environment still accepts the refresh token it may have spent.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::shared_store::StoreError;

/// How long requests with an older cookie are given the new session.
const RESULT_MEMORY: Duration = Duration::from_secs(60);
/// So long waiters do not queue up calls that fail.
const FAILURE_MEMORY: Duration = Duration::from_secs(1);
/// Longer than a token call of 10 s and a fetch of keys of 5 s.
const LEASE: Duration = Duration::from_secs(18);

/// What the store says of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(in crate::session) enum Entry {
    /// Logged out, revoked, or refused by the environment. Final.
    Ended,
    /// The refresh of this generation has just failed.
    Failed { generation: u32 },
    /// Somebody is refreshing to this generation.
    Leased { generation: u32, owner: String },
    /// The session as of this generation, sealed for the store.
    Newest { generation: u32, sealed: String },
}

impl Entry {
    pub(in crate::session) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(in crate::session) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// What came of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ended,
    /// The newest session, sealed for the store.
    Renewed(String),
    /// Nobody knows: the environment or the store does not answer.
    Unavailable,
}

/// What came of the call to the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exchanged {
    /// Any answer but a definite one.
    Failed,
    /// `invalid_grant`.
    Refused,
    /// The session with its new tokens, sealed for the store.
    Renewed(String),
}

/// What the store knows of the session besides its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// There was a newer one, published before this was learned.
    Beyond,
    /// It has ended.
    Gone,
    /// A newer one, sealed.
    Newer(String),
    /// No newer one.
    Same,
}

/// What a refresher can do. The real one has a store and a network; the tests have one in which
/// every order of events is tried.
pub(super) trait World: Sync {
    fn read(&self) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Sets the entry if it still is `seen`; tells whether it did.
    fn set(
        &self,
        seen: Option<Bytes>,
        entry: &Entry,
        ttl: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Looks further, for a request that is later than the published result lasts.
    fn stored(&self) -> impl Future<Output = Result<Stored, StoreError>> + Send;

    /// Whether what comes of an exchange could be judged: a token is not spent for tokens that
    /// could not be verified.
    fn is_ready(&self) -> impl Future<Output = bool> + Send;

    /// Spends the refresh token.
    fn exchange(&self) -> impl Future<Output = Exchanged> + Send;

    /// Notes that a result of this generation was published.
    fn published(&self, generation: u32) -> impl Future<Output = ()> + Send;

    /// Waits a little for somebody else's result; `false` when it has been waited long enough.
    fn wait(&self) -> impl Future<Output = bool> + Send;
}

/// Where a refresher stands.
enum State {
    Look,
    Prepare { seen: Option<Bytes> },
    Lease { seen: Option<Bytes> },
    Exchange { lease: Bytes },
    Publish { lease: Bytes, entry: Entry, ttl: Duration, outcome: Outcome },
    Overtaken { outcome: Outcome },
    Wait,
    Done(Outcome),
}

/// Refreshes a session of this generation, or learns what others have made of it.
pub(super) async fn refresh(world: &impl World, generation: u32, owner: &str) -> Outcome {
    let mut state = State::Look;
    loop {
        let next = match state {
            State::Done(outcome) => return outcome,
            other => step(world, generation, owner, other).await,
        };
        // The store is out of reach: refreshing without it could spend one token twice.
        state = next.unwrap_or(State::Done(Outcome::Unavailable));
    }
}

async fn step(
    world: &impl World,
    generation: u32,
    owner: &str,
    state: State,
) -> Result<State, StoreError> {
    let target = generation.saturating_add(1);
    Ok(match state {
        State::Look => {
            let seen = world.read().await?;
            match seen.as_deref().and_then(Entry::decode) {
                Some(Entry::Ended) => State::Done(Outcome::Ended),
                Some(Entry::Newest { generation: newer, sealed }) if newer > generation => {
                    State::Done(Outcome::Renewed(sealed))
                }
                Some(Entry::Leased { .. }) => State::Wait,
                Some(Entry::Failed { generation: failed }) if failed >= generation => {
                    State::Done(Outcome::Unavailable)
                }
                _ => State::Prepare { seen },
            }
        }
        State::Prepare { seen } => match world.stored().await? {
            Stored::Beyond => match world.read().await?.as_deref().and_then(Entry::decode) {
                Some(Entry::Newest { generation: newer, sealed }) if newer > generation => {
                    State::Done(Outcome::Renewed(sealed))
                }
                Some(Entry::Leased { .. }) => State::Wait,
                // Forgotten by now. The token was spent, so it is not spent again.
                _ => State::Done(Outcome::Ended),
            },
            Stored::Gone => State::Done(Outcome::Ended),
            Stored::Newer(sealed) => State::Done(Outcome::Renewed(sealed)),
            Stored::Same if world.is_ready().await => State::Lease { seen },
            Stored::Same => State::Done(Outcome::Unavailable),
        },
        State::Lease { seen } => {
            let lease = Entry::Leased { generation: target, owner: owner.to_owned() };
            if world.set(seen, &lease, LEASE).await? {
                State::Exchange { lease: lease.encode() }
            } else {
                State::Look
            }
        }
        State::Exchange { lease } => match world.exchange().await {
            Exchanged::Renewed(sealed) => State::Publish {
                lease,
                entry: Entry::Newest { generation: target, sealed: sealed.clone() },
                ttl: RESULT_MEMORY,
                outcome: Outcome::Renewed(sealed),
            },
            Exchanged::Refused => State::Publish {
                lease,
                entry: Entry::Ended,
                ttl: RESULT_MEMORY,
                outcome: Outcome::Ended,
            },
            Exchanged::Failed => State::Publish {
                lease,
                entry: Entry::Failed { generation },
                ttl: FAILURE_MEMORY,
                outcome: Outcome::Unavailable,
            },
        },
        State::Publish { lease, entry, ttl, outcome } => {
            match world.set(Some(lease), &entry, ttl).await {
                Ok(true) => {
                    if let Entry::Newest { generation, .. } = entry {
                        world.published(generation).await;
                    }
                    State::Done(outcome)
                }
                Ok(false) => State::Overtaken { outcome },
                // Unpublished, the result is still this session's only one.
                Err(_) => State::Done(outcome),
            }
        }
        // The lease ran out or the session was ended while the token endpoint took its time.
        State::Overtaken { outcome } => {
            let entry = world.read().await?.as_deref().and_then(Entry::decode);
            match (entry, outcome) {
                (Some(Entry::Ended), _) => State::Done(Outcome::Ended),
                (Some(Entry::Newest { generation: newer, sealed }), _) if newer > generation => {
                    State::Done(Outcome::Renewed(sealed))
                }
                (_, Outcome::Renewed(sealed)) => State::Done(Outcome::Renewed(sealed)),
                // Refused because the other holder has spent the token: its result is the word.
                (Some(Entry::Leased { .. }), _) => State::Wait,
                (_, outcome) => State::Done(outcome),
            }
        }
        State::Wait => {
            if world.wait().await {
                State::Look
            } else {
                State::Done(Outcome::Unavailable)
            }
        }
        State::Done(outcome) => State::Done(outcome),
    })
}
