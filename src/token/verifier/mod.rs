use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::access_token::AccessTokenExpectations;
use super::jws::malformed;
use super::remote_keys::{Fetched, VerifiedJws};
use super::verifying_key::VerifyingKey;
use super::{
    Algorithm, Confirmation, DEFAULT_ALGORITHM, Leeway, ORGANIZATION_CLAIMS, Principal, RemoteKeys,
    TokenCheck, TokenError, TokenSource,
};
use crate::clock::{Clock, UnixMillis};
use crate::error::{ConfigError, Problems};
use crate::http_client::HttpClient;
use crate::readiness::Readiness;
use crate::util::diagnosis::CheckError as _;
use crate::util::telemetry;
use crate::util::token_cache::{TokenCache, check_cache_capacity};
use crate::util::url_policy::parse_secure_url;

/// Verifies access tokens and returns their [`Principal`].
///
/// Created by [`Scalekit::token_verifier`](crate::Scalekit::token_verifier), or by
/// [`for_issuer`](Self::for_issuer) for tokens of another OpenID provider. Cheap to clone; clones
/// share keys and cache. See the [module docs](crate::token) for the rules.
#[derive(Clone, Debug)]
pub struct TokenVerifier {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    keys: RemoteKeys,
    expectations: AccessTokenExpectations,
    clock: Clock,
    cache: TokenCache<Verified>,
}

/// Cached result of an accepted token.
#[derive(Debug)]
struct Verified {
    principal: Principal,
    /// Its expiry, with the leeway.
    valid_until: UnixMillis,
    key: Arc<VerifyingKey>,
}

impl TokenVerifier {
    /// Configures a verifier for the tokens of another issuer: Auth0, Firebase, Cognito, Keycloak,
    /// any that publishes a JWK set.
    ///
    /// `issuer` is the exact text of the claim `iss`; `jwks_uri` is in the issuer's discovery
    /// document.
    pub fn for_issuer(
        issuer: impl Into<String>,
        jwks_uri: impl Into<String>,
        http_client: impl HttpClient,
    ) -> TokenVerifierBuilder<ExternalIssuer> {
        TokenVerifierBuilder::new(
            AccessTokenExpectations::new(issuer.into()),
            KeySource::Address { url: jwks_uri.into(), client: Arc::new(http_client) },
            Clock::system(),
        )
    }

