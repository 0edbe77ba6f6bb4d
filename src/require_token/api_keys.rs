use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use crate::api::ApiError;
use crate::api::api_keys::ApiKey;
use crate::scalekit::Scalekit;
use crate::secret::SecretString;
use crate::token::{Claims, Principal, TokenError};
use crate::util::base64url::is_base64url;
use crate::util::hash::hash_parts;
use crate::util::single_flight::{Flight, SingleFlight};
use crate::util::telemetry;
use crate::util::token_cache::TokenCache;

/// How long a result is used, and how long an invalidated key may still be accepted.
const DEFAULT_TTL: Duration = Duration::from_secs(2);
/// Less would be shorter than a call, which concurrent requests with one key share.
const MIN_TTL: Duration = Duration::from_millis(100);
/// How long a failed validation is returned to later requests, so that they do not queue up.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// Time limit of a validation, for which the request waits.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Concurrent calls for keys that were valid before, and as many for all others.
const DEFAULT_VALIDATIONS: usize = 64;
/// How long a validation waits until fewer are in progress.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Number of valid keys, and as many invalid ones.
const CACHED_KEYS: usize = 1024;
/// The prefix of a key's ID, which the API accepts in place of the key, although it is no secret.
const ID_PREFIX: &str = "apit_";
/// `exp` of a key that does not expire: the last second of 9999.
const NO_EXPIRY: i64 = 253_402_300_799;

/// Verifies [API keys](crate::api::api_keys) with the environment. Cheap to clone; clones share
/// their cache. See [`RequireToken::api_keys`](crate::RequireToken::api_keys).
///
/// ```
/// # #[cfg(feature = "sandbox")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_scalekit::api::api_keys::NewApiKey;
/// use tower_scalekit::require_token::ApiKeyVerifier;
/// use tower_scalekit::token::Credential;
/// # use tower_scalekit::Sandbox;
///
/// # let sandbox = Sandbox::new();
/// # let acme = sandbox.organizations().list().remove(0).id;
/// let scalekit = sandbox.scalekit();
/// let created = scalekit.api().api_keys().create(&NewApiKey::new(&acme)).await?;
/// let verifier = ApiKeyVerifier::new(&scalekit);
/// let principal = verifier.verify(created.token.expose()).await?;
/// assert_eq!(principal.credential(), Credential::ApiKey);
/// assert_eq!(principal.organization_id(), Some(acme.as_str()));
/// assert!(verifier.verify(&created.token_id).await.is_err(), "an ID is no secret");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sandbox"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
#[must_use]
pub struct ApiKeyVerifier {
    scalekit: Scalekit,
    ttl: Duration,
    max_validations: usize,
    shared: Arc<Shared>,
}

struct Shared {
    valid: TokenCache<CachedResult>,
    /// Apart from valid keys, which invalid ones must not evict.
    invalid: TokenCache<CachedResult>,
    /// By the hash of the key, and the time in units of the lifetime of results, so that a request joins
    /// no validation that began too long before it.
    flights: SingleFlight<([u8; 32], u128), Result<Principal, TokenError>>,
    /// For keys that were valid before, which made-up ones must not delay.
    known: Semaphore,
    unknown: Semaphore,
}

impl Shared {
    fn new(max_validations: usize) -> Self {
        Self {
            valid: TokenCache::new(CACHED_KEYS),
            invalid: TokenCache::new(CACHED_KEYS),
            flights: SingleFlight::new(),
            known: Semaphore::new(max_validations),
            unknown: Semaphore::new(max_validations),
        }
    }
}

/// The result of a validation.
struct CachedResult {
    result: Result<Principal, TokenError>,
    /// Monotonic time.
    until: Duration,
}

/// The result for a key, or the validation to wait for.
pub(super) enum ApiKeyCheck {
    Done(Result<Principal, TokenError>),
    NeedsValidation(Flight<Result<Principal, TokenError>>),
}

impl ApiKeyVerifier {
    /// Verifies the keys of an environment.
    pub fn new(scalekit: &Scalekit) -> Self {
        Self {
            scalekit: scalekit.clone(),
            ttl: DEFAULT_TTL,
            max_validations: DEFAULT_VALIDATIONS,
            shared: Arc::new(Shared::new(DEFAULT_VALIDATIONS)),
        }
    }

