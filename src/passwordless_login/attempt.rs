//! A login by e-mail that is in progress, stored in a cookie of the browser that requested the
//! e-mail.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration as StdDuration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::api::passwordless::{PasswordlessType, SentEmail};
use crate::clock::unix_millis;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::session::{Sessions, ShortLivedCookie, ShortLivedCookieKind};
use crate::util::email::fold_email;
use crate::util::return_to::ReturnTo;

/// How much longer than its code the attempt is kept, so that the user gets a specific error and
/// can request another e-mail.
const KEPT_AFTER_EXPIRY: Duration = Duration::minutes(10);
/// The environment's default, for a response without a lifetime.
pub(super) const DEFAULT_LIFETIME: Duration = Duration::minutes(5);
/// Longer values would not leave enough space in the cookie.
pub(super) const MAX_RETURN_TO_BYTES: usize = 1500;

#[derive(Clone)]
pub(super) struct EmailAttempt {
    /// Identifies the attempt in its cookie's name, the forms of a page and the link of the e-mail.
    /// Not secret.
    pub(super) id: String,
    pub(super) auth_request_id: SecretString,
    pub(super) state: SecretString,
    pub(super) email: String,
    pub(super) passwordless_type: Option<PasswordlessType>,
    pub(super) return_to: ReturnTo,
    /// Whether the environment has the request. Otherwise the attempt looks the same, and every
    /// code is wrong.
    pub(super) is_delivered: bool,
    sent_at: OffsetDateTime,
    pub(super) expires_at: OffsetDateTime,
}

/// The identifiers of an attempt, generated before its e-mail is sent.
pub(super) struct AttemptIds {
    /// In the link, where anyone may read it.
    pub(super) id: String,
    /// Returned with the verification.
    pub(super) state: SecretString,
}

impl AttemptIds {
    pub(super) fn new() -> Result<Self, RandomSourceFailed> {
        Ok(Self {
            id: SecretString::random::<6>()?.expose().to_owned(),
            state: SecretString::random::<32>()?,
        })
    }
}

/// The sealed form. Times are Unix milliseconds, UTC.
#[derive(Serialize, Deserialize)]
struct Content<'a> {
    #[serde(rename = "a", borrow)]
    auth_request_id: Cow<'a, str>,
    #[serde(rename = "s", borrow)]
    state: Cow<'a, str>,
    #[serde(rename = "m", borrow)]
    email: Cow<'a, str>,
    #[serde(rename = "t")]
    passwordless_type: Option<String>,
    #[serde(rename = "r", borrow)]
    return_to: Cow<'a, str>,
    #[serde(rename = "c")]
    sent_at: i64,
    #[serde(rename = "e")]
    expires_at: i64,
    /// 0 or 1, of the same length.
    #[serde(rename = "d")]
    is_delivered: u8,
}

/// What the environment returned for an e-mail, or would have returned.
#[derive(Clone)]
pub(super) struct Delivery {
    pub(super) sent: SentEmail,
    pub(super) is_delivered: bool,
}

impl EmailAttempt {
    pub(super) fn begin(
        ids: AttemptIds,
        email: String,
        return_to: &ReturnTo,
        delivery: &Delivery,
        max_lifetime: StdDuration,
        now: OffsetDateTime,
    ) -> Self {
        let Delivery { sent, is_delivered } = delivery;
        Self {
            id: ids.id,
            auth_request_id: sent.auth_request_id.clone(),
            state: ids.state,
            email,
            passwordless_type: sent.passwordless_type.clone(),
            return_to: return_to.clone(),
            is_delivered: *is_delivered,
            sent_at: now,
            expires_at: expires_at(sent, max_lifetime, now),
        }
    }

