use std::fmt;

use url::form_urlencoded::Serializer;

use crate::session::Sessions;
use crate::util::return_to::ReturnTo;

/// The URL of a login through a given organization, connection or provider: a path of this app with
/// a query, for links and redirects. Returned by [`Sessions::login_url`].
///
/// The environment uses the first that is set of: provider, connection, organization, domain, login
/// hint. A domain or hint without a connection leads to the ordinary login page. Check this with
/// [`connections`](crate::api) first if it matters.
///
/// ```
/// # #[cfg(feature = "sandbox")] {
/// # use tower_scalekit::{Sandbox, SessionSecret, Sessions};
/// # use tower_scalekit::auth_routes::ReturnTo;
/// # let sessions = Sessions::builder(Sandbox::new().scalekit())
/// #     .secret(SessionSecret::generate()?)
/// #     .redirect_uri("https://app.example.com/auth/callback")
/// #     .build()?;
/// let address = sessions.login_url().domain_hint("megacorp.org").login_hint("jane@megacorp.org");
/// assert_eq!(
///     address.to_string(),
///     "/login?domain_hint=megacorp.org&login_hint=jane%40megacorp.org"
/// );
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct LoginUrl {
    path: String,
    parameters: Vec<(&'static str, String)>,
}

impl LoginUrl {
    /// Sets the single sign-on connection (`conn_…`).
    pub fn connection_id(self, id: impl Into<String>) -> Self {
        self.with("connection_id", id.into())
    }

    /// Sets the organization (`org_…`).
    pub fn organization_id(self, id: impl Into<String>) -> Self {
        self.with("organization_id", id.into())
    }

    /// Sets the e-mail domain, whose connection is used.
    pub fn domain_hint(self, domain: impl Into<String>) -> Self {
        self.with("domain_hint", domain.into())
    }

    /// Sets the user's e-mail address.
    pub fn login_hint(self, email: impl Into<String>) -> Self {
        self.with("login_hint", email.into())
    }

    /// Sets the social provider, for instance `google`.
    pub fn provider(self, provider: impl Into<String>) -> Self {
        self.with("provider", provider.into())
    }

    /// Sets the page after the login.
    pub fn return_to(self, page: &ReturnTo) -> Self {
        self.with("return_to", page.as_str().to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.parameters.retain(|(set, _)| *set != name);
        self.parameters.push((name, value));
        self
    }
}

impl fmt::Display for LoginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.parameters.is_empty() {
            return Ok(());
        }
        let query = Serializer::new(String::new()).extend_pairs(&self.parameters).finish();
        write!(f, "?{query}")
    }
}

// By hand: the values are e-mail addresses.
impl fmt::Debug for LoginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parameters.iter().map(|(name, _)| name).collect();
        f.debug_struct("LoginUrl").field("path", &self.path).field("names", &names).finish()
    }
}

impl Sessions {
    /// Returns the URL of a login, for links to it.
    #[doc(alias("getAuthorizationUrl", "get_authorization_url"))]
    pub fn login_url(&self) -> LoginUrl {
        LoginUrl { path: self.login_path().to_owned(), parameters: Vec::new() }
    }
}
