//! One refresh per refresh token, whatever the number of requests.
//!
//! A refresh token works once. The first request that needs it starts a refresh in a task of its
//! own, which a client that goes away does not cancel (R5); others wait for the same result, and
//! requests that still carry the old cookie a little later find it remembered (R1). A failure is
//! remembered too, but only long enough that waiters do not queue up calls that fail.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aws_lc_rs::digest::{SHA256, digest};
use time::{Duration, OffsetDateTime};

use super::{Session, Sessions};
use crate::flight::{Flight, Flights};
use crate::oauth::{OAuthError, TokenResponse};
use crate::secret::SecretString;
use crate::telemetry;
use crate::token::{Expectations, Flow, IdTokenExpectations, Principal, TokenError};

/// How long requests with the old cookie are given the new session.
const RESULT_MEMORY: Duration = Duration::seconds(60);
const FAILURE_MEMORY: Duration = Duration::seconds(1);
/// More results are not remembered; requests with old cookies then cost a refresh each.
const MAX_REMEMBERED: usize = 100_000;

/// What came of a refresh.
#[derive(Clone, Debug)]
pub(crate) enum Renewal {
    Renewed(Arc<Renewed>),
    /// The environment says that the session has ended (`invalid_grant`).
    Ended,
    /// Nobody knows: the environment does not answer, or not sensibly (R2).
    Unavailable,
}

#[derive(Debug)]
pub(crate) struct Renewed {
    pub(super) session: Session,
    pub(super) sealed: String,
}

impl Renewed {
    /// Whether this very refresh token is to be used again.
    fn is_due(&self, id: &RefreshId, now: OffsetDateTime) -> bool {
        let record = self.session.record();
        let same = record.refresh_token.as_ref().is_some_and(|token| RefreshId::of(token) == *id);
        same && record.is_due_for_renewal(now)
    }
}

/// Refreshes under way and their recent results, by the refresh token they are about.
#[derive(Debug)]
pub(super) struct Refreshes {
    flights: Flights<RefreshId, Renewal>,
    results: Mutex<Results>,
}

impl Refreshes {
    pub(super) fn new() -> Self {
        Self { flights: Flights::new(), results: Mutex::default() }
    }

    fn recent(&self, id: &RefreshId, now: OffsetDateTime) -> Option<Renewal> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.recent(id, now)
    }

    fn publish(&self, id: RefreshId, renewal: &Renewal, now: OffsetDateTime) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.publish(id, renewal.clone(), now);
    }

    fn keep_unverified(&self, id: RefreshId, tokens: TokenResponse) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.unverified.insert(id, tokens);
    }

    fn take_unverified(&self, id: &RefreshId) -> Option<TokenResponse> {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.unverified.remove(id)
    }
}

impl Sessions {
    /// Renews a session's tokens, or joins whoever does.
    pub(crate) fn renew(&self, session: &Session) -> Renewing {
        let now = self.0.scalekit.clock().now();
        let mut session = session.clone();
        loop {
            let Some(refresh_token) = session.record().refresh_token.clone() else {
                return Renewing::Settled(Renewal::Ended);
            };
            let id = RefreshId::of(&refresh_token);
            match self.0.refreshes.recent(&id, now) {
                // A late request whose new session is due already: go on from there.
                Some(Renewal::Renewed(renewed))
                    if renewed.session.record().is_due_for_renewal(now) =>
                {
                    session = renewed.session.clone();
                }
                Some(recent) => return Renewing::Settled(recent),
                None => {
                    let sessions = self.clone();
                    let flight = self.0.refreshes.flights.join(id.clone(), || async move {
                        sessions.refresh_once(id, session, refresh_token).await
                    });
                    return Renewing::UnderWay(flight);
                }
            }
        }
    }

    async fn refresh_once(&self, id: RefreshId, session: Session, token: SecretString) -> Renewal {
        let clock = self.0.scalekit.clock();
        let started = clock.now();
        // Somebody's refresh may have ended between our look at the results and this flight.
        if let Some(recent) = self.0.refreshes.recent(&id, started) {
            return recent;
        }
        let renewal = match self.try_refresh(&id, &session, &token).await {
            Ok(renewed) => Renewal::Renewed(Arc::new(renewed)),
            Err(RefreshError::OAuth(OAuthError::InvalidGrant)) => Renewal::Ended,
            Err(error) => {
                telemetry::internal_error("session_refresh", &error);
                Renewal::Unavailable
            }
        };
        let now = clock.now();
        telemetry::session_refreshed(renewal.outcome());
        self.0.refreshes.publish(id, &renewal, now);
        renewal
    }

    async fn try_refresh(
        &self,
        id: &RefreshId,
        session: &Session,
        refresh_token: &SecretString,
    ) -> Result<Renewed, RefreshError> {
        let flow = || Flow::Refresh { subject: session.principal().subject() };
        let held = self.0.refreshes.take_unverified(id);
        let was_held = held.is_some();
        let mut tokens = match held {
            Some(tokens) => tokens,
            None => self.0.scalekit.refresh(refresh_token).await?,
        };
        let mut verified = self.verify(&tokens, flow()).await;
        if was_held && matches!(verified, Err(TokenError::Expired)) {
            // They waited for the keys for longer than they live; their refresh token lives on.
            tokens = self.renew_held(id, tokens).await?;
            verified = self.verify(&tokens, flow()).await;
        }
        let principal = match verified {
            Ok(verified) => verified,
            Err(TokenError::KeysUnavailable) => {
                // The old refresh token is spent: these tokens are all there is of the session.
                self.0.refreshes.keep_unverified(id.clone(), tokens);
                return Err(TokenError::KeysUnavailable.into());
            }
            Err(error) => return Err(error.into()),
        };
        let TokenResponse { refresh_token, id_token, .. } = tokens;
        let now = self.0.scalekit.clock().now();
        let record = session
            .record()
            .renew(&principal, refresh_token, id_token.as_ref(), self.0.lifetimes, now)
            .ok_or(RefreshError::NotSealed)?;
        let sealed = self.seal(&record).map_err(|_| RefreshError::NotSealed)?;
        let session = record.into_session().ok_or(RefreshError::NotSealed)?;
        self.remember(&sealed, session.clone());
        Ok(Renewed { session, sealed })
    }

