//! Sessions in sealed cookies, with automatic refresh of their tokens.
//!
//! * A session is sealed with AES-256-GCM-SIV under a key derived from the
//!   [`SessionSecret`](crate::SessionSecret). Its associated data contains the cookie's name, its
//!   purpose, the format version, and the environment, client ID, redirect URI and
//!   [name](SessionsBuilder::name) of the sessions: a cookie opens only in the context that it was
//!   sealed for. Secrets rotate: the newest one seals, and
//!   older ones still open.
//! * The cookie is `__Host-scalekit_session`: `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/`. If
//!   the redirect URI is `http` on loopback, it is `scalekit_session` without `Secure`, because
//!   Safari stores no secure cookies there. A large session is split over up to three cookies.
//! * The content of a session was verified before it was sealed. A request with an unexpired
//!   session verifies no signature and needs no key set.
//! * Store-backed sessions are kept in the shared store, with only an ID in the cookie. A
//!   [`LocalSession`], which the app creates itself, is kept there by default.
//! * When the access token is about to expire, the first request refreshes it. All concurrent
//!   requests of the session, including those with the old cookie, get the same result. A failure
//!   of the environment ends no session: only its `invalid_grant` response does.
//! * A lost response ends no session: the result of a refresh is kept until the browser has sent
//!   the new cookie, and for a [day](SessionsBuilder::refresh_retention) after that. Rotation does
//!   not detect theft: a copied cookie is valid for as long as its session. A logout or
//!   [revocation](Sessions::revoke_session) ends every copy.
//! * A session of this crate and the environment's session of the same login have different IDs. A
//!   *session ID* is the environment's, `sid` (`ses_…`); a *record ID* is this crate's own.
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
pub(crate) mod authentication;
mod build_record;
mod builder;
mod canonical_host;
pub(crate) mod cookie;
pub(crate) mod create;
mod deprovisioning;
mod directory_users;
pub(crate) mod end;
#[cfg(test)]
mod fixtures;
mod lifetimes;
mod linked_users;
pub(crate) mod load;
mod loaded_session;
mod local_session;
pub(crate) mod login_error;
pub(crate) mod login_hook;
mod login_outcome;
mod login_revocations;
mod open_cookie;
pub(crate) mod origins;
mod paths;
mod recent_login;
mod refresh;
mod request_session;
mod seal_cookie;
mod session_handle;
mod session_markers;
mod session_use;
pub(crate) mod short_lived_cookies;
mod siblings;
mod single_use;
pub(crate) mod store;
mod stored_session_ref;
mod stored_value;
mod switch_account;
mod tokens;
mod user;
mod user_index;
pub(crate) mod verified_identity;
mod verified_login;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use http::{HeaderMap, Request};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

pub use self::active::{ActiveSession, ActiveSessionsError};
pub use self::builder::SessionsBuilder;
pub use self::create::{CreateSessionError, SessionCookies};
pub use self::deprovisioning::{
    Deprovisioned, Deprovisioning, DeprovisioningError, RevocationScope,
};
pub use self::local_session::LocalSession;
pub use self::login_hook::{LoginDecision, LoginHookError};
pub use self::request_session::Session;
pub use self::switch_account::SwitchConfirmation;
pub use self::tokens::{AccessToken, SessionTokenError};
pub use self::user::User;
pub use self::verified_identity::VerifiedIdentity;
pub use self::verified_login::VerifiedLogin;

pub(crate) use self::authentication::{Authentication, Recency};
pub(crate) use self::cookie::names::{
    CookieConfig, SHORT_LIVED_ID_BYTES, SentCookies, ShortLivedCookieKind,
};
pub(crate) use self::cookie::record::{NewSession, NewTokens, SessionRecord};
pub(crate) use self::cookie::seal::{KeyRing, Purpose};
pub(crate) use self::create::BeginSessionError;
pub(crate) use self::end::LogoutError;
pub(crate) use self::load::{PendingSession, SessionLoad, SessionUnavailable};
pub(crate) use self::loaded_session::{LoadedSession, SetCookieReason, UsableSession};
pub(crate) use self::login_error::CompletionError;
pub(crate) use self::login_hook::{HookFailure, LoginHook};
pub(crate) use self::login_outcome::LoginOutcome;
pub(crate) use self::recent_login::RecentLogin;
pub(crate) use self::refresh::RefreshTrigger;
pub(crate) use self::session_handle::SessionHandle;
pub(crate) use self::short_lived_cookies::ShortLivedCookie;
pub(crate) use self::single_use::{OtherRequest, SingleUse, StoredResult};
pub(crate) use self::switch_account::{
    EmailLogin, SwitchError, SwitchStep, Switched, UnconfirmedCredentials, UnconfirmedLogin,
};