    /// Verifies a bearer token; fetches keys if that may help.
    ///
    /// # Errors
    /// [`TokenError::SenderConstrained`] if the token is bound to a key,
    /// [`TokenError::KeysUnavailable`] if the keys are unavailable, any other error if the token is
    /// invalid.
    #[doc(alias(
        "validateToken",
        "validateAccessToken",
        "validate_token",
        "validate_access_token",
        "getAccessTokenClaims",
        "get_access_token_claims"
    ))]
    pub async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        let principal = self.verify_bytes(token.as_bytes()).await?;
        match principal.confirmation() {
            Confirmation::None => Ok(principal),
            _ => Err(TokenError::SenderConstrained.logged("cnf", "a bearer token", "a bound one")),
        }
    }

    /// Verifies a token; fetches keys if that may help. A token that is bound to a key is accepted,
    /// too: see [`Principal::confirmation`].
    pub(crate) async fn verify_bytes(&self, token: &[u8]) -> Result<Principal, TokenError> {
        self.verify_now(token).wait(|fetched| self.verify_after_fetch(token, fetched)).await
    }

    /// Verifies a token and requires all of these scopes.
    ///
    /// # Errors
    /// [`TokenError::InsufficientScope`] if a valid token lacks one: respond with 403. Otherwise as
    /// [`verify`](Self::verify).
    pub async fn verify_with_scopes(
        &self,
        token: &str,
        scopes: &[&str],
    ) -> Result<Principal, TokenError> {
        let principal = self.verify(token).await?;
        match scopes.iter().all(|scope| principal.scopes().iter().any(|found| found == scope)) {
            true => Ok(principal),
            false => Err(TokenError::InsufficientScope),
        }
    }

    /// Whether a token is valid and has all of these scopes.
    ///
    /// # Errors
    /// [`TokenError::KeysUnavailable`] if the token cannot be verified now: it may be valid.
    pub async fn accepts(&self, token: &str, scopes: &[&str]) -> Result<bool, TokenError> {
        match self.verify_with_scopes(token, scopes).await {
            Ok(_) => Ok(true),
            Err(TokenError::KeysUnavailable) => Err(TokenError::KeysUnavailable),
            Err(_) => Ok(false),
        }
    }

    /// Returns whether this process can verify tokens: see [`readiness`](crate::readiness).
    pub async fn readiness(&self) -> Readiness {
        Readiness::new(true).with_keys(self.inner.keys.readiness().await)
    }

    #[cfg(test)]
    pub(crate) fn resources(&self) -> &[String] {
        &self.inner.expectations.resources
    }

    /// Verifies a token with the current keys. A cached token takes one lookup. A token that is bound
    /// to a key is accepted, too: see [`Principal::confirmation`].
    pub(crate) fn verify_now(&self, token: &[u8]) -> TokenCheck<Principal> {
        if let Some(principal) = self.cached_principal(token) {
            telemetry::cached_token_verified();
            return TokenCheck::Done(Ok(principal));
        }
        self.check(token, |token| self.inner.keys.verify_signature_now(token, TokenSource::Bearer))
    }

    /// Verifies a token after the fetch that [`verify_now`](Self::verify_now), or this method, returned.
    pub(crate) fn verify_after_fetch(
        &self,
        token: &[u8],
        fetched: Fetched,
    ) -> TokenCheck<Principal> {
        let keys = &self.inner.keys;
        self.check(token, |token| {
            keys.verify_signature_after_fetch(token, TokenSource::Bearer, fetched)
        })
    }

    fn check(
        &self,
        token: &[u8],
        verify: impl FnOnce(&str) -> TokenCheck<VerifiedJws>,
    ) -> TokenCheck<Principal> {
        let Ok(token) = std::str::from_utf8(token) else {
            let error = malformed("bytes that are not text");
            telemetry::token_rejected(error.name(), error.claim());
            return TokenCheck::Done(Err(error));
        };
        match verify(token) {
            TokenCheck::Done(signed) => {
                TokenCheck::Done(self.check_claims_and_cache(token, signed))
            }
            TokenCheck::NeedsFetch(fetch) => TokenCheck::NeedsFetch(fetch),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    fn cached_principal(&self, token: &[u8]) -> Option<Principal> {
        let principal = self.inner.cache.get_joined(&[token], |verified| {
            let is_valid =
                !verified.key.is_removed() && self.inner.clock.unix_millis() < verified.valid_until;
            is_valid.then(|| verified.principal.clone())
        })??;
        let keys = &self.inner.keys;
        let now = keys.now();
        if !keys.are_usable(now) {
            return None;
        }
        keys.refetch_if_stale(now);
        Some(principal)
    }

    /// Checks the claims of a token whose signature was verified. Caches and counts the result.
    fn check_claims_and_cache(
        &self,
        token: &str,
        signed: Result<VerifiedJws, TokenError>,
    ) -> Result<Principal, TokenError> {
        let Inner { expectations, clock, cache, .. } = &*self.inner;
        signed
            .and_then(|VerifiedJws { claims, header, key }| {
                let principal = expectations.check(claims, header.typ.as_deref(), clock.now())?;
                let valid_until = expectations.valid_until(&principal).into();
                cache.insert(token, Verified { principal: principal.clone(), valid_until, key });
                telemetry::token_verified();
                Ok(principal)
            })
            .inspect_err(|error| telemetry::token_rejected(error.name(), error.claim()))
    }
}

/// Builds a [`TokenVerifier`]. `I` is the kind of issuer: [`ScalekitEnvironment`] or
/// [`ExternalIssuer`].
#[derive(Debug)]
#[must_use]
pub struct TokenVerifierBuilder<I> {
    expectations: AccessTokenExpectations,
    keys: KeySource,
    clock: Clock,
    algorithms: Vec<Algorithm>,
    cache_capacity: usize,
    issuer_kind: PhantomData<I>,
}

/// Type parameter of [`TokenVerifierBuilder`]: tokens of a Scalekit environment, whose keys are
/// RS256. Returned by [`Scalekit::token_verifier`](crate::Scalekit::token_verifier).
#[derive(Debug)]
#[non_exhaustive]
pub struct ScalekitEnvironment;

/// Type parameter of [`TokenVerifierBuilder`]: tokens of another issuer, whose
/// [`algorithms`](TokenVerifierBuilder::algorithms) can be set. Returned by
/// [`TokenVerifier::for_issuer`].
#[derive(Debug)]
#[non_exhaustive]
pub struct ExternalIssuer;

enum KeySource {
    Address { url: String, client: Arc<dyn HttpClient> },
    Shared(RemoteKeys),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { url, .. } => f.debug_tuple("Address").field(url).finish(),
            Self::Shared(keys) => keys.fmt(f),
        }
    }
}

