use axum::Router;
use axum::routing::any_service;

use super::ConnectAccount;

impl ConnectAccount {
    /// Returns both routes, for a router of any state. Merge them *beside* the routes that
    /// [`RequireSession`](crate::RequireSession) protects; they require a session themselves.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.sessions().router([
            (self.path(), any_service(self.start())),
            (self.verify_path(), any_service(self.verify())),
        ])
    }
}