    /// Returns the attempt after another e-mail, whose request may differ.
    pub(super) fn with_new_email(
        self,
        Delivery { sent, is_delivered }: &Delivery,
        max_lifetime: StdDuration,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            is_delivered: *is_delivered,
            auth_request_id: sent.auth_request_id.clone(),
            passwordless_type: sent.passwordless_type.clone().or(self.passwordless_type),
            sent_at: now,
            expires_at: expires_at(sent, max_lifetime, now),
            ..self
        }
    }

    /// Returns the values that only the browser of the attempt has.
    pub(super) fn secrets(&self) -> [&str; 2] {
        [self.auth_request_id.expose(), self.state.expose()]
    }

    pub(super) fn is_expired(&self, now: OffsetDateTime) -> bool {
        self.expires_at <= now
    }

    /// Returns how much longer its code is valid.
    pub(super) fn expires_in(&self, now: OffsetDateTime) -> StdDuration {
        (self.expires_at - now).try_into().unwrap_or_default()
    }

    /// Returns the attempt of this browser with this ID, or else the one with the newest e-mail.
    pub(super) fn find(sessions: &Sessions, headers: &HeaderMap, id: Option<&str>) -> Option<Self> {
        let mut attempts = sessions.short_lived(headers);
        match id {
            Some(id) => attempts.find(|attempt: &Self| attempt.id == id),
            None => attempts.max_by_key(|attempt: &Self| attempt.sent_at),
        }
    }

    /// Returns the newest attempt of this browser for this address.
    pub(super) fn of_address(
        sessions: &Sessions,
        headers: &HeaderMap,
        email: &str,
    ) -> Option<Self> {
        sessions
            .short_lived(headers)
            .filter(|one: &Self| fold_email(&one.email) == fold_email(email))
            .max_by_key(|attempt| attempt.sent_at)
    }
}

impl ShortLivedCookie for EmailAttempt {
    const KIND: ShortLivedCookieKind = ShortLivedCookieKind::PasswordlessLogin;
    const MAX: usize = 3;

    fn id(&self) -> Option<String> {
        Some(self.id.clone())
    }

    fn stored_at(&self) -> OffsetDateTime {
        self.sent_at
    }

    fn ends_at(&self) -> OffsetDateTime {
        self.expires_at.saturating_add(KEPT_AFTER_EXPIRY)
    }

    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let content = Content {
            auth_request_id: self.auth_request_id.expose().into(),
            state: self.state.expose().into(),
            email: self.email.as_str().into(),
            passwordless_type: self.passwordless_type.as_ref().map(ToString::to_string),
            return_to: self.return_to.as_str().into(),
            sent_at: unix_millis(self.sent_at),
            expires_at: unix_millis(self.expires_at),
            is_delivered: self.is_delivered.into(),
        };
        serde_json::to_vec(&content).ok().map(Zeroizing::new)
    }

    fn decode(id: &str, content: &[u8]) -> Option<Self> {
        let content: Content<'_> = serde_json::from_slice(content).ok()?;
        Some(Self {
            id: id.to_owned(),
            auth_request_id: content.auth_request_id.as_ref().into(),
            state: content.state.as_ref().into(),
            email: content.email.into_owned(),
            passwordless_type: content.passwordless_type.as_deref().map(PasswordlessType::from),
            return_to: ReturnTo::parse(&content.return_to)?,
            sent_at: from_millis(content.sent_at)?,
            expires_at: from_millis(content.expires_at)?,
            is_delivered: content.is_delivered != 0,
        })
    }
}

/// Returns until when a code is accepted.
fn expires_at(sent: &SentEmail, max_lifetime: StdDuration, now: OffsetDateTime) -> OffsetDateTime {
    // Two clocks may differ: a relative lifetime is more reliable.
    let lifetime = sent
        .expires_in
        .and_then(|lifetime| Duration::try_from(lifetime).ok())
        .or_else(|| Some((sent.expires_at? - now).max(Duration::ZERO)));
    let max = Duration::try_from(max_lifetime).unwrap_or(DEFAULT_LIFETIME);
    now + lifetime.unwrap_or(DEFAULT_LIFETIME).min(max)
}

fn from_millis(millis: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()
}

/// A login by e-mail that is in progress in the browser of a request, for the page that asks for
/// the code. Returned by [`PasswordlessLogin::pending`](super::PasswordlessLogin::pending).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingLogin {
    /// The value of the form field `attempt`. Not secret.
    pub attempt: String,
    /// The recipient of the e-mail.
    pub email: String,
    /// Whether the e-mail contains a code, a link, or both, if known.
    pub passwordless_type: Option<PasswordlessType>,
    /// Until when its code and link are valid (UTC).
    pub expires_at: OffsetDateTime,
    /// The page after the login.
    pub return_to: ReturnTo,
}

impl From<EmailAttempt> for PendingLogin {
    fn from(attempt: EmailAttempt) -> Self {
        Self {
            attempt: attempt.id,
            email: attempt.email,
            passwordless_type: attempt.passwordless_type,
            expires_at: attempt.expires_at,
            return_to: attempt.return_to,
        }
    }
}

// By hand: the address is personal data.
impl fmt::Debug for PendingLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLogin")
            .field("passwordless_type", &self.passwordless_type)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
