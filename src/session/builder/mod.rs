mod addresses;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::canonical_host::HostWarnings;
use super::cookie::names::{CookieConfig, check_cookie_name, default_cookie_name};
use super::cookie::seal::SealingContext;
use super::end::{MAX_CHECKED_REVOCATIONS, retention};
use super::lifetimes::Lifetimes;
use super::login_error::LoginError;
use super::paths::{PathSettings, Paths, check_origin};
use super::refresh::Refreshes;
use super::store::SessionCache;
use super::{
    Inner, KeyRing, LoginDecision, LoginHook, LoginHookError, Sessions, SwitchAccountPage,
    SwitchConfirmation, VerifiedLogin,
};
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::middleware::body_limits::BodyLimits;
use crate::oauth::DEFAULT_SCOPES;
use crate::revocation::{self, Revocations, Staleness};
use crate::scalekit::Scalekit;
use crate::session_secret::SessionSecret;
use crate::shared_store::{MemoryStore, SharedStore, TimedStore};
use crate::util::route_check::RouteCheck;
use crate::util::shared_results::{RESULT_TTL, SharedResults};
use crate::util::single_flight::SingleFlight;
use crate::util::tasks::Tasks;
use crate::util::telemetry;
use crate::util::token_cache::{TokenCache, check_cache_capacity};

/// Fits an address or a token, and a page to return to in percent-encoding.
const MAX_FORM_BYTES: usize = 16 * 1024;

/// Their list is a value of at most 64 KiB, of which each uses 35 bytes.
const MAX_SESSIONS_PER_USER: usize = 1000;

/// How long requests with the older cookie may still be in flight.
const MIN_REFRESH_RETENTION: Duration = Duration::from_secs(60);

/// Configures [`Sessions`].
#[must_use]
pub struct SessionsBuilder {
    scalekit: Scalekit,
    secret: Option<SessionSecret>,
    previous_secrets: Vec<SessionSecret>,
    pub(super) paths: PathSettings,
    trusted_origins: Vec<String>,
    scopes: Vec<String>,
    login_hook: Option<LoginHook<VerifiedLogin, LoginDecision>>,
    switch_account_page: Option<Arc<SwitchAccountPage>>,
    cookie_name: Option<String>,
    name: Option<String>,
    absolute_lifetime: Duration,
    idle_timeout: Option<Duration>,
    cache_capacity: usize,
    shared_store: Option<TimedStore>,
    store_backed: bool,
    retain_access_token: bool,
    body_limits: BodyLimits,
    refresh_retention: Duration,
    require_issuer: bool,
    refresh_during_outages: bool,
    revocation_staleness: Staleness,
    max_sessions_per_user: usize,
}

impl SessionsBuilder {
    pub(super) fn new(scalekit: Scalekit) -> Self {
        Self {
            scalekit,
            secret: None,
            previous_secrets: Vec::new(),
            paths: PathSettings::default(),
            trusted_origins: Vec::new(),
            scopes: DEFAULT_SCOPES.map(str::to_owned).into(),
            login_hook: None,
            switch_account_page: None,
            cookie_name: None,
            name: None,
            absolute_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            idle_timeout: None,
            cache_capacity: 4096,
            shared_store: None,
            store_backed: false,
            retain_access_token: false,
            body_limits: BodyLimits::new(),
            refresh_retention: Duration::from_secs(24 * 60 * 60),
            require_issuer: false,
            refresh_during_outages: false,
            revocation_staleness: Staleness::default(),
            max_sessions_per_user: 100,
        }
    }

    /// Sets the secret that seals the cookies. Required; the same on all replicas.
    pub fn secret(mut self, secret: SessionSecret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Adds a secret that was used before. Sessions that are sealed with it stay valid and are
    /// resealed with the current secret. Can be called several times. Before a rotation, add the
    /// new secret here on every replica: a replica rejects cookies that are sealed with a secret it
    /// does not have.
    pub fn previous_secret(mut self, secret: SessionSecret) -> Self {
        self.previous_secrets.push(secret);
        self
    }

    /// Allows state-changing requests from this origin (CSRF allow list), such as that of a
    /// single-page app beside this server. Can be called several times. State-changing requests and
    /// WebSocket upgrades from other origins are rejected, and with
    /// [several hosts](Self::additional_redirect_uri), from one host of the app to another too.
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.trusted_origins.push(origin.into());
        self
    }

