use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::step_up::StepUpRequirement;
use super::{ApiKeyVerifier, RequireTokenService, TokenRejection};
use crate::challenge::{AcrValue, Challenge, DpopScheme, Realm, ScopeToken};
use crate::dpop::Dpop;
use crate::error::ConfigError;
use crate::middleware::rejection::{Renderer, on_rejection};
use crate::protected_resource::ProtectedResource;
use crate::revocation::Revocations;
use crate::scalekit::Scalekit;
use crate::token::TokenVerifier;

/// Middleware that requires a valid bearer token. See the [module docs](crate::require_token).
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireToken {
    /// Shared, because routers clone their layers and their state for each request.
    pub(crate) settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(super) verifier: TokenVerifier,
    pub(super) api_keys: Option<ApiKeyVerifier>,
    pub(super) challenge: Arc<Challenge>,
    /// Its metadata has a URL for each host.
    pub(super) resource: Option<ProtectedResource>,
    pub(super) dpop: Option<AcceptedDpop>,
    pub(crate) step_up: StepUpRequirement,
    pub(crate) optional: bool,
    pub(super) revocations: Option<Revocations>,
    pub(super) renderer: Renderer<TokenRejection>,
}

/// Accepted proofs of possession.
#[derive(Clone, Debug)]
pub(super) struct AcceptedDpop {
    pub(super) proofs: Dpop,
    /// The challenge for requests with a proof.
    pub(super) challenge: Arc<Challenge>,
}

impl RequireToken {
    /// Requires a token that this verifier accepts, of this environment or of another issuer.
    pub fn new(verifier: TokenVerifier) -> Self {
        let settings = Settings {
            verifier,
            api_keys: None,
            challenge: Arc::default(),
            resource: None,
            dpop: None,
            step_up: StepUpRequirement::default(),
            optional: false,
            revocations: None,
            renderer: Renderer::default(),
        };
        Self { settings: Arc::new(settings) }
    }

    /// Requires a token of the environment whose `aud` contains `audience`. See
    /// [where an audience comes from](crate::guides::bearer_tokens).
    ///
    /// A machine client that was created without an audience has tokens without one:
    /// [`machine_tokens`](crate::token::TokenVerifierBuilder::machine_tokens) accepts them.
    ///
    /// # Errors
    /// When the audience is empty.
    pub fn for_audience(
        scalekit: &Scalekit,
        audience: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        scalekit.token_verifier().audience(audience).build().map(Self::new)
    }

    /// Requires a token for this resource. Challenges contain the URL of its metadata, which
    /// [`ProtectedResourceMetadata`](crate::ProtectedResourceMetadata) serves.
    pub fn for_resource(resource: &ProtectedResource) -> Self {
        let mut layer = Self::new(resource.verifier().clone()).with_challenge(|challenge| {
            challenge.resource_metadata(resource.shared_metadata_url())
        });
        layer.settings_mut().resource = Some(resource.clone());
        match resource.dpop() {
            Some(dpop) => layer.dpop(dpop),
            None => layer,
        }
    }

    /// Accepts tokens that are bound to a key, with a proof of its possession (RFC 9449). See
    /// [`dpop`](crate::dpop). Default: they are rejected. A resource has [its own
    /// setting](crate::protected_resource::ProtectedResourceBuilder::dpop).
    pub fn dpop(mut self, dpop: &Dpop) -> Self {
        let [without_proof, with_proof] = [false, true].map(|is_used| {
            let scheme = DpopScheme {
                algorithms: Arc::clone(dpop.algorithms()),
                accepts_bearer: !dpop.is_required(),
                is_used,
            };
            Arc::new(Challenge::clone(&self.settings.challenge).dpop(scheme))
        });
        let settings = self.settings_mut();
        settings.challenge = without_proof;
        settings.dpop = Some(AcceptedDpop { proofs: dpop.clone(), challenge: with_proof });
        self
    }

    /// Accepts API keys, too, as bearer tokens. Default: not accepted.
    ///
    /// The environment validates a key about once in two seconds
    /// ([`cache_ttl`](ApiKeyVerifier::cache_ttl)), and once for concurrent requests, unless that takes
    /// longer; if it cannot, the response is 503. The [`Principal`](crate::Principal) has the
    /// organization, the user and the user's roles, which [`RequireScope`](crate::RequireScope) can
    /// require ([`any_role`](crate::RequireScope::any_role)). It has no scopes or permissions.
    ///
    /// A key has no audience: each service that accepts keys of the environment accepts it. Invalidate
    /// a key to revoke it: [`reject_revoked`](Self::reject_revoked) is for tokens only. A key never
    /// satisfies [`authenticated_within`](Self::authenticated_within) and
    /// [`acr_values`](Self::acr_values). No key is accepted where tokens
    /// [must be bound](crate::dpop::DpopBuilder::required).
    ///
    /// Each unknown text costs a call of the API, of which 64 are made at once
    /// ([`max_validations`](ApiKeyVerifier::max_validations)). Beyond that, requests wait for a second and
    /// then get 503. Keys that were valid before in this process, about 1024 of which are cached, have
    /// as many calls of their own. Limit the rate of clients outside of this layer.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::require_token::ApiKeyVerifier;
    /// # use tower_scalekit::{ConfigError, RequireToken, Sandbox, Scalekit};
    /// fn guard(scalekit: &Scalekit) -> Result<RequireToken, ConfigError> {
    ///     let guard = RequireToken::for_audience(scalekit, scalekit.client_id())?;
    ///     Ok(guard.api_keys(&ApiKeyVerifier::new(scalekit)))
    /// }
    /// # assert!(guard(&Sandbox::new().scalekit()).is_ok());
    /// # }
    /// ```
    pub fn api_keys(mut self, verifier: &ApiKeyVerifier) -> Self {
        self.settings_mut().api_keys = Some(verifier.clone());
        self
    }

