//! The content of a session cookie, in format version 1:
//!
//! `version ‖ refresh token ‖ ID token signature ‖ deflate(JSON of the rest) ‖ zeros`. Refresh
//! token and signature are preceded by a two-byte length. They do not compress, and the refresh
//! token must not share a compressor with text that others can choose. Version 2, for sessions with
//! a retained access token, has its signature after that of the ID token. The compressed size of
//! the rest depends on its claims, and the user can choose one of them, the name. The zeros pad it
//! to a multiple of [`PADDING_BLOCK`], so that its size reveals little about the other claims (as
//! it does in CRIME).

mod compression;
mod revocation_targets;
mod token_parts;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

use self::compression::{deflate, inflate};
use self::token_parts::{join, split};
use crate::clock::{UnixMillis, unix_millis};
use crate::revocation::RecordedPosition;
use crate::secret::{RandomSourceFailed, SecretString};
use crate::session::{Authentication, Lifetimes, User, VerifiedIdentity, VerifiedLogin};
use crate::token::{Claims, ORGANIZATION_CLAIMS, Principal};
use crate::util::jitter::jitter;

const VERSION: u8 = 1;
const VERSION_WITH_ACCESS_TOKEN: u8 = 2;
const PADDING_BLOCK: usize = 64;
const MAX_APP_CLAIMS_BYTES: usize = 2048;

/// The content of a session, which is sealed for a cookie or the store.
#[derive(Clone)]
pub(crate) struct SessionRecord {
    pub(in crate::session) refresh_token: Option<SecretString>,
    id_token_signature: Vec<u8>,
    /// Empty if the access token is not retained.
    access_token_signature: Vec<u8>,
    body: Body,
}

/// Names are short because they are in every cookie. Times are Unix milliseconds, UTC.
#[derive(Clone, Serialize, Deserialize)]
struct Body {
    /// Random; constant for the life of the session.
    #[serde(rename = "i")]
    id: String,
    /// Number of refreshes so far.
    #[serde(rename = "g")]
    generation: u32,
    #[serde(rename = "c")]
    began_at: i64,
    #[serde(rename = "e")]
    ends_at: i64,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    idle_until: Option<i64>,
    /// When the access token should be refreshed.
    #[serde(rename = "r")]
    refresh_at: i64,
    /// Claims of the access token.
    #[serde(rename = "a")]
    access_claims: Claims,
    /// Header and claims of the ID token, verbatim.
    #[serde(rename = "h")]
    id_token_header: String,
    #[serde(rename = "p")]
    id_token_claims: String,
    /// Profile of a local session that began with a Scalekit login. Without such a login, it is
    /// stored in place of the ID token's claims.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    /// Subject of the login that the session began with, if it differs from that of the session.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    login_subject: Option<String>,
    /// Kept in the shared store, with only its id in the cookie.
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    stored: bool,
    /// Revocation position at which it began.
    #[serde(rename = "o", default, skip_serializing_if = "RecordedPosition::is_unknown")]
    position: RecordedPosition,
    /// When the environment issued the tokens of the login, by its own clock: seconds.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    issued_at: Option<i64>,
    /// Header and claims of the access token, verbatim, if it is retained.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    access_token: Option<(String, String)>,
    /// Claims that the app has added.
    #[serde(rename = "x", default, skip_serializing_if = "Map::is_empty")]
    app_claims: Map<String, Value>,
    /// A refresh does not change it.
    #[serde(rename = "w", default, skip_serializing_if = "Authentication::is_unknown")]
    authentication: Authentication,
}

/// Verified tokens of a login.
pub(crate) struct NewTokens {
    pub(crate) principal: Principal,
    pub(crate) id_token: SecretString,
    pub(crate) refresh_token: Option<SecretString>,
    /// If it is retained.
    pub(crate) access_token: Option<SecretString>,
}

/// The content of a new session.
pub(crate) enum NewSession {
    Tokens(NewTokens),
    /// Claims without `exp`, and a profile, as set by the app.
    Local {
        claims: Map<String, Value>,
        profile: Map<String, Value>,
        /// The ID token of the Scalekit login that it began with.
        id_token: Option<SecretString>,
        login_subject: Option<String>,
    },
}

