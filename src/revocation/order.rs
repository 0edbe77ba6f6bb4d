//! The order of logins and revocations, by a counter that all replicas share.

use aws_lc_rs::rand;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Revocation;

/// How many losses of the store's state are distinguished.
const MAX_EPOCHS: usize = 16;

/// A state of the revocation counter. Numbers of different counters are not comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(u32, u64)", from = "(u32, u64)")]
pub(crate) struct Position {
    /// Random for each counter: it changes after the store has lost its state.
    pub(super) epoch: u32,
    pub(super) number: u64,
}

impl Position {
    /// Returns a position of a counter that did not exist.
    pub(super) fn of_new_counter(number: u64) -> Self {
        Self { epoch: random_id(), number }
    }

    /// Returns the next position of a counter that one process has alone.
    pub(super) fn next_local(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }

    /// Returns a later position of the shared counter. The step is random: if the store loses its
    /// last changes, the numbers that follow differ from those that were lost.
    pub(super) fn next_shared(self) -> Self {
        let step = u64::from(random_id() >> 12) + 1;
        Self { number: self.number.saturating_add(step), ..self }
    }

    pub(super) fn encode(self) -> Bytes {
        format!("{} {}", self.epoch, self.number).into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (epoch, number) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
    }
}

impl From<(u32, u64)> for Position {
    fn from((epoch, number): (u32, u64)) -> Self {
        Self { epoch, number }
    }
}

impl From<Position> for (u32, u64) {
    fn from(position: Position) -> Self {
        (position.epoch, position.number)
    }
}

/// A logical clock: a process, and how many revocations it had made.
pub(super) type ProcessClock = (u32, u64);

/// The revocation position at which a session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedPosition {
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<Position>,
    /// For a session that began while the store was unavailable: the position may be outdated.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub(super) begun_by: Option<ProcessClock>,
}

impl RecordedPosition {
    pub(crate) fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// Which sessions a revocation covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// Sessions with a lower position.
    At(Position),
    /// All sessions so far: it has no position yet.
    Pending,
    /// All sessions, including later ones.
    Always,
}

impl Coverage {
    pub(super) fn position(self) -> Option<Position> {
        match self {
            Self::At(position) => Some(position),
            Self::Pending | Self::Always => None,
        }
    }
}

/// The counters that this process has seen.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// Oldest first.
    seen: Vec<u32>,
    /// Those of counters that another one has replaced, oldest first.
    replaced: Vec<u32>,
}

impl Epochs {
    /// Adds an epoch of the log that is not known yet. It is older than that of the counter.
    pub(super) fn observe(&mut self, epoch: u32) {
        if !self.contains(epoch) {
            self.seen.insert(self.seen.len().saturating_sub(1), epoch);
            self.drop_oldest();
        }
    }

    /// Adds the epoch of the counter that is in use.
    pub(super) fn observe_newest(&mut self, epoch: u32) {
        if self.seen.last() != Some(&epoch) {
            self.seen.retain(|seen| *seen != epoch);
            self.seen.push(epoch);
            self.drop_oldest();
        }
    }

    /// Records that another counter has replaced the one of this epoch.
    pub(super) fn observe_replaced(&mut self, epoch: u32) {
        self.replaced.push(epoch);
        self.drop_oldest();
    }

    /// Whether the counter of this epoch was replaced by another one.
    pub(super) fn is_replaced(&self, epoch: u32) -> bool {
        self.replaced.contains(&epoch)
    }

    fn drop_oldest(&mut self) {
        for epochs in [&mut self.seen, &mut self.replaced] {
            if epochs.len() > MAX_EPOCHS {
                epochs.remove(0);
            }
        }
    }

    pub(super) fn contains(&self, epoch: u32) -> bool {
        self.recency_rank(epoch).is_some()
    }

    /// Whether this revocation ends this session, which has its key. This is the only place that
    /// orders the two:
    ///
    /// 1. An event has the environment's own time: it covers no tokens that were issued later.
    /// 2. The end of a single session covers it, whenever it began.
    /// 3. If one process made the revocation and began the session while the store was unavailable,
    ///    its own count orders them.
    /// 4. Otherwise the shared counter does. It advances before a revocation returns, and is read
    ///    before a login is verified, so a login that begins after a revocation has returned lives.
    ///    One that overlaps with it is covered or not, on all replicas alike. Until the store has
    ///    accepted a revocation, it covers all sessions of others.
    ///
    /// A session that began while the store was unavailable has the position that its replica had
    /// read last. Therefore revocations of other replicas that this one had not read cover it. A
    /// session without a position, of an earlier release, is older than all revocations.
    pub(super) fn covers(
        &self,
        revocation: &Revocation,
        session: RecordedPosition,
        issued_at: Option<i64>,
    ) -> bool {
        if issued_at.is_some_and(|issued_at| issued_at > revocation.issued_until) {
            return false;
        }
        let of_one_process = revocation
            .made_by
            .zip(session.begun_by)
            .filter(|((made, _), (begun, _))| made == begun);
        match (revocation.coverage, of_one_process) {
            (Coverage::Always, _) => true,
            (_, Some(((_, made), (_, before)))) => made > before,
            (coverage, None) => self.is_after(coverage, session.position),
        }
    }

    /// Whether a revocation has a later position than a session. A revocation of an unknown epoch is
    /// older than every session with a position.
    fn is_after(&self, coverage: Coverage, session: Option<Position>) -> bool {
        match (coverage, session) {
            (Coverage::Always | Coverage::Pending, _) => true,
            (Coverage::At(revoked), Some(session)) if revoked.epoch == session.epoch => {
                revoked.number > session.number
            }
            (Coverage::At(revoked), session) => {
                self.recency_rank(revoked.epoch)
                    > session.and_then(|session| self.recency_rank(session.epoch))
                    || session.is_none()
            }
        }
    }

    /// The rank of an epoch: a higher one is newer.
    pub(super) fn recency_rank(&self, epoch: u32) -> Option<usize> {
        self.seen.iter().position(|seen| *seen == epoch)
    }
}

/// Returns zero if the system has no random source, which does not occur in practice.
pub(super) fn random_id() -> u32 {
    let mut id = [0; 4];
    let _ = rand::fill(&mut id);
    u32::from_be_bytes(id)
}
