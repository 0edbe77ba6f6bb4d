//! Used proofs (RFC 9449, section 11.1): those of this process, and optionally those of all replicas.

use std::array;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Extensions;

use super::Dpop;
use super::proof::{Proof, ProofId};
use crate::clock::Clock;
use crate::shared_store::{KeyNamespace, StoreError, StoreScope, TimedStore};

/// Shards, which are locked and grow independently.
const SHARDS: usize = 16;
/// The part of the memory that the proofs of one subject may use.
const SUBJECT_SHARE: usize = 4;

/// Result of the use of a proof.
pub(crate) enum ProofUse {
    First,
    Replayed,
    /// Too many proofs are remembered.
    Full,
    /// The shared store decides.
    Pending(PendingUse),
}

/// Whether it is the first use of a proof by any replica.
pub(crate) type PendingUse = BoxFuture<'static, Result<bool, StoreError>>;

pub(super) struct Replays {
    lifetime: Duration,
    /// Selects shards and hashes subjects. Its key is random, so that clients cannot cause collisions.
    hasher: RandomState,
    shard_capacity: usize,
    shards: [Mutex<Shard>; SHARDS],
    store: Option<(TimedStore, StoreScope)>,
}

/// Proofs in two generations: when the newer one is as old as the lifetime of its proofs, the older
/// one is forgotten as a whole.
#[derive(Default)]
struct Shard {
    generations: [Generation; 2],
    newer_since: Duration,
}

#[derive(Default)]
struct Generation {
    proofs: HashSet<ProofId>,
    /// Number of proofs, by the hash of their subject.
    of_subject: HashMap<u64, usize>,
}

impl Dpop {
    /// Uses a proof for a token of this subject, unless a layer with a clone has used it for this
    /// request.
    pub(crate) fn use_once(
        &self,
        proof: &Proof,
        subject: &str,
        extensions: &Extensions,
        clock: &Clock,
    ) -> ProofUse {
        let is_self = |dpop: &Self| Arc::ptr_eq(&dpop.inner, &self.inner);
        match extensions.get::<UsedProof>() {
            Some(used) if used.id == proof.id() && used.by.iter().any(is_self) => ProofUse::First,
            _ => self.inner.replays.use_once(proof.id(), subject, clock.monotonic()),
        }
    }

    /// Marks a request whose proof was used.
    pub(crate) fn mark_used(&self, extensions: &mut Extensions, proof: &Proof) {
        match extensions.get_mut::<UsedProof>() {
            Some(used) if used.id == proof.id() => used.by.push(self.clone()),
            _ => drop(extensions.insert(UsedProof { id: proof.id(), by: vec![self.clone()] })),
        }
    }
}

/// Inserted into a request whose proof was used, for layers and extractors further in. Those with other
/// settings remember the proof themselves.
#[derive(Clone)]
struct UsedProof {
    id: ProofId,
    by: Vec<Dpop>,
}

impl Replays {
    /// Remembers at most about this many proofs, each for at least `lifetime`.
    pub(super) fn new(
        capacity: usize,
        lifetime: Duration,
        store: Option<(TimedStore, StoreScope)>,
    ) -> Self {
        Self {
            lifetime,
            hasher: RandomState::new(),
            shard_capacity: capacity.div_ceil(SHARDS),
            shards: array::from_fn(|_| Mutex::default()),
            store,
        }
    }

    /// Uses a proof of this subject, at a time of the monotonic clock.
    pub(super) fn use_once(&self, id: ProofId, subject: &str, now: Duration) -> ProofUse {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let index = self.hasher.hash_one(id) as usize % SHARDS;
        let Some(shard) = self.shards.get(index) else { return ProofUse::Full };
        let found = {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.forget(now, self.lifetime);
            shard.insert(id, self.hasher.hash_one(subject), self.shard_capacity)
        };
        match (found, &self.store) {
            (ProofUse::First, Some((store, scope))) => {
                let key = scope.key(KeyNamespace::DpopProof, &URL_SAFE_NO_PAD.encode(id));
                let (store, used, lifetime) =
                    (store.clone(), Bytes::from_static(b"used"), self.lifetime);
                ProofUse::Pending(
                    async move { store.put_if_absent(&key, used, lifetime).await }.boxed(),
                )
            }
            (found, _) => found,
        }
    }
}

