use std::borrow::Cow;
use std::fmt;

use url::form_urlencoded::Serializer;

use crate::session::Sessions;
use crate::util::return_to::ReturnTo;

/// The URL of a login with the parameters of the environment's authorization endpoint: a path of
/// this app with a query, for links and redirects. Returned by [`Sessions::login_url`].
///
/// The environment uses the first that is set of: provider, connection, organization, domain, login
/// hint. A domain or hint without a connection leads to the ordinary login page. Check this with
/// [`connections`](crate::api) first if it matters.
///
/// The URL is at the host of the page that contains it, and so is the redirect URI that the login
/// returns to: see
/// [an app at several hosts](crate::guides::behind_a_proxy#an-app-at-several-hosts).
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
    parameters: Vec<(Cow<'static, str>, String)>,
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

    /// Sets the prompt: `login` asks for credentials even if the user is logged in at the
    /// environment, `create` shows the sign-up page, `select_account` the choice of organizations,
    /// and `none` logs the user in without interaction if that is possible.
    ///
    /// The environment has no `screen_hint`: the sign-up page is `create`.
    pub fn prompt(self, prompt: impl Into<String>) -> Self {
        self.with("prompt", prompt.into())
    }

    /// Sets any other parameter, such as one of an invitation, or a new one of the environment.
    /// [`Login`](super::Login) forwards it to the environment, but never one that secures the login,
    /// such as `state`, `scope` or `redirect_uri`.
    pub fn parameter(self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.with(name, value.into())
    }

    /// Sets the page after the login.
    pub fn return_to(self, page: &ReturnTo) -> Self {
        self.with("return_to", page.as_str().to_owned())
    }

    fn with(mut self, name: impl Into<Cow<'static, str>>, value: String) -> Self {
        let name = name.into();
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
