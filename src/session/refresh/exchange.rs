//! Exchange of a refresh token: the call to the token endpoint, and the verification of its tokens.

use tokio::time::{Duration, sleep, timeout};

use super::backend::{ExchangeResult, POLL_INTERVAL, Verification};
use crate::oauth::{OAuthError, UnverifiedTokens};
use crate::session::cookie::record::SessionRecord;
use crate::session::cookie::seal::SealingFailed;
use crate::session::{Session, Sessions};
use crate::token::{Grant, TokenError};
use crate::util::telemetry;

/// Shorter than the rest of the lease after a token call.
const VERIFICATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Tries to store a refreshed session, before its result is published.
const STORE_TRIES: usize = 3;

/// The record of a session with new tokens.
#[derive(Clone)]
pub(super) struct RefreshedRecord {
    pub(super) record: SessionRecord,
    /// The record, sealed for the store.
    pub(super) sealed: String,
}

/// Spends the refresh token of the session, or that of unverified tokens. Returns `None` if the
/// result is unknown.
pub(super) async fn exchange(
    sessions: &Sessions,
    session: &Session,
    unverified: Option<&str>,
) -> Option<ExchangeResult<RefreshedRecord>> {
    let exchanged = match try_exchange(sessions, session, unverified).await {
        Ok(exchanged) => Some(exchanged),
        Err(ExchangeError::OAuth(OAuthError::InvalidGrant)) => Some(ExchangeResult::InvalidGrant),
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
    sessions: &Sessions,
    session: &Session,
    unverified: Option<&str>,
) -> Result<ExchangeResult<RefreshedRecord>, ExchangeError> {
    let record = session.record();
    let spent = unverified
        .and_then(|text| sessions.open_unverified(record, text))
        .and_then(|tokens| tokens.refresh_token)
        .or_else(|| record.refresh_token.clone())
        .ok_or(ExchangeError::NoRefreshToken)?;
    let mut tokens = sessions.scalekit().refresh(&spent).await?;
    tokens.refresh_token.get_or_insert(spent);
    match verify_tokens(sessions, session, &tokens).await {
        Err(ExchangeError::Token(error))
            if !matches!(verification_of(error), Verification::Rejected) =>
        {
            telemetry::internal_error("session_refresh", &error);
            Ok(ExchangeResult::Unverified(sessions.seal_unverified(record, &tokens)?))
        }
        verified => verified.map(ExchangeResult::Refreshed),
    }
}

/// Verifies tokens that were received earlier.
pub(super) async fn verify(
    sessions: &Sessions,
    session: &Session,
    tokens: &str,
) -> Verification<RefreshedRecord> {
    let Some(tokens) = sessions.open_unverified(session.record(), tokens) else {
        return Verification::Rejected;
    };
    match verify_tokens(sessions, session, &tokens).await {
        Ok(refreshed) => Verification::Verified(refreshed),
        Err(error) => {
            telemetry::internal_error("session_refresh", &error);
            match error {
                ExchangeError::Token(error) => verification_of(error),
                _ => Verification::Unavailable,
            }
        }
    }
}

/// Verifies tokens. Returns the session with them.
async fn verify_tokens(
    sessions: &Sessions,
    session: &Session,
    tokens: &UnverifiedTokens,
) -> Result<RefreshedRecord, ExchangeError> {
    let grant = Grant::RefreshToken { subject: session.principal().subject() };
    let verified = timeout(VERIFICATION_TIMEOUT, tokens.verify_for(sessions.scalekit(), grant))
        .await
        .map_err(|_| TokenError::KeysUnavailable)??;
    let record = session
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
        store(sessions, &record).await;
    }
    Ok(RefreshedRecord { sealed: sessions.seal_stored(&record)?, record })
}

/// Puts the refreshed session into the store, whose older one has a token that is spent.
async fn store(sessions: &Sessions, record: &SessionRecord) {
    for _ in 0..STORE_TRIES {
        match sessions.replace_older(record).await {
            Ok(_) => return,
            Err(error) => telemetry::internal_error("stored_session", &error),
        }
        sleep(POLL_INTERVAL).await;
    }
    // A reader of the older session uses the published result instead.
    sessions.retry_replace_older(record.clone());
}

/// Returns what an error in tokens means that the token endpoint has issued.
fn verification_of(error: TokenError) -> Verification<RefreshedRecord> {
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
