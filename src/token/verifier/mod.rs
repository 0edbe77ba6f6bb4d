mod leeway;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use url::Url;

pub(crate) use self::leeway::Leeway;
use super::claims::{TokenKind, expired};
use super::jws::malformed;
pub(crate) use super::remote_keys::TokenCheck;
use super::remote_keys::VerifiedJws;
use super::verifying_key::VerifyingKey;
use super::{
    Algorithm, Claims, Confirmation, DEFAULT_ALGORITHM, ORGANIZATION_CLAIMS, Principal, RemoteKeys,
    TokenError, TokenOrigin,
};
use crate::clock::{Clock, UnixMillis};
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::http_client::HttpClient;
use crate::readiness::Readiness;
use crate::util::diagnosis::{CheckError as _, OneOf, Shown};
use crate::util::telemetry;
use crate::util::token_cache::{TokenCache, check_cache_capacity};
use crate::util::url_policy::require_https_or_loopback;

/// Verifies access tokens and returns their [`Principal`].
///
/// Created by [`Scalekit::token_verifier`](crate::Scalekit::token_verifier), or by
/// [`for_issuer`](Self::for_issuer) for tokens of another OpenID provider. Cheap to clone; clones
/// share keys and cache. See the [module docs](crate::token) for the rules.
#[derive(Clone, Debug)]
pub struct TokenVerifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: RemoteKeys,
    expectations: Expectations,
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
        let keys = KeySource::Address { url: jwks_uri.into(), client: Arc::new(http_client) };
        TokenVerifierBuilder::new(issuer.into(), keys, Clock::system())
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
            _ => Err(TokenError::SenderConstrained.failed("cnf", "a bearer token", "a bound one")),
        }
    }

    /// Also accepts a token that is bound to a key: see [`Principal::confirmation`].
    pub(crate) async fn verify_bytes(&self, token: &[u8]) -> Result<Principal, TokenError> {
        match self.verify_now(token) {
            TokenCheck::Done(result) => result,
            TokenCheck::Pending(fetch) => self.verify_after_fetch(token, fetch.await),
        }
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
        Readiness::new(true).with_keys(self.0.keys.readiness().await)
    }

    #[cfg(test)]
    pub(crate) fn resources(&self) -> &[String] {
        &self.0.expectations.resources
    }

    /// Verifies a token with the current keys. A cached token takes one lookup. A token that is bound
    /// to a key is accepted, too: see [`Principal::confirmation`].
    pub(crate) fn verify_now(&self, token: &[u8]) -> TokenCheck<Principal> {
        if let Some(principal) = self.cached_principal(token) {
            telemetry::cached_token_verified();
            return TokenCheck::Done(Ok(principal));
        }
        let Ok(token) = std::str::from_utf8(token) else {
            return TokenCheck::Done(Err(malformed("bytes that are not text")));
        };
        match self.0.keys.verify_now(token, TokenOrigin::Bearer) {
            TokenCheck::Done(signed) => TokenCheck::Done(self.accept(token, signed)),
            TokenCheck::Pending(fetch) => TokenCheck::Pending(fetch),
        }
    }

    /// Verifies a token after the fetch that [`verify_now`](Self::verify_now) returned.
    pub(crate) fn verify_after_fetch(
        &self,
        token: &[u8],
        fetched: Option<bool>,
    ) -> Result<Principal, TokenError> {
        let token = std::str::from_utf8(token).map_err(|_| malformed("bytes that are not text"))?;
        self.accept(token, self.0.keys.verify_after_fetch(token, fetched))
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn cached_principal(&self, token: &[u8]) -> Option<Principal> {
        let principal = self.0.cache.get_joined(&[token], |verified| {
            let is_valid =
                !verified.key.is_removed() && self.0.clock.unix_millis() < verified.valid_until;
            is_valid.then(|| verified.principal.clone())
        })??;
        self.0.keys.are_usable_or_refresh().then_some(principal)
    }

    /// Checks the claims of a token whose signature was verified. Caches and counts the result.
    fn accept(
        &self,
        token: &str,
        signed: Result<VerifiedJws, TokenError>,
    ) -> Result<Principal, TokenError> {
        let accepted = signed.and_then(|VerifiedJws { claims, header, key }| {
            let (typ, now) = (header.typ.as_deref(), self.0.clock.now());
            let principal = self.0.expectations.check(claims, typ, now)?;
            let valid_until = self.0.expectations.valid_until(&principal).into();
            Ok(Verified { principal, valid_until, key })
        });
        match accepted {
            Ok(verified) => {
                let principal = verified.principal.clone();
                self.0.cache.insert(token, verified);
                telemetry::token_verified();
                Ok(principal)
            }
            Err(error) => {
                telemetry::token_rejected(error.name(), error.claim());
                Err(error)
            }
        }
    }
}