    /// Sets how long a result is used before the environment validates the key again. An invalidated
    /// key is rejected after this time, however slow the environment is. Default: 2 s. Less than 100 ms
    /// counts as 100 ms. The verifier gets a cache of its own.
    pub fn cache_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.max(MIN_TTL);
        self.with_own_cache()
    }

    /// Sets how many calls of the API are made at once for keys that were valid before in this process,
    /// about 1024 of which are cached, and as many for all others. Default: 64, at least 1. The verifier
    /// gets a cache of its own.
    ///
    /// Other requests wait for a second and then get 503. An app needs as many as it validates keys in
    /// the time of a call: with 2000 active keys, validated every two seconds in 100 ms, about 100.
    pub fn max_validations(mut self, count: usize) -> Self {
        self.max_validations = count.clamp(1, Semaphore::MAX_PERMITS);
        self.with_own_cache()
    }

    fn with_own_cache(mut self) -> Self {
        self.shared = Arc::new(Shared::new(self.max_validations));
        self
    }

    /// Verifies a key.
    ///
    /// # Errors
    /// [`TokenError::ValidationUnavailable`] if the environment cannot be asked: the key may be
    /// valid. Any other error if the key is invalid.
    pub async fn verify(&self, key: &str) -> Result<Principal, TokenError> {
        match self.check(key.as_bytes()) {
            ApiKeyCheck::Done(result) => result,
            ApiKeyCheck::NeedsValidation(flight) => or_unavailable(flight.await),
        }
    }

    /// Whether a bearer credential is an API key. Every signed token has dots, and no key has one.
    pub(super) fn is_key(credential: &[u8]) -> bool {
        !credential.contains(&b'.')
    }

    /// Verifies a key with the cache; starts a validation if it is not there.
    pub(super) fn check(&self, key: &[u8]) -> ApiKeyCheck {
        let Some(key) = std::str::from_utf8(key).ok().filter(|key| is_well_formed(key)) else {
            telemetry::token_rejected(TokenError::Malformed.name(), None);
            return ApiKeyCheck::Done(Err(TokenError::Malformed));
        };
        if let Some(result) = self.cached(key) {
            return ApiKeyCheck::Done(result);
        }
        let now = self.scalekit.clock().monotonic().as_nanos();
        let flight = (hash_parts([key]), now / self.ttl.as_nanos());
        ApiKeyCheck::NeedsValidation(self.shared.flights.join(flight, || {
            let (verifier, key) = (self.clone(), SecretString::from(key));
            async move { verifier.validate(key.expose()).await }
        }))
    }

    fn cached(&self, key: &str) -> Option<Result<Principal, TokenError>> {
        let clock = self.scalekit.clock();
        let result = [&self.shared.valid, &self.shared.invalid].into_iter().find_map(|cache| {
            cache.get(key, |cached| {
                (clock.monotonic() < cached.until).then(|| cached.result.clone())
            })?
        })?;
        Some(result.and_then(|principal| self.unexpired(principal)))
    }

    fn unexpired(&self, principal: Principal) -> Result<Principal, TokenError> {
        match principal.expires_at() <= self.scalekit.clock().now() {
            true => Err(TokenError::Expired),
            false => Ok(principal),
        }
    }

    async fn validate(&self, key: &str) -> Result<Principal, TokenError> {
        let permits = match self.shared.valid.get(key, |_| ()) {
            Some(()) => &self.shared.known,
            None => &self.shared.unknown,
        };
        let Ok(Ok(_permit)) = tokio::time::timeout(MAX_WAIT, permits.acquire()).await else {
            // Not cached: the key itself is not the reason.
            telemetry::api_key_not_validated("too_many_validations");
            telemetry::token_rejected(TokenError::ValidationUnavailable.name(), None);
            return Err(TokenError::ValidationUnavailable);
        };
        // Another request's validation may have ended since the cache was read.
        if let Some(result) = self.cached(key) {
            return result;
        }
        let asked_at = self.scalekit.clock().monotonic();
        let result = match self.scalekit.api().api_keys().validate_within(key, TIMEOUT).await {
            Ok(details) if is_of_key(&details, key) => {
                principal(&details).and_then(|principal| self.unexpired(principal))
            }
            Ok(_) | Err(ApiError::InvalidRequest(_) | ApiError::NotFound(_)) => {
                Err(TokenError::InvalidApiKey)
            }
            Err(error) => {
                telemetry::api_key_not_validated(reason(&error));
                Err(TokenError::ValidationUnavailable)
            }
        };
        match &result {
            Ok(_) => telemetry::token_verified(),
            Err(error) => telemetry::token_rejected(error.name(), error.claim()),
        }
        let (cache, until) = match &result {
            Ok(_) => (&self.shared.valid, asked_at.saturating_add(self.ttl)),
            // Counted from now, because a call that timed out has taken longer.
            Err(TokenError::ValidationUnavailable) => {
                let now = self.scalekit.clock().monotonic();
                (&self.shared.invalid, now.saturating_add(self.ttl.min(FAILURE_TTL)))
            }
            Err(_) => (&self.shared.invalid, asked_at.saturating_add(self.ttl)),
        };
        cache.insert(key, CachedResult { result: result.clone(), until });
        result
    }
}