impl Shard {
    fn forget(&mut self, now: Duration, lifetime: Duration) {
        let age = now.saturating_sub(self.newer_since);
        if age < lifetime {
            return;
        }
        let [newer, older] = &mut self.generations;
        *older = mem::take(newer);
        if age >= lifetime.saturating_mul(2) {
            *older = Generation::default();
        }
        self.newer_since = now;
    }

    fn insert(&mut self, id: ProofId, subject: u64, capacity: usize) -> ProofUse {
        if self.generations.iter().any(|generation| generation.proofs.contains(&id)) {
            return ProofUse::Replayed;
        }
        let all: usize = self.generations.iter().map(|generation| generation.proofs.len()).sum();
        let own = self.generations.iter().filter_map(|known| known.of_subject.get(&subject));
        if all >= capacity || own.sum::<usize>() >= capacity.div_ceil(SUBJECT_SHARE) {
            return ProofUse::Full;
        }
        let [newer, _] = &mut self.generations;
        newer.proofs.insert(id);
        *newer.of_subject.entry(subject).or_default() += 1;
        ProofUse::First
    }
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replays")
            .field("lifetime", &self.lifetime)
            .field("shard_capacity", &self.shard_capacity)
            .field("is_shared", &self.store.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_store::MemoryStore;

    const LIFETIME: Duration = Duration::from_secs(120);

    fn id(number: u32) -> ProofId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id
    }

    fn used(replays: &Replays, number: u32, subject: &str, seconds: u64) -> &'static str {
        match replays.use_once(id(number), subject, Duration::from_secs(seconds)) {
            ProofUse::First => "first",
            ProofUse::Replayed => "replayed",
            ProofUse::Full => "full",
            ProofUse::Pending(_) => "pending",
        }
    }

    #[test]
    fn a_proof_is_remembered_for_its_lifetime_and_then_forgotten() {
        let replays = Replays::new(1000, LIFETIME, None);
        // All proofs of a shard, so that its generations change at known times.
        assert_eq!(used(&replays, 1, "jane", 0), "first");
        assert_eq!(used(&replays, 1, "jane", 119), "replayed");
        assert_eq!(used(&replays, 1, "jane", 121), "replayed");
        assert_eq!(used(&replays, 1, "jane", 239), "replayed");
        assert_eq!(used(&replays, 1, "jane", 242), "first");
        // Used late in a generation.
        assert_eq!(used(&replays, 1, "jane", 361), "replayed");
        assert_eq!(used(&replays, 1, "jane", 10_000), "first");
    }

    #[test]
    fn one_subject_cannot_exclude_the_others() {
        let replays = Replays::new(1600, LIFETIME, None);
        let accepted = (0..2000).filter(|number| used(&replays, *number, "mallory", 0) == "first");
        assert_eq!(accepted.count(), 400);
        for number in 10_000..10_100 {
            assert_eq!(used(&replays, number, "jane", 0), "first");
        }
        // A proof that was accepted is never evicted.
        assert_eq!(used(&replays, 10_000, "jane", 1), "replayed");
        assert_eq!(used(&replays, 20_000, "mallory", 500), "first");
    }

    #[test]
    fn the_whole_memory_is_bounded() {
        let replays = Replays::new(160, LIFETIME, None);
        let accepted = (0..1000)
            .filter(|number| used(&replays, *number, &format!("user {number}"), 0) == "first");
        assert_eq!(accepted.count(), 160);
    }

    #[tokio::test]
    async fn replicas_share_what_is_used_through_a_store() {
        let store = TimedStore::new(MemoryStore::new(Clock::system()));
        let replica =
            || Replays::new(100, LIFETIME, Some((store.clone(), StoreScope::new(["an app"]))));
        let (one, two) = (replica(), replica());
        for (replica, expected) in [(&one, true), (&two, false)] {
            let ProofUse::Pending(write) = replica.use_once(id(1), "jane", Duration::ZERO) else {
                panic!("it does not ask the store");
            };
            assert_eq!(write.await.unwrap(), expected);
        }
        assert_eq!(used(&one, 1, "jane", 1), "replayed");
    }
}
