//! The log of revocations in the shared store, from which replicas learn each other's revocations.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::order::{Coverage, Position, ProcessClock};
use super::{
    Appended, LOGIN_TIMEOUT, MAX_APPENDED, RENEW_AGE, Revocation, RevocationKey, RevocationKind,
    State, TargetKey,
};
use crate::clock::millis;
use crate::shared_store::StoreError;
use crate::util::single_flight::Flight;
use crate::util::telemetry;

/// Limits of one read of the log, in time and pages; the next read continues.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const MAX_PAGES: usize = 1000;
/// The time limit of one publication of what the log lacks; the next one continues.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many ended sessions are published at once after the store has lost them.
const LOST_PER_BATCH: usize = 64;

/// A revocation that was made longer ago was not made while the store lost its last writes, in
/// seconds.
const MAX_LOSS_AGE: i64 = 600;

/// An entry of the log.
#[derive(Serialize, Deserialize)]
struct Logged {
    #[serde(rename = "k")]
    key: TargetKey,
    /// `None` if it covers the session at any position.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    /// With a position only.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    made_by: Option<ProcessClock>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    issued_until: Option<i64>,
    /// When it was made, in seconds: unset if it covers no tokens but those of `issued_until`.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<i64>,
    /// For how long covered sessions can be valid, in seconds.
    #[serde(rename = "t")]
    lifetime: u64,
}

impl State {
    /// Publishes revocations to the other replicas, except those that are already published: ending
    /// a session again does not fill the log.
    pub(super) async fn publish(&self, keys: &[RevocationKey]) -> Result<(), StoreError> {
        let mut unpublished = self.unpublished(keys);
        // Serialized: a revocation that got two positions would also cover the logins between them.
        let mut publish_lock = None;
        if unpublished.iter().any(|(_, entry)| entry.is_pending()) {
            publish_lock = Some(self.publishing.lock().await);
            unpublished = self.unpublished(keys);
        }
        if unpublished.iter().any(|(_, entry)| entry.is_pending()) {
            let position = self.advance_shared_counter().await?;
            for (key, entry) in unpublished.iter_mut().filter(|(_, entry)| entry.is_pending()) {
                entry.coverage = Coverage::At(position);
                self.set_coverage(*key, *entry);
            }
        }
        for (key, entry) in unpublished {
            self.append(key, &entry).await?;
            self.note_published(key, entry);
        }
        drop(publish_lock);
        Ok(())
    }

    /// Records that an entry was appended: a read that begins later must return it.
    fn note_appended(&self, key: RevocationKey, entry: Revocation) {
        let appended = Appended {
            entry,
            after_read: self.reads_begun.load(Ordering::Acquire),
            at: self.clock.monotonic(),
        };
        let mut known = self.known();
        known.revocations.mark_in_log(&key);
        if known.appended.len() < MAX_APPENDED {
            known.appended.insert(key, appended);
        }
    }

    async fn append(&self, key: RevocationKey, entry: &Revocation) -> Result<(), StoreError> {
        let left = entry.forget_at.saturating_sub(self.clock.monotonic());
        let is_by_position = key.kind == RevocationKind::ByPosition;
        let logged = Logged {
            key: key.key,
            position: entry.coverage.position(),
            made_by: entry.coverage.position().and(entry.made_by),
            issued_until: (!is_by_position).then_some(entry.issued_until),
            revoked_at: (is_by_position && entry.revoked_at < i64::MAX).then_some(entry.revoked_at),
            lifetime: left.as_secs().saturating_add(1),
        };
        let text = serde_json::to_vec(&logged).unwrap_or_default();
        self.store.append(&self.log, text.into(), left).await?;
        self.note_appended(key, *entry);
        Ok(())
    }

    /// Records that an entry is in the log, unless it was revoked again meanwhile.
    pub(super) fn note_published(&self, key: RevocationKey, entry: Revocation) {
        let mut known = self.known();
        let Some(&present) = known.revocations.get(&key) else { return };
        if present.made_by != entry.made_by {
            return;
        }
        if let Some(ended) = present.single_session(key.key) {
            known.revocations.remove(&key);
            known.ended.insert(ended, self.clock.monotonic());
        } else {
            known.revocations.insert(key, Revocation { is_published: true, ..present });
        }
    }

