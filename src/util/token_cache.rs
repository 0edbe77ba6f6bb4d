//! Bounded cache from a long secret text (a token, a sealed cookie) to its verified content.
//!
//! Reading takes no lock and does not allocate. No bounded cache crate offers that (moka and
//! quick_cache lock a shard), and this cache is read on every request. Four slots share a hash
//! value; the oldest one makes room.

use std::array;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use zeroize::Zeroizing;

use crate::error::{ConfigError, ConfigProblem};

const WAYS: usize = 4;

/// How many of a text's last bytes are hashed: the last bytes of a signature or an AEAD tag differ
/// wherever the texts differ, and entries are compared in full.
const HASHED_BYTES: usize = 43;

/// More entries would be gigabytes of tokens.
const MAX_CAPACITY: usize = 1_000_000;

/// Validates a configured capacity.
pub(crate) fn check_cache_capacity(entries: usize) -> Result<(), ConfigError> {
    if entries > MAX_CAPACITY {
        return Err(ConfigProblem::invalid("cache_capacity", "must be at most a million").into());
    }
    Ok(())
}

pub(crate) struct TokenCache<V> {
    hasher: RandomState,
    sets: Box<[Set<V>]>,
}

impl<V> TokenCache<V> {
    /// Creates a cache of at least `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).max(1).next_power_of_two();
        Self { hasher: RandomState::new(), sets: (0..sets).map(|_| Set::new()).collect() }
    }

    /// The content of `text`, mapped by `read`; `None` if it is not cached.
    pub(crate) fn get<T>(&self, text: &str, read: impl FnOnce(&V) -> T) -> Option<T> {
        let set = self.set(text)?;
        for slot in &set.slots {
            if let Some(entry) = slot.load().as_ref()
                && *entry.text == *text
            {
                return Some(read(&entry.value));
            }
        }
        None
    }

    /// Caches the content of `text`, replacing an earlier one.
    pub(crate) fn insert(&self, text: &str, value: V) {
        let Some(set) = self.set(text) else { return };
        let held = |slot: &&ArcSwapOption<Entry<V>>| {
            slot.load().as_ref().is_none_or(|entry| *entry.text == *text)
        };
        let oldest = || set.slots.get(set.next_victim.fetch_add(1, Ordering::Relaxed) % WAYS);
        if let Some(slot) = set.slots.iter().find(held).or_else(oldest) {
            slot.store(Some(Arc::new(Entry { text: Zeroizing::new(text.to_owned()), value })));
        }
    }

    fn set(&self, text: &str) -> Option<&Set<V>> {
        let bytes = text.as_bytes();
        let end = bytes.get(bytes.len().saturating_sub(HASHED_BYTES)..)?;
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let hash = self.hasher.hash_one(end) as usize;
        self.sets.get(hash & (self.sets.len() - 1))
    }
}

impl<V> fmt::Debug for TokenCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("capacity", &(self.sets.len() * WAYS)).finish()
    }
}

struct Set<V> {
    slots: [ArcSwapOption<Entry<V>>; WAYS],
    next_victim: AtomicUsize,
}

impl<V> Set<V> {
    fn new() -> Self {
        let slots = array::from_fn(|_| ArcSwapOption::empty());
        Self { slots, next_victim: AtomicUsize::new(0) }
    }
}

struct Entry<V> {
    text: Zeroizing<String>,
    value: V,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_the_same_end_are_distinguished() {
        let cache = TokenCache::new(16);
        let (one, two) = (format!("1{}", "x".repeat(50)), format!("2{}", "x".repeat(50)));
        cache.insert(&one, 1);
        assert_eq!(cache.get(&one, |v| *v), Some(1));
        assert_eq!(cache.get(&two, |v| *v), None);
        cache.insert(&two, 2);
        cache.insert(&one, 3);
        assert_eq!((cache.get(&one, |v| *v), cache.get(&two, |v| *v)), (Some(3), Some(2)));
    }

    #[test]
    fn a_full_cache_evicts_the_oldest_and_stays_within_its_bound() {
        let cache = TokenCache::new(4);
        for number in 0..100 {
            cache.insert(&number.to_string(), number);
        }
        let kept: Vec<i32> =
            (0..100).filter(|n| cache.get(&n.to_string(), |_| ()).is_some()).collect();
        assert_eq!(kept, [96, 97, 98, 99]);
        assert_eq!(cache.get("", |v| *v), None);
    }
}
