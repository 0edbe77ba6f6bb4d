//! Log events and metrics, whose names are stable. Each event is emitted here only. The target is
//! `tower_scalekit`; with the feature `metrics` each event also counts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;

use super::logged_outage::LoggedOutage;

macro_rules! count {
    ($name:literal) => {{
        #[cfg(feature = "metrics")]
        metrics::counter!($name).increment(1);
    }};
    ($name:literal, $label:literal => $value:expr) => {{
        #[cfg(feature = "metrics")]
        metrics::counter!($name, $label => $value).increment(1);
    }};
}

macro_rules! gauge {
    ($name:literal, $value:expr) => {{
        #[cfg(feature = "metrics")]
        metrics::gauge!($name).set($value);
    }};
    ($name:literal, $namespace:expr, $value:expr) => {{
        #[cfg(feature = "metrics")]
        metrics::gauge!($name, "namespace" => format!("{:?}", $namespace)).set($value);
    }};
}

pub(super) const TARGET: &str = "tower_scalekit";

macro_rules! level {
    (error) => {
        tracing::Level::ERROR
    };
    (warn) => {
        tracing::Level::WARN
    };
    (info) => {
        tracing::Level::INFO
    };
}

/// Emits an event that requests cause, at this level once in a period for each `(event, reason)`, and
/// otherwise at `DEBUG`. Reasons are those of the code, not of requests.
macro_rules! limited {
    ($level:ident, $event:expr, $period:expr, $($fields:tt)+) => {
        if tracing::enabled!(target: TARGET, level!($level)) && should_log($event, $period) {
            tracing::$level!(target: TARGET, $($fields)+);
        } else {
            tracing::debug!(target: TARGET, $($fields)+);
        }
    };
}

/// A layer or route rejected a request.
pub(crate) fn rejected(reason: &'static str) {
    tracing::debug!(target: TARGET, reason, "request_rejected");
    // The app's span of the request has this field if the app wants it.
    Span::current().record("scalekit.rejection", reason);
    count!("tower_scalekit_rejections_total", "reason" => reason);
}

/// A check has rejected a request. Anyone can cause it: of each check, the level of all but one in a
/// minute is `DEBUG`.
pub(crate) fn check_failed(
    reason: &'static str,
    check: &'static str,
    expected: &dyn Display,
    found: &dyn Display,
) {
    limited!(warn, (reason, check), MINUTE, reason, check, %expected, %found, "check_failed");
}

/// A CORS preflight was rejected. It carries no credentials, so a CORS layer must respond to it
/// outside of the layers that require them, if pages of other origins may call the app. Any page can
/// cause it. Logged as a warning once.
pub(crate) fn preflight_rejected() {
    limited!(
        warn,
        ("preflight_rejected", ""),
        Duration::MAX,
        "preflight_rejected: a CORS preflight carries no credentials; if pages of other origins may \
         call this app, put the CORS layer outside of this layer"
    );
}

/// A token was verified and accepted.
pub(crate) fn token_verified() {
    tracing::trace!(target: TARGET, outcome = "accepted", "token_verified");
    count!("tower_scalekit_token_verifications_total", "outcome" => "accepted");
}

/// A token that was verified before was accepted. A function of its own, because labels allocate
/// unless they are literals.
pub(crate) fn cached_token_verified() {
    tracing::trace!(target: TARGET, outcome = "cached", "token_verified");
    count!("tower_scalekit_token_verifications_total", "outcome" => "cached");
}

/// A token was rejected.
pub(crate) fn token_rejected(outcome: &'static str, claim: Option<&'static str>) {
    tracing::debug!(target: TARGET, outcome, claim, "token_rejected");
    count!("tower_scalekit_token_verifications_total", "outcome" => outcome);
}

/// A bearer token of a user has no e-mail address or no organization, by which directories name users:
/// their events revoke it only if the user has had a session in the app. Any user can cause it. Logged
/// once.
pub(crate) fn token_without_email() {
    limited!(
        info,
        ("token_without_email", ""),
        Duration::MAX,
        "token_without_email: a bearer token lacks the claim email, or oid; if a directory removes its \
         user, reject_revoked rejects it only if the user has had a session in the app. Add both \
         claims to access tokens in the dashboard"
    );
}

