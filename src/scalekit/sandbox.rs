use super::Scalekit;
use crate::sandbox::Sandbox;

impl Sandbox {
    /// A handle of this sandbox, which runs in the same process and shares its clock.
    ///
    /// # Panics
    ///
    /// When [`SandboxBuilder::environment_url`](crate::sandbox::SandboxBuilder::environment_url) was
    /// set to a URL that no environment has, such as one with a path.
    #[must_use]
    pub fn scalekit(&self) -> Scalekit {
        let builder = Scalekit::builder(
            self.environment_url(),
            self.client_id(),
            self.client_secret().clone(),
        );
        #[expect(clippy::panic, reason = "tests need the handle of a sandbox")]
        builder
            .http_client(self.client())
            .clock(self.clock().clock())
            .build()
            .unwrap_or_else(|error| panic!("the sandbox's settings are invalid: {error}"))
    }
}