impl NewSession {
    pub(in crate::session) fn user_id(&self) -> &str {
        match self {
            Self::Tokens(tokens) => tokens.principal.subject(),
            Self::Local { claims, .. } => claims.get("sub").and_then(Value::as_str).unwrap_or(""),
        }
    }
}

impl SessionRecord {
    /// Creates the record of a session that begins now.
    pub(in crate::session) fn new(
        new: NewSession,
        stored: bool,
        lifetimes: Lifetimes,
        position: RecordedPosition,
        now: OffsetDateTime,
    ) -> Result<Self, NewRecordError> {
        let ends_at = now.saturating_add(lifetimes.absolute);
        let mut record = Self {
            refresh_token: None,
            id_token_signature: Vec::new(),
            access_token_signature: Vec::new(),
            body: Body {
                id: SecretString::random::<16>()?.expose().to_owned(),
                generation: 0,
                began_at: unix_millis(now),
                ends_at: unix_millis(ends_at),
                idle_until: idle_until(lifetimes, now),
                refresh_at: unix_millis(ends_at),
                access_claims: Claims::default(),
                id_token_header: String::new(),
                id_token_claims: String::new(),
                profile: None,
                login_subject: None,
                stored,
                position,
                issued_at: None,
                access_token: None,
                app_claims: Map::new(),
                authentication: Authentication::default(),
            },
        };
        match new {
            NewSession::Tokens(NewTokens { principal, id_token, refresh_token, access_token }) => {
                record.refresh_token = refresh_token;
                record.body.refresh_at = unix_millis(refresh_at(&principal, now));
                record.body.access_claims = principal.verified_claims().clone();
                record = record
                    .with_id_token(&id_token)
                    .and_then(|record| record.with_access_token(access_token.as_ref()))
                    .ok_or(NewRecordError::InvalidClaims)?;
            }
            NewSession::Local { mut claims, profile, id_token, login_subject } => {
                claims.insert("exp".to_owned(), ends_at.unix_timestamp().into());
                record.body.access_claims = Claims::new(claims);
                record.body.login_subject = login_subject;
                let profile =
                    serde_json::to_string(&profile).map_err(|_| NewRecordError::InvalidClaims)?;
                if let Some(id_token) = id_token {
                    record.body.profile = Some(profile);
                    record = record
                        .with_id_token(&id_token)
                        .filter(|record| {
                            serde_json::from_str::<Claims>(&record.body.id_token_claims).is_ok()
                        })
                        .ok_or(NewRecordError::InvalidClaims)?;
                } else {
                    record.body.id_token_claims = profile;
                }
            }
        }
        // A local session has it only if it began with a login.
        record.body.issued_at =
            issued_at(&record.body.access_claims).or_else(|| issued_at(&record.id_token_claims()));
        Ok(record)
    }

    /// Returns the record of a login that the app has accepted.
    pub(in crate::session) fn accepted(
        mut self,
        stored: bool,
        app_claims: Map<String, Value>,
    ) -> Result<Self, NewRecordError> {
        self.body.stored = stored;
        self.with_app_claims(app_claims)
    }

    /// Returns the record with these claims in place of those that the app has added before.
    pub(in crate::session) fn with_app_claims(
        mut self,
        claims: Map<String, Value>,
    ) -> Result<Self, NewRecordError> {
        let json = serde_json::to_vec(&claims).map_err(|_| NewRecordError::InvalidClaims)?;
        if json.len() > MAX_APP_CLAIMS_BYTES {
            return Err(NewRecordError::AppClaimsTooLarge);
        }
        self.body.app_claims = claims;
        Ok(self)
    }

    /// Sets the authentication of its user. Default: unknown.
    pub(in crate::session) fn authenticated(mut self, authentication: Authentication) -> Self {
        self.body.authentication = authentication;
        self
    }

    /// Returns the authentication of its user.
    pub(in crate::session) fn authentication(&self) -> Authentication {
        self.body.authentication
    }

