//! Bounded cache from a long secret text (a token, a sealed cookie) to its verified content.
//!
//! Reading takes no lock and does not allocate. No bounded cache crate offers that (moka and
//! quick_cache lock a shard), and this cache is read on every request. The hash of a text selects
//! a set of slots; the oldest is evicted. There are twice as many slots as the capacity, so
//! that fewer than one in a hundred texts is evicted before the capacity is reached. A text is
//! looked up in the parts in which it was sent, so that they need not be joined.

use std::array;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use zeroize::Zeroizing;

use crate::error::{ConfigError, ConfigProblem};

/// Entries per set.
const WAYS: usize = 16;

/// Only the last bytes of a text are hashed: those of a signature or an AEAD tag, which differ between
/// valid texts. Texts with the same end share a set and are distinguished by the full comparison.
const HASHED_BYTES: usize = 48;

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
    hash: SeededHash,
    sets: Box<[Set<V>]>,
}

impl<V> TokenCache<V> {
    /// Creates a cache of at least `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Self {
        let sets = (2 * capacity).div_ceil(WAYS).max(1).next_power_of_two();
        Self { hash: SeededHash::new(), sets: (0..sets).map(|_| Set::new()).collect() }
    }

    /// The content of `text`, mapped by `read`; `None` if it is not cached.
    pub(crate) fn get<T>(&self, text: &str, read: impl FnOnce(&V) -> T) -> Option<T> {
        self.get_joined(&[text.as_bytes()], read)
    }

    /// The content of the text that these parts form.
    pub(crate) fn get_joined<T>(&self, parts: &[&[u8]], read: impl FnOnce(&V) -> T) -> Option<T> {
        let (set, tag) = self.set(parts)?;
        for (slot, _) in set.slots_with(tag) {
            if let Some(entry) = slot.load().as_ref()
                && entry.has_text(parts)
            {
                return Some(read(&entry.value));
            }
        }
        None
    }

    /// Caches the content of `text`, replacing an earlier one.
    pub(crate) fn insert(&self, text: &str, value: V) {
        let parts = &[text.as_bytes()];
        let Some((set, tag)) = self.set(parts) else { return };
        let own = set
            .slots_with(tag)
            .find(|(slot, _)| slot.load().as_ref().is_some_and(|entry| entry.has_text(parts)));
        let Some((slot, slot_tag)) = own.or_else(|| set.oldest_slot()) else { return };
        slot.store(Some(Arc::new(Entry { text: Zeroizing::new(text.to_owned()), value })));
        slot_tag.store(tag, Ordering::Release);
    }

    /// The set of a text, and the tag of its slot.
    fn set(&self, parts: &[&[u8]]) -> Option<(&Set<V>, u32)> {
        let hash = self.hash.of_end(parts);
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

impl<V> Set<V> {
    fn new() -> Self {
        Self {
            tags: array::from_fn(|_| AtomicU32::new(0)),
            slots: array::from_fn(|_| ArcSwapOption::empty()),
            next_evicted: AtomicUsize::new(0),
        }
    }

    fn slots(&self) -> impl Iterator<Item = (&ArcSwapOption<Entry<V>>, &AtomicU32)> {
        self.slots.iter().zip(&self.tags)
    }

    /// The slots that may have a text with this tag, and their tags.
    fn slots_with(&self, tag: u32) -> impl Iterator<Item = (&ArcSwapOption<Entry<V>>, &AtomicU32)> {
        self.slots().filter(move |(_, own)| own.load(Ordering::Acquire) == tag)
    }

    /// The slot whose text is evicted next.
    fn oldest_slot(&self) -> Option<(&ArcSwapOption<Entry<V>>, &AtomicU32)> {
        self.slots().nth(self.next_evicted.fetch_add(1, Ordering::Relaxed) % WAYS)
    }
}

struct Entry<V> {
    text: Zeroizing<String>,
    value: V,
}

impl<V> Entry<V> {
    /// Whether these parts form its text.
    fn has_text(&self, parts: &[&[u8]]) -> bool {
        parts
            .iter()
            .try_fold(self.text.as_bytes(), |rest, part| rest.strip_prefix(*part))
            .is_some_and(<[u8]>::is_empty)
    }
}

/// A universal hash with a random key (NH of UMAC, RFC 4418 section 5.2, with words of 64 bits): a
/// sender cannot choose texts that collide. SipHash costs four times as much.
struct SeededHash {
    key: [[u64; 2]; HASHED_BYTES / 16],
}

impl SeededHash {
    fn new() -> Self {
        let random = RandomState::new();
        Self { key: array::from_fn(|pair| [0, 1].map(|word| random.hash_one((pair, word)))) }
    }

    /// The hash of the last bytes of the text that these parts form.
    fn of_end(&self, parts: &[&[u8]]) -> u64 {
        let mut end = [0; HASHED_BYTES];
        let mut free = end.as_mut_slice();
        for part in parts.iter().rev() {
            let taken = part.len().min(free.len());
            let (before, to) = free.split_at_mut(free.len() - taken);
            to.copy_from_slice(part.split_at(part.len() - taken).1);
            free = before;
        }
        let (words, _) = end.as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        let mut sum: u128 = 0;
        for ([one, other], key) in pairs.iter().zip(&self.key) {
            let one = key[0].wrapping_add(u64::from_le_bytes(*one));
            let other = key[1].wrapping_add(u64::from_le_bytes(*other));
            sum = sum.wrapping_add(u128::from(one) * u128::from(other));
        }
        #[expect(clippy::cast_possible_truncation, reason = "both halves are mixed")]
        let hash = (sum >> 64) as u64 ^ sum as u64;
        hash
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

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
    fn a_text_is_found_by_any_parts_of_it_and_by_no_others() {
        let cache = TokenCache::new(16);
        let text: String = (0..200).map(|byte| char::from(b'a' + byte % 26)).collect();
        cache.insert(&text, ());
        for (first, second) in [(0, 0), (0, 200), (1, 2), (150, 199), (160, 161), (200, 200)] {
            let mut parts =
                [&text[..first], &text[first..second], &text[second..]].map(str::as_bytes);
            assert!(cache.get_joined(&parts, |()| ()).is_some(), "{first} {second}");
            parts.swap(0, 2);
            let is_same = parts.concat() == text.as_bytes();
            assert_eq!(cache.get_joined(&parts, |()| ()).is_some(), is_same, "{first} {second}");
        }
        assert!(cache.get_joined(&[&text.as_bytes()[1..]], |()| ()).is_none());
        assert!(cache.get_joined(&[text.as_bytes(), b"a"], |()| ()).is_none());
        assert!(cache.get_joined(&[], |()| ()).is_none());
    }

    #[test]
    fn the_hash_depends_on_its_key_and_on_each_of_the_last_bytes() {
        let hash = SeededHash::new();
        let text = [b'x'; 60];
        assert_ne!(hash.of_end(&[&text]), SeededHash::new().of_end(&[&text]));
        for index in 0..text.len() {
            let mut changed = text;
            changed[index] = b'y';
            let is_same = hash.of_end(&[&text]) == hash.of_end(&[&changed]);
            assert_eq!(is_same, index < text.len() - HASHED_BYTES, "{index}");
        }
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
        // Signatures, with which credentials end, are like random ones.
        let random = BuildHasherDefault::<DefaultHasher>::default();
        let end = |number: u32| {
            (0..4)
                .map(|part| format!("{:016x}", random.hash_one((number, part))))
                .collect::<String>()
        };
        let texts: Vec<_> = (0..4096).map(end).collect();
        for text in &texts {
            cache.insert(text, ());
        }
        let missed = texts.iter().filter(|text| cache.get(text, |()| ()).is_none()).count();
        assert!(missed < 41, "{missed}");
    }
}
