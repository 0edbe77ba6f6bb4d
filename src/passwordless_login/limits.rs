//! Limits of e-mails and codes, counted in the shared store.
//!
//! The counts are independent of the environment: a resend or a new request at Scalekit does not
//! reset them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use super::PasswordlessLogin;
use super::attempt::EmailAttempt;
use super::rejection::PasswordlessLoginError;
use crate::clock::{REPLICA_SKEW, unix_millis};
use crate::shared_store::{Change, KeyNamespace, StoreError, StoreKey};
use crate::util::email::fold_email;
use crate::util::shared_results::DedupKey;
use crate::util::telemetry;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Scalekit's own limit per address. The environment does not count e-mails to an address that it
/// does not accept; the same limit here hides which addresses these are.
const PER_MINUTE: Limit = Limit { max: 2, window: Duration::from_secs(60) };
/// Wrong codes in one login, including those after resends.
const CODES_PER_LOGIN: usize = 5;
/// Wrong codes for one address. Beyond this, each login has one try, which is enough for the
/// recipient of the e-mail.
const CODES_PER_ADDRESS: usize = 10;
const CODES_PER_LOGIN_ABOVE_LIMIT: usize = 1;
/// How long a second request for the same e-mail gets the result of the first.
pub(super) const RESEND_RESULT_TTL: Duration = Duration::from_secs(5);
/// For how long a credential that the environment has accepted can be retried when the app could
/// not log in.
pub(super) const UNFINISHED_TTL: Duration = Duration::from_secs(60);
/// How often a count is retried after a concurrent change.
const MAX_CONFLICTS: usize = 16;

/// The limits of the app; see [`PasswordlessLoginBuilder`](super::PasswordlessLoginBuilder).
pub(super) struct EmailLimits {
    per_address_and_day: usize,
    per_client_and_hour: usize,
    client_key: Arc<ClientKey>,
    has_warned: AtomicBool,
}

pub(super) type ClientKey = dyn Fn(&Request<()>) -> Option<String> + Send + Sync + 'static;

impl EmailLimits {
    pub(super) fn new(
        per_address_and_day: usize,
        per_client_and_hour: usize,
        client_key: Arc<ClientKey>,
    ) -> Self {
        Self {
            per_address_and_day,
            per_client_and_hour,
            client_key,
            has_warned: AtomicBool::new(false),
        }
    }

    /// Returns what identifies the client of a request.
    pub(super) fn client(&self, request: &Request<()>) -> Option<String> {
        let client = (self.client_key)(request).filter(|client| !client.is_empty());
        if client.is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            telemetry::unknown_client();
        }
        client
    }
}

impl fmt::Debug for EmailLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailLimits")
            .field("per_address_and_day", &self.per_address_and_day)
            .field("per_client_and_hour", &self.per_client_and_hour)
            .finish_non_exhaustive()
    }
}

/// Returns what identifies the client with an IP address: the address; for IPv6 the /64 network,
/// which one subscriber has.
///
/// For [`PasswordlessLoginBuilder::client_key`](super::PasswordlessLoginBuilder::client_key), if the
/// app gets addresses of clients from its reverse proxy.
///
/// ```
/// use tower_scalekit::passwordless_login::client_key_from_ip;
///
/// assert_eq!(client_key_from_ip("2001:db8::7".parse()?), client_key_from_ip("2001:db8::8".parse()?));
/// assert_eq!(client_key_from_ip("203.0.113.7".parse()?), client_key_from_ip("::ffff:203.0.113.7".parse()?));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn client_key_from_ip(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// Returns the [client](client_key_from_ip) with the public IP address of the peer. Returns `None` if the
/// server does not provide it, or if it is not public: it may belong to a reverse proxy, which all
/// clients share.
pub(super) fn public_peer(request: &Request<()>) -> Option<String> {
    let address = peer(request)?.ip().to_canonical();
    let is_public = match address {
        IpAddr::V4(ip) => {
            // Shared address space (RFC 6598), 100.64.0.0/10.
            !(matches!(ip.octets(), [100, 64..=127, ..])
                || ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local())
        }
        IpAddr::V6(ip) => !(ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()),
    };
    is_public.then(|| client_key_from_ip(address))
}

#[cfg(feature = "axum")]
fn peer(request: &Request<()>) -> Option<SocketAddr> {
    use axum::extract::ConnectInfo;

    match request.extensions().get() {
        Some(ConnectInfo(peer)) => Some(*peer),
        None => request.extensions().get().copied(),
    }
}

#[cfg(not(feature = "axum"))]
fn peer(request: &Request<()>) -> Option<SocketAddr> {
    request.extensions().get().copied()
}

