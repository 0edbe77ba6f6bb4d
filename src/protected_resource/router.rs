use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::any;

use super::resource::ProtectedResource;
use super::response::response;

impl ProtectedResource {
    /// Returns the routes of the metadata, for a router of any state: the path of this resource and
    /// the one of the whole host. Merge them *beside* the routes that
    /// [`RequireToken`](crate::RequireToken) protects:
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use axum::{Router, routing::post};
    /// # use tower_scalekit::protected_resource::{ProtectedResource, ResourceId};
    /// # use tower_scalekit::{RequireToken, Sandbox};
    /// # let scalekit = Sandbox::new().scalekit();
    /// # let id = ResourceId::new("res_123456789")?;
    /// # let resource = ProtectedResource::builder(&scalekit, "https://mcp.example.com/mcp", id);
    /// # let resource = resource.build()?;
    /// let mcp: Router = Router::new()
    ///     .route("/mcp", post(|| async { "your MCP server" }))
    ///     .route_layer(RequireToken::for_resource(&resource))
    ///     .merge(resource.routes());
    /// # }
    /// # Ok::<(), tower_scalekit::ConfigError>(())
    /// ```
    ///
    /// Routers of several resources have the path of the whole host in common, so merge the routes
    /// of one, and serve each other at the path of its [`metadata_url`](Self::metadata_url) through
    /// [`ProtectedResourceMetadata`](crate::ProtectedResourceMetadata).
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    #[doc(alias = "feature axum")]
    pub fn routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.metadata_route().register();
        let resource = self.clone();
        let route = any(move |request: Request| async move {
            response(&request, &resource).map(Body::from)
        });
        // A path of a resource may begin with `:` or `*`, which are plain text here.
        self.metadata_paths().fold(Router::new().without_v07_checks(), |routes, path| {
            routes.route(&path, route.clone())
        })
    }
}
