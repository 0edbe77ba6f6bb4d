//! The session that handlers use, which the request's [`Principal`] carries.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use http::Extensions;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::cookie::record::SessionRecord;
use super::{Inner, Sessions, User};
use crate::middleware::principal;
use crate::revocation::RevocableSession;
use crate::secret::SecretString;
use crate::token::Principal;

/// The session of a request: inserted by [`RequireSession`](crate::RequireSession), and an
/// extractor for axum handlers. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    principal: Principal,
    content: Arc<Content>,
}

/// Stored in the [`Principal`], so it must not contain one (reference cycle).
struct Content {
    /// Weak, because the cache of the sessions contains this.
    sessions: Weak<Inner>,
    record: SessionRecord,
    /// Read from the record when they are first used.
    user: OnceLock<User>,
    revocable: OnceLock<RevocableSession>,
    /// Whether a request has sent this session's own cookie.
    presented: AtomicBool,
    /// The change count of the revocations at which it was last known not to be revoked.
    checked_revocations: AtomicU64,
    /// Its cookie, if a refresh in this process has sealed it.
    cookie: OnceLock<SecretString>,
}

impl Session {
    /// Returns the session of a request that has passed [`RequireSession`](crate::RequireSession),
    /// for services that are not axum handlers. Behind an optional layer it may be `None`.
    ///
    /// ```
    /// # use http::{Request, Response};
    /// # use tower_scalekit::Session;
    /// fn greeting<B>(request: &Request<B>) -> String {
    ///     match Session::from_extensions(request.extensions()) {
    ///         Some(session) => format!("Hello {}", session.user().email),
    ///         None => "Hello".to_owned(),
    ///     }
    /// }
    /// # assert_eq!(greeting(&Request::new(())), "Hello");
    /// ```
    #[must_use]
    pub fn from_extensions(extensions: &Extensions) -> Option<Self> {
        let (principal, content) = principal::find_with_session(extensions).ok()?;
        Some(Self { principal: principal.clone(), content })
    }

    /// Returns the user's profile, from the ID token of the login.
    #[must_use]
    pub fn user(&self) -> &User {
        self.content.user.get_or_init(|| self.record().user())
    }

    /// Returns the principal, which carries the session in a request's extensions.
    pub(crate) fn into_principal(self) -> Principal {
        self.principal
    }

    /// Returns the user's identity and permissions, from the access token.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns when the session ends if it is not used before (UTC): the
    /// [idle timeout](super::SessionsBuilder::idle_timeout) since its last recorded use, or
    /// [`ends_at`](Self::ends_at) if that is earlier or there is no idle timeout.
    ///
    /// The access token expires earlier, at [`Principal::expires_at`], and is refreshed.
    #[must_use]
    pub fn expires_at(&self) -> OffsetDateTime {
        self.ends_at().min(self.record().idle_until().unwrap_or(self.ends_at()))
    }

    /// Returns when the session ends in any case (UTC), unless a logout, a revocation or the
    /// environment ends it before: its
    /// [absolute lifetime](super::SessionsBuilder::absolute_lifetime) after the login. A session
    /// without a refresh token ends with its access token.
    #[must_use]
    pub fn ends_at(&self) -> OffsetDateTime {
        let ends_at =
            self.record().ends_at(self.sessions().map(|sessions| sessions.inner.lifetimes));
        match self.is_refreshable() {
            true => ends_at,
            false => ends_at.min(self.principal.expires_at()),
        }
    }

    /// Returns the claims that the app added at the login:
    /// [`LoginDecision::app_claim`](super::LoginDecision::app_claim), or
    /// [`LocalSession::app_claim`](super::LocalSession::app_claim).
    #[must_use]
    pub fn app_claims(&self) -> &Map<String, Value> {
        self.record().app_claims()
    }

    /// Returns when the user has authenticated: the ID token's `auth_time`, or when a login that
    /// required credentials (`prompt=login`) was completed, or when the app created the session
    /// itself. `None` if the environment may have completed the login without the user. A refresh
    /// does not change it. See
    /// [`authenticated_within`](crate::RequireSession::authenticated_within).
    #[must_use]
    pub fn authenticated_at(&self) -> Option<OffsetDateTime> {
        self.record().authentication().at()
    }

    /// Whether the app created it, without tokens.
    pub(crate) fn is_local(&self) -> bool {
        self.record().is_local()
    }

    /// Whether it began with a login at the environment, whose session there ends with it.
    pub(crate) fn has_id_token(&self) -> bool {
        self.record().id_token().is_some()
    }

    /// Returns what this crate's pages call the user: the e-mail address, or else the name.
    pub(crate) fn account_name(&self) -> &str {
        Some(self.user().email.as_str())
            .filter(|email| !email.is_empty())
            .unwrap_or(self.user().display_name())
    }

    /// Returns the subject of the login that the session began with.
    pub(crate) fn login_subject(&self) -> &str {
        self.record().login_subject().unwrap_or(self.principal.subject())
    }

    /// Whether it has a refresh token.
    pub(crate) fn is_refreshable(&self) -> bool {
        self.record().refresh_token.is_some()
    }

    /// Whether a request has had the session's own cookie, as far as this process knows.
    pub(super) fn was_presented(&self) -> bool {
        self.content.presented.load(Ordering::Relaxed)
    }

    /// Records that a request has sent this session's own cookie. Returns `true` for the first one
    /// in this process.
    pub(super) fn mark_presented(&self) -> bool {
        !self.content.presented.swap(true, Ordering::Relaxed)
    }

    pub(super) fn checked_revocations(&self) -> &AtomicU64 {
        &self.content.checked_revocations
    }

    /// Returns the cookie that a refresh has sealed.
    pub(super) fn cookie(&self) -> Option<&str> {
        self.content.cookie.get().map(SecretString::expose)
    }

    /// Keeps the cookie for all responses that set it.
    pub(super) fn keep_cookie(&self, cookie: String) {
        self.content.cookie.get_or_init(|| cookie.into());
    }

    /// Returns the `Sessions` that it belongs to, unless the app has dropped them.
    pub(super) fn sessions(&self) -> Option<Sessions> {
        self.content.sessions.upgrade().map(|inner| Sessions { inner })
    }

    pub(super) fn record(&self) -> &SessionRecord {
        &self.content.record
    }

    /// Returns the targets by which it can be revoked, as keys.
    pub(super) fn revocable(&self) -> &RevocableSession {
        self.content.revocable.get_or_init(|| self.record().revocable(&self.principal))
    }
}

impl SessionRecord {
    /// Converts the record to the session that handlers use. Returns `None` if its claims are not
    /// those of a principal.
    pub(super) fn into_session(self, sessions: &Sessions) -> Option<Session> {
        let principal = self.principal()?;
        let content = Arc::new(Content {
            sessions: Arc::downgrade(&sessions.inner),
            record: self,
            user: OnceLock::new(),
            revocable: OnceLock::new(),
            presented: AtomicBool::new(false),
            checked_revocations: AtomicU64::new(0),
            cookie: OnceLock::new(),
        });
        let principal = principal.with_session(Arc::clone(&content));
        Some(Session { principal, content })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("principal", &self.principal).finish_non_exhaustive()
    }
}
