//! One refresh per session and generation, whatever the number of requests and replicas.
//!
//! A refresh token works once. The first request that needs it starts a refresh in a task of its
//! own, which a client that goes away does not cancel (R5); others in this process wait for the
//! same flight, others elsewhere for the same entry of the shared store (see `coordinator`).

mod coordinator;
#[cfg(test)]
mod explore;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::{Duration, Instant, sleep};

pub(in crate::session) use self::coordinator::Entry;
use self::coordinator::{Exchanged, Outcome, World};
use super::{Session, Sessions};
use crate::flight::{Flight, Flights};
use crate::oauth::{OAuthError, TokenResponse};
use crate::secret::SecretString;
use crate::shared_store::{Purpose, StoreError, StoreKey, in_time};
use crate::telemetry;
use crate::token::{Flow, TokenError};

/// Between two looks at somebody else's lease, and the longest that it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(12);

/// Of so many sessions tokens are held that could not be verified yet, and when that is too many,
/// for so long.
const MAX_UNVERIFIED: usize = 10_000;
const LONGEST_HELD: Duration = Duration::from_secs(60 * 60);

/// What came of a refresh.
#[derive(Clone, Debug)]
pub(crate) enum Renewal {
    Renewed(Arc<Renewed>),
    /// The session was logged out or revoked, or the environment says that it has ended.
    Ended,
    /// Nobody knows: the environment does not answer, or not sensibly (R2).
    Unavailable,
}

pub(crate) struct Renewed {
    pub(super) session: Session,
    pub(super) sealed: String,
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Refreshes under way in this process.
#[derive(Debug)]
pub(super) struct Refreshes {
    flights: Flights<FlightId, Renewal>,
    /// Tokens that came while the keys to verify them were out of reach: with the refresh token
    /// spent, they are all there is of the session.
    unverified: Mutex<HashMap<FlightId, (TokenResponse, Instant)>>,
    owners: AtomicU32,
}

/// A session and the generation to be refreshed.
type FlightId = (String, u32);

impl Refreshes {
    pub(super) fn new() -> Self {
        Self { flights: Flights::new(), unverified: Mutex::default(), owners: AtomicU32::new(0) }
    }
}

impl Sessions {
    /// Renews a session's tokens, or joins whoever does.
    pub(crate) fn renew(&self, session: &Session) -> Renewing {
        let record = session.record();
        let id = (record.id().to_owned(), record.generation());
        let (sessions, session) = (self.clone(), session.clone());
        let work = || async move { sessions.renew_until_fresh(session).await };
        Renewing(self.0.refreshes.flights.join(id, work))
    }

    /// A late request's session may be several refreshes behind, and the newest due again.
    async fn renew_until_fresh(&self, mut session: Session) -> Renewal {
        loop {
            let renewal = self.renew_once(&session).await;
            match &renewal {
                Renewal::Renewed(renewed) if self.is_due(&renewed.session) => {
                    session = renewed.session.clone();
                }
                _ => return renewal,
            }
        }
    }

    async fn renew_once(&self, session: &Session) -> Renewal {
        // A token is not spent for tokens that could not be verified.
        if let Err(error) = self.0.scalekit.keys().ready().await {
            telemetry::internal_error("session_refresh", &error);
            return Renewal::Unavailable;
        }
        let refresher = Refresher::new(self, session);
        let outcome =
            coordinator::refresh(&refresher, session.record().generation(), &refresher.owner).await;
        match outcome {
            Outcome::Renewed(sealed) => match self.unseal(&sealed) {
                // An entry that was moved to another session's name is none of ours.
                Some(newest) if newest.record().id() == session.record().id() => {
                    Renewal::Renewed(Arc::new(Renewed { session: newest, sealed }))
                }
                _ => Renewal::Unavailable,
            },
            Outcome::Ended => Renewal::Ended,
            Outcome::Unavailable => Renewal::Unavailable,
        }
    }

    pub(super) fn standing_key(session: &Session) -> StoreKey {
        StoreKey::new(Purpose::Refresh, session.record().id())
    }
}

/// The coordinator's world as it is: the shared store and the token endpoint.
struct Refresher<'a> {
    sessions: &'a Sessions,
    session: &'a Session,
    key: StoreKey,
    owner: String,
    started: Instant,
}

impl<'a> Refresher<'a> {
    fn new(sessions: &'a Sessions, session: &'a Session) -> Self {
        // Unique in this process by the number, among replicas by the random part.
        let number = sessions.0.refreshes.owners.fetch_add(1, Ordering::Relaxed);
        let random = SecretString::random::<9>();
        let owner = format!("{number}-{}", random.as_ref().map_or("", SecretString::expose));
        let key = Sessions::standing_key(session);
        Self { sessions, session, key, owner, started: Instant::now() }
    }

