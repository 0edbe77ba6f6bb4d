//! Results of refreshes that no store has yet. With the refresh token spent, they are all there is
//! of their session.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use super::FlightId;
use crate::oauth::TokenResponse;

/// The results of so many sessions are held, and when that is too many, each for so long.
const MAX_HELD: usize = 10_000;
const LONGEST_HELD: Duration = Duration::from_secs(60 * 60);

/// What is held of a refresh, under the generation that was refreshed.
#[derive(Debug)]
pub(super) enum Held {
    /// Tokens that came while the keys to verify them were out of reach.
    Tokens(TokenResponse),
    /// A session that could not be published, sealed for the store.
    Unpublished(String),
}

#[derive(Debug, Default)]
pub(super) struct HeldTokens(Mutex<HashMap<FlightId, (Held, Instant)>>);

impl HeldTokens {
    pub(super) fn keep(&self, id: FlightId, result: Held) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MAX_HELD {
            held.retain(|_, (_, since)| since.elapsed() < LONGEST_HELD);
        }
        if held.len() < MAX_HELD {
            held.insert(id, (result, Instant::now()));
        }
    }

    /// The result of this refresh, if it was verified and could not be published.
    pub(super) fn unpublished(&self, id: &FlightId) -> Option<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(id) {
            Some((Held::Unpublished(sealed), _)) => Some(sealed.clone()),
            _ => None,
        }
    }

    pub(super) fn take_tokens(&self, id: &FlightId) -> Option<TokenResponse> {
        match self.take(id)? {
            Held::Tokens(tokens) => Some(tokens),
            Held::Unpublished(_) => None,
        }
    }

    pub(super) fn take(&self, id: &FlightId) -> Option<Held> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(id).map(|(result, _)| result)
    }
}
