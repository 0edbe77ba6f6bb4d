//! One part of a [`MemoryStore`](super::MemoryStore), with its own lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use super::super::{COMPLETED, KeyNamespace, LogCursor, LogPage, StoreKey};

/// Overhead of a value, besides its bytes and those of its key, which is stored twice.
const OVERHEAD_BYTES: usize = 256;

/// A call returns at most this many entries of a log.
const PAGE_ENTRIES: usize = 1000;

/// Completed webhook messages that have been removed stay in their queue until it has this many more
/// entries than twice the values.
const MAX_OUTDATED: usize = 64;

/// Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Shard {
    values: HashMap<StoreKey, Value>,
    /// The entries of each log by number: removing one moves no other.
    logs: HashMap<StoreKey, BTreeMap<u64, Entry>>,
    /// For each namespace in the order of expiry; the number distinguishes equal times.
    expiries: HashMap<KeyNamespace, BTreeMap<(Duration, u64), Expiry>>,
    /// Completed webhook messages, oldest first.
    handled: VecDeque<CompletedMessage>,
    /// Numbers all values and log entries ever added: a cursor stays valid when a log has expired
    /// and is written again.
    last_number: u64,
    /// Distinguishes the positions of this store from those of others.
    incarnation: u64,
}

#[derive(Debug)]
struct Value {
    bytes: Bytes,
    until: Duration,
    number: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    until: Duration,
}

#[derive(Debug)]
enum Expiry {
    Value(StoreKey),
    Entry(StoreKey),
}

#[derive(Debug)]
struct CompletedMessage {
    key: StoreKey,
    number: u64,
    since: Duration,
}

impl CompletedMessage {
    /// Whether it was not removed or replaced meanwhile.
    fn is_current(&self, values: &HashMap<StoreKey, Value>) -> bool {
        values.get(&self.key).is_some_and(|value| value.number == self.number)
    }
}

impl Shard {
    pub(super) fn new(incarnation: u64) -> Self {
        Self { incarnation, ..Self::default() }
    }

    pub(super) fn cost(key: &StoreKey, bytes: &Bytes) -> usize {
        OVERHEAD_BYTES + 2 * key.id().len() + bytes.len()
    }

    /// Memory of the key's value, even if it has expired and is still stored.
    pub(super) fn cost_of(&self, key: &StoreKey) -> usize {
        self.values.get(key).map_or(0, |value| Self::cost(key, &value.bytes))
    }

    pub(super) fn unexpired(&self, key: &StoreKey, now: Duration) -> Option<&Bytes> {
        self.values.get(key).filter(|value| now < value.until).map(|value| &value.bytes)
    }

    pub(super) fn set(&mut self, key: &StoreKey, bytes: Bytes, now: Duration, ttl: Duration) {
        let (number, until) = (self.next_number(), now.saturating_add(ttl));
        if key.namespace() == KeyNamespace::WebhookEvent && bytes.starts_with(COMPLETED.as_bytes())
        {
            self.handled.push_back(CompletedMessage { key: key.clone(), number, since: now });
        }
        let expiries = self.expiries.entry(key.namespace()).or_default();
        expiries.insert((until, number), Expiry::Value(key.clone()));
        let value = Value { bytes, until, number };
        match self.values.get_mut(key) {
            Some(present) => {
                expiries.remove(&(present.until, present.number));
                *present = value;
            }
            None => {
                self.values.insert(key.clone(), value);
            }
        }
        if self.handled.len() > 2 * self.values.len() + MAX_OUTDATED {
            let values = &self.values;
            self.handled.retain(|handled| handled.is_current(values));
        }
    }

    /// Removes a value; returns its memory.
    pub(super) fn remove(&mut self, key: &StoreKey) -> Option<(KeyNamespace, usize)> {
        let value = self.values.remove(key)?;
        if let Some(expiries) = self.expiries.get_mut(&key.namespace()) {
            expiries.remove(&(value.until, value.number));
        }
        Some((key.namespace(), Self::cost(key, &value.bytes)))
    }