    async fn try_exchange(&self) -> Result<String, ExchangeError> {
        let sessions = self.sessions;
        let scalekit = sessions.scalekit();
        let record = self.session.record();
        let refresh_token = record.refresh_token.as_ref().ok_or(ExchangeError::NoRefreshToken)?;
        let id = (record.id().to_owned(), record.generation());
        let flow = || Flow::Refresh { subject: self.session.principal().subject() };
        let held = sessions.0.refreshes.take_unverified(&id);
        let was_held = held.is_some();
        let mut tokens = match held {
            Some(tokens) => tokens,
            None => scalekit.refresh(refresh_token).await?,
        };
        let mut verified = sessions.verify(&tokens, flow()).await;
        if was_held && matches!(verified, Err(TokenError::Expired)) {
            // They waited for the keys for longer than they live; their refresh token lives on.
            tokens = self.renew_held(&id, tokens).await?;
            verified = sessions.verify(&tokens, flow()).await;
        }
        if matches!(verified, Err(TokenError::KeysUnavailable)) {
            sessions.0.refreshes.keep_unverified(id, tokens);
            return Err(TokenError::KeysUnavailable.into());
        }
        let principal = verified?;
        let TokenResponse { refresh_token, id_token, .. } = tokens;
        let now = scalekit.clock().now();
        let record = record
            .renew(&principal, refresh_token, id_token.as_ref(), sessions.0.lifetimes, now)
            .ok_or(ExchangeError::NotSealed)?;
        let sealed = sessions.seal(&record).map_err(|_| ExchangeError::NotSealed)?;
        let session = record.into_session().ok_or(ExchangeError::NotSealed)?;
        sessions.remember(&sealed, session);
        Ok(sealed)
    }
}

impl Refresher<'_> {
    /// Renews tokens that have expired while they were held. They stay held if that fails.
    async fn renew_held(
        &self,
        id: &FlightId,
        held: TokenResponse,
    ) -> Result<TokenResponse, ExchangeError> {
        let next = held.refresh_token.clone().ok_or(TokenError::Expired)?;
        match self.sessions.scalekit().refresh(&next).await {
            Ok(mut tokens) => {
                tokens.refresh_token.get_or_insert(next);
                Ok(tokens)
            }
            Err(OAuthError::InvalidGrant) => Err(OAuthError::InvalidGrant.into()),
            Err(error) => {
                self.sessions.0.refreshes.keep_unverified(id.clone(), held);
                Err(error.into())
            }
        }
    }
}

impl World for Refresher<'_> {
    async fn read(&self) -> Result<Option<Bytes>, StoreError> {
        in_time(self.sessions.0.store.get(&self.key)).await
    }

    async fn set(
        &self,
        seen: Option<Bytes>,
        entry: &Entry,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let store = &self.sessions.0.store;
        match seen {
            None => in_time(store.put_if_absent(&self.key, entry.encode(), ttl)).await,
            Some(seen) => in_time(store.replace_if(&self.key, seen, entry.encode(), ttl)).await,
        }
    }

    async fn exchange(&self) -> Exchanged {
        let exchanged = match self.try_exchange().await {
            Ok(sealed) => Exchanged::Renewed(sealed),
            Err(ExchangeError::OAuth(OAuthError::InvalidGrant)) => Exchanged::Refused,
            Err(error) => {
                telemetry::internal_error("session_refresh", &error);
                Exchanged::Failed
            }
        };
        telemetry::session_refreshed(match exchanged {
            Exchanged::Renewed(_) => "renewed",
            Exchanged::Refused => "ended",
            Exchanged::Failed => "failed",
        });
        exchanged
    }

    async fn wait(&self) -> bool {
        sleep(LOOK_AGAIN).await;
        self.started.elapsed() < LONGEST_WAIT
    }
}

impl Refreshes {
    fn keep_unverified(&self, id: FlightId, tokens: TokenResponse) {
        let mut unverified = self.unverified.lock().unwrap_or_else(PoisonError::into_inner);
        if unverified.len() >= MAX_UNVERIFIED {
            unverified.retain(|_, (_, since)| since.elapsed() < LONGEST_HELD);
        }
        if unverified.len() < MAX_UNVERIFIED {
            unverified.insert(id, (tokens, Instant::now()));
        }
    }

    fn take_unverified(&self, id: &FlightId) -> Option<TokenResponse> {
        let mut unverified = self.unverified.lock().unwrap_or_else(PoisonError::into_inner);
        unverified.remove(id).map(|(tokens, _)| tokens)
    }
}

/// A renewal to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Renewing(Flight<Renewal>);

impl Future for Renewing {
    type Output = Renewal;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Renewal> {
        Pin::new(&mut self.0).poll(cx).map(|landed| landed.unwrap_or(Renewal::Unavailable))
    }
}

#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("the session has no refresh token")]
    NoRefreshToken,
    #[error("the renewed session could not be sealed")]
    NotSealed,
    #[error(transparent)]
    OAuth(#[from] OAuthError),
    #[error("the renewed tokens were not accepted: {0}")]
    Token(#[from] TokenError),
}