    /// Requires a token whose user has authenticated within this time, by its claim `auth_time` (RFC
    /// 9068, section 2.2.1); others get 401 `insufficient_user_authentication` with `max_age` (RFC
    /// 9470). Default: not required.
    ///
    /// A token without `auth_time` does not satisfy it. Scalekit's documented access tokens have none:
    /// look at a token of your environment, or add the claim there, before you require it.
    pub fn authenticated_within(mut self, duration: Duration) -> Self {
        self.settings_mut().step_up.max_age = Some(duration);
        self
    }

    /// Requires a token with one of these authentication context classes, by its claim `acr`; others
    /// get 401 `insufficient_user_authentication` with `acr_values` (RFC 9470). Default: not
    /// required.
    pub fn acr_values(mut self, values: impl IntoIterator<Item = AcrValue>) -> Self {
        self.settings_mut().step_up.acr_values = values.into_iter().collect();
        self
    }

    /// Forwards requests without a bearer token; handlers extract `Option<Principal>`, and
    /// [`RequireScope`](crate::RequireScope) rejects them as this layer would. A token that is
    /// present must be valid: an invalid one does not make a request anonymous.
    ///
    /// For routes that a browser's session may authenticate instead, see
    /// [`RequireAuth`](crate::RequireAuth).
    pub fn optional(mut self) -> Self {
        self.settings_mut().optional = true;
        self
    }

    /// Sets the protection space (`realm`) of challenges. Default: none.
    pub fn realm(self, realm: Realm) -> Self {
        self.with_challenge(|challenge| challenge.realm(realm.clone()))
    }

    /// Sets the scopes that challenges name, unless [`RequireScope`](crate::RequireScope) in an inner layer
    /// names its own. Default: none.
    pub fn scope_hint(self, scopes: impl IntoIterator<Item = ScopeToken>) -> Self {
        let scopes: Vec<_> = scopes.into_iter().collect();
        self.with_challenge(|challenge| challenge.scope(scopes.clone()))
    }

    /// Rejects tokens of revoked users, sessions and organizations, within two seconds on every
    /// replica. Default: a token is valid until it expires.
    ///
    /// A token is revoked by its claims `sub`, `sid`, `oid` (or `org_id`) and `email`. Events of a
    /// directory, and [`Sessions::revoke_email`](crate::Sessions::revoke_email), name a user by the e-mail
    /// address. They revoke a token without this claim if the user has had a session of the organization in
    /// the app within 400 days. Otherwise the token is valid until it expires, which the log line
    /// `token_without_email` reports: add `email` and `oid` to access tokens in the dashboard.
    ///
    /// Tokens that the environment issues up to a minute after a revocation are rejected too, because
    /// clocks differ: a client that obtains a token within that minute is rejected until it obtains
    /// another one after it. A revocation by an event of the environment has the event's own time, and covers exactly the
    /// tokens from before. Between revocations, a cached token costs one integer comparison.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::{ConfigError, RequireToken, Sandbox, Scalekit, Sessions};
    /// fn guard(scalekit: &Scalekit, sessions: &Sessions) -> Result<RequireToken, ConfigError> {
    ///     let guard = RequireToken::for_audience(scalekit, scalekit.client_id())?;
    ///     Ok(guard.reject_revoked(&sessions.revocations()))
    /// }
    /// # }
    /// ```
    pub fn reject_revoked(mut self, revocations: &Revocations) -> Self {
        self.settings_mut().revocations = Some(revocations.clone());
        self
    }

    fn with_challenge(mut self, change: impl Fn(Challenge) -> Challenge) -> Self {
        let Settings { challenge, dpop, .. } = self.settings_mut();
        let dpop = dpop.as_mut().map(|dpop| &mut dpop.challenge);
        for challenge in [challenge].into_iter().chain(dpop) {
            *challenge = Arc::new(change(Challenge::clone(challenge)));
        }
        self
    }

    pub(crate) fn settings_mut(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

on_rejection!(RequireToken, TokenRejection, settings_mut().renderer);

impl<S> Layer<S> for RequireToken {
    type Service = RequireTokenService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireTokenService { inner, layer: self.clone() }
    }
}