/// The result of a validation, which may have been aborted.
pub(super) fn or_unavailable(
    result: Option<Result<Principal, TokenError>>,
) -> Result<Principal, TokenError> {
    result.unwrap_or(Err(TokenError::ValidationUnavailable))
}

fn is_well_formed(key: &str) -> bool {
    let has_id_prefix =
        key.get(..ID_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(ID_PREFIX));
    (16..=512).contains(&key.len()) && key.bytes().all(is_base64url) && !has_id_prefix
}

/// Whether the details are those of this key, and not of a key whose ID is this text.
fn is_of_key(details: &ApiKey, key: &str) -> bool {
    details.token_id != key
        && details.token_suffix.as_ref().is_none_or(|suffix| key.ends_with(suffix.as_str()))
}

/// For logs, without text of the environment.
fn reason(error: &ApiError) -> &'static str {
    match error {
        ApiError::Credentials { .. } | ApiError::Forbidden(_) | ApiError::Unauthorized(_) => {
            "rejected_credentials"
        }
        ApiError::RateLimited { .. } => "rate_limited",
        ApiError::Unavailable(_) => "unavailable",
        _ => "unexpected_response",
    }
}

/// The subject is the user, or else the key.
fn principal(details: &ApiKey) -> Result<Principal, TokenError> {
    let claims = [
        ("sub", json!(details.user_id.as_ref().unwrap_or(&details.token_id))),
        ("oid", json!(details.organization_id)),
        ("xoid", json!(details.organization_external_id)),
        ("xuid", json!(details.user_external_id)),
        ("email", json!(details.email)),
        ("jti", json!(details.token_id)),
        ("roles", json!(details.roles)),
        // Not at the top level, where they could replace others.
        ("custom_claims", json!(details.custom_claims)),
        ("iat", json!(details.created_at.map(OffsetDateTime::unix_timestamp))),
        ("exp", json!(details.expiry.map_or(NO_EXPIRY, OffsetDateTime::unix_timestamp))),
    ];
    let present = claims.into_iter().filter(|(_, value)| !value.is_null());
    let members = present.map(|(name, value)| (name.to_owned(), value)).collect();
    Principal::of_api_key(Claims::new(members))
}

// Manual impl: the cache contains keys.
impl fmt::Debug for ApiKeyVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyVerifier").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_from_tokens_and_ids() {
        let key = "a1B2".repeat(8);
        assert!(ApiKeyVerifier::is_key(key.as_bytes()) && is_well_formed(&key));
        for token in ["a.b.c", "..", "eyJhbGciOiJub25lIn0.e30."] {
            assert!(!ApiKeyVerifier::is_key(token.as_bytes()), "{token}");
        }
        for other in [
            "",
            "a1B2a1B2a1B2a1B",
            "apit_123456789012345",
            "APIT_123456789012345",
            "a1B2a1B2a1B2a1B2%",
            "a1B2a1B2 a1B2a1B2",
            "a1B2a1B2a1B2a1B2\u{e4}",
            &"a".repeat(513),
        ] {
            assert!(!is_well_formed(other), "{other}");
        }
    }

    #[test]
    fn details_are_those_of_the_key_itself() {
        let details = |suffix: Option<&str>| ApiKey {
            token_id: "a1B2a1B2a1B2a1B2".to_owned(),
            token_suffix: suffix.map(str::to_owned),
            ..ApiKey::default()
        };
        assert!(is_of_key(&details(Some("wxyz")), "a1B2a1B2a1B2wxyz"));
        assert!(is_of_key(&details(None), "a1B2a1B2a1B2wxyz"));
        assert!(!is_of_key(&details(Some("abcd")), "a1B2a1B2a1B2wxyz"));
        assert!(!is_of_key(&details(None), "a1B2a1B2a1B2a1B2"));
    }
}
