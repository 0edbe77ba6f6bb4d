//! Names, attributes and chunks of cookies.

use std::iter;

use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};

use crate::error::{ConfigError, ConfigProblem};
use crate::session::Purpose;
use crate::util::base64url::is_base64url;
use crate::util::hash::hash_parts;

/// Browsers reject a cookie of more than 4,096 bytes; this leaves some slack.
const MAX_COOKIE_BYTES: usize = 3900;
/// More than one chunk already exceeds nginx's default header buffers. More than this indicates
/// that the session should hold less.
const MAX_CHUNKS: usize = 3;
/// How many cookies of one name are tried.
const MAX_REPEATED: usize = 3;

/// Longer than a redirect takes.
const HOST_REDIRECT_LIFETIME: time::Duration = time::Duration::seconds(10);

/// Length of the ID in the name of a short-lived cookie. That of a login is the beginning of its
/// `state`.
pub(crate) const SHORT_LIVED_ID_BYTES: usize = 8;

/// The configuration of this app's cookies: their names and attributes.
#[derive(Clone, Debug)]
pub(crate) struct CookieConfig {
    secure: bool,
    session_names: [String; MAX_CHUNKS],
    host_redirect_name: String,
    /// The prefix of all other names.
    prefix: String,
}

/// The kinds of short-lived cookies: of operations that are in progress in a browser, and of the last
/// login.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ShortLivedCookieKind {
    ConnectAccount,
    Login,
    Logout,
    PasswordlessLogin,
    /// A login that was completed a moment ago.
    RecentLogin,
    SwitchAccount,
}

impl ShortLivedCookieKind {
    fn label(self) -> &'static str {
        match self {
            Self::ConnectAccount => "connect_",
            Self::Login => "login_",
            Self::Logout => "logout_",
            Self::PasswordlessLogin => "passwordless_",
            Self::RecentLogin => "recent_",
            Self::SwitchAccount => "switch_",
        }
    }

    pub(in crate::session) fn purpose(self) -> Purpose {
        match self {
            Self::ConnectAccount => Purpose::ConnectAttempt,
            Self::Login => Purpose::LoginAttempt,
            Self::Logout => Purpose::LogoutAttempt,
            Self::PasswordlessLogin => Purpose::PasswordlessAttempt,
            Self::RecentLogin => Purpose::RecentLogin,
            Self::SwitchAccount => Purpose::SwitchAttempt,
        }
    }
}

impl CookieConfig {
    /// `secure` is `false` only if the app runs on http, which is allowed on loopback only.
    pub(in crate::session) fn new(base: &str, secure: bool) -> Self {
        let prefix = if secure { "__Host-" } else { "" };
        Self {
            secure,
            session_names: [
                format!("{prefix}{base}_session"),
                format!("{prefix}{base}_session.1"),
                format!("{prefix}{base}_session.2"),
            ],
            host_redirect_name: format!("{prefix}{base}_host_redirect"),
            prefix: format!("{prefix}{base}_"),
        }
    }

    pub(crate) fn session_name(&self) -> &str {
        let [name, ..] = &self.session_names;
        name
    }

    pub(crate) fn short_lived_name(&self, kind: ShortLivedCookieKind, id: &str) -> String {
        format!("{}{}{id}", self.prefix, kind.label())
    }

    /// Returns `Set-Cookie` values for the chunks of a session, and for the removal of leftover
    /// chunks of a longer one. Returns `None` when the session does not fit.
    pub(in crate::session) fn set_session(
        &self,
        sealed: &str,
        max_age: time::Duration,
        sent: SentCookies,
    ) -> Option<Vec<HeaderValue>> {
        let mut rest = sealed;
        let mut values = Vec::new();
        for (name, was_sent) in self.session_names.iter().zip(sent.chunks) {
            if rest.is_empty() {
                if was_sent {
                    values.push(self.removal(name)?);
                }
                continue;
            }
            let overhead = self.cookie(name, "", max_age).to_string().len();
            let (chunk, later) =
                rest.split_at_checked(rest.len().min(MAX_COOKIE_BYTES.saturating_sub(overhead)))?;
            values.push(self.set(name, chunk, max_age)?);
            rest = later;
        }
        rest.is_empty().then_some(values)
    }