    /// Sets the page, as HTML, that asks whether a login may replace the session of another user.
    /// It runs no scripts, and styles, pictures and fonts are its own or the app's.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # use tower_scalekit::{Sandbox, SessionSecret, Sessions};
    /// # fn escaped(text: &str) -> String { text.replace('<', "&lt;").replace('&', "&amp;") }
    /// let sessions = Sessions::builder(Sandbox::new().scalekit())
    ///     .secret(SessionSecret::generate()?)
    ///     .redirect_uri("https://app.example.com/auth/callback")
    ///     .switch_account_page(|confirmation| {
    ///         format!(
    ///             "<!doctype html><title>Switch accounts?</title><p>This login is for {}.
    ///             <form method=post action=\"{}\"><button>Cancel</button></form>
    ///             <form method=post action=\"{}\"><button>Switch</button></form>",
    ///             escaped(confirmation.new_account()),
    ///             escaped(&confirmation.keep_action()),
    ///             escaped(&confirmation.switch_action()),
    ///         )
    ///     })
    ///     .build()?;
    /// # let _ = sessions;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn switch_account_page<F>(mut self, page: F) -> Self
    where
        F: Fn(&SwitchConfirmation) -> String + Send + Sync + 'static,
    {
        self.switch_account_page = Some(Arc::new(page));
        self
    }

    /// Sets the scopes to request. Without `offline_access`, sessions end with their first access
    /// token. Default: `openid profile email offline_access`.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the login hook: a closure that decides on each verified login before its session is
    /// created. It sees the identity and the claims of the access token, and may update the app's
    /// own record of the user.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// use tower_scalekit::session::{LoginDecision, LoginHookError, VerifiedLogin};
    /// use tower_scalekit::{Sandbox, SessionSecret, Sessions};
    ///
    /// # async fn upsert(_: &VerifiedLogin) -> std::io::Result<&'static str> { Ok("pro") }
    /// let sessions = Sessions::builder(Sandbox::new().scalekit())
    ///     .secret(SessionSecret::generate()?)
    ///     .redirect_uri("https://app.example.com/auth/callback")
    ///     .on_login(|login: VerifiedLogin| async move {
    ///         if login.principal().organization_id() == Some("org_blocked") {
    ///             return Err(LoginHookError::Denied);
    ///         }
    ///         let plan = upsert(&login).await.map_err(LoginHookError::unavailable)?;
    ///         Ok(LoginDecision::accept().app_claim("plan", plan))
    ///     })
    ///     .build()?;
    /// # let _ = sessions;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// | the hook | response |
    /// |---|---|
    /// | returns [`LoginDecision::accept`] | the session has the tokens of the login, as without a hook |
    /// | returns a [`LocalSession`](super::LocalSession) | the session is the app's own; the tokens are dropped, so omit `offline_access` from the [`scopes`](Self::scopes) if all decisions are such |
    /// | returns [`LoginHookError::Denied`] | 403; "Log in again" asks the environment for another account (`prompt=login`) |
    /// | returns [`LoginHookError::Unavailable`], or takes longer than thirty seconds | 503 with `Retry-After`. The login is kept for the rest of its ten minutes: the user can reload the page, which calls the hook again |
    /// | panics | 500; no session, and the user can log in again |
    ///
    /// **The hook must be idempotent**: it is called again when the user retries. It is not
    /// cancelled when the client disconnects. It is called after the user has confirmed a login
    /// that replaces another user's session, and not for refreshes.
    pub fn on_login<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(VerifiedLogin) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<LoginDecision, LoginHookError>> + Send + 'static,
    {
        self.login_hook = Some(LoginHook::new(hook));
        self
    }

    /// Sets the prefix of all cookie names, to separate two apps on one host. Default: `scalekit`;
    /// with a [base path](Self::base_path), followed by eight digits that are derived from it.
    pub fn cookie_name(mut self, name: impl Into<String>) -> Self {
        self.cookie_name = Some(name.into());
        self
    }

