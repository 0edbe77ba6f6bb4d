//! Sessions: who is logged in, kept in a sealed cookie and renewed before anyone notices.
//!
//! * A session is sealed with AES-256-GCM-SIV under a key derived from the [`SessionSecret`]. Bound
//!   into it are the cookie's name, its purpose, the format's version, and the environment, client
//!   id, redirect URI, [base path](SessionsBuilder::base_path) and [name](SessionsBuilder::name) of
//!   the sessions: a cookie opens only as what it was sealed for. Secrets rotate: the newest seals,
//!   older ones still open.
//! * The cookie is `__Host-scalekit_session`: `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/`. Where
//!   the redirect URI is `http` on loopback it is `scalekit_session` without `Secure`, because
//!   Safari keeps no secure cookie there. A large session is split over up to three cookies.
//! * What is sealed was verified when it was sealed: a request on a fresh session checks no
//!   signature and needs no key set.
//! * Store-backed sessions are kept in the shared store, with only an id in the cookie. A
//!   [`LocalSession`], which the app vouches for itself, is kept there unless it is told otherwise.
//! * When the access token is about to expire, the first request renews it, and all requests of
//!   that session, also those that still carry the old cookie, get the one result. A failing
//!   environment ends no one's session: of what it answers, only its definite `invalid_grant` does.
//! * A lost response ends no session either: the result of a refresh is kept until the new cookie
//!   was presented, and for a [day](SessionsBuilder::refresh_retention) after. Rotation does not
//!   detect theft: a copied cookie is good for as long as its session. A logout or
//!   [revocation](Sessions::revoke_session) ends every copy.
//!
//! ```
//! # #[cfg(feature = "sandbox")] {
//! use tower_scalekit::{Sandbox, SessionSecret, Sessions};
//!
//! let sessions = Sessions::builder(Sandbox::new().scalekit())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! assert_eq!(sessions.cookie_name(), "__Host-scalekit_session");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod active;
mod builder;
pub(crate) mod cookie;
pub(crate) mod create;
mod deprovisioning;
pub(crate) mod end;
#[cfg(test)]
mod fixtures;
pub(crate) mod load;
pub(crate) mod login_hook;
mod login_notes;
pub(crate) mod pending_cookies;
mod recent_login;
mod refresh;
mod revocation;
mod secret;
pub(crate) mod store;
mod switch_account;
mod user;
pub(crate) mod verified_identity;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{Extensions, HeaderMap};
use url::Url;

pub use self::active::{ActiveSession, ActiveSessionsError};
pub use self::builder::SessionsBuilder;
pub use self::create::{CreateSessionError, LocalSession, SessionCookies};
pub use self::deprovisioning::{Deprovisioned, Deprovisioning, RevokedSessions};
pub use self::login_hook::LoginHookError;
pub use self::secret::SessionSecret;
pub use self::switch_account::SwitchConfirmation;
pub use self::user::User;
pub use self::verified_identity::VerifiedIdentity;

pub(crate) use self::builder::is_plain_path;
pub(crate) use self::cookie::names::{
    ATTEMPT_ID_BYTES, AttemptKind, CookieStyle, PresentedCookies,
};
pub(crate) use self::cookie::record::{NewSession, NewTokens, SessionRecord};
pub(crate) use self::cookie::seal::{KeyRing, Purpose};
pub(crate) use self::create::BeginLoginError;
pub(crate) use self::end::LogoutError;
pub(crate) use self::load::{Awaited, Cookie, Found, Live, Peeked, Resealed, Settled};
pub(crate) use self::login_hook::LoginHook;
pub(crate) use self::pending_cookies::Attempt;
pub(crate) use self::recent_login::RecentLogin;
pub(crate) use self::refresh::{Renewal, Renewing};
pub(crate) use self::revocation::RecordedPosition;
pub(crate) use self::switch_account::{
    EmailLogin, SwitchError, SwitchStep, Switched, UnconfirmedIdentity, UnconfirmedLogin,
};

use self::builder::Paths;
use self::refresh::Refreshes;
use self::revocation::{Revocable, Revocations};
use self::store::{Reference, StoredSessions};
use crate::auth_routes::LoginError;
use crate::challenge::ChallengeContext;
use crate::middleware::body_limits::BodyLimits;
use crate::passwordless_login::request_dedup::{Key, Once};
use crate::scalekit::Scalekit;
use crate::shared_store::{self, SharedStore, StoreKey, StoreScope};
use crate::token::Principal;
use crate::util::fetch_metadata::{Initiator, initiator};
use crate::util::single_flight::SingleFlight;
use crate::util::tasks::{Tasks, UnfinishedTasks};
use crate::util::token_cache::TokenCache;