impl TokenVerifierBuilder<ScalekitEnvironment> {
    /// A verifier for access tokens of an environment, whose ID tokens have the audience
    /// `client_id`, with a shared key set.
    pub(crate) fn on_keys(
        issuer: String,
        client_id: String,
        keys: RemoteKeys,
        clock: Clock,
    ) -> Self {
        let expectations = AccessTokenExpectations {
            id_token_audience: Some(client_id),
            organization_claims: ORGANIZATION_CLAIMS.to_vec(),
            ..AccessTokenExpectations::new(issuer)
        };
        Self::new(expectations, KeySource::Shared(keys), clock)
    }

    /// Accepts tokens of machine clients that have no `aud`, which is the case if the client was
    /// created without an audience: the subject is the client itself. Tokens of users, and tokens
    /// with an `aud`, still require one of the audiences. Default: not accepted.
    ///
    /// Each machine client of the environment can then call this API, so require a scope, or
    /// restrict the clients with [`client_id`](Self::client_id).
    pub fn machine_tokens(mut self) -> Self {
        self.expectations.machine_tokens = true;
        self
    }
}

impl TokenVerifierBuilder<ExternalIssuer> {
    /// Sets the accepted signature algorithms. Default: RS256.
    ///
    /// ```
    /// # #[cfg(feature = "reqwest")] {
    /// use tower_scalekit::http_client::ReqwestClient;
    /// use tower_scalekit::token::{Algorithm, TokenVerifier};
    ///
    /// let (issuer, keys) = ("https://login.example.com", "https://login.example.com/keys");
    /// let verifier = TokenVerifier::for_issuer(issuer, keys, ReqwestClient::new()?)
    ///     .audience("my-api")
    ///     .algorithms([Algorithm::ES256])
    ///     .build()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Tokens of a Scalekit environment are always RS256, so its verifier does not have this
    /// setting:
    ///
    /// ```compile_fail,E0599
    /// # use tower_scalekit::{Scalekit, token::Algorithm};
    /// # fn set_algorithms(scalekit: &Scalekit) {
    /// scalekit.token_verifier().algorithms([Algorithm::ES256]);
    /// # }
    /// ```
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }
}

impl<I> TokenVerifierBuilder<I> {
    fn new(expectations: AccessTokenExpectations, keys: KeySource, clock: Clock) -> Self {
        Self {
            expectations,
            keys,
            clock,
            algorithms: vec![DEFAULT_ALGORITHM],
            cache_capacity: 4096,
            issuer_kind: PhantomData,
        }
    }

