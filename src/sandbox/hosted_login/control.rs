//! Controls of IdP-initiated login.

use crate::sandbox::Sandbox;
use crate::sandbox::hosted_login::idp_initiated::{
    NewLaunch, failed_launch_url, launch_token, launch_url, token_draft,
};
use crate::sandbox::state::token_faults::TokenDraft;

impl Sandbox {
    /// Where identity providers launch the application: its login route. An absolute `http` or
    /// `https` URL; with any other there are no launches.
    pub fn set_initiate_login_url(&self, url: &str) {
        self.environment.lock().initiate_login_url = Some(url.to_owned());
    }

    /// The token of a launch: what the application is given as `idp_initiated_login`. It is signed
    /// with the environment's key and good for five minutes; its issuer is the application's own
    /// address once that is [known](Self::set_initiate_login_url), before that the environment.
    ///
    /// # Panics
    ///
    /// When there is no such connection.
    #[must_use]
    pub fn launch_token(&self, launch: impl Into<NewLaunch>) -> String {
        let launch = launch.into();
        launch_token(&self.environment, &launch).unwrap_or_else(|| no_connection(&launch))
    }

    /// The same before it is signed, to be changed and given to [`sign_draft`](Self::sign_draft).
    ///
    /// # Panics
    ///
    /// When there is no such connection.
    #[must_use]
    pub fn launch_token_draft(&self, launch: impl Into<NewLaunch>) -> TokenDraft {
        let launch = launch.into();
        let drafted = token_draft(&self.environment, &launch);
        drafted.map_or_else(|| no_connection(&launch), |(draft, _)| draft)
    }

    /// Where a launch sends the browser, if the application can be launched.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{NewLaunch, Sandbox};
    ///
    /// let sandbox = Sandbox::builder().initiate_login_url("https://app.example.com/login").build();
    /// let acme = sandbox.connections().remove(0);
    /// let launch = NewLaunch::new(&acme.id).login_hint("jane@acme.test").relay_state("/reports");
    /// let url = sandbox.launch_url(launch).unwrap();
    /// assert!(url.starts_with("https://app.example.com/login?idp_initiated_login=ey"));
    /// ```
    ///
    /// # Panics
    ///
    /// When there is no such connection.
    #[must_use]
    pub fn launch_url(&self, launch: impl Into<NewLaunch>) -> Option<String> {
        launch_url(&self.environment, &self.launch_token(launch))
    }

    /// Where the browser is sent when a launch has failed at the environment, if the application
    /// can be launched.
    #[must_use]
    pub fn failed_launch_url(&self, error: &str, description: &str) -> Option<String> {
        failed_launch_url(&self.environment, error, description)
    }
}

#[expect(clippy::panic, reason = "a test that names an unknown connection has no better answer")]
fn no_connection(launch: &NewLaunch) -> ! {
    panic!("there is no connection {}", launch.connection_id)
}
