use std::fmt;

use serde_json::{Map, Value};

use super::{Authentication, User};
use crate::oauth::IdTokenHint;
use crate::revocation::RecordedPosition;

/// A session that the app itself creates: after a passwordless login, single sign-on for users of
/// its own, or any other authentication.
///
/// The same layer, extractors and logout apply to it. It has no tokens, so it ends at its own
/// limits. It is kept in the shared store, because otherwise a copy of its cookie could not be
/// revoked after a restart. Without a [shared store](super::SessionsBuilder::shared_store) it ends
/// with the process.
///
/// ```
/// # #[cfg(feature = "sandbox")] {
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use http::{HeaderMap, Response, header};
/// use tower_scalekit::session::{LocalSession, User};
/// use tower_scalekit::{Sandbox, SessionSecret, Sessions};
///
/// let sessions = Sessions::builder(Sandbox::new().scalekit())
///     .secret(SessionSecret::generate()?)
///     .redirect_uri("https://app.example.com/auth/callback")
///     .build()?;
/// let mut user = User::default();
/// user.id = "usr_1".to_owned();
/// user.email = "jane@acme.test".to_owned();
///
/// // In a handler that has authenticated the user; `request_headers` are the request's.
/// # let request_headers = HeaderMap::new();
/// let cookies = sessions.create(LocalSession::new(user).roles(["admin"]), &request_headers).await?;
/// let mut response = Response::new("Welcome");
/// cookies.set(response.headers_mut()); // with axum: (cookies, "Welcome")
/// assert!(response.headers()[header::SET_COOKIE].to_str()?.starts_with("__Host-scalekit_session="));
/// # Ok(())
/// # }
/// # main().unwrap();
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct LocalSession {
    pub(super) user: User,
    pub(super) claims: Map<String, Value>,
    pub(super) app_claims: Map<String, Value>,
    pub(super) lifetime: Option<std::time::Duration>,
    pub(super) in_cookie: bool,
    pub(super) id_token: Option<IdTokenHint>,
    pub(super) login_subject: Option<String>,
    /// Position of the revocation counter when the login was verified. Unset for a session that
    /// begins now.
    pub(super) position: Option<RecordedPosition>,
    /// Unset for a user whom the app authenticates itself.
    pub(super) authentication: Option<Authentication>,
}

// Manual impl: claims may contain e-mail addresses.
impl fmt::Debug for LocalSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSession")
            .field("user", &self.user)
            .field("lifetime", &self.lifetime)
            .field("in_cookie", &self.in_cookie)
            .finish_non_exhaustive()
    }
}

impl LocalSession {
    /// Creates a session for this user. `user.id` becomes the principal's subject.
    pub fn new(user: User) -> Self {
        let claims = Map::from_iter([("sub".to_owned(), user.id.as_str().into())]);
        Self {
            user,
            claims,
            app_claims: Map::new(),
            lifetime: None,
            in_cookie: false,
            id_token: None,
            login_subject: None,
            position: None,
            authentication: None,
        }
    }

    /// Sets the user's organization.
    pub fn organization_id(self, id: impl Into<String>) -> Self {
        self.claim("oid", id.into().into())
    }

    /// Sets the environment's session that it belongs to (`ses_…`). A logout or revocation there
    /// ends this session once the app is notified.
    pub fn session_id(self, id: impl Into<String>) -> Self {
        self.claim("sid", id.into().into())
    }

    /// Sets when the environment issued the tokens of the login.
    pub(super) fn issued_at(self, seconds: Value) -> Self {
        self.claim("iat", seconds)
    }

    /// Sets the user's roles.
    pub fn roles(self, roles: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.claim("roles", roles.into_iter().map(Into::into).collect())
    }

    /// Sets the user's permissions, as `resource:action`.
    pub fn permissions(self, permissions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.claim("permissions", permissions.into_iter().map(Into::into).collect())
    }

    /// Adds a claim of the app's own, which [`Session::app_claims`](super::Session::app_claims)
    /// returns. All of them together have at most 2,048 bytes as JSON.
    pub fn app_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.app_claims.insert(name.into(), value.into());
        self
    }

    /// Sets the maximum lifetime, if that is less than
    /// [`SessionsBuilder::absolute_lifetime`](super::SessionsBuilder::absolute_lifetime).
    pub fn lifetime(mut self, lifetime: std::time::Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Keeps the whole session in the cookie, so that no request reads the shared store. A copy of
    /// the cookie then works again once the replicas have dropped the revocation: without a shared
    /// store, after their next restart.
    pub fn in_cookie(mut self) -> Self {
        self.in_cookie = true;
        self
    }

    /// Sets the ID token of the Scalekit login that the session begins with: logout then ends the
    /// session at Scalekit too. A session of
    /// [`on_login`](super::SessionsBuilder::on_login) has it already; after
    /// [`Callback::identify`](crate::auth_routes::Callback::identify) it comes with the identity.
    pub fn id_token_hint(mut self, id_token: IdTokenHint) -> Self {
        self.id_token = Some(id_token);
        self
    }

    /// Sets the subject of the login that the session begins with.
    pub(crate) fn login_subject(mut self, subject: &str) -> Self {
        self.login_subject = Some(subject.to_owned()).filter(|subject| *subject != self.user.id);
        self
    }

    /// Sets the position of the revocation counter at which the login was verified.
    pub(crate) fn revocation_position(mut self, position: RecordedPosition) -> Self {
        self.position = Some(position);
        self
    }

    /// Sets the authentication of the login that the session begins with.
    pub(super) fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    fn claim(mut self, name: &str, value: Value) -> Self {
        self.claims.insert(name.to_owned(), value);
        self
    }
}