/// The sessions of an app: how they begin, are kept and end. Cheap to clone.
///
/// Give it to [`RequireSession`](crate::RequireSession), and mount its routes.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    scalekit: Scalekit,
    keys: KeyRing,
    scope: StoreScope,
    cookies: CookieStyle,
    redirect_uri: Url,
    post_logout_redirect_uri: Url,
    logged_out_page: Url,
    trusted_origins: Vec<String>,
    base_path: Option<String>,
    paths: Paths,
    scopes: Vec<String>,
    lifetimes: Lifetimes,
    /// Makes each login a session of the app's own.
    admission: Option<LoginHook<VerifiedIdentity>>,
    /// The app's own page in place of ours.
    switch_account_page: Option<Arc<SwitchAccountPage>>,
    /// Logins that are being completed: where the browser goes, and the cookies for it.
    logins: SingleFlight<Key, Result<(String, SessionCookies), LoginError>>,
    /// Logins that were just confirmed.
    switches: Once<Switched, LoginError>,
    /// Sessions with tokens are kept in the shared store.
    store_backed: bool,
    max_sessions_per_user: usize,
    body_limits: BodyLimits,
    opened: TokenCache<Opened>,
    stored: StoredSessions,
    store: Arc<dyn SharedStore>,
    refreshes: Refreshes,
    /// How long the result of a refresh is kept once a browser has it.
    refresh_retention: std::time::Duration,
    revocations: Revocations,
    /// Revocations that the store has missed.
    late_revocations: SingleFlight<(), ()>,
    tasks: Tasks,
}

type SwitchAccountPage = dyn Fn(&SwitchConfirmation) -> String + Send + Sync;

/// How long a session may last, whatever the environment says.
#[derive(Clone, Copy, Debug)]
struct Lifetimes {
    absolute: time::Duration,
    idle: Option<time::Duration>,
}

/// A sealed cookie that was opened before.
#[derive(Debug)]
enum Opened {
    Session {
        known: Known,
        outdated_key: bool,
    },
    /// Its session is kept in the shared store.
    Stored {
        reference: Reference,
        outdated_key: bool,
    },
}

/// A session that was looked at before.
#[derive(Debug)]
struct Known {
    session: Session,
    /// The version of the revocations up to which it is known to stand.
    stands_as_of: AtomicU64,
}

impl Known {
    fn new(session: Session) -> Self {
        Self { session, stands_as_of: AtomicU64::new(0) }
    }
}

impl Sessions {
    /// Sessions of users who log in at this environment.
    pub fn builder(scalekit: Scalekit) -> SessionsBuilder {
        SessionsBuilder::new(scalekit)
    }

    /// The environment that users log in at.
    #[must_use]
    pub fn scalekit(&self) -> &Scalekit {
        &self.0.scalekit
    }

    /// Limits of the bodies that routes read.
    pub(crate) fn body_limits(&self) -> &BodyLimits {
        &self.0.body_limits
    }

    /// Name of the session cookie, or of the first where there are several.
    #[must_use]
    pub fn cookie_name(&self) -> &str {
        self.0.cookies.session_name()
    }