/// A maximum within a sliding window.
#[derive(Clone, Copy, Debug)]
struct Limit {
    max: usize,
    window: Duration,
}

/// What was counted, to be subtracted if it did not happen.
#[derive(Default)]
pub(super) struct Counted {
    counts: Vec<Count>,
}

struct Count {
    key: StoreKey,
    /// How long the key's times are stored.
    ttl: Duration,
    at: i64,
}

/// The reason why something was not counted, so that it must not happen.
enum NotCounted {
    Limited { retry_after: Duration },
    Unavailable(StoreError),
}

impl From<StoreError> for NotCounted {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

impl PasswordlessLogin {
    /// Counts an e-mail that is about to be sent. The returned count excludes that of the client,
    /// which is kept if sending fails: the requests of one client are limited in any case.
    ///
    /// # Errors
    /// [`PasswordlessLoginError::TooManyEmails`] if it exceeds the limit of the client or the
    /// address; [`PasswordlessLoginError::Unavailable`] if the store fails.
    pub(super) async fn count_email(
        &self,
        email: &str,
        client: Option<&str>,
    ) -> Result<Counted, PasswordlessLoginError> {
        let (limits, email) = (&self.inner.limits, fold_email(email));
        let per_day = Limit { max: limits.per_address_and_day, window: DAY };
        let mut counters = Vec::new();
        if let Some(client) = client {
            let per_hour = Limit { max: limits.per_client_and_hour, window: HOUR };
            counters.push((vec!["client", client], vec![per_hour]));
            // One client cannot use up the limit of an address.
            let half = Limit { max: per_day.max.div_ceil(2), ..per_day };
            counters.push((vec!["client and address", client, &email], vec![half]));
        }
        counters.push((vec!["address", &email], vec![PER_MINUTE, per_day]));

        let mut counted = Counted::default();
        for (name, limits) in counters {
            let key = self.key(KeyNamespace::SentEmail, &name);
            if let Err(error) = self.count(key, &limits, &mut counted).await {
                self.subtract(counted).await;
                return Err(match error {
                    NotCounted::Limited { retry_after } => {
                        PasswordlessLoginError::TooManyEmails { retry_after: Some(retry_after) }
                    }
                    NotCounted::Unavailable(error) => unavailable(&error),
                });
            }
        }
        // The count of the client, which is the first one, remains if the e-mail is not sent.
        counted.counts.drain(..usize::from(client.is_some()).min(counted.counts.len()));
        Ok(counted)
    }

    /// Counts a code as wrong before it is tried.
    ///
    /// # Errors
    /// [`PasswordlessLoginError::TooManyAttempts`] if it exceeds a limit;
    /// [`PasswordlessLoginError::Unavailable`] if the store fails.
    pub(super) async fn count_code(
        &self,
        attempt: &EmailAttempt,
    ) -> Result<Counted, PasswordlessLoginError> {
        let mut counted = Counted::default();
        let key = self.key(KeyNamespace::WrongCode, &["address", &fold_email(&attempt.email)]);
        let per_address = Limit { max: CODES_PER_ADDRESS, window: DAY };
        let max = match self.count(key, &[per_address], &mut counted).await {
            Ok(()) => CODES_PER_LOGIN,
            Err(NotCounted::Limited { .. }) => CODES_PER_LOGIN_ABOVE_LIMIT,
            Err(NotCounted::Unavailable(error)) => return Err(unavailable(&error)),
        };
        let key = self.key(KeyNamespace::WrongCode, &["login", attempt.state.expose()]);
        match self.count(key, &[Limit { max, window: DAY }], &mut counted).await {
            Ok(()) => Ok(counted),
            Err(error) => {
                self.subtract(counted).await;
                Err(match error {
                    NotCounted::Limited { .. } => PasswordlessLoginError::TooManyAttempts,
                    NotCounted::Unavailable(error) => unavailable(&error),
                })
            }
        }
    }

    /// Subtracts what was counted. If the store fails, it stays counted, which is safe.
    pub(super) async fn subtract(&self, counted: Counted) {
        for Count { key, ttl, at } in counted.counts {
            let subtracted = self.change(&key, ttl, |times| {
                let position = times.iter().position(|time| *time == at);
                Ok(position.map(|position| times.remove(position)).is_some())
            });
            if let Err(NotCounted::Unavailable(error)) = subtracted.await {
                telemetry::internal_error("passwordless_login", &error);
            }
        }
    }

