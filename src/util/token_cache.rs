//! Bounded cache from a long secret text (a token, a sealed cookie) to its verified content.
//!
//! Reading takes no lock and does not allocate. No bounded cache crate offers that (moka and
//! quick_cache lock a shard), and this cache is read on every request. The hash of a text selects
//! a set of slots, the oldest of which makes room. There are twice as many slots as the capacity, so
//! that fewer than one in a thousand texts is evicted before the capacity is reached.

use std::array;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use zeroize::Zeroizing;

use crate::error::{ConfigError, ConfigProblem};

/// Entries per set.
const WAYS: usize = 16;

/// Only the last bytes of a text are hashed: those of a signature or an AEAD tag, which differ between
/// valid texts. Texts with the same end share a set and are distinguished by the full comparison.
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
        let sets = (2 * capacity).div_ceil(WAYS).max(1).next_power_of_two();
        Self { hasher: RandomState::new(), sets: (0..sets).map(|_| Set::new()).collect() }
    }

    /// The content of `text`, mapped by `read`; `None` if it is not cached.
    pub(crate) fn get<T>(&self, text: &str, read: impl FnOnce(&V) -> T) -> Option<T> {
        let (set, tag) = self.set(text)?;
        for (slot, _) in set.slots.iter().zip(&set.tags).filter(|(_, own)| has_tag(own, tag)) {
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
        let Some((set, tag)) = self.set(text) else { return };
        let is_same = |slot: &ArcSwapOption<Entry<V>>| {
            slot.load().as_ref().is_some_and(|entry| *entry.text == *text)
        };
        let mut slots = set.slots.iter().zip(&set.tags);
        let known = slots.find(|(slot, own)| has_tag(own, tag) && is_same(slot));
        let (slot, own) = match known {
            Some(known) => known,
            None => {
                let oldest = set.next_evicted.fetch_add(1, Ordering::Relaxed) % WAYS;
                let (Some(slot), Some(own)) = (set.slots.get(oldest), set.tags.get(oldest)) else {
                    return;
                };
                (slot, own)
            }
        };
        slot.store(Some(Arc::new(Entry { text: Zeroizing::new(text.to_owned()), value })));
        own.store(tag, Ordering::Release);
    }

    /// The set of a text, and the tag of its slot.
    fn set(&self, text: &str) -> Option<(&Set<V>, u32)> {
        let bytes = text.as_bytes();
        let end = bytes.get(bytes.len().saturating_sub(HASHED_BYTES)..)?;
        let hash = self.hasher.hash_one(end);
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let (index, tag) = (hash as usize & (self.sets.len() - 1), (hash >> 32) as u32);
        Some((self.sets.get(index)?, tag))
    }
}

impl<V> fmt::Debug for TokenCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("slots", &(self.sets.len() * WAYS)).finish()
    }
}

struct Set<V> {
    /// Part of the hash of each slot's text, so that few slots are read. A slot whose tag does not
    /// fit its text yet is missed once.
    tags: [AtomicU32; WAYS],
    slots: [ArcSwapOption<Entry<V>>; WAYS],
    next_evicted: AtomicUsize,
}

fn has_tag(own: &AtomicU32, tag: u32) -> bool {
    own.load(Ordering::Acquire) == tag
}

impl<V> Set<V> {
    fn new() -> Self {
        Self {
            tags: array::from_fn(|_| AtomicU32::new(0)),
            slots: array::from_fn(|_| ArcSwapOption::empty()),
            next_evicted: AtomicUsize::new(0),
        }
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
        let cache = TokenCache::new(8);
        for number in 0..100 {
            cache.insert(&number.to_string(), number);
        }
        let kept: Vec<i32> =
            (0..100).filter(|n| cache.get(&n.to_string(), |_| ()).is_some()).collect();
        assert_eq!(kept, (84..100).collect::<Vec<_>>());
        assert_eq!(cache.get("", |v| *v), None);
    }

    #[test]
    fn fewer_than_one_in_a_hundred_texts_are_missed_at_the_capacity() {
        let cache = TokenCache::new(4096);
        let texts: Vec<_> = (0..4096).map(|number| format!("{number:060}")).collect();
        for text in &texts {
            cache.insert(text, ());
        }
        let missed = texts.iter().filter(|text| cache.get(text, |()| ()).is_none()).count();
        assert!(missed < 41, "{missed}");
    }
}
