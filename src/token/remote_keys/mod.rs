//! An issuer's key set, fetched on demand. A request whose signature is valid under a known key does
//! not wait for a fetch.
//!
//! * A fetch at startup, or of a set past its age, needs no budget. A known key past its age is used
//!   during the next fetch, and for up to a day if fetches fail.
//! * A token with an unknown key ID causes a fetch within a budget, and so does an invalid signature
//!   under a known key ID (another budget), so that clients cannot flood the issuer with
//!   requests. No lock is held during a fetch. Each [`TokenSource`] has its own budgets: invalid
//!   tokens of one do not limit the fetches of the others.
//! * A key is reported as unknown only after a fetch that began after the token was received. One that
//!   began earlier may have missed a new key, and is followed by another one within the budget.
//! * While the budget is empty, it is unknown whether the issuer has a key, so the keys are unavailable.
//!   The same applies to an invalid signature while fetches fail: the key may have been replaced.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use url::Url;

use super::jws::{CompactJws, JoseHeader, KnownHeader, MAX_ISSUED_TOKEN_BYTES, MAX_TOKEN_BYTES};
use super::key_set::KeySet;
use super::verifying_key::VerifyingKey;
use super::{Algorithm, Claims, TokenError};
use crate::clock::{Clock, millis};
use crate::http_client::{HttpClient, HttpClientError, SendLimits, send_within_limits};
use crate::readiness::{self, ReadinessCheck};
use crate::util::diagnosis::{CheckError as _, Shown};
use crate::util::single_flight::{Flight, SingleFlight};
use crate::util::telemetry;

const FRESH_TTL: Duration = Duration::from_secs(5 * 60);
const STALE_IF_ERROR: Duration = Duration::from_secs(24 * 60 * 60);
/// Interval between attempts to fetch the set that replaces a stale one.
const STALE_RETRY: Duration = Duration::from_secs(10);
/// How long the error of a failed startup fetch is returned before the next fetch.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);
const LIMITS: SendLimits =
    SendLimits { timeout: Duration::from_secs(5), max_body_bytes: 256 * 1024 };

/// Result of a verification with the current keys.
#[derive(Debug)]
pub(crate) enum TokenCheck<T> {
    Done(Result<T, TokenError>),
    /// A fetch that may bring the missing key is in progress: wait for it, then try again.
    NeedsFetch(KeySetFetch),
}

impl<T> TokenCheck<T> {
    /// Waits for fetches until the check is done.
    pub(crate) async fn wait(
        mut self,
        after_fetch: impl Fn(Fetched) -> Self,
    ) -> Result<T, TokenError> {
        loop {
            match self {
                Self::Done(result) => return result,
                Self::NeedsFetch(fetch) => self = after_fetch(fetch.await),
            }
        }
    }
}

/// A fetch to wait for.
#[derive(Debug)]
pub(crate) struct KeySetFetch {
    flight: Flight<bool>,
    /// Whether it may have begun before the token was received. Then a key that it does not bring may
    /// have been published since, and one more fetch decides.
    may_predate_token: bool,
}

/// Result of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// A key that is not in the set does not exist.
    Current,
    /// The fetch may have begun before the key of the token was published.
    MayPredateToken,
    Failed,
}

impl Future for KeySetFetch {
    type Output = Fetched;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fetched> {
        Pin::new(&mut self.flight).poll(cx).map(|fetched| match fetched {
            Some(true) if self.may_predate_token => Fetched::MayPredateToken,
            Some(true) => Fetched::Current,
            _ => Fetched::Failed,
        })
    }
}

/// Where a token comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TokenSource {
    /// An `Authorization` header, from any client.
    Bearer,
    /// The issuer's token endpoint.
    Issuer,
    /// The URL of an IdP-initiated login, from any client.
    IdpInitiatedLogin,
    /// A back-channel logout request, from any client.
    Logout,
}

impl TokenSource {
    const COUNT: usize = 4;

    fn max_token_bytes(self) -> usize {
        match self {
            Self::Issuer => MAX_ISSUED_TOKEN_BYTES,
            Self::Bearer | Self::IdpInitiatedLogin | Self::Logout => MAX_TOKEN_BYTES,
        }
    }
}

/// A token whose signature was verified.
#[derive(Debug)]
pub(crate) struct VerifiedJws {
    pub(crate) claims: Claims,
    pub(crate) header: Arc<JoseHeader>,
    pub(crate) key: Arc<VerifyingKey>,
}

impl VerifiedJws {
    pub(crate) fn typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }
}

/// Cheap to clone; clones share the set.
#[derive(Clone, Debug)]
pub(crate) struct RemoteKeys {
    shared: Arc<Shared>,
}

