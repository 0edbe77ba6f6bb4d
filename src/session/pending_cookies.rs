//! What a browser is in the middle of, each time in a short-lived sealed cookie of its own: several
//! tabs do not get in each other's way, and another browser knows nothing of it.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderValue};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::cookie::seal::SealingFailed;
use super::{ATTEMPT_ID_BYTES, AttemptKind, Sessions};
use crate::util::telemetry;

/// A browser that has more of them to give back is asked again next time.
const MAX_DROPPED: usize = 20;

/// An attempt's cookie in a request.
struct Presented<'h> {
    /// `None` if it cannot be continued.
    began_at: Option<OffsetDateTime>,
    /// Its place among them.
    index: usize,
    name: &'h str,
    bytes: usize,
    /// None of our keys has sealed it: it may be another app's, and stays while there is room.
    is_foreign: bool,
}

/// An attempt at something that the browser comes back from.
pub(crate) trait Attempt: Sized {
    const KIND: AttemptKind;
    /// In as many tabs a person may be at it at once.
    const MAX: usize = 5;
    /// And so large their cookies of one kind may be together: with a session's, still within the
    /// 8 KB that nginx takes of a header by default.
    const MAX_BYTES: usize = 4000;

    /// Names its cookie.
    fn id(&self) -> Option<String>;

    fn began_at(&self) -> OffsetDateTime;

    fn ends_at(&self) -> OffsetDateTime;

    /// Until when the browser keeps its cookie.
    fn kept_until(&self) -> OffsetDateTime {
        self.ends_at()
    }

    fn encode(&self) -> Option<Zeroizing<Vec<u8>>>;

    /// Reads what was sealed under this id.
    fn decode(id: &str, content: &[u8]) -> Option<Self>;
}

impl Sessions {
    /// `Set-Cookie` values that have the browser keep this attempt and drop those that are too old
    /// or too many; `None`, and a line in the log, when the attempt cannot be sealed.
    pub(crate) fn keep_attempt<A: Attempt>(
        &self,
        attempt: &A,
        headers: &HeaderMap,
    ) -> Option<Vec<HeaderValue>> {
        let values = self.attempt_values(attempt, headers);
        if values.is_none() {
            telemetry::internal_error("attempt", &SealingFailed);
        }
        values
    }

    fn attempt_values<A: Attempt>(
        &self,
        attempt: &A,
        headers: &HeaderMap,
    ) -> Option<Vec<HeaderValue>> {
        let (cookies, now) = (self.cookies(), attempt.began_at());
        let name = cookies.attempt_name(A::KIND, &attempt.id()?);
        let sealed = self.keys().seal(A::KIND.purpose(), &name, &attempt.encode()?).ok()?;
        let mut values = vec![cookies.set_attempt(&name, &sealed, attempt.kept_until() - now)?];

        // The newest first. Browsers send cookies in the order of their creation (RFC 6265,
        // section 5.4), which distinguishes those of the same second.
        let mut others: Vec<Presented<'_>> = cookies
            .presented_attempts(A::KIND, headers)
            .filter(|(other, _)| *other != name)
            .enumerate()
            .map(|(index, (name, sealed))| {
                let other = self.open_attempt::<A>(name, sealed);
                let live = other.filter(|other| now < other.ends_at());
                // Of before the clock was set back: older than all that begin now.
                let is_ahead = |began_at: &OffsetDateTime| *began_at > now + time::Duration::MINUTE;
                let began_at = live.map(|other| other.began_at());
                let began_at =
                    began_at.map(|at| if is_ahead(&at) { OffsetDateTime::UNIX_EPOCH } else { at });
                let is_foreign = began_at.is_none() && !self.keys().may_open(sealed);
                Presented { began_at, index, name, bytes: name.len() + sealed.len(), is_foreign }
            })
            .collect();
        others.sort_unstable_by_key(|one| Reverse((one.began_at, one.index)));
        let mut total = name.len() + sealed.len();
        let dropped = others.iter().enumerate().filter(|(index, one)| {
            total += one.bytes;
            let is_excess = *index >= A::MAX - 1 || one.began_at.is_none();
            total > A::MAX_BYTES || (is_excess && !one.is_foreign)
        });
        values.extend(dropped.take(MAX_DROPPED).filter_map(|(_, one)| cookies.removal(one.name)));
        Some(values)
    }

    /// The attempts that this browser is making.
    pub(crate) fn attempts<'a, A: Attempt>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = A> + use<'a, A> {
        let now = self.scalekit().clock().now();
        self.kept_attempts(headers).filter(move |attempt: &A| now < attempt.ends_at())
    }

    /// The same, and those that have ended while the browser keeps their cookies.
    pub(crate) fn kept_attempts<'a, A: Attempt>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = A> + use<'a, A> {
        let presented = self.cookies().presented_attempts(A::KIND, headers);
        presented.filter_map(|(name, sealed)| self.open_attempt::<A>(name, sealed))
    }

    /// The attempt whose id begins this text, if this browser is making it, and the `Set-Cookie`
    /// value that ends it whatever became of it.
    pub(crate) fn attempt<A: Attempt>(
        &self,
        text: &str,
        headers: &HeaderMap,
    ) -> (Option<A>, Option<HeaderValue>) {
        let Some(id) = text.get(..ATTEMPT_ID_BYTES) else { return (None, None) };
        let (cookies, now) = (self.cookies(), self.scalekit().clock().now());
        let wanted = cookies.attempt_name(A::KIND, id);
        let mut presented = cookies.presented_attempts(A::KIND, headers);
        let Some((name, sealed)) = presented.find(|(name, _)| *name == wanted) else {
            return (None, None);
        };
        let attempt = self.open_attempt(name, sealed).filter(|attempt: &A| now < attempt.ends_at());
        (attempt, cookies.removal(name))
    }

    /// The `Set-Cookie` value that ends an attempt.
    pub(crate) fn end_attempt<A: Attempt>(&self, attempt: &A) -> Option<HeaderValue> {
        self.cookies().removal(&self.cookies().attempt_name(A::KIND, &attempt.id()?))
    }

    fn open_attempt<A: Attempt>(&self, name: &str, sealed: &str) -> Option<A> {
        let id = self.cookies().attempt_id(A::KIND, name)?;
        let unsealed = self.keys().open(A::KIND.purpose(), name, sealed)?;
        A::decode(id, &unsealed.content)
    }
}