    /// Returns `Set-Cookie` values that remove every chunk of a session that the browser sent.
    pub(in crate::session) fn removals_of(&self, sent: SentCookies) -> Vec<HeaderValue> {
        self.session_names
            .iter()
            .zip(sent.chunks)
            .filter_map(|(name, sent)| if sent { self.removal(name) } else { None })
            .collect()
    }

    /// Returns the `Set-Cookie` value that removes a cookie, with the attributes it was set with.
    pub(crate) fn removal(&self, name: &str) -> Option<HeaderValue> {
        self.set(name, "", time::Duration::ZERO)
    }

    /// Whether a `Set-Cookie` value removes a cookie that is not a session's.
    pub(in crate::session) fn removes_other(&self, set_cookie: &HeaderValue) -> bool {
        set_cookie.to_str().ok().and_then(|text| text.split_once('=')).is_some_and(
            |(name, rest)| {
                self.session_names.iter().all(|session| session != name)
                    && rest.contains("; Max-Age=0")
            },
        )
    }

    /// Returns the `Set-Cookie` value that counts redirects of a browser to the canonical host.
    pub(in crate::session) fn count_host_redirect(
        &self,
        headers: &HeaderMap,
    ) -> Option<HeaderValue> {
        let count = self.host_redirects(headers).saturating_add(1).to_string();
        self.set(&self.host_redirect_name, &count, HOST_REDIRECT_LIFETIME)
    }

    /// Returns how often the browser was redirected to the canonical host within the last seconds.
    pub(in crate::session) fn host_redirects(&self, headers: &HeaderMap) -> u8 {
        pairs(headers)
            .filter(|(name, _)| *name == self.host_redirect_name.as_bytes())
            .filter_map(|(_, count)| std::str::from_utf8(count).ok()?.parse().ok())
            .max()
            .unwrap_or(0)
    }

    /// Returns the session cookies of a request.
    pub(crate) fn read<'h>(&self, headers: &'h HeaderMap) -> RequestCookies<'h> {
        let mut chunks = [[None; MAX_REPEATED]; MAX_CHUNKS];
        for (name, value) in pairs(headers) {
            let index = self.session_names.iter().position(|known| known.as_bytes() == name);
            let Some(values) = index.and_then(|index| chunks.get_mut(index)) else { continue };
            if value.len() <= MAX_COOKIE_BYTES
                && let Some(free) = values.iter_mut().find(|one| one.is_none())
            {
                *free = Some(value);
            }
        }
        RequestCookies { chunks }
    }

    /// Returns the request's short-lived cookies of a kind: cookie name and sealed value.
    pub(crate) fn short_lived_cookies<'h>(
        &'h self,
        kind: ShortLivedCookieKind,
        headers: &'h HeaderMap,
    ) -> impl Iterator<Item = (&'h str, &'h str)> {
        pairs(headers)
            .filter(|(name, _)| name.starts_with(self.prefix.as_bytes()))
            .filter_map(|(name, value)| {
                Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
            })
            .filter(move |(name, _)| self.short_lived_id(kind, name).is_some())
    }

    /// Returns the ID in the name of a short-lived cookie, if it is of this kind.
    pub(crate) fn short_lived_id<'n>(
        &self,
        kind: ShortLivedCookieKind,
        name: &'n str,
    ) -> Option<&'n str> {
        name.strip_prefix(&*self.prefix)?
            .strip_prefix(kind.label())
            .filter(|id| id.len() == SHORT_LIVED_ID_BYTES && id.bytes().all(is_base64url))
    }

    /// Returns the `Set-Cookie` value of one cookie.
    pub(in crate::session) fn set(
        &self,
        name: &str,
        value: &str,
        max_age: time::Duration,
    ) -> Option<HeaderValue> {
        HeaderValue::try_from(self.cookie(name, value, max_age).to_string()).ok()
    }

    fn cookie<'c>(&self, name: &'c str, value: &'c str, max_age: time::Duration) -> Cookie<'c> {
        Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .secure(self.secure)
            .same_site(SameSite::Lax)
            .max_age(max_age)
            .build()
    }
}

