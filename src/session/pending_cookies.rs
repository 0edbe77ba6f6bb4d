//! What a browser is in the middle of, each time in a short-lived sealed cookie of its own: several
//! tabs do not get in each other's way, and another browser knows nothing of it (L2).

use http::{HeaderMap, HeaderValue};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::cookie::seal::SealingFailed;
use super::{ATTEMPT_ID_BYTES, AttemptKind, Sessions};
use crate::util::telemetry;

/// A browser that has more of them to give back is asked again next time.
const MAX_DROPPED: usize = 20;

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
        let mut values = vec![cookies.set_attempt(&name, &sealed, attempt.ends_at() - now)?];

        // The newest first.
        let mut others: Vec<(Option<OffsetDateTime>, &str, usize)> = cookies
            .presented_attempts(A::KIND, headers)
            .filter(|(other, _)| *other != name)
            .map(|(name, sealed)| {
                let other = self.open_attempt::<A>(name, sealed);
                let live = other.filter(|other| now < other.ends_at());
                // Of before the clock was set back: older than all that begin now.
                let is_ahead = |began_at: &OffsetDateTime| *began_at > now + time::Duration::MINUTE;
                let began_at = live.map(|other| other.began_at());
                let began_at =
                    began_at.map(|at| if is_ahead(&at) { OffsetDateTime::UNIX_EPOCH } else { at });
                (began_at, name, name.len() + sealed.len())
            })
            .collect();
        others.sort_unstable_by(|one, two| two.cmp(one));
        let mut total = name.len() + sealed.len();
        let dropped = others.iter().enumerate().filter(|(index, (began_at, _, bytes))| {
            total += bytes;
            *index >= A::MAX - 1 || total > A::MAX_BYTES || began_at.is_none()
        });
        let removals =
            dropped.take(MAX_DROPPED).filter_map(|(_, (_, name, _))| cookies.removal(name));
        values.extend(removals);
        Some(values)
    }

    /// The attempts that this browser is making.
    pub(crate) fn attempts<'a, A: Attempt>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = A> + use<'a, A> {
        let now = self.scalekit().clock().now();
        self.cookies()
            .presented_attempts(A::KIND, headers)
            .filter_map(|(name, sealed)| self.open_attempt::<A>(name, sealed))
            .filter(move |attempt| now < attempt.ends_at())
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