    /// Removes up to `most` expired values and entries, of one namespace or of all; returns their
    /// memory.
    pub(super) fn remove_expired(
        &mut self,
        now: Duration,
        most: usize,
        only: Option<KeyNamespace>,
    ) -> Vec<(KeyNamespace, usize)> {
        let mut expired = Vec::new();
        for (namespace, expiries) in &mut self.expiries {
            if only.is_some_and(|only| only != *namespace) {
                continue;
            }
            while expired.len() < most
                && let Some(first) = expiries.first_entry()
                && first.key().0 <= now
            {
                expired.push(first.remove_entry());
            }
        }
        let freed = expired
            .into_iter()
            .filter_map(|((_, number), expiry)| match expiry {
                Expiry::Value(key) => {
                    let value = self.values.remove(&key)?;
                    Some((key.namespace(), Self::cost(&key, &value.bytes)))
                }
                Expiry::Entry(log) => self.remove_entry(&log, number),
            })
            .collect();
        // Messages that have expired or were completed again.
        while self.handled.front().is_some_and(|front| !front.is_current(&self.values)) {
            self.handled.pop_front();
        }
        freed
    }

    /// Removes up to `most` webhook messages that were completed before then.
    pub(super) fn remove_handled(
        &mut self,
        before: Duration,
        most: usize,
    ) -> Vec<(KeyNamespace, usize)> {
        let mut freed = Vec::new();
        while freed.len() < most
            && self.handled.front().is_some_and(|oldest| oldest.since <= before)
        {
            if let Some(oldest) = self.handled.pop_front()
                && oldest.is_current(&self.values)
            {
                freed.extend(self.remove(&oldest.key));
            }
        }
        freed
    }

    pub(super) fn append(&mut self, log: &StoreKey, bytes: Bytes, now: Duration, ttl: Duration) {
        let (number, until) = (self.next_number(), now.saturating_add(ttl));
        self.expiries
            .entry(log.namespace())
            .or_default()
            .insert((until, number), Expiry::Entry(log.clone()));
        self.logs.entry(log.clone()).or_default().insert(number, Entry { bytes, until });
    }

    pub(super) fn read_since(&self, log: &StoreKey, cursor: LogCursor, now: Duration) -> LogPage {
        let after = self.position(&cursor);
        let mut page = match after {
            Some(_) => LogPage::new(Vec::new(), cursor),
            None => LogPage::after_loss(Vec::new(), LogCursor::start()),
        };
        let Some(entries) = self.logs.get(log) else { return page };
        for (number, entry) in entries
            .range((Bound::Excluded(after.unwrap_or(0)), Bound::Unbounded))
            .filter(|(_, entry)| now < entry.until)
            .take(PAGE_ENTRIES)
        {
            page.entries.push(entry.bytes.clone());
            page.next = LogCursor::from_text(format!("{:x} {number}", self.incarnation));
        }
        page
    }

    /// The position of a cursor, if it is one of this store.
    fn position(&self, cursor: &LogCursor) -> Option<u64> {
        if *cursor == LogCursor::start() {
            return Some(0);
        }
        let (incarnation, number) = cursor.as_text().split_once(' ')?;
        let is_own = u64::from_str_radix(incarnation, 16) == Ok(self.incarnation);
        number.parse().ok().filter(|_| is_own)
    }

    fn remove_entry(&mut self, log: &StoreKey, number: u64) -> Option<(KeyNamespace, usize)> {
        let entries = self.logs.get_mut(log)?;
        let entry = entries.remove(&number)?;
        if entries.is_empty() {
            self.logs.remove(log);
        }
        Some((log.namespace(), Self::cost(log, &entry.bytes)))
    }

    /// Number of messages that are or were completed.
    #[cfg(test)]
    pub(super) fn handled(&self) -> usize {
        self.handled.len()
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
