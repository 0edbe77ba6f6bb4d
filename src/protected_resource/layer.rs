use tower_layer::Layer;

use super::ProtectedResourceMetadataService;
use crate::token::ProtectedResource;

/// Layer that responses the well-known addresses of a protected resource. See the
/// [module docs](crate::protected_resource).
///
/// Where one host has several resources, the outermost of their layers answers the address of the
/// whole host; each has its own besides.
#[derive(Clone, Debug)]
#[must_use]
pub struct ProtectedResourceMetadata {
    pub(super) resource: ProtectedResource,
}

impl ProtectedResourceMetadata {
    /// Tells clients of this resource.
    pub fn new(resource: &ProtectedResource) -> Self {
        Self { resource: resource.clone() }
    }
}

impl<S> Layer<S> for ProtectedResourceMetadata {
    type Service = ProtectedResourceMetadataService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ProtectedResourceMetadataService { inner, config: self.clone() }
    }
}