    /// Renews tokens that have expired while they were held. They stay held if that fails.
    async fn renew_held(
        &self,
        id: &RefreshId,
        held: TokenResponse,
    ) -> Result<TokenResponse, RefreshError> {
        let next = held.refresh_token.clone().ok_or(TokenError::Expired)?;
        match self.0.scalekit.refresh(&next).await {
            Ok(mut tokens) => {
                tokens.refresh_token.get_or_insert(next);
                Ok(tokens)
            }
            Err(OAuthError::InvalidGrant) => Err(OAuthError::InvalidGrant.into()),
            Err(error) => {
                self.0.refreshes.keep_unverified(id.clone(), held);
                Err(error.into())
            }
        }
    }

    /// Verifies the tokens of a login or a refresh: they must be from our environment, for us, and
    /// speak of one and the same person.
    pub(crate) async fn verify(
        &self,
        tokens: &TokenResponse,
        flow: Flow<'_>,
    ) -> Result<Principal, TokenError> {
        let scalekit = &self.0.scalekit;
        let now = scalekit.clock().now();
        let signed = scalekit.keys().verify(tokens.access_token.expose()).await?;
        let expectations = Expectations {
            issuers: vec![scalekit.environment_url().to_owned()],
            audiences: None,
            client_ids: vec![scalekit.client_id().to_owned()],
            expiry_leeway: Duration::ZERO,
            start_leeway: Duration::MINUTE,
        };
        let principal = expectations.judge(signed.claims, signed.typ.as_deref(), now)?;
        let expected_subject = match &flow {
            Flow::Refresh { subject } => Some((*subject).to_owned()),
            Flow::Login { .. } => None,
        };
        let id_subject = match &tokens.id_token {
            Some(id_token) => {
                let expected = IdTokenExpectations {
                    issuer: scalekit.environment_url(),
                    client_id: scalekit.client_id(),
                    access_token: tokens.access_token.expose(),
                    flow,
                };
                Some(expected.verify(id_token.expose(), scalekit.keys(), now).await?)
            }
            None => expected_subject,
        };
        if id_subject.as_deref() != Some(principal.subject()) {
            return Err(TokenError::Claim("sub"));
        }
        Ok(principal)
    }
}

impl Renewal {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Renewed(_) => "renewed",
            Self::Ended => "ended",
            Self::Unavailable => "failed",
        }
    }
}

/// A renewal to wait for.
#[derive(Clone, Debug)]
pub(crate) enum Renewing {
    Settled(Renewal),
    UnderWay(Flight<Renewal>),
}

impl Future for Renewing {
    type Output = Renewal;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Renewal> {
        match &mut *self {
            Self::Settled(renewal) => Poll::Ready(renewal.clone()),
            Self::UnderWay(flight) => {
                Pin::new(flight).poll(cx).map(|landed| landed.unwrap_or(Renewal::Unavailable))
            }
        }
    }
}

/// A refresh token, by its hash: the token itself is in as few places as possible.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RefreshId(Box<[u8]>);

impl RefreshId {
    fn of(token: &SecretString) -> Self {
        Self(digest(&SHA256, token.expose().as_bytes()).as_ref().into())
    }
}

#[derive(Debug, Default)]
struct Results {
    settled: HashMap<RefreshId, (Renewal, OffsetDateTime)>,
    /// Tokens that came while the keys to verify them were out of reach.
    unverified: HashMap<RefreshId, TokenResponse>,
    sweep_at: usize,
}

impl Results {
    fn recent(&self, id: &RefreshId, now: OffsetDateTime) -> Option<Renewal> {
        let (renewal, until) = self.settled.get(id)?;
        // A refresh token that stayed the same is due again before its last result is forgotten.
        let due_again = matches!(renewal, Renewal::Renewed(renewed) if renewed.is_due(id, now));
        (now < *until && !due_again).then(|| renewal.clone())
    }

    fn publish(&mut self, id: RefreshId, renewal: Renewal, now: OffsetDateTime) {
        let memory = match renewal {
            Renewal::Renewed(_) | Renewal::Ended => RESULT_MEMORY,
            Renewal::Unavailable => FAILURE_MEMORY,
        };
        // Sweeping when the number has doubled keeps the cost of a refresh constant.
        if self.settled.len() >= self.sweep_at {
            self.settled.retain(|_, (_, until)| now < *until);
            self.sweep_at = (self.settled.len() * 2).clamp(64, MAX_REMEMBERED);
        }
        if self.settled.len() < MAX_REMEMBERED {
            self.settled.insert(id, (renewal, now.saturating_add(memory)));
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error("the renewed session could not be sealed")]
    NotSealed,
    #[error(transparent)]
    OAuth(#[from] OAuthError),
    #[error("the renewed tokens were not accepted: {0}")]
    Token(#[from] TokenError),
}
