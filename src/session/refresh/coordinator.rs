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
const FAILURE_MEMORY: Duration = Duration::from_millis(1000);
const FAILURE_MILLIS: i64 = 1000;
/// Longer than a token call of 10 s, a fetch of keys of 5 s and a few tries to store the result.
const LEASE: Duration = Duration::from_secs(18);

/// What the store says of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(in crate::session) enum Entry {
    /// Logged out, revoked, or refused by the environment. Final.
    Ended,
    /// The refresh of this generation has failed, and is not tried again before then (Unix
    /// milliseconds).
    Failed { generation: u32, until: i64, last: Option<Sealed> },
    /// Somebody is refreshing to this generation.
    Leased { generation: u32, owner: String, last: Option<Sealed> },
    /// What came of the last refresh.
    Newest(Sealed),
}

/// A session as of a generation, sealed for the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::session) struct Sealed {
    pub(in crate::session) generation: u32,
    pub(in crate::session) sealed: String,
}

impl Entry {
    pub(in crate::session) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(in crate::session) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The newest session that was published, which requests with an older cookie are given also
    /// while the next refresh is under way, or has failed.
    pub(in crate::session) fn last(self) -> Option<Sealed> {
        match self {
            Self::Ended => None,
            Self::Failed { last, .. } | Self::Leased { last, .. } => last,
            Self::Newest(last) => Some(last),
        }
    }
}

/// What came of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The session has moved on, and what became of it is forgotten: this cookie is of no use.
    Beyond,
    /// Logged out or revoked.
    Ended,
    /// The environment says that it has ended.
    Refused,
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

    /// Waits a little before the store is asked again; `false` when it was asked often enough.
    fn retry(&self) -> impl Future<Output = bool> + Send;

    /// Unix milliseconds.
    fn now(&self) -> i64;
}

/// Where a refresher stands.
enum State {
    Look,
    Prepare { seen: Option<Bytes>, last: Option<Sealed> },
    Lease { seen: Option<Bytes>, last: Option<Sealed> },
    Exchange { lease: Bytes, last: Option<Sealed> },
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
            let entry = seen.as_deref().and_then(Entry::decode);
            let last = entry.clone().and_then(Entry::last);
            match (entry, last) {
                (Some(Entry::Ended), _) => State::Done(Outcome::Ended),
                (_, Some(last)) if last.generation > generation => {
                    State::Done(Outcome::Renewed(last.sealed))
                }
                (Some(Entry::Leased { .. }), _) => State::Wait,
                (Some(Entry::Failed { generation: failed, until, .. }), _)
                    if failed >= generation && world.now() < until =>
                {
                    State::Done(Outcome::Unavailable)
                }
                (_, last) => State::Prepare { seen, last },
            }
        }
        State::Prepare { seen, last } => match world.stored().await? {
            Stored::Beyond => match world.read().await?.as_deref().and_then(Entry::decode) {
                Some(Entry::Ended) => State::Done(Outcome::Ended),
                entry => match entry.clone().and_then(Entry::last) {
                    Some(last) if last.generation > generation => {
                        State::Done(Outcome::Renewed(last.sealed))
                    }
                    _ if matches!(entry, Some(Entry::Leased { .. })) => State::Wait,
                    // The token was spent, so it is not spent again.
                    _ => State::Done(Outcome::Beyond),
                },
            },
            Stored::Gone => State::Done(Outcome::Ended),
            Stored::Newer(sealed) => State::Done(Outcome::Renewed(sealed)),
            Stored::Same if world.is_ready().await => State::Lease { seen, last },
            Stored::Same => State::Done(Outcome::Unavailable),
        },
        State::Lease { seen, last } => {
            let (owner, carried) = (owner.to_owned(), last.clone());
            let lease = Entry::Leased { generation: target, owner, last: carried };
            if world.set(seen, &lease, LEASE).await? {
                State::Exchange { lease: lease.encode(), last }
            } else {
                State::Look
            }
        }
        State::Exchange { lease, last } => match world.exchange().await {
            Exchanged::Renewed(sealed) => State::Publish {
                lease,
                entry: Entry::Newest(Sealed { generation: target, sealed: sealed.clone() }),
                ttl: RESULT_MEMORY,
                outcome: Outcome::Renewed(sealed),
            },
            Exchanged::Refused => State::Publish {
                lease,
                entry: Entry::Ended,
                ttl: RESULT_MEMORY,
                outcome: Outcome::Refused,
            },
            Exchanged::Failed => State::Publish {
                lease,
                ttl: if last.is_some() { RESULT_MEMORY } else { FAILURE_MEMORY },
                entry: Entry::Failed { generation, until: world.now() + FAILURE_MILLIS, last },
                outcome: Outcome::Unavailable,
            },
        },
        State::Publish { lease, entry, ttl, outcome } => {
            let published = world.set(Some(lease.clone()), &entry, ttl).await;
            match published {
                Ok(false) => State::Overtaken { outcome },
                Err(_) if world.retry().await => State::Publish { lease, entry, ttl, outcome },
                Ok(true) | Err(_) => {
                    // Unpublished, the result is still this session's only one.
                    if let Entry::Newest(newest) = entry {
                        world.published(newest.generation).await;
                    }
                    State::Done(outcome)
                }
            }
        }
        // The lease ran out or the session was ended while the token endpoint took its time.
        State::Overtaken { outcome } => {
            let entry = world.read().await?.as_deref().and_then(Entry::decode);
            let last = entry.clone().and_then(Entry::last);
            match (entry, last, outcome) {
                (Some(Entry::Ended), _, _) => State::Done(Outcome::Ended),
                (_, Some(last), _) if last.generation > generation => {
                    State::Done(Outcome::Renewed(last.sealed))
                }
                (_, _, Outcome::Renewed(sealed)) => State::Done(Outcome::Renewed(sealed)),
                // Refused because the other holder has spent the token: its result is the word.
                (Some(Entry::Leased { .. }), _, _) => State::Wait,
                (_, _, outcome) => State::Done(outcome),
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