/// The environment could not be asked whether an API key is valid.
pub(crate) fn api_key_not_validated(reason: &'static str) {
    limited!(warn, ("api_key_not_validated", reason), MINUTE, reason, "api_key_not_validated");
}

/// The key set was fetched.
pub(crate) fn key_set_fetched(usable_keys: usize) {
    tracing::info!(target: TARGET, usable_keys, "key_set_fetched");
    count!("tower_scalekit_key_set_fetches_total", "outcome" => "fetched");
}

/// A key of the key set cannot be used and is skipped. That is expected of a key for another
/// purpose.
pub(crate) fn key_skipped(
    kid: Option<&serde_json::Value>,
    reason: impl Display,
    is_expected: bool,
) {
    let kid = kid.map(tracing::field::display);
    if is_expected {
        tracing::debug!(target: TARGET, kid, %reason, "key_skipped");
    } else {
        tracing::warn!(target: TARGET, kid, %reason, "key_skipped");
    }
}

/// The key set could not be fetched; earlier keys stay in use.
pub(crate) fn key_set_fetch_failed(error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(target: TARGET, error, "key_set_fetch_failed");
    count!("tower_scalekit_key_set_fetches_total", "outcome" => "failed");
}

/// A session's tokens were refreshed, or not: `refreshed`, `ended` (a definite rejection) or
/// `failed`.
pub(crate) fn session_refreshed(outcome: &'static str) {
    tracing::info!(target: TARGET, outcome, "session_refreshed");
    count!("tower_scalekit_session_refreshes_total", "outcome" => outcome);
}

/// A user logged in.
pub(crate) fn login_completed() {
    tracing::info!(target: TARGET, "login_completed");
    count!("tower_scalekit_logins_total", "outcome" => "completed");
}

/// A login has failed; `detail` is an error code of the environment (never its free text) or of
/// this crate.
///
/// Anyone can cause it: of each reason, the level of all but one in a while is `DEBUG`.
pub(crate) fn login_failed(reason: &'static str, detail: Option<&str>) {
    limited!(warn, ("login_failed", reason), LOG_INTERVAL, reason, detail, "login_failed");
    count!("tower_scalekit_logins_total", "outcome" => reason);
}

/// A connected account was verified and is active.
pub(crate) fn account_connected() {
    tracing::info!(target: TARGET, "account_connected");
    count!("tower_scalekit_connected_accounts_total", "outcome" => "connected");
}

/// An account was not connected; `detail` is an error code of the environment, never its free text.
pub(crate) fn account_not_connected(reason: &'static str, detail: Option<&str>) {
    limited!(
        warn,
        ("account_not_connected", reason),
        LOG_INTERVAL,
        reason,
        detail,
        "account_not_connected"
    );
    count!("tower_scalekit_connected_accounts_total", "outcome" => reason);
}

/// A logout token was rejected.
pub(crate) fn logout_token_rejected(reason: &'static str, claim: Option<&'static str>) {
    limited!(
        warn,
        ("invalid_logout_token", reason),
        LOG_INTERVAL,
        reason,
        claim,
        "invalid_logout_token"
    );
    count!("tower_scalekit_logout_tokens_total", "outcome" => reason);
}

/// A logout token ended the sessions that it names.
pub(crate) fn logout_token_accepted() {
    tracing::info!(target: TARGET, "logout_token_accepted");
    count!("tower_scalekit_logout_tokens_total", "outcome" => "accepted");
}

/// A webhook event revoked sessions; `matched` says whether such a session has been created.
pub(crate) fn deprovisioned(event: &str, matched: bool) {
    tracing::info!(target: TARGET, event, matched, "deprovisioned");
    count!("tower_scalekit_deprovisionings_total", "event" => event.to_owned());
    if !matched {
        count!("tower_scalekit_unmatched_deprovisionings_total", "event" => event.to_owned());
    }
}

/// A directory user was updated or deleted, and no earlier event of the user is known: sessions
/// that began with an earlier address cannot be found.
pub(crate) fn directory_user_without_history(event: &str) {
    tracing::info!(target: TARGET, event, "directory_user_without_history");
    count!("tower_scalekit_directory_users_without_history_total", "event" => event.to_owned());
}