/// Prefix of `jti` in Scalekit's access tokens.
const TOKEN_ID_PREFIX: &str = "tkn_";

/// What an access token must contain to be accepted.
#[derive(Clone, Debug)]
pub(crate) struct Expectations {
    pub(crate) issuers: Vec<String>,
    /// `None`: any.
    pub(crate) audiences: Option<Vec<String>>,
    /// Empty: any.
    pub(crate) client_ids: Vec<String>,
    /// In verifiers of a Scalekit environment: the app's client ID, which is the `aud` of its ID
    /// tokens. Tokens with a client as `aud` must then have a [`TOKEN_ID_PREFIX`].
    pub(crate) id_token_audience: Option<String>,
    /// The claims with the organization, in order of precedence.
    pub(crate) organization_claims: Vec<&'static str>,
    /// Whether tokens of machines need no audience.
    pub(crate) machine_tokens: bool,
    /// Allowed values of the claim `resource`, if present; empty: any.
    pub(crate) resources: Vec<String>,
    /// For `exp`.
    pub(crate) expiry_leeway: time::Duration,
    /// For `nbf` and `iat`.
    pub(crate) not_before_leeway: time::Duration,
}

impl Expectations {
    pub(crate) fn check(
        &self,
        claims: Claims,
        typ: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Principal, TokenError> {
        let issuer = claims.text("iss")?;
        if !self.issuers.iter().any(|allowed| issuer == Some(allowed)) {
            let (expected, found) = (OneOf(&self.issuers), claims.shown("iss"));
            return Err(TokenError::InvalidIssuer.failed("iss", expected, found));
        }
        if claims.kind(typ) != TokenKind::Access {
            return Err(claims.wrong_type(typ, "an access token"));
        }
        // The audience of an ID token is its client, and it need not have a hash or a nonce. Its
        // `jti`, if any, has no token prefix.
        if let Some(own) = &self.id_token_audience {
            let clients = [Some(own.as_str()), claims.text("azp")?, claims.text("client_id")?];
            if claims.audiences()?.any(|found| clients.contains(&Some(found)))
                && !claims.text("jti")?.is_some_and(|id| id.starts_with(TOKEN_ID_PREFIX))
            {
                let expected = "an access token: its `jti` begins with tkn_";
                let found = "a token for a client without that, such as an ID token";
                return Err(TokenError::WrongTokenType.failed("token type", expected, found));
            }
        }
        let is_allowed = |found| self.audiences.iter().flatten().any(|allowed| *allowed == found);
        if !claims.audiences()?.any(is_allowed)
            && let Some(expected) = &self.audiences
        {
            let is_of_machine = is_machine_token_without_audience(&claims)?;
            if !(self.machine_tokens && is_of_machine) {
                let (expected, found) = (OneOf(expected), claims.shown("aud"));
                let error = TokenError::InvalidAudience;
                return Err(match is_of_machine {
                    true => error.failed("aud", expected, NO_MACHINE_AUDIENCE),
                    false => error.failed("aud", expected, found),
                });
            }
        }
        if !self.resources.is_empty()
            && let Some(resource) = claims.text("resource")?
            && !self.resources.iter().any(|allowed| allowed == resource)
        {
            let (expected, found) = (OneOf(&self.resources), Shown(resource));
            return Err(TokenError::InvalidClaim("resource").failed("resource", expected, found));
        }
        claims.check_not_before(now, self.not_before_leeway)?;
        let principal = Principal::from_claims(claims, &self.organization_claims)?;
        if now >= self.valid_until(&principal) {
            return Err(expired(principal.expires_at(), now));
        }
        let is_allowed = |id: &str| self.client_ids.iter().any(|allowed| allowed == id);
        if !self.client_ids.is_empty() && !principal.client_id().is_some_and(is_allowed) {
            let found = Shown(principal.client_id().unwrap_or_default());
            let (name, expected) = ("client_id", OneOf(&self.client_ids));
            return Err(TokenError::InvalidClaim(name).failed(name, expected, found));
        }
        Ok(principal)
    }

    fn valid_until(&self, principal: &Principal) -> OffsetDateTime {
        principal.expires_at().saturating_add(self.expiry_leeway)
    }
}

const NO_MACHINE_AUDIENCE: &str = "none: the token of a machine client that was created without an \
    audience; create it with one, or accept such tokens with machine_tokens()";

/// Whether the subject is the client, and `aud` is absent; an empty list of audiences is not.
fn is_machine_token_without_audience(claims: &Claims) -> Result<bool, TokenError> {
    let client = claims.text("client_id")?;
    Ok(!claims.has("aud") && client.is_some() && client == claims.text("sub")?)
}

/// Builds a [`TokenVerifier`]. `I` is the kind of issuer: [`ScalekitEnvironment`] or
/// [`ExternalIssuer`].
#[derive(Debug)]
#[must_use]
pub struct TokenVerifierBuilder<I> {
    issuers: Vec<String>,
    keys: KeySource,
    clock: Clock,
    audiences: Audiences,
    client_ids: Vec<String>,
    id_token_audience: Option<String>,
    organization_claims: Vec<&'static str>,
    machine_tokens: bool,
    resources: Vec<String>,
    algorithms: Vec<Algorithm>,
    leeway: Leeway,
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

#[derive(Debug)]
enum Audiences {
    Any,
    Named(Vec<String>),
}

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
        Self {
            id_token_audience: Some(client_id),
            organization_claims: ORGANIZATION_CLAIMS.to_vec(),
            ..Self::new(issuer, KeySource::Shared(keys), clock)
        }
    }