    /// Where a login returns to; registered in the dashboard under these very letters.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        self.0.redirect_uri.as_str()
    }

    /// Where the login starts: `/login` unless set otherwise.
    #[must_use]
    pub fn login_path(&self) -> &str {
        &self.0.paths.login
    }

    /// Path of the redirect URI.
    #[must_use]
    pub fn callback_path(&self) -> &str {
        self.0.redirect_uri.path()
    }

    /// Where tokens can be renewed by `POST`: `/auth/refresh` unless set otherwise.
    #[must_use]
    pub fn refresh_path(&self) -> &str {
        &self.0.paths.refresh
    }

    /// Where a session ends: `/logout` unless set otherwise.
    #[must_use]
    pub fn logout_path(&self) -> &str {
        &self.0.paths.logout
    }

    /// Path of the post-logout redirect URI.
    #[must_use]
    pub fn logout_callback_path(&self) -> &str {
        self.0.post_logout_redirect_uri.path()
    }

    /// Where users confirm a login that would replace the session of another user:
    /// `/auth/switch-account` unless set otherwise.
    #[must_use]
    pub fn switch_account_path(&self) -> &str {
        &self.0.paths.switch_account
    }

    /// Where the environment tells of logouts by `POST`: `/auth/backchannel-logout` unless set
    /// otherwise.
    #[must_use]
    pub fn backchannel_logout_path(&self) -> &str {
        &self.0.paths.backchannel_logout
    }

    /// Waits until the work that outlives its requests is done: logins and refreshes, whose tokens
    /// would be lost with the process, logouts, and late writes to the shared store. Call it when the server
    /// has drained its connections.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_scalekit::{Sandbox, SessionSecret, Sessions};
    /// # let sessions = Sessions::builder(Sandbox::new().scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .build()?;
    /// use std::time::Duration;
    ///
    /// // After `axum::serve(..).with_graceful_shutdown(..).await`:
    /// if let Err(unfinished) = sessions.shutdown(Duration::from_secs(15)).await {
    ///     eprintln!("{unfinished}");
    /// }
    /// # Ok(())
    /// # }
    /// # main().unwrap();
    /// # }
    /// ```
    ///
    /// A refresh takes no longer than 15 s, most of it on a token endpoint that does not respond.
    /// Requests that come later are still served.
    ///
    /// # Errors
    /// Returned when work is unfinished after `timeout`, with what it is.
    pub async fn shutdown(&self, timeout: std::time::Duration) -> Result<(), UnfinishedTasks> {
        self.0.tasks.shutdown(timeout).await
    }

    pub(crate) fn public_url(&self) -> &Url {
        &self.0.redirect_uri
    }

    /// What is removed from the paths of requests before they reach the layers: empty if nothing,
    /// `None` if that is unknown.
    pub(crate) fn base_path(&self) -> Option<&str> {
        self.0.base_path.as_deref()
    }

    pub(crate) fn initiator(&self, headers: &HeaderMap) -> Initiator {
        initiator(headers, &self.0.redirect_uri, &self.0.trusted_origins)
    }

    /// Whether a page of another site made the browser send this.
    pub(crate) fn is_cross_site(&self, headers: &HeaderMap) -> bool {
        self.initiator(headers) == Initiator::Other
    }

    pub(crate) fn logged_out_page(&self) -> &Url {
        &self.0.logged_out_page
    }

    pub(crate) fn admission(&self) -> Option<&LoginHook<VerifiedIdentity>> {
        self.0.admission.as_ref()
    }

    pub(crate) fn logins(
        &self,
    ) -> &SingleFlight<Key, Result<(String, SessionCookies), LoginError>> {
        &self.0.logins
    }

    pub(crate) fn switches(&self) -> &Once<Switched, LoginError> {
        &self.0.switches
    }

    pub(crate) fn scopes(&self) -> &[String] {
        &self.0.scopes
    }

    pub(crate) fn cookies(&self) -> &CookieStyle {
        &self.0.cookies
    }

    pub(crate) fn keys(&self) -> &KeyRing {
        &self.0.keys
    }

    /// Whether the app decides who may log in.
    pub(crate) fn has_login_hook(&self) -> bool {
        self.0.admission.is_some()
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(crate) fn store(&self) -> &dyn SharedStore {
        &*self.0.store
    }

    /// What identifies a session's user in the environment: subjects of local sessions are the app's
    /// own, so that another app of the environment may have the same.
    pub(crate) fn account_identifier(&self, session: &Session) -> String {
        let subject = session.principal().subject();
        if session.is_local() { self.0.scope.prefix(subject) } else { subject.to_owned() }
    }

    /// The key of a value of these sessions in the shared store.
    pub(crate) fn store_key(&self, purpose: shared_store::Purpose, id: &str) -> StoreKey {
        self.0.scope.key(purpose, id)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("scalekit", &self.0.scalekit)
            .field("redirect_uri", &self.0.redirect_uri.as_str())
            .field("cookie", &self.0.cookies.session_name())
            .finish_non_exhaustive()
    }
}

/// The session of a request: inserted by [`RequireSession`](crate::RequireSession), an extractor
/// for axum handlers. Cheap to clone.
#[derive(Clone)]
pub struct Session(Arc<Content>);

struct Content {
    user: User,
    principal: Principal,
    revocable: Revocable,
    record: SessionRecord,
    /// Whether a request has come with this session's own cookie.
    presented: AtomicBool,
}

impl Session {
    /// The person's profile, from the ID token of the login.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.0.user
    }

    /// What the person may do, from the access token.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// Whether the app vouches for it, not the tokens of a login.
    pub(crate) fn is_local(&self) -> bool {
        self.0.record.is_local()
    }

    /// Whether it began with a login at the environment, whose session there ends with it.
    pub(crate) fn has_id_token(&self) -> bool {
        self.0.record.id_token().is_some()
    }

    /// What our own pages call the user: the e-mail address, or else the name.
    pub(crate) fn account_name(&self) -> &str {
        let email = Some(self.user().email.as_str()).filter(|email| !email.is_empty());
        email.unwrap_or(self.user().display_name())
    }

    /// Subject of the login that it began with.
    pub(crate) fn login_subject(&self) -> &str {
        self.0.record.login_subject().unwrap_or(self.0.principal.subject())
    }

    /// Whether there is a refresh token to renew it with.
    pub(crate) fn is_renewable(&self) -> bool {
        self.0.record.refresh_token.is_some()
    }

    /// Whether this is the first request with the session's own cookie, as far as this process
    /// remembers.
    fn is_first_presented(&self) -> bool {
        let presented = &self.0.presented;
        !presented.load(Ordering::Relaxed) && !presented.swap(true, Ordering::Relaxed)
    }

    fn record(&self) -> &SessionRecord {
        &self.0.record
    }
}

/// Inserted into a request that an optional session layer forwards without a [`Principal`].
#[derive(Clone)]
pub(crate) struct Anonymous {
    /// Where layers further in send the browser, if the request is a navigation.
    pub(crate) login: Option<String>,
    /// Where their page leads, if the request is a form.
    pub(crate) form_login: Option<String>,
}

/// Takes from a request what layers further out, or another user, have said of who it is: the
/// layer that asks for credentials decides alone.
pub(crate) fn strip_identity(extensions: &mut Extensions) {
    extensions.remove::<Principal>();
    extensions.remove::<Anonymous>();
    extensions.remove::<Session>();
    extensions.remove::<ChallengeContext>();
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("principal", &self.0.principal).finish_non_exhaustive()
    }
}