/// This many of the oldest names of a directory user, or users of such a name, were dropped, because
/// there are too many.
pub(crate) fn directory_user_names_dropped(count: usize) {
    if count > 0 {
        tracing::warn!(target: TARGET, count, "directory_user_names_dropped");
        #[cfg(feature = "metrics")]
        metrics::counter!("tower_scalekit_directory_user_names_dropped_total")
            .increment(count as u64);
    }
}

/// The oldest session of a user was ended, because the user has too many.
pub(crate) fn session_over_limit() {
    tracing::info!(target: TARGET, "session_over_limit");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_scalekit_sessions_over_limit_total").increment(1);
}

/// A user has begun so many sessions that further ones are kept in the memory of this process, because
/// the app has no shared store.
pub(crate) fn session_kept_in_memory() {
    limited!(
        warn,
        ("session_kept_in_memory", ""),
        LOG_INTERVAL,
        "session_kept_in_memory: a user has begun more sessions than max_sessions_per_user; without a \
         shared store, further ones end when this process does"
    );
}

/// The revocation log was not read for longer than the app allows.
pub(crate) fn revocations_stale(age: std::time::Duration) {
    tracing::error!(
        target: TARGET,
        seconds = age.as_secs(),
        "revocations_stale: this replica cannot read all that others have revoked; if the shared \
         store is unavailable, it accepts such sessions, unless it is configured to reject all"
    );
    gauge!("tower_scalekit_revocations_stale", 1.0);
}

/// The revocation log has entries that this replica cannot read, so it does not know what they revoke.
pub(crate) fn revocations_unreadable(count: usize) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_scalekit_unreadable_revocations_total").increment(count as u64);
    limited!(
        error,
        ("revocations_unreadable", ""),
        LOG_INTERVAL,
        count,
        "revocations_unreadable: the log of revocations has entries of another version of \
         tower-scalekit, or sealed with another secret; this replica cannot apply them, and its \
         revocations count as stale until all sessions of that time have ended, or until it is \
         replaced by one that can"
    );
}

/// The revocation log was read again.
pub(crate) fn revocations_current() {
    tracing::info!(target: TARGET, "revocations_current");
    gauge!("tower_scalekit_revocations_stale", 0.0);
}

/// Half of the retained revocations without a known session are in use.
pub(crate) fn revocations_nearly_full(count: usize, max: usize) {
    tracing::warn!(
        target: TARGET,
        count,
        max,
        "revocations_nearly_full: beyond the maximum, logouts at the environment are kept without their \
         position; all other revocations need more memory"
    );
    gauge!("tower_scalekit_revocations_nearly_full", 1.0);
}

/// Less than a quarter of the retained revocations without a known session are in use again.
pub(crate) fn revocations_capacity_restored() {
    tracing::info!(target: TARGET, "revocations_capacity_restored");
    gauge!("tower_scalekit_revocations_nearly_full", 0.0);
}

/// Four fifths of the memory for a namespace are in use.
pub(crate) fn memory_store_nearly_full(namespace: impl Debug, bytes: usize, max_bytes: usize) {
    tracing::warn!(
        target: TARGET,
        ?namespace,
        bytes,
        max_bytes,
        "memory_store_nearly_full: when it is full, the app cannot write values of this namespace; \
         raise MemoryStore::with_max_bytes, or use a store on a server"
    );
    gauge!("tower_scalekit_memory_store_nearly_full", namespace, 1.0);
}

/// Less than half of the memory for a namespace is in use again.
pub(crate) fn memory_store_capacity_restored(namespace: impl Debug) {
    tracing::info!(target: TARGET, ?namespace, "memory_store_capacity_restored");
    gauge!("tower_scalekit_memory_store_nearly_full", namespace, 0.0);
}

/// This many completed webhook messages were evicted for new ones.
pub(crate) fn webhook_ids_dropped(count: usize) {
    if count > 0 {
        tracing::debug!(target: TARGET, count, "webhook_ids_dropped");
        #[cfg(feature = "metrics")]
        metrics::counter!("tower_scalekit_webhook_ids_dropped_total").increment(count as u64);
    }
}