impl RemoteKeys {
    pub(crate) fn new(
        url: Url,
        client: Arc<dyn HttpClient>,
        clock: Clock,
        algorithms: Vec<Algorithm>,
    ) -> Self {
        let shared = Shared {
            endpoint: JwksEndpoint { url, client, algorithms },
            clock,
            current: ArcSwapOption::empty(),
            known_header: ArcSwapOption::empty(),
            refetch_at: AtomicU64::new(0),
            usable_until: AtomicU64::new(0),
            unavailable_until: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            budgets: [const { FetchBudgets::full() }; TokenSource::COUNT],
            flights: SingleFlight::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Verifies the signature of a token, waiting for a fetch if it may help.
    pub(crate) async fn verify_signature(
        &self,
        token: &str,
        source: TokenSource,
    ) -> Result<VerifiedJws, TokenError> {
        let after_fetch = |fetched| self.verify_signature_after_fetch(token, source, fetched);
        self.verify_signature_now(token, source).wait(after_fetch).await
    }

    /// Waits until there are keys.
    pub(crate) async fn ready(&self) -> Result<(), TokenError> {
        if self.shared.usable().is_some() {
            return Ok(());
        }
        let fetch = self.shared.fetch_without_budget().ok_or(TokenError::KeysUnavailable)?;
        if fetch.await == Fetched::Failed { Err(TokenError::KeysUnavailable) } else { Ok(()) }
    }

    /// Verifies a signature with the current keys.
    pub(crate) fn verify_signature_now(
        &self,
        token: &str,
        source: TokenSource,
    ) -> TokenCheck<VerifiedJws> {
        let known = self.shared.known_header.load();
        let jws = match CompactJws::parse_up_to(source.max_token_bytes(), token, known.as_deref()) {
            Ok(jws) => jws,
            Err(error) => return TokenCheck::Done(Err(error)),
        };
        // Rejected before the token can cause a fetch (RFC 8725 section 3.1).
        if !self.shared.endpoint.algorithms.contains(&jws.header.algorithm) {
            return TokenCheck::Done(Err(self.shared.wrong_algorithm(&jws)));
        }
        let Some(keys) = self.shared.usable() else {
            return match self.shared.fetch_without_budget() {
                Some(fetch) => TokenCheck::NeedsFetch(fetch),
                None => TokenCheck::Done(Err(TokenError::KeysUnavailable)),
            };
        };
        self.shared.refetch_if_stale(self.shared.now());
        match check(&keys, &jws) {
            Ok(verified) => {
                // Tokens from other sources have other headers.
                if let TokenSource::Bearer = source
                    && let Some(new) = jws.new_header(known.as_deref())
                {
                    self.shared.known_header.store(Some(Arc::new(new)));
                }
                TokenCheck::Done(Ok(verified))
            }
            Err(error) => match self.shared.fetch_after(error, source) {
                Ok(fetch) => TokenCheck::NeedsFetch(fetch),
                Err(error) => TokenCheck::Done(Err(self.shared.explain(error, &keys, &jws))),
            },
        }
    }

    /// Verifies a signature after the fetch that [`verify_signature_now`](Self::verify_signature_now),
    /// or this method, returned; `fetched` is its result.
    pub(crate) fn verify_signature_after_fetch(
        &self,
        token: &str,
        source: TokenSource,
        fetched: Fetched,
    ) -> TokenCheck<VerifiedJws> {
        match fetched {
            Fetched::MayPredateToken => match self.verify_signature_now(token, source) {
                // Another fetch in progress began after that one, and so after the token was received.
                TokenCheck::NeedsFetch(fetch) => {
                    TokenCheck::NeedsFetch(KeySetFetch { may_predate_token: false, ..fetch })
                }
                done => done,
            },
            _ => TokenCheck::Done(self.verify_finally(token, fetched == Fetched::Current)),
        }
    }

    fn verify_finally(&self, token: &str, is_current: bool) -> Result<VerifiedJws, TokenError> {
        // `verify_signature_now` has checked the length for its source.
        let jws = CompactJws::parse_up_to(MAX_ISSUED_TOKEN_BYTES, token, None)?;
        let keys = self.shared.usable().ok_or(TokenError::KeysUnavailable)?;
        match check(&keys, &jws) {
            // It is unknown whether the issuer has that key now, or another one with that ID.
            Err(TokenError::NoMatchingKey | TokenError::InvalidSignature) if !is_current => {
                Err(TokenError::KeysUnavailable)
            }
            result => result.map_err(|error| self.shared.explain(error, &keys, &jws)),
        }
    }

    /// Milliseconds of the monotonic clock, for the next two methods.
    pub(crate) fn now(&self) -> u64 {
        self.shared.now()
    }

    /// Whether the set was fetched recently enough for verifications to be valid.
    pub(crate) fn are_usable(&self, now: u64) -> bool {
        self.shared.are_usable(now)
    }

    /// Fetches the next set in the background if this one is past its age.
    pub(crate) fn refetch_if_stale(&self, now: u64) {
        self.shared.refetch_if_stale(now);
    }

    /// Loads the keys if there are none, and returns their state.
    pub(crate) async fn readiness(&self) -> ReadinessCheck {
        let now = self.now();
        if self.are_usable(now) {
            self.refetch_if_stale(now);
        }
        readiness::wait(self.ready()).await;
        let (now, usable_until) = (self.now(), self.shared.usable_until.load(Ordering::Acquire));
        ReadinessCheck {
            is_ok: now < usable_until,
            age: usable_until
                .checked_sub(millis(STALE_IF_ERROR))
                .map(|fetched_at| Duration::from_millis(now.saturating_sub(fetched_at))),
        }
    }
}

fn check(keys: &KeySet, jws: &CompactJws<'_>) -> Result<VerifiedJws, TokenError> {
    let key = Arc::clone(keys.verify(jws)?);
    Ok(VerifiedJws { claims: jws.claims()?, header: Arc::clone(&jws.header), key })
}

#[derive(Debug)]
struct Shared {
    endpoint: JwksEndpoint,
    clock: Clock,
    current: ArcSwapOption<KeySet>,
    /// The header of the latest bearer token.
    known_header: ArcSwapOption<KnownHeader>,
    /// When the next fetch is due. These times are milliseconds of the monotonic clock.
    refetch_at: AtomicU64,
    /// Until when `current` is used if fetches fail.
    usable_until: AtomicU64,
    /// Until when a failed fetch is not repeated at startup.
    unavailable_until: AtomicU64,
    /// Whether the latest fetch failed.
    is_failing: AtomicBool,
    /// By [`TokenSource`].
    budgets: [FetchBudgets; TokenSource::COUNT],
    flights: SingleFlight<(), bool>,
}

impl Shared {
    /// Logs why a signature was rejected, and returns the error.
    fn explain(&self, error: TokenError, keys: &KeySet, jws: &CompactJws<'_>) -> TokenError {
        let issuer = jws.unverified_issuer().unwrap_or_default();
        match error {
            TokenError::InvalidAlgorithm => self.wrong_algorithm(jws),
            TokenError::InvalidSignature => error.logged(
                "signature",
                format_args!("one by the key of the `kid` at {}", self.endpoint.url),
                format_args!(
                    "another one: the token was changed, or is of another environment; it says \
                     that it is of {}",
                    Shown(&issuer)
                ),
            ),
            TokenError::NoMatchingKey => error.logged(
                "kid",
                format_args!("the `kid` of a key at {}", self.endpoint.url),
                format_args!(
                    "none or another than those of its {} keys; it says that it is of {}",
                    keys.len(),
                    Shown(&issuer)
                ),
            ),
            // Errors of claims and format are logged already, unavailable keys with the fetch.
            error => error,
        }
    }

    fn wrong_algorithm(&self, jws: &CompactJws<'_>) -> TokenError {
        TokenError::InvalidAlgorithm.logged(
            "alg",
            format_args!("{:?}, and that of the key", self.endpoint.algorithms),
            format_args!("{:?}", jws.header.algorithm),
        )
    }

    fn now(&self) -> u64 {
        millis(self.clock.monotonic())
    }

    fn usable(&self) -> Option<Arc<KeySet>> {
        self.current.load_full().filter(|_| self.are_usable(self.now()))
    }

    fn are_usable(&self, now: u64) -> bool {
        now < self.usable_until.load(Ordering::Acquire)
    }

    fn refetch_if_stale(self: &Arc<Self>, now: u64) {
        let due = self.refetch_at.load(Ordering::Acquire);
        let next = after(now, STALE_RETRY);
        // The request that advances the time starts the fetch.
        if due <= now
            && self.current.load().is_some()
            && self
                .refetch_at
                .compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        {
            self.fetch();
        }
    }

    /// A fetch for requests that no key could verify, unless one has failed within the last second.
    fn fetch_without_budget(self: &Arc<Self>) -> Option<KeySetFetch> {
        let is_unavailable = self.now() < self.unavailable_until.load(Ordering::Acquire);
        (!is_unavailable).then(|| self.fetch())
    }

    /// The fetch after which a token with this error may be valid, if there is one and the budget
    /// permits it. Otherwise, returns the error of the token.
    fn fetch_after(
        self: &Arc<Self>,
        error: TokenError,
        source: TokenSource,
    ) -> Result<KeySetFetch, TokenError> {
        let budgets = self.budgets.get(source as usize).ok_or(TokenError::KeysUnavailable)?;
        let (budget, without_fetch) = match error {
            TokenError::NoMatchingKey => (&budgets.no_matching_key, TokenError::KeysUnavailable),
            TokenError::InvalidSignature if self.is_failing.load(Ordering::Acquire) => {
                (&budgets.invalid_signature, TokenError::KeysUnavailable)
            }
            TokenError::InvalidSignature => (&budgets.invalid_signature, error),
            _ => return Err(error),
        };
        self.limited_fetch(budget).ok_or(without_fetch)
    }

    /// Joins the fetch in progress, or starts one if the budget permits it.
    fn limited_fetch(self: &Arc<Self>, budget: &Mutex<FetchBudget>) -> Option<KeySetFetch> {
        let joined =
            self.flights.get(&()).map(|flight| KeySetFetch { flight, may_predate_token: true });
        joined.or_else(|| {
            let now = self.clock.monotonic();
            let granted = budget.lock().unwrap_or_else(PoisonError::into_inner).take(now);
            granted.then(|| self.fetch())
        })
    }

    fn fetch(self: &Arc<Self>) -> KeySetFetch {
        let mut may_predate_token = true;
        let flight = self.flights.join((), || {
            may_predate_token = false;
            let shared = Arc::clone(self);
            async move { shared.store_fetched(shared.endpoint.fetch().await) }
        });
        KeySetFetch { flight, may_predate_token }
    }

    fn store_fetched(&self, fetched: Result<KeySet, FetchError>) -> bool {
        let now = self.now();
        self.is_failing.store(fetched.is_err(), Ordering::Release);
        match fetched {
            Ok(keys) => {
                telemetry::key_set_fetched(keys.len());
                let keys = match self.current.load_full() {
                    Some(old) => keys.replacing(&old),
                    None => keys,
                };
                self.current.store(Some(Arc::new(keys)));
                self.usable_until.store(after(now, STALE_IF_ERROR), Ordering::Release);
                self.refetch_at.store(after(now, FRESH_TTL), Ordering::Release);
                true
            }
            Err(error) => {
                telemetry::key_set_fetch_failed(&error);
                self.unavailable_until.store(after(now, NEGATIVE_TTL), Ordering::Release);
                false
            }
        }
    }
}

struct JwksEndpoint {
    url: Url,
    client: Arc<dyn HttpClient>,
    algorithms: Vec<Algorithm>,
}

impl JwksEndpoint {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let request = Request::get(self.url.as_str())
            .header(header::ACCEPT, "application/json")
            .extension(LIMITS)
            .body(Bytes::new())?;
        let response = send_within_limits(self.client.as_ref(), request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let keys = KeySet::parse(response.body(), &self.algorithms)?;
        if keys.len() == 0 { Err(FetchError::NoUsableKey) } else { Ok(keys) }
    }
}

impl std::fmt::Debug for JwksEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwksEndpoint")
            .field("url", &self.url.as_str())
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Client(#[from] HttpClientError),
    #[error("the key set has no usable key")]
    NoUsableKey,
    #[error("the key set is not JSON of the right shape: {0}")]
    NotAKeySet(#[from] serde_json::Error),
    #[error("the key set's URL cannot be requested: {0}")]
    Request(#[from] http::Error),
    #[error("the key set's URL responded with {0}")]
    Status(StatusCode),
}

/// How many fetches the tokens of one source may cause (token buckets).
#[derive(Debug)]
struct FetchBudgets {
    no_matching_key: Mutex<FetchBudget>,
    invalid_signature: Mutex<FetchBudget>,
}

impl FetchBudgets {
    const fn full() -> Self {
        Self {
            no_matching_key: Mutex::new(FetchBudget::full()),
            invalid_signature: Mutex::new(FetchBudget::full()),
        }
    }
}

/// Two fetches at once, one more every ten seconds.
#[derive(Debug)]
struct FetchBudget {
    permits: u8,
    /// Monotonic time of the next permit; meaningless while the budget is full.
    next: Duration,
}

impl FetchBudget {
    const SIZE: u8 = 2;
    const REFILL: Duration = Duration::from_secs(10);

    const fn full() -> Self {
        Self { permits: Self::SIZE, next: Duration::ZERO }
    }

    fn take(&mut self, now: Duration) -> bool {
        while self.permits < Self::SIZE && self.next <= now {
            self.permits += 1;
            self.next = self.next.saturating_add(Self::REFILL);
        }
        if self.permits == 0 {
            return false;
        }
        if self.permits == Self::SIZE {
            self.next = now.saturating_add(Self::REFILL);
        }
        self.permits -= 1;
        true
    }
}

fn after(start: u64, duration: Duration) -> u64 {
    start.saturating_add(millis(duration))
}

#[cfg(test)]
mod tests;