    /// Returns the record after a refresh. Values that the environment did not send again are kept.
    pub(in crate::session) fn refresh(
        &self,
        principal: &Principal,
        refresh_token: Option<SecretString>,
        id_token: Option<&SecretString>,
        access_token: Option<&SecretString>,
        lifetimes: Lifetimes,
        now: OffsetDateTime,
    ) -> Option<Self> {
        let mut refreshed = self.touch(lifetimes, now);
        refreshed.refresh_token = refresh_token.or(refreshed.refresh_token);
        refreshed.body.generation = refreshed.body.generation.saturating_add(1);
        refreshed.body.refresh_at = unix_millis(refresh_at(principal, now));
        refreshed.body.access_claims = principal.verified_claims().clone();
        if let Some(id_token) = id_token {
            refreshed = refreshed.with_id_token(id_token)?;
        }
        refreshed.with_access_token(access_token)
    }

    /// Returns the record with this ID token, which was verified.
    fn with_id_token(mut self, token: &SecretString) -> Option<Self> {
        (self.body.id_token_header, self.body.id_token_claims, self.id_token_signature) =
            split(token)?;
        Some(self)
    }

    /// Returns the record with this access token, which was verified, or without one.
    fn with_access_token(mut self, token: Option<&SecretString>) -> Option<Self> {
        (self.body.access_token, self.access_token_signature) = match token {
            Some(token) => {
                let (header, claims, signature) = split(token)?;
                (Some((header, claims)), signature)
            }
            None => (None, Vec::new()),
        };
        Some(self)
    }

    /// Returns the record of a session that was just used.
    pub(in crate::session) fn touch(&self, lifetimes: Lifetimes, now: OffsetDateTime) -> Self {
        let mut touched = self.clone();
        touched.body.idle_until = idle_until(lifetimes, now);
        touched
    }

    pub(in crate::session) fn encode(&self) -> Option<Vec<u8>> {
        let refresh_token = self.refresh_token.as_ref().map_or("", SecretString::expose);
        let mut parts = vec![refresh_token.as_bytes(), &self.id_token_signature];
        let mut bytes = vec![VERSION];
        if self.body.access_token.is_some() {
            bytes = vec![VERSION_WITH_ACCESS_TOKEN];
            parts.push(&self.access_token_signature);
        }
        for part in parts {
            bytes.extend(u16::try_from(part.len()).ok()?.to_be_bytes());
            bytes.extend(part);
        }
        bytes.extend(deflate(&serde_json::to_vec(&self.body).ok()?)?);
        bytes.resize(bytes.len().next_multiple_of(PADDING_BLOCK), 0);
        Some(bytes)
    }