/// A webhook is handled although the store has no room for its ID, so that it may be handled again.
pub(crate) fn webhook_not_deduplicated(error: &(dyn std::error::Error + 'static)) {
    count!("tower_scalekit_webhooks_not_deduplicated_total");
    limited!(
        error,
        ("webhook_not_deduplicated", ""),
        LOG_INTERVAL,
        error,
        "webhook_not_deduplicated"
    );
}

/// A webhook was accepted (`accepted`), or was a duplicate (`duplicate`).
pub(crate) fn webhook_received(outcome: &'static str) {
    tracing::debug!(target: TARGET, outcome, "webhook_received");
    count!("tower_scalekit_webhooks_total", "outcome" => outcome);
}

/// Clients cannot be distinguished, so that e-mails per client are not limited. Logged once.
pub(crate) fn unknown_client() {
    tracing::warn!(
        target: TARGET,
        "unknown_client: requests for e-mails have no public peer address, so the limit per client \
         is not applied; set PasswordlessLoginBuilder::client_key"
    );
}

/// A sandbox was started, because no environment is configured.
#[cfg(all(feature = "reqwest", feature = "sandbox"))]
pub(crate) fn sandbox_started(url: &str) {
    tracing::warn!(
        target: TARGET,
        url,
        "sandbox_started: no SCALEKIT_ variable is set, so the environment is a sandbox, \
         where users log in without a password"
    );
}

/// `RequireSession` is around the login that it redirects to: every login would redirect to itself.
/// Logged as an error once a minute.
pub(crate) fn layer_around_login(path: &str) {
    limited!(
        error,
        ("layer_around_login", ""),
        MINUTE,
        path,
        "layer_around_login: RequireSession is around a route of its own login, so that a login \
         redirects to itself; call .merge(sessions.routes()) after .route_layer(RequireSession::new(..))"
    );
}

/// `RequireSession` redirects to a login, but no route of its sessions exists in this process. Logged
/// once.
pub(crate) fn login_route_missing(path: &str) {
    tracing::warn!(
        target: TARGET,
        path,
        "login_route_missing: RequireSession redirects to the login, but no route of these sessions \
         was created in this process; call .merge(sessions.routes()), unless something else serves \
         the path"
    );
}

/// Two `Sessions` have the same cookie, and cannot open each other's.
pub(crate) fn cookie_of_several_sessions(cookie: &str) {
    tracing::warn!(
        target: TARGET,
        cookie,
        "cookie_of_several_sessions: this process has built two Sessions for one host and cookie \
         name, with different secrets, names, environments or redirect URIs; each replaces the \
         cookie of the other, so that logins repeat. Build them once and clone them, or give each \
         its own cookie_name"
    );
}

/// No secret of the app opens the session cookie of a request. Logged as a warning once a minute.
pub(crate) fn session_cookie_unopened() {
    limited!(
        warn,
        ("session_cookie_unopened", ""),
        MINUTE,
        "session_cookie_unopened: no secret of this app opens the session cookie; it was sealed with \
         another secret (set previous_secret when rotating), for another environment, client or \
         redirect URI, or by another app on this host (give each its own cookie_name). Expected \
         after a restart with a generated secret or a sandbox"
    );
}

/// Session cookies without `Secure` are in use. Logged once, at build time.
pub(crate) fn development_cookies() {
    tracing::warn!(
        target: TARGET,
        "development_cookies: the redirect URI is http on loopback, \
         so cookies lack Secure and the __Host- prefix"
    );
}

/// A login starts although the request names a host of no redirect URI, and was redirected to that of
/// the first: the proxy does not forward the host. Limited per host and minute.
pub(crate) fn other_host(canonical: impl Display, foreign: impl Display) {
    tracing::warn!(
        target: TARGET,
        redirect_uri_host = %canonical,
        request_host = %foreign,
        "other_host: requests name a host of no redirect URI; \
         let the proxy forward the Host header (nginx: proxy_set_header Host $http_host)"
    );
}

/// A navigation is redirected to the first redirect URI's host, where its login begins.
pub(crate) fn host_redirect(own: impl Display, other: impl Display) {
    tracing::debug!(
        target: TARGET,
        redirect_uri_host = %own,
        request_host = %other,
        "host_redirect: logins begin at the host and port of a redirect URI"
    );
}

/// The routes received an IdP-initiated login, and start an ordinary login. Any client can send the
/// parameter.
pub(crate) fn idp_initiated_login_ignored() {
    limited!(
        warn,
        ("idp_initiated_login_ignored", ""),
        LOG_INTERVAL,
        "idp_initiated_login_ignored: an IdP-initiated login has reached the login route, which \
         starts an ordinary login; add IdpInitiatedRedirect around sessions.routes()"
    );
}

/// An extractor or a layer did not find the layer that must be around it. Logged as an error once a
/// minute for each route.
pub(crate) fn layer_missing(found_by: &'static str, missing: &'static str, route: Option<&str>) {
    limited!(
        error,
        (found_by, route.unwrap_or_default().to_owned()),
        MINUTE,
        found_by,
        missing,
        route,
        "layer_missing: add {missing} around this route; a .route_layer(..) call wraps the routes and \
         layers of the calls before it, so it comes after them; responding with 500"
    );
}

/// Challenges refer to the metadata of a resource, but neither its routes nor its layer exist in this
/// process. Logged once.
pub(crate) fn metadata_route_missing(url: &str) {
    tracing::warn!(
        target: TARGET,
        url,
        "metadata_route_missing: RequireToken refers clients to the metadata of the resource, but \
         no route of this value or a clone of it was created in this process; call \
         .merge(resource.routes()), unless something else serves the URL"
    );
}

/// `RequireSession` is in a nested router and redirects browsers to a login that none of them
/// reaches. Logged once.
pub(crate) fn login_route_unreached(path: &str, nested_at: &str) {
    // The redirect URI has no parameters.
    let below = match nested_at.contains('{') {
        true => String::new(),
        false => {
            format!(", or the redirect URI must be below that path: {nested_at}/auth/callback")
        }
    };
    tracing::warn!(
        target: TARGET,
        path,
        nested_at,
        "login_route_unreached: RequireSession redirects browsers to the login, and none has reached \
         it so far; if sessions.routes() is nested, too, merge it into the outermost router{below}"
    );
}

/// An operation of the shared store failed. The log has the first one of an outage.
pub(crate) fn shared_store_failed(is_first: bool, error: &(dyn std::error::Error + 'static)) {
    count!("tower_scalekit_shared_store_errors_total");
    if is_first {
        tracing::error!(target: TARGET, error, "shared_store_unavailable");
    }
}

/// The outage of the shared store is over.
pub(crate) fn shared_store_available() {
    tracing::info!(target: TARGET, "shared_store_available");
}

/// An app with an https redirect URI has no shared store. Logged once, at build time.
pub(crate) fn no_shared_store() {
    tracing::warn!(
        target: TARGET,
        "no_shared_store: run one process only. Several would lose sessions when they refresh them, a \
         logout would apply to one of them, and revocations do not survive a restart; set \
         SessionsBuilder::shared_store"
    );
}

/// An internal error occurred, and the request was rejected for it. While many requests fail for
/// the same cause, the level of all but one is `DEBUG`; of all if it is an outage of the store, which
/// has a line of its own.
pub(crate) fn internal_error(what: &'static str, error: &(dyn std::error::Error + 'static)) {
    count!("tower_scalekit_internal_errors_total", "what" => what);
    if LoggedOutage::is_cause_of(error) {
        tracing::debug!(target: TARGET, what, error, "internal_error");
    } else {
        limited!(error, ("internal_error", what), LOG_INTERVAL, what, error, "internal_error");
    }
}

/// The interval in which an event that many requests cause is logged once for each reason.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

/// Whether this event was not logged at its own level for this reason in the last period.
fn should_log(
    (event, reason): (&'static str, impl Into<Cow<'static, str>>),
    period: Duration,
) -> bool {
    static LOGGED: Mutex<BTreeMap<(&str, Cow<'static, str>), Instant>> =
        Mutex::new(BTreeMap::new());
    let event = (event, reason.into());
    let now = Instant::now();
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.get(&event).is_some_and(|at| now.saturating_duration_since(*at) < period) {
        return false;
    }
    logged.insert(event, now);
    true
}

#[cfg(test)]
mod tests;