    fn unpublished(&self, keys: &[RevocationKey]) -> Vec<(RevocationKey, Revocation)> {
        let known = self.known();
        keys.iter()
            .filter_map(|key| Some((*key, *known.revocations.get(key)?)))
            .filter(|(_, entry)| !entry.is_published)
            .collect()
    }

    /// Sets the position of an entry, unless it was revoked again meanwhile.
    pub(super) fn set_coverage(&self, key: RevocationKey, entry: Revocation) {
        let mut known = self.known();
        if let Some(&present) = known.revocations.get(&key)
            && present.made_by == entry.made_by
        {
            known.revocations.insert(key, Revocation { coverage: entry.coverage, ..present });
        }
    }

    /// Publishes revocations that could not be published while the store was unavailable, or that the
    /// store has lost. Excludes lost single sessions.
    pub(super) async fn publish_again(&self) -> Result<(), StoreError> {
        self.publish_pending().await?;
        // One at a time: the next caller finds nothing left to publish.
        let _turn = self.republishing.lock().await;
        self.publish(&self.unpublished_keys(|entry| !entry.is_pending())).await
    }

    /// Publishes the revocations that have no position yet.
    pub(super) async fn publish_pending(&self) -> Result<(), StoreError> {
        self.publish(&self.unpublished_keys(Revocation::is_pending)).await
    }

    fn unpublished_keys(&self, includes: impl Fn(&Revocation) -> bool) -> Vec<RevocationKey> {
        let known = self.known();
        let mut found: Vec<_> = known
            .revocations
            .unpublished(self.clock.monotonic())
            .filter(|(_, entry)| includes(entry))
            .collect();
        // Replicas that start later learn the order of former counters from that of the entries.
        found.sort_by_key(|(_, entry)| {
            entry.coverage.position().map(|position| known.epochs.recency_rank(position.epoch))
        });
        found.into_iter().map(|(key, _)| key).collect()
    }

