//! Exchange of a refresh token: the call to the token endpoint, and the verification of its tokens.

use tokio::time::{Duration, sleep, timeout};

use super::backend::{ExchangeResult, Verification};
use super::live_backend::{LiveBackend, POLL_INTERVAL, Refreshed};
use crate::oauth::{OAuthError, UnverifiedTokens};
use crate::session::cookie::record::SessionRecord;
use crate::session::cookie::seal::SealingFailed;
use crate::token::{Grant, TokenError};
use crate::util::telemetry;

/// Shorter than the rest of the lease after a token call.
const VERIFICATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Tries to store a refreshed session, before its result is published.
const STORE_TRIES: usize = 3;

impl LiveBackend<'_> {
    /// Spends the refresh token of the session, or that of unverified tokens. Returns `None` if the
    /// result is unknown.
    pub(super) async fn exchange_tokens(
        &self,
        unverified: Option<&str>,
    ) -> Option<ExchangeResult<Refreshed>> {
        let exchanged = match self.try_exchange(unverified).await {
            Ok(exchanged) => Some(exchanged),
            Err(ExchangeError::OAuth(OAuthError::InvalidGrant)) => {
                Some(ExchangeResult::InvalidGrant)
            }
            Err(error) => {
                telemetry::internal_error("session_refresh", &error);
                None
            }
        };
        telemetry::session_refreshed(match exchanged {
            Some(ExchangeResult::Refreshed(_)) => "refreshed",
            Some(ExchangeResult::InvalidGrant) => "ended",
            None | Some(ExchangeResult::Unverified(_)) => "failed",
        });
        exchanged
    }

    async fn try_exchange(
        &self,
        unverified: Option<&str>,
    ) -> Result<ExchangeResult<Refreshed>, ExchangeError> {
        let record = self.session.record();
        let spent = unverified
            .and_then(|text| self.sessions.open_unverified(record, text))
            .and_then(|tokens| tokens.refresh_token)
            .or_else(|| record.refresh_token.clone())
            .ok_or(ExchangeError::NoRefreshToken)?;
        let mut tokens = self.sessions.scalekit().refresh(&spent).await?;
        tokens.refresh_token.get_or_insert(spent);
        match self.verify_tokens(&tokens).await {
            Err(ExchangeError::Token(error))
                if !matches!(classify(error), Verification::Rejected) =>
            {
                telemetry::internal_error("session_refresh", &error);
                Ok(ExchangeResult::Unverified(self.sessions.seal_unverified(record, &tokens)?))
            }
            verified => verified.map(ExchangeResult::Refreshed),
        }
    }

    /// Verifies tokens that were received earlier.
    pub(super) async fn verify_received(&self, tokens: &str) -> Verification<Refreshed> {
        let Some(tokens) = self.sessions.open_unverified(self.session.record(), tokens) else {
            return Verification::Rejected;
        };
        match self.verify_tokens(&tokens).await {
            Ok(refreshed) => Verification::Verified(refreshed),
            Err(error) => {
                telemetry::internal_error("session_refresh", &error);
                match error {
                    ExchangeError::Token(error) => classify(error),
                    _ => Verification::Unavailable,
                }
            }
        }
    }

    /// Verifies tokens. Returns the session with them.
    async fn verify_tokens(&self, tokens: &UnverifiedTokens) -> Result<Refreshed, ExchangeError> {
        let sessions = self.sessions;
        let grant = Grant::RefreshToken { subject: self.session.principal().subject() };
        let verified = timeout(VERIFICATION_TIMEOUT, tokens.verify_for(sessions.scalekit(), grant))
            .await
            .map_err(|_| TokenError::KeysUnavailable)??;
        let record = self
            .session
            .record()
            .refresh(
                &verified.principal,
                tokens.refresh_token.clone(),
                tokens.id_token.as_ref(),
                sessions.retained(&tokens.access_token),
                sessions.inner.lifetimes,
                sessions.now(),
            )
            .ok_or(SealingFailed)?;
        if record.is_stored() {
            self.store(&record).await;
        }
        Ok(Refreshed { sealed: sessions.seal_stored(&record)?, record })
    }

    /// Puts the refreshed session into the store, whose older one has a token that is spent.
    async fn store(&self, record: &SessionRecord) {
        for _ in 0..STORE_TRIES {
            match self.sessions.replace_older(record).await {
                Ok(_) => return,
                Err(error) => telemetry::internal_error("stored_session", &error),
            }
            sleep(POLL_INTERVAL).await;
        }
        // A reader of the older session uses the published result instead.
        self.sessions.retry_replace_older(record.clone());
    }
}

/// Classifies an error in tokens that the token endpoint has issued.
fn classify(error: TokenError) -> Verification<Refreshed> {
    match error {
        TokenError::KeysUnavailable | TokenError::NotYetValid => Verification::Unavailable,
        // The key may be published later or never, or may have been replaced under the same `kid`.
        TokenError::Expired | TokenError::InvalidSignature | TokenError::NoMatchingKey => {
            Verification::AccessTokenUnusable
        }
        _ => Verification::Rejected,
    }
}

#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("the session has no refresh token")]
    NoRefreshToken,
    #[error(transparent)]
    NotSealed(#[from] SealingFailed),
    #[error(transparent)]
    OAuth(#[from] OAuthError),
    #[error("the refreshed tokens were not accepted: {0}")]
    Token(#[from] TokenError),
}
