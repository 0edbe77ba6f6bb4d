use axum::Router;

use super::ConnectAccount;

impl ConnectAccount {
    /// Returns both routes, for a router of any state. Merge them *beside* the routes that
    /// [`RequireSession`](crate::RequireSession) protects; they require a session themselves.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        Router::new()
            .route_service(self.path(), self.start())
            .route_service(self.verify_path(), self.verify())
    }
}
