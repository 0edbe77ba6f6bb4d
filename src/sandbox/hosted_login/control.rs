//! Controls of IdP-initiated login.

use std::sync::Arc;

use crate::sandbox::environment::Environment;
use crate::sandbox::hosted_login::idp_initiated::{
    NewIdpInitiatedLogin, failed_login_url, login_token, login_url, token_draft,
};
use crate::sandbox::state::token_faults::TokenDraft;

/// IdP-initiated login. Returned by [`Sandbox::idp`](crate::sandbox::Sandbox::idp).
#[derive(Clone, Copy, Debug)]
pub struct Idp<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Idp<'_> {
    /// Sets the application's login route, an absolute `http` or `https` URL. Without one, there is
    /// no IdP-initiated login.
    pub fn set_initiate_login_url(&self, url: &str) {
        self.environment.lock().initiate_login_url = Some(url.to_owned());
    }

    /// The same, unless one is set.
    #[cfg(feature = "reqwest")]
    pub(crate) fn default_initiate_login_url(&self, url: &str) {
        self.environment.lock().initiate_login_url.get_or_insert_with(|| url.to_owned());
    }

    /// The value of `idp_initiated_login`: a token signed with the environment's key and valid for
    /// five minutes. Its issuer is the origin of the
    /// [login route](Self::set_initiate_login_url), or the environment without one.
    ///
    /// # Panics
    ///
    /// When there is no such connection.
    #[must_use]
    pub fn login_token(&self, login: impl Into<NewIdpInitiatedLogin>) -> String {
        let login = login.into();
        login_token(self.environment, &login).unwrap_or_else(|| no_connection(&login))
    }

    /// The same token before it is signed, for
    /// [`Tokens::sign_draft`](crate::sandbox::Tokens::sign_draft).
    ///
    /// # Panics
    ///
    /// When there is no such connection.
    #[must_use]
    pub fn login_token_draft(&self, login: impl Into<NewIdpInitiatedLogin>) -> TokenDraft {
        let login = login.into();
        token_draft(self.environment, &login)
            .map_or_else(|| no_connection(&login), |(draft, _)| draft)
    }

    /// The URL that the identity provider redirects the browser to, if there is a login route.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{NewIdpInitiatedLogin, Sandbox};
    ///
    /// let sandbox = Sandbox::builder().initiate_login_url("https://app.example.com/login").build();
    /// let acme = sandbox.connections().list().remove(0);
    /// let login = NewIdpInitiatedLogin::new(&acme.id).login_hint("jane@acme.test").relay_state("/reports");
    /// let url = sandbox.idp().login_url(login).unwrap();
    /// assert!(url.starts_with("https://app.example.com/login?idp_initiated_login=ey"));
    /// ```
    ///
    /// # Panics
    ///
    /// When there is no such connection.
    #[must_use]
    pub fn login_url(&self, login: impl Into<NewIdpInitiatedLogin>) -> Option<String> {
        let token = self.login_token(login);
        login_url(&self.environment.lock(), &token)
    }

    /// The URL that the browser is redirected to when the login has failed at the environment, if
    /// there is a login route.
    #[must_use]
    pub fn failed_login_url(&self, error: &str, description: &str) -> Option<String> {
        failed_login_url(&self.environment.lock(), error, description)
    }
}

#[expect(clippy::panic, reason = "an unknown connection is a bug of the test")]
fn no_connection(login: &NewIdpInitiatedLogin) -> ! {
    panic!("there is no connection {}", login.connection_id)
}
