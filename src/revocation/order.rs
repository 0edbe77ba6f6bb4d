//! The order of logins and revocations, by a counter that all replicas share.

use aws_lc_rs::rand;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

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
    pub(super) fn next(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }

    /// Returns a later position of the shared counter. The step is random: if the store loses its
    /// last changes, the numbers that follow differ from those that were lost.
    pub(super) fn advanced(self) -> Self {
        let step = u64::from(random_id() >> 12).saturating_add(1);
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

/// The revocation position at which a session began. A session without a position is older than
/// every revocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedPosition {
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<Position>,
    /// The process and the number of its revocations, for a session that began while the store was
    /// unavailable.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub(super) in_process: Option<(u32, u64)>,
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

/// The counters that this process has seen, oldest first.
#[derive(Debug, Default)]
pub(super) struct Epochs(Vec<u32>);

impl Epochs {
    /// Adds an epoch that is not known yet.
    pub(super) fn observe(&mut self, epoch: u32) {
        if self.age_index(epoch).is_none() {
            self.0.push(epoch);
            if self.0.len() > MAX_EPOCHS {
                self.0.remove(0);
            }
        }
    }

    /// Adds the epoch of the counter that is in use.
    pub(super) fn observe_newest(&mut self, epoch: u32) {
        if self.0.last() != Some(&epoch) {
            self.0.retain(|known| *known != epoch);
            self.observe(epoch);
        }
    }

    /// Whether a revocation is later than a session. A session of an unknown counter is older than
    /// all revocations.
    pub(super) fn is_after(&self, coverage: Coverage, session: Option<Position>) -> bool {
        match (coverage, session) {
            (Coverage::Always | Coverage::Pending, _) => true,
            (Coverage::At(revoked), Some(session)) if revoked.epoch == session.epoch => {
                revoked.number > session.number
            }
            (Coverage::At(revoked), session) => {
                self.age_index(revoked.epoch)
                    > session.and_then(|session| self.age_index(session.epoch))
                    || session.is_none()
            }
        }
    }

    /// Whether a revocation covers more sessions than another.
    pub(super) fn is_later(&self, new: Coverage, known: Coverage) -> bool {
        match (new, known) {
            (_, Coverage::Always) => false,
            (Coverage::Always, _) => true,
            (_, Coverage::Pending) => false,
            (new, Coverage::At(known)) => self.is_after(new, Some(known)),
        }
    }

    fn age_index(&self, epoch: u32) -> Option<usize> {
        self.0.iter().position(|known| *known == epoch)
    }
}

/// Returns zero if the system has no random source, which does not occur in practice.
pub(super) fn random_id() -> u32 {
    let mut id = [0; 4];
    let _ = rand::fill(&mut id);
    u32::from_be_bytes(id)
}
