use std::sync::Arc;

use tower_layer::Layer;

use super::{RequireTokenService, TokenRejection};
use crate::challenge::{Challenge, Realm, ScopeToken};
use crate::error::ConfigError;
use crate::middleware::rejection::{Renderer, on_rejection};
use crate::protected_resource::ProtectedResource;
use crate::scalekit::Scalekit;
use crate::token::TokenVerifier;

/// Middleware that requires a valid bearer token. See the [module docs](crate::require_token).
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireToken {
    pub(super) verifier: TokenVerifier,
    pub(super) challenge: Arc<Challenge>,
    pub(super) renderer: Renderer<TokenRejection>,
}

impl RequireToken {
    /// Requires a token that this verifier accepts, of this environment or of another issuer.
    pub fn new(verifier: TokenVerifier) -> Self {
        Self { verifier, challenge: Arc::default(), renderer: Renderer::default() }
    }

    /// Requires a token of the environment whose `aud` contains `audience`.
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
        let metadata_url = resource.shared_metadata_url();
        Self::new(resource.verifier().clone())
            .with_challenge(|challenge| challenge.resource_metadata(metadata_url))
    }

    /// Sets the protection space (`realm`) of challenges. Default: none.
    pub fn realm(self, realm: Realm) -> Self {
        self.with_challenge(|challenge| challenge.realm(realm))
    }

    /// Sets the scopes in challenges to requests without a token. Default: none.
    pub fn scope_hint(self, scopes: impl IntoIterator<Item = ScopeToken>) -> Self {
        self.with_challenge(|challenge| challenge.scope(scopes))
    }

    fn with_challenge(mut self, change: impl FnOnce(Challenge) -> Challenge) -> Self {
        self.challenge = Arc::new(change(Challenge::clone(&self.challenge)));
        self
    }
}

on_rejection!(RequireToken, TokenRejection, renderer);

impl<S> Layer<S> for RequireToken {
    type Service = RequireTokenService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireTokenService { inner, config: self.clone() }
    }
}