    async fn count(
        &self,
        key: StoreKey,
        limits: &[Limit],
        counted: &mut Counted,
    ) -> Result<(), NotCounted> {
        let now = unix_millis(self.sessions().now());
        let ttl = limits.iter().map(|limit| limit.window).max().unwrap_or(DAY);
        self.change(&key, ttl, |times| {
            for limit in limits {
                let window = millis(limit.window);
                let recent = times.iter().filter(|time| now - **time < window);
                let excess = (recent.clone().count() + 1).saturating_sub(limit.max);
                if excess > 0 {
                    // One more fits once enough of the oldest ones have left the window.
                    let last = recent.copied().nth(excess - 1).unwrap_or(now);
                    let left = u64::try_from(last + window - now).unwrap_or_default();
                    let retry_after = Duration::from_secs(left.div_ceil(1000).max(1));
                    return Err(NotCounted::Limited { retry_after });
                }
            }
            times.insert(times.partition_point(|time| *time <= now), now);
            Ok(true)
        })
        .await?;
        counted.counts.push(Count { key, ttl, at: now });
        Ok(())
    }

    /// Changes the times that are stored under a key for `ttl`, oldest first. `false` leaves them
    /// unchanged. Nothing is stored without a time: anyone can cause an e-mail that is not sent.
    async fn change(
        &self,
        key: &StoreKey,
        ttl: Duration,
        mut change: impl FnMut(&mut Vec<i64>) -> Result<bool, NotCounted>,
    ) -> Result<(), NotCounted> {
        let now = unix_millis(self.sessions().now());
        // Another replica's clock may be ahead.
        let latest = now.saturating_add(millis(REPLICA_SKEW.unsigned_abs()));
        self.sessions()
            .store()
            .update(key, ttl, MAX_CONFLICTS, |stored| {
                let mut times = stored.map(decode).unwrap_or_default();
                // If the clock was set back, later times are rewritten as of now, even if nothing
                // else changes, so that a limit does not last longer.
                let is_set_back = times.iter().any(|time| *time > latest);
                times.iter_mut().filter(|time| **time > latest).for_each(|time| *time = now);
                times.sort_unstable();
                times.retain(|time| now - *time < millis(ttl));
                let changed = change(&mut times);
                let is_changed = is_set_back || matches!(changed, Ok(true));
                let result = changed.map(drop);
                Ok::<_, StoreError>(if !is_changed {
                    Change::Keep(result)
                } else if times.is_empty() {
                    Change::Remove(result)
                } else {
                    Change::Set(encode(&times), result)
                })
            })
            .await?
            .unwrap_or(Err(NotCounted::Limited { retry_after: Duration::from_secs(1) }))
    }

    fn key(&self, namespace: KeyNamespace, parts: &[&str]) -> StoreKey {
        self.sessions().store_key(namespace, &DedupKey::new(parts).to_text())
    }
}

fn encode(times: &[i64]) -> Bytes {
    times.iter().flat_map(|time| time.to_be_bytes()).collect()
}

fn decode(value: &[u8]) -> Vec<i64> {
    let (times, _) = value.as_chunks();
    times.iter().copied().map(i64::from_be_bytes).collect()
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}

fn unavailable(error: &StoreError) -> PasswordlessLoginError {
    telemetry::internal_error("passwordless_login", error);
    PasswordlessLoginError::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_peers_are_clients() {
        for (peer, client) in [
            ("203.0.113.7:4711", Some("203.0.113.7")),
            ("[::ffff:203.0.113.7]:4711", Some("203.0.113.7")),
            ("[2001:db8:1:2:3:4:5:6]:4711", Some("2001:db8:1:2::/64")),
            ("127.0.0.1:4711", None),
            ("10.0.0.1:4711", None),
            ("192.168.0.1:4711", None),
            ("169.254.0.1:4711", None),
            ("100.64.0.1:4711", None),
            ("[::1]:4711", None),
            ("[fd00::1]:4711", None),
            ("[fe80::1]:4711", None),
        ] {
            let mut request = Request::new(());
            request.headers_mut().insert("x-forwarded-for", "198.51.100.1".parse().unwrap());
            request.headers_mut().insert("forwarded", "for=198.51.100.1".parse().unwrap());
            assert_eq!(public_peer(&request), None);
            let peer: SocketAddr = peer.parse().unwrap();
            request.extensions_mut().insert(peer);
            assert_eq!(public_peer(&request).as_deref(), client, "{peer}");
            #[cfg(feature = "axum")]
            {
                let mut request = Request::new(());
                request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
                assert_eq!(public_peer(&request).as_deref(), client, "{peer}");
            }
        }
    }
}
