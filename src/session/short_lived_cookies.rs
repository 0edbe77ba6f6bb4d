//! Short-lived sealed cookies for operations that are in progress in a browser. Each operation has
//! its own cookie, so that tabs do not interfere and other browsers cannot continue it.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderValue};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::cookie::seal::SealingFailed;
use super::{ATTEMPT_ID_BYTES, Sessions, ShortLivedCookieKind};
use crate::util::telemetry;

/// Excess cookies are removed by later responses.
const MAX_DROPPED: usize = 20;

/// An attempt's cookie in a request.
struct AttemptCookie<'h> {
    /// `None` if the attempt cannot be continued.
    began_at: Option<OffsetDateTime>,
    /// Its position among the attempts.
    index: usize,
    name: &'h str,
    bytes: usize,
    /// No key of this app has sealed it. It may belong to another app, so it is kept while there is
    /// capacity.
    is_foreign: bool,
}

/// A sealed cookie of one browser for minutes: an operation in progress, or the last login.
pub(crate) trait ShortLivedCookie: Sized {
    const KIND: ShortLivedCookieKind;
    /// How many attempts of one kind a browser may have at once.
    const MAX: usize = 5;
    /// How large the cookies of one kind may be together. With those of a session, they fit into
    /// the 8 KB that nginx accepts for a header by default.
    const MAX_BYTES: usize = 4000;

    /// Returns the ID that names its cookie.
    fn id(&self) -> Option<String>;

    fn began_at(&self) -> OffsetDateTime;

    fn ends_at(&self) -> OffsetDateTime;

    /// Returns until when the browser keeps its cookie.
    fn cookie_expires_at(&self) -> OffsetDateTime {
        self.ends_at()
    }

    fn encode(&self) -> Option<Zeroizing<Vec<u8>>>;

    /// Decodes content that was sealed under this ID.
    fn decode(id: &str, content: &[u8]) -> Option<Self>;
}

/// Encodes a time of an attempt: Unix seconds.
pub(crate) fn encode_time(time: OffsetDateTime) -> [u8; 8] {
    time.unix_timestamp().to_be_bytes()
}

/// Decodes the time that content begins with; returns what follows too.
pub(crate) fn decode_time(content: &[u8]) -> Option<(OffsetDateTime, &[u8])> {
    let (time, rest) = content.split_first_chunk()?;
    Some((OffsetDateTime::from_unix_timestamp(i64::from_be_bytes(*time)).ok()?, rest))
}

impl Sessions {
    /// Returns `Set-Cookie` values that store this attempt and remove those that are too old or too
    /// many. Returns `None`, and logs the error, when the attempt cannot be sealed.
    pub(crate) fn store_attempt<A: ShortLivedCookie>(
        &self,
        attempt: &A,
        headers: &HeaderMap,
    ) -> Option<Vec<HeaderValue>> {
        self.attempt_values(attempt, headers).or_else(|| {
            telemetry::internal_error("attempt", &SealingFailed);
            None
        })
    }

    fn attempt_values<A: ShortLivedCookie>(
        &self,
        attempt: &A,
        headers: &HeaderMap,
    ) -> Option<Vec<HeaderValue>> {
        let (cookies, now) = (self.cookies(), attempt.began_at());
        let name = cookies.attempt_name(A::KIND, &attempt.id()?);
        let sealed = self.sealing_keys().seal(A::KIND.purpose(), &name, &attempt.encode()?).ok()?;
        let mut values = vec![cookies.set(&name, &sealed, attempt.cookie_expires_at() - now)?];

        // Newest first. Browsers send cookies in the order of their creation (RFC 6265, section
        // 5.4), which orders those of the same second.
        let mut others: Vec<AttemptCookie<'_>> = cookies
            .attempt_cookies(A::KIND, headers)
            .filter(|(other, _)| *other != name)
            .enumerate()
            .map(|(index, (name, sealed))| {
                let opened = self.sealing_keys().open(A::KIND.purpose(), name, sealed);
                AttemptCookie {
                    is_foreign: opened.is_none(),
                    began_at: opened
                        .and_then(|opened| {
                            A::decode(cookies.attempt_id(A::KIND, name)?, &opened.content)
                        })
                        .filter(|other| now < other.ends_at())
                        .map(|other| match other.began_at() {
                            // From before the clock was set back: older than all that begin now.
                            at if at > now + time::Duration::MINUTE => OffsetDateTime::UNIX_EPOCH,
                            at => at,
                        }),
                    index,
                    name,
                    bytes: name.len() + sealed.len(),
                }
            })
            .collect();
        others.sort_unstable_by_key(|one| Reverse((one.began_at, one.index)));
        let mut total = name.len() + sealed.len();
        values.extend(
            others
                .iter()
                .enumerate()
                .filter(|(index, one)| {
                    total += one.bytes;
                    let is_excess = *index >= A::MAX - 1 || one.began_at.is_none();
                    total > A::MAX_BYTES || (is_excess && !one.is_foreign)
                })
                .take(MAX_DROPPED)
                .filter_map(|(_, dropped)| cookies.removal(dropped.name)),
        );
        Some(values)
    }

    /// Returns the attempts in progress in this browser.
    pub(crate) fn attempts<'a, A: ShortLivedCookie>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = A> + use<'a, A> {
        let now = self.now();
        self.attempts_with_expired(headers).filter(move |attempt: &A| now < attempt.ends_at())
    }

    /// Returns the attempts in progress, and the expired ones that the browser still keeps.
    pub(crate) fn attempts_with_expired<'a, A: ShortLivedCookie>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = A> + use<'a, A> {
        self.cookies()
            .attempt_cookies(A::KIND, headers)
            .filter_map(|(name, sealed)| self.open_attempt::<A>(name, sealed))
    }

    /// Returns the attempt of this browser whose ID is the first characters of this `state`, and the
    /// `Set-Cookie` value that removes it, also if it has expired.
    pub(crate) fn attempt<A: ShortLivedCookie>(
        &self,
        state: &str,
        headers: &HeaderMap,
    ) -> (Option<A>, Option<HeaderValue>) {
        let Some(id) = state.get(..ATTEMPT_ID_BYTES) else { return (None, None) };
        let (cookies, now) = (self.cookies(), self.now());
        let wanted = cookies.attempt_name(A::KIND, id);
        let Some((name, sealed)) =
            cookies.attempt_cookies(A::KIND, headers).find(|(name, _)| *name == wanted)
        else {
            return (None, None);
        };
        let attempt = self.open_attempt(name, sealed).filter(|attempt: &A| now < attempt.ends_at());
        (attempt, cookies.removal(name))
    }

    /// Returns the `Set-Cookie` value that removes an attempt.
    pub(crate) fn attempt_removal<A: ShortLivedCookie>(&self, attempt: &A) -> Option<HeaderValue> {
        self.cookies().removal(&self.cookies().attempt_name(A::KIND, &attempt.id()?))
    }

    /// Opens an attempt's cookie.
    fn open_attempt<A: ShortLivedCookie>(&self, name: &str, sealed: &str) -> Option<A> {
        let id = self.cookies().attempt_id(A::KIND, name)?;
        A::decode(id, &self.sealing_keys().open(A::KIND.purpose(), name, sealed)?.content)
    }
}