/// The session cookies of a request: the first few values of each chunk.
#[derive(Debug)]
pub(crate) struct RequestCookies<'h> {
    chunks: [[Option<&'h [u8]>; MAX_REPEATED]; MAX_CHUNKS],
}

impl<'h> RequestCookies<'h> {
    /// Returns the chunks that may form a sealed value; those that are not used are empty. Another
    /// app on the same host, or a longer session before, may have left chunks of the same names: only
    /// the value that opens is the session. The longest come first, because most requests contain
    /// only the session's own chunks.
    pub(in crate::session) fn candidates(&self) -> impl Iterator<Item = [&'h [u8]; MAX_CHUNKS]> {
        const NONE: &[u8] = &[];
        let [firsts, seconds, thirds] = self.chunks.map(|values| values.into_iter().flatten());
        let pairs = firsts
            .clone()
            .flat_map(move |first| seconds.clone().map(move |second| [first, second]));
        pairs
            .clone()
            .flat_map(move |[first, second]| {
                thirds.clone().map(move |third| [first, second, third])
            })
            .chain(pairs.map(|[first, second]| [first, second, NONE]))
            .chain(firsts.map(|first| [first, NONE, NONE]))
    }

    #[cfg(test)]
    fn sealed(&self) -> impl Iterator<Item = String> {
        self.candidates().map(|chunks| String::from_utf8(chunks.concat()).unwrap())
    }

    /// Returns which cookies the browser sent, to be replaced or removed.
    pub(crate) fn sent(&self) -> SentCookies {
        SentCookies { chunks: self.chunks.map(|values| values.iter().any(Option::is_some)) }
    }
}

/// Which chunks of the session cookie a request sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentCookies {
    chunks: [bool; MAX_CHUNKS],
}

impl SentCookies {
    pub(crate) fn is_empty(self) -> bool {
        !self.chunks.contains(&true)
    }
}

/// Returns all cookies of a request, from any number of headers (HTTP/2 splits them). A cookie that
/// is not ASCII belongs to another app; the cookies beside it still count.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.get_all(header::COOKIE).iter().flat_map(|header| {
        let mut rest = Some(header.as_bytes());
        iter::from_fn(move || {
            let (pair, later) = split_once(rest?, b';');
            rest = later;
            Some(pair)
        })
        .filter_map(|pair| {
            let (name, value) = split_once(pair.trim_ascii(), b'=');
            Some((name, value?))
        })
    })
}

/// Splits at the first separator. With `memchr`, because a header has thousands of bytes.
fn split_once(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(separator, bytes).and_then(|at| bytes.split_at_checked(at)) {
        Some((before, after)) => (before, after.get(1..)),
        None => (bytes, None),
    }
}

