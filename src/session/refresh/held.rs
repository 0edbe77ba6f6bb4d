//! Tokens that came while the keys to verify them were out of reach. With the refresh token spent,
//! they are all there is of their session.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use super::FlightId;
use crate::oauth::TokenResponse;

/// The tokens of so many sessions are held, and when that is too many, each for so long.
const MAX_HELD: usize = 10_000;
const LONGEST_HELD: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Default)]
pub(super) struct HeldTokens(Mutex<HashMap<FlightId, (TokenResponse, Instant)>>);

impl HeldTokens {
    pub(super) fn keep(&self, id: FlightId, tokens: TokenResponse) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MAX_HELD {
            held.retain(|_, (_, since)| since.elapsed() < LONGEST_HELD);
        }
        if held.len() < MAX_HELD {
            held.insert(id, (tokens, Instant::now()));
        }
    }

    pub(super) fn take(&self, id: &FlightId) -> Option<TokenResponse> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(id).map(|(tokens, _)| tokens)
    }
}