    /// Sets the name of these sessions. Default: derived from whether there is a
    /// [login hook](Self::on_login).
    ///
    /// A session is valid only for `Sessions` of the same environment, client ID, redirect URI,
    /// base path and name, even if others share the secret, cookie name and shared store. All
    /// replicas use the same name. If one app has several `Sessions` that admit different users,
    /// such as one for customers and one for staff, give each its own name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the maximum lifetime of a session, at most 400 days. The environment's own session
    /// policy may end it earlier. Default: 30 days.
    pub fn absolute_lifetime(mut self, lifetime: Duration) -> Self {
        self.absolute_lifetime = lifetime;
        self
    }

    /// Sets how long a session may be unused. The environment's own session policy may end it
    /// earlier. Default: no limit.
    ///
    /// Use is recorded, in the cookie or in the shared store, once a tenth of this time has passed
    /// since it was last recorded: a session may end a tenth earlier than after its last use.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets how many unsealed sessions are cached, at most a million. Others are unsealed on each
    /// request. Default: 4096.
    pub fn cache_capacity(mut self, sessions: usize) -> Self {
        self.cache_capacity = sessions;
        self
    }

    /// Sets the store that all replicas of this app share, such as
    /// `RedisStore`. Default: a store in memory, which fits
    /// an app with a single process: each replica would refresh and revoke on its own. See [more
    /// than one replica](crate::guides::several_replicas).
    pub fn shared_store(mut self, store: impl SharedStore) -> Self {
        self.shared_store = Some(TimedStore::new(store));
        self
    }

    /// Keeps sessions in the shared store, with only an ID in the cookie: for sessions that are too
    /// large for cookies, or whose content must not leave the server. Without a
    /// [`shared_store`](Self::shared_store) they end with this process.
    ///
    /// A replica reads a session again every five minutes. While the store is unavailable, it uses
    /// its cached copy for up to 55 minutes; after that, requests are rejected with 503.
    pub fn store_backed(mut self) -> Self {
        self.store_backed = true;
        self
    }

    /// Retains the access token of a session, for calls in the user's name: see
    /// [`Session::access_token`](super::Session::access_token). Default: only its verified claims
    /// are kept.
    ///
    /// In a cookie it takes about 430 bytes more, whatever the number of its claims. If sessions
    /// then need a second cookie, or tokens must not leave the server, even sealed, use
    /// [`store_backed`](Self::store_backed). Sessions that exist already get their access token with
    /// the next refresh.
    pub fn retain_access_token(mut self) -> Self {
        self.retain_access_token = true;
        self
    }

    /// Sets size and time limits of the bodies that this crate's routes read, and how much memory
    /// incomplete bodies may use: back-channel logout, logins by e-mail, and all other forms.
    /// Default: those of [`BodyLimits`], with 16 KiB as the largest body.
    pub fn body_limits(mut self, limits: BodyLimits) -> Self {
        self.body_limits = limits;
        self
    }

    /// Sets how long the result of a refresh is kept after a browser has sent the resulting cookie.
    /// Within this time, a request with an older cookie, such as that of a restored tab, gets the
    /// newest session. Default: 24 hours; at least a minute.
    ///
    /// Until that cookie is sent, the result is kept as long as the session, so that a lost
    /// response ends no session. The shared store keeps one result per session, of a few kilobytes,
    /// which the next refresh replaces.
    ///
    /// Rotation of refresh tokens does not detect theft: a copied cookie is valid for as long as
    /// the session. A logout or [revocation](Sessions::revoke_session) ends every copy.
    pub fn refresh_retention(mut self, retention: Duration) -> Self {
        self.refresh_retention = retention;
        self
    }

    /// Sets how many sessions of one user the shared store keeps. A further login ends the oldest.
    /// Default: 100; 1 to 1000, so that the list of a user fits into a value of any store.
    ///
    /// It also limits how many sessions in cookies a user can begin per
    /// [`absolute_lifetime`](Self::absolute_lifetime). Further ones are kept in the shared store,
    /// so that the ended sessions of one user cannot fill the memory of all replicas. Without a shared
    /// store, they are kept in the memory of the process and end with it, which the log line
    /// `session_kept_in_memory` reports. Raise it where many users share an account.
    pub fn max_sessions_per_user(mut self, sessions: usize) -> Self {
        self.max_sessions_per_user = sessions;
        self
    }