use self::canonical_host::HostWarnings;
use self::lifetimes::Lifetimes;
use self::login_error::LoginError;
use self::open_cookie::OpenCookie;
use self::origins::{AppOrigin, Origins};
use self::paths::Paths;
use self::refresh::Refreshes;
use self::store::SessionCache;
use crate::clock::Clock;
use crate::error::ConfigProblem;
use crate::middleware::body_limits::BodyLimits;
use crate::oauth::IdTokenHint;
use crate::readiness::Readiness;
use crate::revocation::Revocations;
use crate::scalekit::Scalekit;
use crate::shared_store::{self, StoreKey, StoreScope, TimedStore};
use crate::util::fetch_metadata::{Initiator, initiator, is_browser_navigation};
use crate::util::request_target::nested_path;
use crate::util::return_to::ReturnTo;
use crate::util::route_check::RouteCheck;
use crate::util::shared_results::SharedResults;
use crate::util::single_flight::SingleFlight;
use crate::util::tasks::{Tasks, UnfinishedTasks};
use crate::util::telemetry;
use crate::util::token_cache::TokenCache;

/// The configuration and state of an app's sessions. Cheap to clone.
///
/// Pass it to [`RequireSession`](crate::RequireSession), and mount its routes.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    scalekit: Scalekit,
    keys: KeyRing,
    scope: StoreScope,
    cookies: CookieConfig,
    paths: Paths,
    host_warnings: HostWarnings,
    /// Whether there is any route where users log in.
    any_login_route: RouteCheck,
    /// Whether there is the one of [`routes`](Sessions::routes), at the login path.
    login_route: RouteCheck,
    has_shared_store: bool,
    trusted_origins: Vec<String>,
    scopes: Vec<String>,
    lifetimes: Lifetimes,
    /// Decides on each login.
    login_hook: Option<LoginHook<VerifiedLogin, LoginDecision>>,
    /// Replaces the default page.
    switch_account_page: Option<Arc<SwitchAccountPage>>,
    /// Logins that are in progress or just completed.
    logins: SharedResults<LoginOutcome, CompletionError>,
    /// Logins of apps with their own sessions, that are in progress or just completed.
    identified_logins: SharedResults<(VerifiedIdentity, IdTokenHint), CompletionError>,
    /// Confirmed logins that are in progress or just completed.
    switches: SharedResults<Switched, LoginError>,
    retain_access_token: bool,
    /// Sessions with tokens are kept in the shared store.
    store_backed: bool,
    max_sessions_per_user: usize,
    body_limits: BodyLimits,
    /// Session cookies by their text.
    cookie_cache: TokenCache<OpenCookie>,
    session_cache: SessionCache,
    store: TimedStore,
    refreshes: Refreshes,
    /// How long the result of a refresh is kept once a browser has sent its cookie.
    refresh_retention: Duration,
    require_issuer: bool,
    refresh_during_outages: bool,
    revocations: Revocations,
    /// Revocations that could not be published.
    late_revocations: SingleFlight<(), ()>,
    /// Limits the revocations that are checked later.
    revocation_checks: Arc<Semaphore>,
    tasks: Tasks,
}

type SwitchAccountPage = dyn Fn(&SwitchConfirmation) -> String + Send + Sync;

impl Sessions {
    /// Configures the sessions of users who log in at this environment.
    pub fn builder(scalekit: Scalekit) -> SessionsBuilder {
        SessionsBuilder::new(scalekit)
    }

    /// Returns the environment that users log in at.
    #[must_use]
    pub fn scalekit(&self) -> &Scalekit {
        &self.inner.scalekit
    }

    pub(crate) fn clock(&self) -> &Clock {
        self.scalekit().clock()
    }

    /// Returns the current time in UTC.
    pub(crate) fn now(&self) -> OffsetDateTime {
        self.clock().now()
    }

    /// Returns the limits of the bodies that routes read.
    pub(crate) fn body_limits(&self) -> &BodyLimits {
        &self.inner.body_limits
    }

    /// Returns the name of the session cookie, or of its first chunk if it is split.
    #[must_use]
    pub fn cookie_name(&self) -> &str {
        self.cookies().session_name()
    }