    pub(in crate::session) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if !bytes.len().is_multiple_of(PADDING_BLOCK) {
            return None;
        }
        let (refresh_token, rest) = split_part(rest)?;
        let (id_token_signature, rest) = split_part(rest)?;
        let (access_token_signature, deflated) = match *version {
            VERSION => (&[][..], rest),
            VERSION_WITH_ACCESS_TOKEN => split_part(rest)?,
            _ => return None,
        };
        let json = inflate(deflated)?;
        let refresh_token = std::str::from_utf8(refresh_token).ok()?;
        Some(Self {
            refresh_token: (!refresh_token.is_empty()).then(|| refresh_token.into()),
            id_token_signature: id_token_signature.to_vec(),
            access_token_signature: access_token_signature.to_vec(),
            body: serde_json::from_str(std::str::from_utf8(&json).ok()?).ok()?,
        })
    }

    /// Returns the session's principal.
    pub(in crate::session) fn principal(&self) -> Option<Principal> {
        Principal::from_claims(self.body.access_claims.clone(), &ORGANIZATION_CLAIMS).ok()
    }

    /// Returns the session's user.
    pub(in crate::session) fn user(&self) -> User {
        User::from_claims(&parsed(self.body.profile.as_ref().unwrap_or(&self.body.id_token_claims)))
    }

    /// Returns the claims of the ID token; of a local session without one, its profile.
    fn id_token_claims(&self) -> Claims {
        parsed(&self.body.id_token_claims)
    }

    /// Returns this crate's own ID of the session: random, constant for its life.
    pub(in crate::session) fn id(&self) -> &str {
        &self.body.id
    }

    /// Returns how often the session was refreshed, which orders its records.
    pub(in crate::session) fn generation(&self) -> u32 {
        self.body.generation
    }

    /// Returns the revocation position at which its login was verified.
    pub(in crate::session) fn position(&self) -> RecordedPosition {
        self.body.position
    }

    pub(in crate::session) fn began_at(&self) -> OffsetDateTime {
        date(self.body.began_at)
    }

    /// Estimates what the environment's clock showed at this time of the app's clock, by the `iat`
    /// of the login: Unix milliseconds.
    pub(crate) fn by_environment_clock(&self, time: OffsetDateTime) -> Option<i64> {
        let ago = self.body.began_at.saturating_sub(unix_millis(time));
        Some(self.body.issued_at?.saturating_mul(1000).saturating_sub(ago))
    }

    /// Whether it is kept in the shared store.
    pub(in crate::session) fn is_stored(&self) -> bool {
        self.body.stored
    }

    /// Whether the app created it, without tokens.
    pub(in crate::session) fn is_local(&self) -> bool {
        self.body.id_token_header.is_empty() || self.body.profile.is_some()
    }

    /// Returns the claims that the app has added.
    pub(in crate::session) fn app_claims(&self) -> &Map<String, Value> {
        &self.body.app_claims
    }

    /// Returns the identity from the ID token's claims.
    pub(in crate::session) fn identity(&self) -> VerifiedIdentity {
        VerifiedIdentity::new(self.id_token_claims(), self.position())
    }

    /// Returns the login, for the app's hook.
    pub(in crate::session) fn verified_login(&self) -> Option<VerifiedLogin> {
        Some(VerifiedLogin::new(self.identity(), self.principal()?))
    }

    /// Returns the environment's session (`ses_…`) that it began with.
    pub(crate) fn environment_session(&self) -> Option<String> {
        self.body
            .access_claims
            .text_or_none("sid")
            .map(str::to_owned)
            .or_else(|| self.identity().session_id().map(str::to_owned))
    }

    /// Returns the subject of the login that it began with.
    pub(crate) fn login_subject(&self) -> Option<&str> {
        self.body.login_subject.as_deref().or_else(|| self.body.access_claims.text_or_none("sub"))
    }

    /// Returns the ID token of the login that it began with, as it was issued, for the
    /// environment's logout.
    pub(in crate::session) fn id_token(&self) -> Option<SecretString> {
        let (header, claims) = (&self.body.id_token_header, &self.body.id_token_claims);
        (!header.is_empty()).then(|| join(header, claims, &self.id_token_signature))
    }

    /// Returns the access token, as it was issued, if it is retained.
    pub(in crate::session) fn access_token(&self) -> Option<SecretString> {
        let (header, claims) = self.body.access_token.as_ref()?;
        Some(join(header, claims, &self.access_token_signature))
    }

    pub(in crate::session) fn has_access_token(&self) -> bool {
        self.body.access_token.is_some()
    }

    /// Whether the session's own limits are reached: those it began with, and the current ones.
    pub(in crate::session) fn is_past_limits(
        &self,
        lifetimes: Lifetimes,
        now: impl Into<UnixMillis>,
    ) -> bool {
        now.into().0 >= self.body.idle_until.unwrap_or(i64::MAX).min(self.ends_at_millis(lifetimes))
    }

    /// Whether a newer cookie of the session may be in use: only the idle limit is reached, which
    /// each refresh extends.
    pub(in crate::session) fn is_only_idle(&self, lifetimes: Lifetimes, now: UnixMillis) -> bool {
        self.is_past_limits(lifetimes, now) && now.0 < self.ends_at_millis(lifetimes)
    }

    /// Returns when it ends by its absolute limits, and by these.
    pub(in crate::session) fn ends_at(&self, lifetimes: Option<Lifetimes>) -> OffsetDateTime {
        date(lifetimes.map_or(self.body.ends_at, |lifetimes| self.ends_at_millis(lifetimes)))
    }

    /// Returns when it ends if it is not used before.
    pub(in crate::session) fn idle_until(&self) -> Option<OffsetDateTime> {
        self.body.idle_until.map(date)
    }

    fn ends_at_millis(&self, lifetimes: Lifetimes) -> i64 {
        self.body.ends_at.min(self.body.began_at.saturating_add(millis(lifetimes.absolute)))
    }

    pub(in crate::session) fn is_due_for_refresh(&self, now: impl Into<UnixMillis>) -> bool {
        self.refresh_token.is_some() && now.into().0 >= self.body.refresh_at
    }

    /// Whether more than a tenth of the idle time has passed, so that the cookie or the store should
    /// record that the session is in use. Also if its limit is later than after a use now: the app has
    /// shortened or removed the idle timeout.
    pub(in crate::session) fn is_due_for_touch(
        &self,
        lifetimes: Lifetimes,
        now: impl Into<UnixMillis>,
    ) -> bool {
        let (Some(until), now) = (self.body.idle_until, now.into().0) else { return false };
        lifetimes.idle.map(millis).is_none_or(|idle| {
            now.saturating_add(idle / 10 * 9) > until || until > now.saturating_add(idle)
        })
    }

    /// Whether this record is of a later use than the other one of the same session.
    pub(in crate::session) fn is_used_after(&self, other: &Self) -> bool {
        self.body.idle_until > other.body.idle_until
    }

    /// Returns the record with the idle limit of the other one, if that was used later.
    pub(in crate::session) fn with_later_use(mut self, other: &Self) -> Self {
        self.body.idle_until = self.body.idle_until.max(other.body.idle_until);
        self
    }

    /// Returns the record with an idle limit that is no later than after a use now: the app may have
    /// shortened or removed the idle timeout.
    pub(in crate::session) fn with_current_idle_timeout(
        mut self,
        lifetimes: Lifetimes,
        now: OffsetDateTime,
    ) -> Self {
        let latest = idle_until(lifetimes, now);
        self.body.idle_until =
            latest.map(|latest| self.body.idle_until.unwrap_or(latest).min(latest));
        self
    }

    /// Returns its lifetime from its beginning to its absolute limit, independent of the current
    /// time.
    pub(in crate::session) fn lifetime(&self) -> std::time::Duration {
        let millis = self.body.ends_at.saturating_sub(self.body.began_at);
        std::time::Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    /// Returns the remaining lifetime, for the cookie's `Max-Age`.
    pub(in crate::session) fn remaining(&self, now: OffsetDateTime) -> Duration {
        Duration::milliseconds(self.body.ends_at.saturating_sub(unix_millis(now)))
            .max(Duration::ZERO)
    }
}