    /// Rejects callbacks without `iss` (RFC 9207 section 2.4), for an environment that always sends
    /// it: its metadata has `authorization_response_iss_parameter_supported`. Default: a callback
    /// without it is accepted. One with another issuer is rejected in any case.
    pub fn require_issuer(mut self) -> Self {
        self.require_issuer = true;
        self
    }

    /// Refreshes sessions whose access token has expired also while the
    /// [`shared_store`](Self::shared_store) is unavailable. Default: such requests are rejected (503
    /// with `Retry-After`) until the store is available.
    ///
    /// A replica then spends the refresh token without a lease, and publishes the result when the store
    /// is available. This relies on the environment, which accepts a spent refresh token for about 30
    /// seconds: two replicas that get requests of one session refresh it twice. Where that grace is off,
    /// or the older cookie is used on another replica later than that, the environment may end the
    /// session, and the user has to log in again. While the store is unavailable, a rejection by the
    /// environment ends no session: the response is 503.
    ///
    /// Revocations are checked as for a session whose access token is valid: all that this replica has
    /// read or made. Those that other replicas make during the outage are unknown to it, for as long as
    /// the outage lasts rather than for one access token; unless
    /// [`reject_on_stale_revocations`](Self::reject_on_stale_revocations) is set, which ends this after
    /// [`max_revocation_staleness`](Self::max_revocation_staleness). A session that was ended at the
    /// environment is not refreshed. A [stored](Self::store_backed) session is refreshed by a replica
    /// that has read it before. Its logout is therefore in the log for as long as the session could
    /// last, rather than for an hour: set this on all replicas alike.
    pub fn refresh_during_outages(mut self) -> Self {
        self.refresh_during_outages = true;
        self
    }

    /// Sets for how long a replica may fail to read revocations from the
    /// [`shared_store`](Self::shared_store) before it reports this, with the log line
    /// `revocations_stale` and the gauge `tower_scalekit_revocations_stale`. Default: 60 s.
    ///
    /// Requests are then authorized by the revocations that the replica knows, unless
    /// [`reject_on_stale_revocations`](Self::reject_on_stale_revocations) is set. If the log has
    /// revocations that the replica has not read yet, requests are rejected (503) in any case.
    pub fn max_revocation_staleness(mut self, duration: Duration) -> Self {
        self.revocation_staleness.after = duration;
        self
    }

    /// Rejects requests with a session (503) once revocations have not been read for longer than
    /// [`max_revocation_staleness`](Self::max_revocation_staleness), and until a replica that starts
    /// has read them. Default: requests are authorized by the revocations that the replica knows.
    pub fn reject_on_stale_revocations(mut self) -> Self {
        self.revocation_staleness.rejects = true;
        self
    }

    /// Validates the settings. Sends no request.
    ///
    /// # Errors
    /// Returned when settings are missing or invalid; reports all of them.
    pub fn build(self) -> Result<Sessions, ConfigError> {
        let mut problems = self.check();
        let paths = problems.collect(self.paths.resolve());
        if let Some(paths) = &paths {
            problems.collect(paths.check_environment(&self.scalekit));
        }
        let keys = match (&self.secret, &paths) {
            (Some(secret), Some(paths)) => problems.collect(KeyRing::new(
                secret,
                &self.previous_secrets,
                SealingContext::new(self.owner().into_iter().chain([paths.redirect_uri()])),
            )),
            _ => None,
        };
        let lifetimes = problems.collect(Lifetimes::new(self.absolute_lifetime, self.idle_timeout));

        let (Some(keys), Some(paths), Some(lifetimes)) = (keys, paths, lifetimes) else {
            return problems.finish(None);
        };
        problems.finish(Some(()))?;
        if !paths.is_https() {
            telemetry::development_cookies();
        } else if self.shared_store.is_none() {
            telemetry::no_shared_store();
        }
        let sessions = Sessions { inner: Arc::new(self.into_inner(keys, paths, lifetimes)) };
        sessions.check_siblings();
        Ok(sessions)
    }