    /// Publishes the ended sessions that the store has lost, unless another replica has done so.
    pub(super) async fn publish_lost(&self) -> Result<(), StoreError> {
        loop {
            let now = self.clock.monotonic();
            let (batch, missing, losses) = {
                let known = self.known();
                let batch = known.lost.first(LOST_PER_BATCH);
                if known.is_rereading || batch.is_empty() {
                    return Ok(());
                }
                let mut missing = batch.clone();
                missing.retain(|one| {
                    now < one.forget_at
                        && !known.ended.covers(&one.key, Some(one.issued_until))
                        && !known.appended.contains_key(&one.log_key())
                });
                (batch, missing, known.losses)
            };
            try_join_all(
                missing.iter().map(async |one| self.append(one.log_key(), &one.entry()).await),
            )
            .await?;
            {
                let mut known = self.known();
                // After another loss, what the log had is unknown again.
                if known.losses != losses {
                    return Ok(());
                }
                for ended in batch {
                    known.lost.remove(&ended);
                    if now < ended.forget_at {
                        known.ended.insert(ended, now);
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads the log, and publishes what it lacks. Returns `false` if the store was unavailable for
    /// either, or did not show yet what was published.
    pub(super) async fn check_log(self: &Arc<Self>) -> bool {
        let before = self.reads_begun.load(Ordering::Acquire);
        self.join_read().await;
        if let Some(write) = self.writes.get(&()) {
            write.await;
        }
        let known = self.known();
        !known.is_rereading
            && known.lost.is_empty()
            && known.revocations.unpublished(self.clock.monotonic()).next().is_none()
            && known.appended.values().all(|append| append.at > known.checked_until)
            && self.read_to_end.load(Ordering::Acquire) > before
    }

    /// Joins the read of the log that is in progress, or starts one.
    pub(super) fn join_read(self: &Arc<Self>) -> Flight<()> {
        let state = Arc::clone(self);
        self.reads.join((), || async move { state.read().await })
    }

    /// Reads the revocations of other replicas, then publishes in the background what the log lacks.
    /// If the store is unavailable, requests are authorized by the known revocations; if the log did
    /// not end, they are rejected.
    async fn read(self: &Arc<Self>) {
        let started = ReadStart {
            at: self.clock.monotonic(),
            number: self.reads_begun.fetch_add(1, Ordering::AcqRel) + 1,
        };
        let read = self.read_log(started, Instant::now() + READ_TIMEOUT).await;
        match &read {
            Ok(()) => self.note_read_to_end(started),
            Err(error) => {
                telemetry::internal_error("revocation_log", error);
                self.has_more.fetch_or(!matches!(error, ReadError::Store(_)), Ordering::AcqRel);
                self.note_incomplete_read(matches!(error, ReadError::TooLong));
            }
        }
        // What the store has returned is as of the start, however slow it was. After a failure, requests
        // do not wait for the next read at once.
        let last_read_at = match &read {
            Ok(()) => started.at,
            Err(_) => started.at.max(self.clock.monotonic().saturating_sub(RENEW_AGE)),
        };
        self.last_read_at.store(millis(last_read_at).saturating_add(1), Ordering::Release);
        // After the read: skips what another replica has published again meanwhile. Requests need
        // only the read, and the store may accept entries slowly.
        let (state, is_read) = (Arc::clone(self), read.is_ok());
        self.writes.start((), || async move {
            match timeout(WRITE_TIMEOUT, state.write(is_read)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => telemetry::internal_error("revocation_log", &error),
                Err(late) => telemetry::internal_error("revocation_log", &late),
            }
        });
    }

    fn note_read_to_end(&self, started: ReadStart) {
        self.read_to_end.store(started.number, Ordering::Release);
        self.has_more.store(false, Ordering::Release);
        self.catching_up_since.store(0, Ordering::Release);
        if millis(started.at) < self.unreadable_until.load(Ordering::Acquire) {
            return self.note_incomplete_read(false);
        }
        self.complete_read_at.store(millis(started.at), Ordering::Release);
        self.has_complete_read.store(true, Ordering::Release);
        if self.is_stale.swap(false, Ordering::AcqRel) {
            telemetry::revocations_current();
        }
    }

    /// Reports stale revocations. A replica that was idle has perhaps more to read than fits into one
    /// read: it is stale only if it does not catch up in time.
    fn note_incomplete_read(&self, is_too_long: bool) {
        let (now, after) = (millis(self.clock.monotonic()), millis(self.staleness.after));
        let mut since = self.complete_read_at.load(Ordering::Acquire);
        if now.saturating_sub(since) <= after {
            return;
        }
        if is_too_long {
            // Since an earlier read, or since now.
            since = self
                .catching_up_since
                .compare_exchange(0, now.max(1), Ordering::AcqRel, Ordering::Acquire)
                .err()
                .unwrap_or(now);
        }
        let age = now.saturating_sub(since);
        if age > after && !self.is_stale.swap(true, Ordering::AcqRel) {
            telemetry::revocations_stale(Duration::from_millis(age));
        }
    }

    /// Publishes what the log lacks, then reads the counter if the log was read to its end.
    async fn write(&self, is_read: bool) -> Result<(), StoreError> {
        self.publish_again().await?;
        self.publish_lost().await?;
        if is_read { self.read_counter().await } else { Ok(()) }
    }

    /// Reads the log from the end of the last read, or from its start after a loss.
    async fn read_log(&self, started: ReadStart, deadline: Instant) -> Result<(), ReadError> {
        for _ in 0..MAX_PAGES {
            if self.read_page(started).await? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                break;
            }
            // The store may respond without ever yielding to the runtime.
            tokio::task::yield_now().await;
        }
        Err(ReadError::TooLong)
    }

    /// Reads a page of the log. Returns whether it is the end. A page that was requested before the
    /// last loss was noted adds no revocations.
    async fn read_page(&self, started: ReadStart) -> Result<bool, ReadError> {
        let (cursor, mut losses) = {
            let known = self.known();
            (known.cursor.clone(), known.losses)
        };
        let page = self.store.read_since(&self.log, cursor.clone()).await?;
        let now = self.clock.monotonic();
        if page.cursor_lost {
            let mut known = self.known();
            if known.losses == losses {
                known.note_loss();
                losses = known.losses;
            }
        }
        let entries: Vec<Logged> =
            page.entries.iter().filter_map(|text| serde_json::from_slice(text).ok()).collect();
        self.order_epochs(&entries, page.cursor_lost).await;
        for logged in &entries {
            self.merge_logged(logged, losses, now);
        }
        let unreadable = page.unreadable + page.entries.len() - entries.len();
        if unreadable > 0 {
            telemetry::revocations_unreadable(unreadable);
            // A revocation covers no session that begins later.
            self.unreadable_until
                .fetch_max(millis(now.saturating_add(self.longest_session)), Ordering::AcqRel);
        }
        let mut known = self.known();
        if known.losses != losses {
            return Ok(false);
        }
        if page.next != cursor {
            known.cursor = page.next;
            return Ok(false);
        }
        if !page.entries.is_empty() {
            return Err(ReadError::NoProgress);
        }
        known.confirm(started, now);
        Ok(true)
    }

    /// Reads the counter before entries of a new epoch take effect, or those of a log that was lost:
    /// the epoch of the counter is the newest. While it is unknown, those of the entries are, so that
    /// they cover all sessions.
    async fn order_epochs(&self, entries: &[Logged], cursor_lost: bool) {
        let new_epochs: Vec<u32> = {
            let known = self.known();
            entries
                .iter()
                .filter_map(|logged| Some(logged.position?.epoch))
                .filter(|epoch| !known.epochs.contains(*epoch))
                .collect()
        };
        if new_epochs.is_empty() && !cursor_lost {
            return;
        }
        if let Err(error) = self.store.within(LOGIN_TIMEOUT, self.read_counter()).await {
            telemetry::internal_error("revocation_counter", &error);
            let mut known = self.known();
            for epoch in new_epochs {
                if !known.epochs.contains(epoch) {
                    known.epochs.observe_newest(epoch);
                }
            }
        }
    }

    /// Adds an entry of the log, unless a loss was noted since its page was requested.
    fn merge_logged(&self, logged: &Logged, losses: u64, now: Duration) {
        let process = logged.made_by.map(|(process, _)| process);
        let key = RevocationKey::new(logged.key, logged.issued_until, process);
        let mut known = self.known();
        if known.losses != losses {
            return;
        }
        let entry = Revocation {
            coverage: logged.position.map_or(Coverage::Always, Coverage::At),
            issued_until: logged.issued_until.unwrap_or(i64::MAX),
            revoked_at: logged.revoked_at.unwrap_or(i64::MAX),
            forget_at: now.saturating_add(Duration::from_secs(logged.lifetime)),
            made_by: logged.made_by,
            is_published: true,
        };
        if known.appended.get(&key).is_some_and(|append| {
            append.entry.coverage == entry.coverage
                && append.entry.issued_until == entry.issued_until
        }) {
            known.appended.remove(&key);
        }
        if let Some(position) = logged.position {
            let made_at = logged.revoked_at.or(logged.issued_until);
            let is_recent = made_at > Some(self.clock.now().unix_timestamp() - MAX_LOSS_AGE);
            if is_recent && known.is_reassigned(&key, logged.made_by, position) {
                // Made again now, after all sessions that have begun meanwhile.
                known.made_here += 1;
                let again = Revocation {
                    coverage: Coverage::Pending,
                    made_by: Some((self.process, known.made_here)),
                    is_published: false,
                    ..entry
                };
                self.merge(
                    &mut known,
                    RevocationKey { process: Some(self.process), ..key },
                    again,
                    now,
                );
            }
            known.observe(position);
        }
        self.merge(&mut known, key, entry, now);
    }
}

/// A read of the log, and the monotonic time when it began.
#[derive(Clone, Copy)]
pub(super) struct ReadStart {
    pub(super) number: u64,
    pub(super) at: Duration,
}

/// Returned when the log could not be read to its end.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the shared store returns the same page of the revocation log repeatedly")]
    NoProgress,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the revocation log has more entries than can be read at once")]
    TooLong,
}
