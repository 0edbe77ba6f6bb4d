//! Short-lived sealed cookies for operations that are in progress in a browser. Each operation has
//! its own cookie, so that tabs do not interfere and other browsers cannot continue it.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderValue};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::cookie::seal::SealingFailed;
use super::{SHORT_LIVED_ID_BYTES, Sessions, ShortLivedCookieKind};
use crate::util::telemetry;

/// Excess cookies are removed by later responses.
const MAX_DROPPED: usize = 20;

/// Another cookie of the same kind in a request.
struct OtherCookie<'h> {
    /// `None` if its operation cannot be continued.
    stored_at: Option<OffsetDateTime>,
    /// Its position among the cookies of its kind.
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
    /// How many cookies of one kind a browser may have at once.
    const MAX: usize = 5;
    /// How large the cookies of one kind may be together. With those of a session, they fit into
    /// the 8 KB that nginx accepts for a header by default.
    const MAX_BYTES: usize = 4000;

    /// Returns the ID that names its cookie.
    fn id(&self) -> Option<String>;

    /// Returns when it was created, and its cookie set.
    fn stored_at(&self) -> OffsetDateTime;

    /// Returns when its operation can no longer be continued.
    fn ends_at(&self) -> OffsetDateTime;

    /// Returns until when the browser keeps its cookie.
    fn cookie_expires_at(&self) -> OffsetDateTime {
        self.ends_at()
    }

    fn encode(&self) -> Option<Zeroizing<Vec<u8>>>;

    /// Decodes content that was sealed under this ID.
    fn decode(id: &str, content: &[u8]) -> Option<Self>;
}

/// Encodes a time: Unix seconds.
pub(crate) fn encode_time(time: OffsetDateTime) -> [u8; 8] {
    time.unix_timestamp().to_be_bytes()
}

/// Decodes the time that content begins with; returns what follows too.
pub(crate) fn decode_time(content: &[u8]) -> Option<(OffsetDateTime, &[u8])> {
    let (time, rest) = content.split_first_chunk()?;
    Some((OffsetDateTime::from_unix_timestamp(i64::from_be_bytes(*time)).ok()?, rest))
}

impl Sessions {
    /// Returns `Set-Cookie` values that set this cookie and remove those of its kind that are too
    /// old or too many. Returns `None`, and logs the error, when it cannot be sealed.
    pub(crate) fn store_short_lived<C: ShortLivedCookie>(
        &self,
        value: &C,
        headers: &HeaderMap,
    ) -> Option<Vec<HeaderValue>> {
        self.short_lived_values(value, headers).or_else(|| {
            telemetry::internal_error("attempt", &SealingFailed);
            None
        })
    }

    fn short_lived_values<C: ShortLivedCookie>(
        &self,
        value: &C,
        headers: &HeaderMap,
    ) -> Option<Vec<HeaderValue>> {
        let (cookies, now) = (self.cookies(), value.stored_at());
        let name = cookies.short_lived_name(C::KIND, &value.id()?);
        let sealed = self.sealing_keys().seal(C::KIND.purpose(), &name, &value.encode()?).ok()?;
        let mut values = vec![cookies.set(&name, &sealed, value.cookie_expires_at() - now)?];

        // Newest first. Browsers send cookies in the order of their creation (RFC 6265, section
        // 5.4), which orders those of the same second.
        let mut others: Vec<OtherCookie<'_>> = cookies
            .short_lived_cookies(C::KIND, headers)
            .filter(|(other, _)| *other != name)
            .enumerate()
            .map(|(index, (name, sealed))| {
                let opened = self.sealing_keys().open(C::KIND.purpose(), name, sealed);
                OtherCookie {
                    is_foreign: opened.is_none(),
                    stored_at: opened
                        .and_then(|opened| {
                            C::decode(cookies.short_lived_id(C::KIND, name)?, &opened.content)
                        })
                        .filter(|other| now < other.ends_at())
                        .map(|other| match other.stored_at() {
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
        others.sort_unstable_by_key(|one| Reverse((one.stored_at, one.index)));
        let mut total = name.len() + sealed.len();
        values.extend(
            others
                .iter()
                .enumerate()
                .filter(|(index, one)| {
                    total += one.bytes;
                    let is_excess = *index >= C::MAX - 1 || one.stored_at.is_none();
                    total > C::MAX_BYTES || (is_excess && !one.is_foreign)
                })
                .take(MAX_DROPPED)
                .filter_map(|(_, dropped)| cookies.removal(dropped.name)),
        );
        Some(values)
    }

    /// Returns what this browser has of one kind, without those that have expired.
    pub(crate) fn short_lived<'a, C: ShortLivedCookie>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = C> + use<'a, C> {
        let now = self.now();
        self.short_lived_with_expired(headers).filter(move |value: &C| now < value.ends_at())
    }

    /// Returns what this browser has of one kind, with the expired ones that it still keeps.
    pub(crate) fn short_lived_with_expired<'a, C: ShortLivedCookie>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = C> + use<'a, C> {
        self.cookies()
            .short_lived_cookies(C::KIND, headers)
            .filter_map(|(name, sealed)| self.open_short_lived::<C>(name, sealed))
    }

    /// Returns the one of this browser whose ID is the first characters of this `state`, and the
    /// `Set-Cookie` value that removes its cookie, also if it has expired.
    pub(crate) fn find_short_lived<C: ShortLivedCookie>(
        &self,
        state: &str,
        headers: &HeaderMap,
    ) -> (Option<C>, Option<HeaderValue>) {
        let Some(id) = state.get(..SHORT_LIVED_ID_BYTES) else { return (None, None) };
        let (cookies, now) = (self.cookies(), self.now());
        let wanted = cookies.short_lived_name(C::KIND, id);
        let Some((name, sealed)) =
            cookies.short_lived_cookies(C::KIND, headers).find(|(name, _)| *name == wanted)
        else {
            return (None, None);
        };
        let found = self.open_short_lived(name, sealed).filter(|value: &C| now < value.ends_at());
        (found, cookies.removal(name))
    }

    /// Returns the `Set-Cookie` value that removes its cookie.
    pub(crate) fn short_lived_removal<C: ShortLivedCookie>(
        &self,
        value: &C,
    ) -> Option<HeaderValue> {
        self.cookies().removal(&self.cookies().short_lived_name(C::KIND, &value.id()?))
    }

    /// Opens a cookie of this kind.
    fn open_short_lived<C: ShortLivedCookie>(&self, name: &str, sealed: &str) -> Option<C> {
        let id = self.cookies().short_lived_id(C::KIND, name)?;
        C::decode(id, &self.sealing_keys().open(C::KIND.purpose(), name, sealed)?.content)
    }
}