    fn into_inner(self, keys: KeyRing, paths: Paths, lifetimes: Lifetimes) -> Inner {
        let scope = revocation::scope(self.owner());
        let revocation_scope = revocation::revocation_scope(
            self.scalekit.environment_url(),
            self.scalekit.client_id(),
            self.name.as_deref(),
        );
        let cookie_name =
            self.cookie_name.unwrap_or_else(|| default_cookie_name(paths.base.known()));
        let clock = self.scalekit.clock().clone();
        let has_peers = self.shared_store.is_some();
        let store =
            self.shared_store.unwrap_or_else(|| TimedStore::new(MemoryStore::new(clock.clone())));
        let tasks = Tasks::default();
        Inner {
            scalekit: self.scalekit,
            keys,
            cookies: CookieConfig::new(&cookie_name, paths.is_https()),
            trusted_origins: self.trusted_origins,
            paths,
            host_warnings: HostWarnings::default(),
            any_login_route: RouteCheck::default(),
            login_route: RouteCheck::default(),
            has_shared_store: has_peers,
            scopes: self.scopes,
            lifetimes,
            login_hook: self.login_hook,
            switch_account_page: self.switch_account_page,
            logins: SharedResults::new(
                clock.clone(),
                RESULT_TTL,
                &tasks,
                "login",
                LoginError::Interrupted.into(),
            ),
            identified_logins: SharedResults::new(
                clock.clone(),
                RESULT_TTL,
                &tasks,
                "login",
                LoginError::Interrupted.into(),
            ),
            switches: SharedResults::new(
                clock.clone(),
                RESULT_TTL,
                &tasks,
                "account switch",
                LoginError::Misconfigured,
            ),
            store_backed: self.store_backed,
            retain_access_token: self.retain_access_token,
            max_sessions_per_user: self.max_sessions_per_user,
            body_limits: self.body_limits.or_max_bytes(MAX_FORM_BYTES),
            cookie_cache: TokenCache::new(self.cache_capacity),
            session_cache: SessionCache::new(self.cache_capacity, clock.clone(), &tasks),
            refreshes: Refreshes::new(&tasks),
            refresh_retention: self.refresh_retention,
            require_issuer: self.require_issuer,
            refresh_during_outages: self.refresh_during_outages,
            revocations: Revocations::new(
                store.clone(),
                &revocation_scope,
                clock,
                has_peers,
                self.revocation_staleness,
                retention(lifetimes.absolute.unsigned_abs()),
            ),
            scope,
            store,
            late_revocations: SingleFlight::tracked(&tasks, "revocation"),
            revocation_checks: Arc::new(Semaphore::new(MAX_CHECKED_REVOCATIONS)),
            tasks,
        }
    }

    /// Checks the settings that are independent of each other.
    fn check(&self) -> Problems {
        let mut problems = Problems::default();
        if self.secret.is_none() {
            problems.push(ConfigProblem::Missing { setting: "secret" });
        }
        for origin in &self.trusted_origins {
            problems.collect(check_origin(origin));
        }
        problems.collect(check_cache_capacity(self.cache_capacity));
        if !(1..=MAX_SESSIONS_PER_USER).contains(&self.max_sessions_per_user) {
            problems.push(ConfigProblem::invalid("max_sessions_per_user", "must be 1 to 1000"));
        }
        if let Some(name) = &self.cookie_name {
            problems.collect(check_cookie_name(name));
        }
        if self.name.as_ref().is_some_and(String::is_empty) {
            problems.push(ConfigProblem::invalid("name", "must not be empty"));
        }
        problems.collect(check_scopes(&self.scopes));
        if self.refresh_retention < MIN_REFRESH_RETENTION {
            problems.push(ConfigProblem::invalid("refresh_retention", "must be a minute or more"));
        }
        problems
    }

    /// Identifies these sessions among all others in a store.
    fn owner(&self) -> [&str; 4] {
        revocation::owner(
            self.scalekit.environment_url(),
            self.scalekit.client_id(),
            self.name.as_deref(),
            self.login_hook.is_some(),
        )
    }
}

impl fmt::Debug for SessionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsBuilder").field("scalekit", &self.scalekit).finish_non_exhaustive()
    }
}

fn check_scopes(scopes: &[String]) -> Result<(), ConfigError> {
    if !scopes.iter().any(|scope| scope == "openid") {
        let reason = "must contain openid, or there is no ID token to verify";
        return Err(ConfigProblem::invalid("scopes", reason).into());
    }
    scopes.iter().try_for_each(|scope| crate::challenge::ScopeToken::new(scope).map(|_| ()))
}

#[cfg(test)]
mod tests;