    /// Accepts tokens of machine clients that have no `aud`, which is the case if the client was
    /// created without an audience: the subject is the client itself. Tokens of users, and tokens
    /// with an `aud`, still require one of the audiences. Default: not accepted.
    ///
    /// Each machine client of the environment can then call this API, so require a scope, or
    /// restrict the clients with [`client_id`](Self::client_id).
    pub fn machine_tokens(mut self) -> Self {
        self.machine_tokens = true;
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
    fn new(issuer: String, keys: KeySource, clock: Clock) -> Self {
        Self {
            issuers: vec![issuer],
            keys,
            clock,
            audiences: Audiences::Named(Vec::new()),
            client_ids: Vec::new(),
            id_token_audience: None,
            organization_claims: Vec::new(),
            machine_tokens: false,
            resources: Vec::new(),
            algorithms: vec![DEFAULT_ALGORITHM],
            leeway: Leeway::default(),
            cache_capacity: 4096,
            issuer_kind: PhantomData,
        }
    }

    /// Accepts tokens whose `aud` contains this text. Can be called again, for several audiences.
    ///
    /// Without an audience, a token that was issued for another service could be used here. See
    /// [where an audience comes from](crate::guides::bearer_tokens).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        match &mut self.audiences {
            Audiences::Named(named) => named.push(audience.into()),
            any @ Audiences::Any => *any = Audiences::Named(vec![audience.into()]),
        }
        self
    }

    /// Accepts tokens for any audience, including those without one. Combine it with
    /// [`client_id`](Self::client_id) if tokens have no `aud` (Amazon Cognito, machine tokens).
    pub fn any_audience(mut self) -> Self {
        self.audiences = Audiences::Any;
        self
    }

    /// Accepts only tokens issued to this client (claim `client_id`, or `azp`). Can be called
    /// again, for several clients. Default: any client.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_ids.push(client_id.into());
        self
    }

    /// Sets the claim with the organization (`org_id` at Auth0, `tid` at Microsoft Entra). Can be
    /// called again; the first claim that is present is used. Default: none for issuers other than
    /// Scalekit.
    pub fn organization_claim(mut self, name: &'static str) -> Self {
        self.organization_claims.push(name);
        self
    }

    /// Accepts tokens with a claim `resource` only if it has this value (RFC 8707). Can be called
    /// again, for several spellings.
    pub(crate) fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resources.push(resource.into());
        self
    }

    /// Accepts another text of the claim `iss`, for issuers that are about to change theirs.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Sets how long after `exp` a token is accepted. Default: 5 s, at most 60 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway.expiry = leeway;
        self
    }

    /// Sets how far `nbf` and `iat` may be ahead of this server's clock. Default: 60 s, at most
    /// 5 minutes.
    pub fn not_before_leeway(mut self, leeway: Duration) -> Self {
        self.leeway.not_before = leeway;
        self
    }

    pub(crate) fn leeways(mut self, leeway: Leeway) -> Self {
        self.leeway = leeway;
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
        let audiences = match self.audiences {
            Audiences::Any => None,
            Audiences::Named(named) => {
                if named.is_empty() {
                    let reason =
                        "set one, or call any_audience() to accept tokens for any audience";
                    problems.push(ConfigProblem::invalid("audience", reason));
                }
                Some(named)
            }
        };
        let texts = audiences.iter().flatten().chain(&self.issuers).chain(&self.client_ids);
        if texts.into_iter().any(String::is_empty) {
            let reason = "an empty issuer, audience or client id would match a malformed token";
            problems.push(ConfigProblem::invalid("issuer, audience, client_id", reason));
        }
        problems.collect(check_cache_capacity(self.cache_capacity));
        let leeway = problems.collect(self.leeway.checked()).unwrap_or_default();
        let [expiry_leeway, not_before_leeway] = [leeway.expiry, leeway.not_before]
            .map(|leeway| time::Duration::try_from(leeway).unwrap_or(time::Duration::ZERO));
        let clock = self.clock;
        let keys = match self.keys {
            KeySource::Shared(keys) => Some(keys),
            KeySource::Address { url, client } => {
                problems.collect(check_algorithms(&self.algorithms));
                problems
                    .collect(parse_jwks_uri(&url))
                    .map(|url| RemoteKeys::new(url, client, clock.clone(), self.algorithms))
            }
        };
        let verifier = keys.map(|keys| {
            TokenVerifier(Arc::new(Inner {
                keys,
                expectations: Expectations {
                    issuers: self.issuers,
                    audiences,
                    client_ids: self.client_ids,
                    id_token_audience: self.id_token_audience,
                    organization_claims: self.organization_claims,
                    machine_tokens: self.machine_tokens,
                    resources: self.resources,
                    expiry_leeway,
                    not_before_leeway,
                },
                clock,
                cache: TokenCache::new(self.cache_capacity),
            }))
        });
        problems.finish(verifier)
    }
}

fn check_algorithms(algorithms: &[Algorithm]) -> Result<(), ConfigError> {
    if algorithms.is_empty() {
        return Err(ConfigProblem::invalid("algorithms", "set one or more").into());
    }
    Ok(())
}

/// Key sets are fetched by https, or from a loopback address.
fn parse_jwks_uri(text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text)
        .map_err(|error| ConfigProblem::invalid("jwks_uri", format!("not a URL: {error}")))?;
    require_https_or_loopback(&url).map_err(|reason| ConfigProblem::invalid("jwks_uri", reason))?;
    Ok(url)
}

#[cfg(test)]
mod forgery_tests;
#[cfg(test)]
mod tests;
