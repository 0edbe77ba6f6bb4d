use super::Scalekit;
use crate::sandbox::Sandbox;

impl Sandbox {
    /// A handle on this sandbox, reached in the process, that shares its clock.
    ///
    /// # Panics
    /// Never: a sandbox's own settings are good ones.
    #[must_use]
    pub fn scalekit(&self) -> Scalekit {
        let builder = Scalekit::builder(
            self.environment_url(),
            self.client_id(),
            self.client_secret().clone(),
        );
        #[expect(clippy::panic, reason = "a sandbox without a handle is of no use to any test")]
        builder
            .http_client(self.client())
            .clock(self.clock().clock())
            .build()
            .unwrap_or_else(|error| panic!("the sandbox's settings are not accepted: {error}"))
    }
}
