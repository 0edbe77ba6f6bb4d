use axum::Router;
use axum::routing::{any_service, get_service};

use super::PasswordlessLogin;

impl PasswordlessLogin {
    /// Returns the routes of a login by e-mail, for a router of any state. Merge them *beside* the
    /// routes that [`RequireSession`](crate::RequireSession) protects.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.sessions().router([
            (self.send_path(), any_service(self.send_email())),
            (self.resend_path(), any_service(self.resend_email())),
            (self.switch_path(), any_service(self.switch())),
            (self.verify_path(), get_service(self.link()).post_service(self.verify())),
            (&format!("{}/{{attempt}}", self.verify_path()), any_service(self.link())),
        ])
    }
}