/// Returns the name of an app's cookies: apps on one host with different base paths have different
/// ones.
pub(in crate::session) fn default_cookie_name(base_path: Option<&str>) -> String {
    let Some(path) = base_path.filter(|path| !path.is_empty()) else {
        return "scalekit".to_owned();
    };
    hash_parts(["base path", path])
        .iter()
        .take(4)
        .fold("scalekit-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

pub(in crate::session) fn check_cookie_name(name: &str) -> Result<(), ConfigError> {
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_base64url) {
        let reason = "must be 1 to 64 letters, digits, - or _";
        return Err(ConfigProblem::invalid("cookie_name", reason).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: time::Duration = time::Duration::HOUR;

    fn config() -> CookieConfig {
        CookieConfig::new("scalekit", true)
    }

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|value| (header::COOKIE, value.parse().unwrap())).collect()
    }

    fn pairs_of(values: &[HeaderValue]) -> String {
        values
            .iter()
            .map(|value| value.to_str().unwrap().split(';').next().unwrap())
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn attributes_are_strict() {
        let value = &config().set_session("abc", HOUR, SentCookies::default()).unwrap()[0];
        assert_eq!(
            value,
            "__Host-scalekit_session=abc; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600",
        );
        let plain = CookieConfig::new("scalekit", false);
        let value = &plain.set_session("abc", HOUR, SentCookies::default()).unwrap()[0];
        assert_eq!(value, "scalekit_session=abc; HttpOnly; SameSite=Lax; Path=/; Max-Age=3600");
        assert_eq!(
            plain.removal("scalekit_session").unwrap(),
            "scalekit_session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0",
        );
    }

    #[test]
    fn pieces_are_small_few_and_are_joined_again() {
        for length in [1, 3800, 3900, 7000, 11_000] {
            let sealed: String = ('a'..='z').cycle().take(length).collect();
            let values = config().set_session(&sealed, HOUR, SentCookies::default()).unwrap();
            assert!(values.iter().all(|value| value.len() <= MAX_COOKIE_BYTES));
            let sent = headers(&[&format!("other=1; {}", pairs_of(&values))]);
            assert_eq!(config().read(&sent).sealed().next().as_deref(), Some(sealed.as_str()));
        }
        let huge = "a".repeat(3 * MAX_COOKIE_BYTES);
        assert!(config().set_session(&huge, HOUR, SentCookies::default()).is_none());
    }

    #[test]
    fn repeated_cookies_and_leftover_pieces_are_tried_and_gaps_are_not_bridged() {
        let sealed = |cookies: &[&str]| {
            let headers = headers(cookies);
            config().read(&headers).sealed().collect::<Vec<_>>().join(" ")
        };
        let (a, b, c) = (
            "__Host-scalekit_session=a",
            "__Host-scalekit_session.1=b",
            "__Host-scalekit_session.2=c",
        );
        let other = "__Host-scalekit_session=A";
        assert_eq!(sealed(&[a]), "a");
        assert_eq!(sealed(&[c, b, a]), "abc ab a");
        assert_eq!(sealed(&[a, c]), "a");
        assert_eq!(sealed(&[other, a, b]), "Ab ab A a");
        assert_eq!(sealed(&[a, other, a, other]), "a A a");
        for cookies in [&[][..], &[b], &[b, c], &["__Host-scalekit_session"]] {
            assert_eq!(sealed(cookies), "", "{cookies:?}");
        }
        let all: Vec<_> = [a, b, c].into_iter().flat_map(|cookie| [cookie; 9]).collect();
        assert_eq!(sealed(&all).split(' ').count(), 27 + 9 + 3);
        assert!(config().read(&headers(&["scalekit_session=a"])).sent().is_empty());
    }

    #[test]
    fn cookies_that_are_longer_than_any_of_ours_are_ignored() {
        let long = "a".repeat(MAX_COOKIE_BYTES + 1);
        let sent = headers(&[
            &format!("__Host-scalekit_session={long}"),
            "__Host-scalekit_session=mine",
            &format!("__Host-scalekit_session.1={long}"),
        ]);
        assert_eq!(config().read(&sent).sealed().collect::<Vec<_>>(), ["mine"]);
    }

    #[test]
    fn a_foreign_cookie_that_is_not_ascii_does_not_hide_the_session() {
        let mut sent = HeaderMap::new();
        let value = b"a=\xff\xfe; __Host-scalekit_session=mine ;\xff";
        sent.insert(header::COOKIE, HeaderValue::from_bytes(value).unwrap());
        assert_eq!(config().read(&sent).sealed().next().as_deref(), Some("mine"));
    }

    #[test]
    fn a_shorter_session_removes_leftover_pieces() {
        let sent = headers(&["__Host-scalekit_session=a; __Host-scalekit_session.1=b"]);
        let sent = config().read(&sent).sent();
        let values = config().set_session("new", HOUR, sent).unwrap();
        assert_eq!(pairs_of(&values), "__Host-scalekit_session=new; __Host-scalekit_session.1=");
        assert!(values[1].to_str().unwrap().ends_with("Max-Age=0"));
        assert_eq!(config().removals_of(sent).len(), 2);
    }
}