/// The session does not fit into the cookies that browsers and proxies accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session is too large for cookies: reduce the claims that the dashboard adds to tokens"
)]
pub(crate) struct SessionTooLarge;

/// Returned when the record of a new session cannot be built.
#[derive(Debug)]
pub(crate) enum NewRecordError {
    AppClaimsTooLarge,
    InvalidClaims,
    RandomSourceFailed,
}

impl From<RandomSourceFailed> for NewRecordError {
    fn from(_: RandomSourceFailed) -> Self {
        Self::RandomSourceFailed
    }
}

/// A refresh starts 10 s before the expiry, or a fifth of a short lifetime. Sessions that began
/// together differ by up to half of that.
fn refresh_at(principal: &Principal, now: OffsetDateTime) -> OffsetDateTime {
    let lifetime = (principal.expires_at() - now).max(Duration::ZERO);
    let margin = (lifetime * 0.2_f64).min(Duration::seconds(10));
    principal.expires_at().saturating_sub(margin * jitter(0.5))
}

/// Returns the claim `iat`, in whole seconds.
fn issued_at(claims: &Claims) -> Option<i64> {
    let issued_at = claims.value("iat")?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds are meant, and it saturates"
    )]
    issued_at.as_i64().or_else(|| Some(issued_at.as_f64()? as i64))
}

/// Returns the date of a time in Unix milliseconds.
fn date(unix_millis: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::milliseconds(unix_millis))
}

fn millis(duration: Duration) -> i64 {
    duration
        .whole_seconds()
        .saturating_mul(1000)
        .saturating_add(duration.subsec_milliseconds().into())
}

fn idle_until(lifetimes: Lifetimes, now: OffsetDateTime) -> Option<i64> {
    lifetimes.idle.map(|idle| unix_millis(now.saturating_add(idle)))
}

/// Returns claims that were verified when the record was created.
fn parsed(json: &str) -> Claims {
    serde_json::from_str(json).unwrap_or_default()
}

fn split_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
pub(in crate::session) mod tests;
