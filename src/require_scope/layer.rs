use std::sync::Arc;

use tower_layer::Layer;

use super::requirement::{Kind, Quantity, Requirement};
use super::{RequireScopeService, ScopeHierarchy, ScopeRejection};
use crate::error::ConfigError;
use crate::middleware::rejection::{Renderer, on_rejection};

/// Middleware that requires scopes, permissions or roles of the request's principal. See the
/// [module docs](crate::require_scope).
///
/// A requirement that names nothing, or a name that is not a valid scope, cannot be met: such a
/// layer responds with 500 and logs the mistake. [`validate`](Self::validate) returns it at
/// startup.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireScope {
    pub(super) requirement: Result<Arc<Requirement>, Arc<ConfigError>>,
    pub(super) renderer: Renderer<ScopeRejection>,
}

impl RequireScope {
    /// Requires all of these OAuth scopes.
    pub fn all<N: AsRef<str>>(scopes: impl IntoIterator<Item = N>) -> Self {
        Self::new(Requirement::new(Kind::Scope, Quantity::All, scopes))
    }

    /// Requires at least one of these OAuth scopes.
    pub fn any<N: AsRef<str>>(scopes: impl IntoIterator<Item = N>) -> Self {
        Self::new(Requirement::new(Kind::Scope, Quantity::Any, scopes))
    }

    /// Requires all of these permissions (`resource:action`).
    pub fn all_permissions<N: AsRef<str>>(permissions: impl IntoIterator<Item = N>) -> Self {
        Self::new(Requirement::new(Kind::Permission, Quantity::All, permissions))
    }

    /// Requires at least one of these permissions (`resource:action`).
    pub fn any_permission<N: AsRef<str>>(permissions: impl IntoIterator<Item = N>) -> Self {
        Self::new(Requirement::new(Kind::Permission, Quantity::Any, permissions))
    }

    /// Requires all of these roles.
    pub fn all_roles<N: AsRef<str>>(roles: impl IntoIterator<Item = N>) -> Self {
        Self::new(Requirement::new(Kind::Role, Quantity::All, roles))
    }

    /// Requires at least one of these roles.
    pub fn any_role<N: AsRef<str>>(roles: impl IntoIterator<Item = N>) -> Self {
        Self::new(Requirement::new(Kind::Role, Quantity::Any, roles))
    }

    /// Sets the names that include others. Default: none.
    pub fn scope_hierarchy(mut self, scope_hierarchy: &ScopeHierarchy) -> Self {
        if let Ok(requirement) = &mut self.requirement {
            Arc::make_mut(requirement).scope_hierarchy = scope_hierarchy.clone();
        }
        self
    }

    /// Validates the requirement.
    ///
    /// # Errors
    /// When it names nothing, or a name is not a valid scope.
    pub fn validate(&self) -> Result<(), &ConfigError> {
        self.requirement.as_ref().map(|_| ()).map_err(|error| &**error)
    }

    fn new(requirement: Result<Requirement, ConfigError>) -> Self {
        Self {
            requirement: requirement.map(Arc::new).map_err(Arc::new),
            renderer: Renderer::default(),
        }
    }
}

on_rejection!(RequireScope, ScopeRejection, renderer);

impl<S> Layer<S> for RequireScope {
    type Service = RequireScopeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireScopeService { inner, layer: self.clone() }
    }
}