    /// Accepts tokens whose `aud` contains this text. Can be called again, for several audiences.
    ///
    /// Without an audience, a token that was issued for another service could be used here. See
    /// [where an audience comes from](crate::guides::bearer_tokens).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.expectations.audiences.get_or_insert_default().push(audience.into());
        self
    }

    /// Accepts tokens for any audience, including those without one. Combine it with
    /// [`client_id`](Self::client_id) if tokens have no `aud` (Amazon Cognito, machine tokens).
    pub fn any_audience(mut self) -> Self {
        self.expectations.audiences = None;
        self
    }

    /// Accepts only tokens issued to this client (claim `client_id`, or `azp`). Can be called
    /// again, for several clients. Default: any client.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.expectations.client_ids.push(client_id.into());
        self
    }

    /// Sets the claim with the organization (`org_id` at Auth0, `tid` at Microsoft Entra). Can be
    /// called again; the first claim that is present is used. Default: none for issuers other than
    /// Scalekit.
    pub fn organization_claim(mut self, name: &'static str) -> Self {
        self.expectations.organization_claims.push(name);
        self
    }

    /// Accepts tokens with a claim `resource` only if it has this value (RFC 8707). Can be called
    /// again, for several spellings.
    pub(crate) fn resource(mut self, resource: impl Into<String>) -> Self {
        self.expectations.resources.push(resource.into());
        self
    }

    /// Accepts another text of the claim `iss`, for issuers that are about to change theirs.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.expectations.issuers.push(issuer.into());
        self
    }

    /// Sets how long after `exp` a token is accepted. Default: 5 s, at most 60 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.expectations.leeway.set_expiry(leeway);
        self
    }

    /// Sets how far `nbf` and `iat` may be ahead of this server's clock. Default: 60 s, at most
    /// 5 minutes.
    pub fn not_before_leeway(mut self, leeway: Duration) -> Self {
        self.expectations.leeway.set_not_before(leeway);
        self
    }

    pub(crate) fn leeways(mut self, leeway: Leeway) -> Self {
        self.expectations.leeway = leeway;
        self
    }

    /// Sets how many verified tokens are cached, at most a million. Default: 4096.
    pub fn cache_capacity(mut self, tokens: usize) -> Self {
        self.cache_capacity = tokens;
        self
    }

    /// Sets the clock that expiry is compared with. Default: the system's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Validates the settings. Sends no request: keys are fetched for the first token.
    ///
    /// # Errors
    /// Returned when settings are invalid. Lists all of them.
    pub fn build(self) -> Result<TokenVerifier, ConfigError> {
        let mut problems = Problems::default();
        let AccessTokenExpectations { issuers, audiences, client_ids, leeway, .. } =
            &self.expectations;
        if audiences.as_ref().is_some_and(Vec::is_empty) {
            let reason = "set one, or call any_audience() to accept tokens for any audience";
            problems.invalid("audience", reason);
        }
        if audiences.iter().flatten().chain(issuers).chain(client_ids).any(String::is_empty) {
            let reason = "an empty issuer, audience or client id would match a malformed token";
            problems.invalid("issuer, audience, client_id", reason);
        }
        problems.collect(check_cache_capacity(self.cache_capacity));
        problems.collect(leeway.checked());
        let keys = match self.keys {
            KeySource::Shared(keys) => Some(keys),
            KeySource::Address { url, client } => {
                if self.algorithms.is_empty() {
                    problems.invalid("algorithms", "set one or more");
                }
                problems
                    .collect(parse_secure_url("jwks_uri", &url))
                    .map(|url| RemoteKeys::new(url, client, self.clock.clone(), self.algorithms))
            }
        };
        problems.finish(keys.map(|keys| TokenVerifier {
            inner: Arc::new(Inner {
                keys,
                expectations: self.expectations,
                clock: self.clock,
                cache: TokenCache::new(self.cache_capacity),
            }),
        }))
    }
}

#[cfg(test)]
mod forgery_tests;
#[cfg(test)]
mod tests;
