use tower_layer::Layer;

use super::ProtectedResourceMetadataService;
use super::resource::ProtectedResource;

/// Middleware that serves the metadata of a protected resource. See the [module
/// docs](crate::protected_resource). An axum router merges
/// [`ProtectedResource::routes`](crate::protected_resource::ProtectedResource) instead.
///
/// If one host has several resources, the outermost of their layers serves the metadata URL of the
/// whole host. Each resource also has a URL of its own.
#[derive(Clone, Debug)]
#[must_use]
pub struct ProtectedResourceMetadata {
    pub(super) resource: ProtectedResource,
}

impl ProtectedResourceMetadata {
    /// Creates a layer that serves the metadata of this resource.
    pub fn new(resource: &ProtectedResource) -> Self {
        resource.metadata_route().register();
        Self { resource: resource.clone() }
    }
}

impl<S> Layer<S> for ProtectedResourceMetadata {
    type Service = ProtectedResourceMetadataService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ProtectedResourceMetadataService { inner, layer: self.clone() }
    }
}
