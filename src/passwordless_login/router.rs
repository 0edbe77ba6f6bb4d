use axum::Router;
use axum::routing::get_service;

use super::PasswordlessLogin;

impl PasswordlessLogin {
    /// Returns the routes of a login by e-mail, for a router of any state. Merge them *beside* the
    /// routes that [`RequireSession`](crate::RequireSession) protects.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        Router::new()
            .route_service(self.send_path(), self.send_email())
            .route_service(self.resend_path(), self.resend_email())
            .route_service(self.switch_path(), self.switch())
            .route(self.verify_path(), get_service(self.link()).post_service(self.verify()))
            .route_service(&format!("{}/{{attempt}}", self.verify_path()), self.link())
    }
}