    /// Returns the redirect URI, exactly as it must be registered in the dashboard.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        self.inner.paths.redirect_uri()
    }

    /// Returns the redirect URI, and the
    /// [additional](SessionsBuilder::additional_redirect_uri) ones.
    pub fn redirect_uris(&self) -> impl Iterator<Item = &str> {
        self.origins().iter().map(|origin| origin.redirect_uri().as_str())
    }

    /// Returns a path of the app without the base path: that of a route in a router that is nested
    /// under the base path, or behind a proxy that removes it. The other methods return paths that
    /// browsers request.
    #[must_use]
    pub fn strip_base_path<'p>(&self, path: &'p str) -> &'p str {
        self.inner.paths.base.strip(path).unwrap_or(path)
    }

    /// Returns the path where logins start. Default: `/login`.
    #[must_use]
    pub fn login_path(&self) -> &str {
        &self.inner.paths.login
    }

    /// Returns the path of the redirect URI.
    #[must_use]
    pub fn callback_path(&self) -> &str {
        self.inner.paths.callback()
    }

    /// Returns the path that describes the session to scripts. Default: `/auth/session`.
    #[must_use]
    pub fn session_info_path(&self) -> &str {
        &self.inner.paths.session_info
    }

    /// Returns the path that refreshes tokens by `POST`. Default: `/auth/refresh`.
    #[must_use]
    pub fn refresh_path(&self) -> &str {
        &self.inner.paths.refresh
    }

    /// Returns the path of the logout. Default: `/logout`.
    #[must_use]
    pub fn logout_path(&self) -> &str {
        &self.inner.paths.logout
    }

    /// Returns the path of the post-logout redirect URI.
    #[must_use]
    pub fn logout_callback_path(&self) -> &str {
        &self.inner.paths.logout_callback
    }

    /// Returns the path where users confirm a login that would replace the session of another user.
    /// Default: `/auth/switch-account`.
    #[must_use]
    pub fn switch_account_path(&self) -> &str {
        &self.inner.paths.switch_account
    }

    /// Returns the path that receives back-channel logouts by `POST`. Default:
    /// `/auth/backchannel-logout`.
    #[must_use]
    pub fn backchannel_logout_path(&self) -> &str {
        &self.inner.paths.backchannel_logout
    }

    /// Returns the paths of all routes, which are no pages to return to.
    pub(crate) fn route_paths(&self) -> [&str; 8] {
        [
            self.login_path(),
            self.callback_path(),
            self.session_info_path(),
            self.refresh_path(),
            self.logout_path(),
            self.logout_callback_path(),
            self.backchannel_logout_path(),
            self.switch_account_path(),
        ]
    }

    /// Returns the page that a login returns to: the requested page, or the start page if there is none
    /// or it would lead to a redirect loop, a logout or another login, by a route of the router or one
    /// of these paths.
    pub(crate) fn allowed_return_to(
        &self,
        wanted: Option<ReturnTo>,
        other_routes: &[&str],
    ) -> ReturnTo {
        let routes = self.route_paths();
        wanted
            .filter(|page| {
                // Routes are also mounted without the base path.
                !page.is_single_use()
                    && !routes
                        .iter()
                        .chain(other_routes)
                        .any(|path| page.is_path(path) || page.is_path(self.strip_base_path(path)))
            })
            .unwrap_or_else(|| self.start_page().clone())
    }

    /// Returns the check for any route where users log in.
    pub(crate) fn any_login_route(&self) -> &RouteCheck {
        &self.inner.any_login_route
    }

    /// Returns the check for the router's route at the login path.
    pub(crate) fn login_route(&self) -> &RouteCheck {
        &self.inner.login_route
    }

    /// Logs once, when a browser is redirected to the login, that no route of these sessions exists,
    /// or that redirects do not arrive there.
    pub(crate) fn report_unreachable_login<B>(&self, request: &Request<B>) {
        if self.any_login_route().report_missing() {
            telemetry::login_route_missing(self.login_path());
        }
        // Pages may be nested, and the routes not: then logins arrive, here or at another replica.
        // Browsers follow redirects; monitors may not.
        if let Some(nested) = nested_path(request.extensions())
            && nested != self.inner.paths.base.prefix()
            && !self.has_shared_store()
            && is_browser_navigation(request)
            && self.login_route().report_unreached(self.clock().monotonic())
        {
            telemetry::login_route_unreached(self.login_path(), nested);
        }
    }

    /// Whether a request without a session must reach this path. It may lack the base path.
    pub(crate) fn is_login_route(&self, path: &str) -> bool {
        [
            self.login_path(),
            self.callback_path(),
            self.switch_account_path(),
            self.logout_callback_path(),
            self.backchannel_logout_path(),
        ]
        .into_iter()
        .any(|own| own == path || self.strip_base_path(own) == path)
    }

    /// Waits until background work is complete: logins and refreshes, whose tokens would be lost
    /// with the process, logouts, and delayed writes to the shared store. Call it after the server
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
    /// A refresh takes at most 15 s, most of which is the timeout of the token endpoint. Later
    /// requests are still served.
    ///
    /// # Errors
    /// Returned when work is incomplete after `timeout`; lists it.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), UnfinishedTasks> {
        self.tasks().shutdown(timeout).await
    }

    /// Returns whether this process can serve requests with sessions, log users in, and knows the
    /// revocations: see [`readiness`](crate::readiness).
    pub async fn readiness(&self) -> Readiness {
        let (keys, readiness) =
            join(self.scalekit().remote_keys().readiness(), self.inner.revocations.readiness())
                .await;
        readiness.with_keys(keys)
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.inner.paths.origins
    }

    /// Returns the origin of a request, among those of the app.
    pub(crate) fn origin_of<B>(&self, request: &Request<B>) -> &AppOrigin {
        self.origins().of_request(request)
    }

    /// Returns the page of a browser that asked for no other.
    pub(crate) fn start_page(&self) -> &ReturnTo {
        self.inner.paths.base.start_page()
    }

    /// Returns the path that browsers request for a setting without the base path.
    pub(crate) fn join_base_path(
        &self,
        setting: &'static str,
        path: Option<&str>,
        default: &str,
    ) -> Result<String, ConfigProblem> {
        self.inner.paths.base.join_set(setting, path, default)
    }

    /// Returns the initiator of a request to this origin of the app. A page of another one counts
    /// as [`Initiator::Other`] unless it is trusted, also if it is same-site.
    pub(crate) fn initiator(&self, origin: &AppOrigin, headers: &HeaderMap) -> Initiator {
        initiator(headers, origin.redirect_uri(), &self.inner.trusted_origins)
    }

    /// Whether a page of another origin, which is not trusted, caused the request.
    pub(crate) fn is_cross_origin<B>(&self, request: &Request<B>) -> bool {
        self.initiator(self.origin_of(request), request.headers()) == Initiator::Other
    }

    /// Returns the URL of the page after a logout that ends at this origin.
    pub(crate) fn logged_out_url(&self, origin: &AppOrigin) -> String {
        match &self.inner.paths.logged_out_page {
            path if path.starts_with('/') => origin.url(path),
            url => url.clone(),
        }
    }

    pub(crate) fn logins(&self) -> &SharedResults<LoginOutcome, CompletionError> {
        &self.inner.logins
    }

    pub(crate) fn identified_logins(
        &self,
    ) -> &SharedResults<(VerifiedIdentity, IdTokenHint), CompletionError> {
        &self.inner.identified_logins
    }

    pub(crate) fn switches(&self) -> &SharedResults<Switched, LoginError> {
        &self.inner.switches
    }

    pub(crate) fn scopes(&self) -> &[String] {
        &self.inner.scopes
    }

    pub(crate) fn cookies(&self) -> &CookieConfig {
        &self.inner.cookies
    }

    pub(crate) fn sealing_keys(&self) -> &KeyRing {
        &self.inner.keys
    }

    /// Whether the app decides which logins are allowed.
    pub(crate) fn has_login_hook(&self) -> bool {
        self.inner.login_hook.is_some()
    }

    /// Whether callbacks without an issuer are rejected.
    pub(crate) fn requires_issuer(&self) -> bool {
        self.inner.require_issuer
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    /// Whether there may be other replicas.
    pub(crate) fn has_shared_store(&self) -> bool {
        self.inner.has_shared_store
    }

    pub(crate) fn store(&self) -> &TimedStore {
        &self.inner.store
    }

    /// Identifies a session's user in the environment. Subjects of local sessions are IDs of the
    /// app, so another app of the environment may use the same.
    pub(crate) fn account_identifier(&self, session: &Session) -> String {
        let subject = session.principal().subject();
        if session.is_local() { self.inner.scope.qualify(subject) } else { subject.to_owned() }
    }

    /// Returns the key of a value of these sessions in the shared store.
    pub(crate) fn store_key(&self, namespace: shared_store::KeyNamespace, id: &str) -> StoreKey {
        self.inner.scope.key(namespace, id)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("scalekit", self.scalekit())
            .field("redirect_uri", &self.redirect_uri())
            .field("cookie", &self.cookie_name())
            .finish_non_exhaustive()
    }
}
