use axum::Router;

use crate::session::Sessions;

impl Sessions {
    /// Returns the routes of a login, for a router of any state. Merge them *beside* the routes
    /// that [`RequireSession`](crate::RequireSession) protects.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        Router::new()
            .route_service(self.login_path(), self.login())
            .route_service(self.callback_path(), self.callback())
            .route_service(self.switch_account_path(), self.switch_account())
            .route_service(self.refresh_path(), self.refresh())
            .route_service(self.logout_path(), self.logout())
            .route_service(self.logout_callback_path(), self.logout_callback())
            .route_service(self.backchannel_logout_path(), self.backchannel_logout())
    }
}
