use std::fmt;

use url::form_urlencoded::Serializer;

use crate::session::Sessions;
use crate::util::return_to::ReturnTo;

/// The address of a login through a certain organization, connection or provider: a path of this
/// app with a query, to link to or to redirect to. Made by [`Sessions::login_url`].
///
/// Of several ways to choose, the environment heeds the first that is set: provider, connection,
/// organization, domain, login hint. A domain or hint without a connection leads to the ordinary
/// login page; ask [`connections`](crate::api) before, where that matters.
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
    /// The single sign-on connection to use (`conn_…`).
    pub fn connection_id(self, id: impl Into<String>) -> Self {
        self.with("connection_id", id.into())
    }

    /// The organization to log in to (`org_…`).
    pub fn organization_id(self, id: impl Into<String>) -> Self {
        self.with("organization_id", id.into())
    }

    /// The e-mail domain whose connection to use.
    pub fn domain_hint(self, domain: impl Into<String>) -> Self {
        self.with("domain_hint", domain.into())
    }

    /// The person's address, if known.
    pub fn login_hint(self, email: impl Into<String>) -> Self {
        self.with("login_hint", email.into())
    }

    /// The social provider to use, for instance `google`.
    pub fn provider(self, provider: impl Into<String>) -> Self {
        self.with("provider", provider.into())
    }

    /// Where the person goes afterwards.
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

// By hand: the values are people's addresses.
impl fmt::Debug for LoginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parameters.iter().map(|(name, _)| name).collect();
        f.debug_struct("LoginUrl").field("path", &self.path).field("names", &names).finish()
    }
}

impl Sessions {
    /// The address of a login, for links to it.
    pub fn login_url(&self) -> LoginUrl {
        LoginUrl { path: self.login_path().to_owned(), parameters: Vec::new() }
    }
}
