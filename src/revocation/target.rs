//! The target of a revocation, its key, and the keys by which a session can be revoked.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::order::RecordedPosition;
use crate::util::email::{fold_email, fold_user_id};

/// The target of a revocation: the sessions that it ends, perhaps none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RevocationTarget<'a> {
    /// Earlier sessions without an organization with this e-mail address.
    Email(&'a str),
    /// A session at the environment (`ses_…`), as far as it began here earlier: the environment may
    /// log the user in again under the same ID.
    EnvironmentSession(&'a str),
    /// Earlier sessions in an organization.
    Organization(&'a str),
    /// Earlier sessions in that organization with this e-mail address, by which a directory
    /// identifies a user.
    OrganizationEmail(&'a str, &'a str),
    /// Earlier sessions in that organization of a user with this ID at the identity provider.
    OrganizationIdpUser(&'a str, &'a str),
    /// Earlier sessions of a user in an organization.
    OrganizationUser(&'a str, &'a str),
    /// Earlier sessions with a key that the shared store has for a directory user.
    Recorded(TargetKey),
    /// One session, by its record ID, this crate's own.
    Record(&'a str),
    /// Earlier sessions of a user.
    User(&'a str),
    /// Earlier sessions of a user that have no organization.
    UserInNoOrganization(&'a str),
}

impl<'a> RevocationTarget<'a> {
    /// Earlier sessions with this e-mail address in an organization, or in none.
    pub(crate) fn email_in(organization: Option<&'a str>, email: &'a str) -> Self {
        organization.map_or(Self::Email(email), |id| Self::OrganizationEmail(id, email))
    }

    /// Earlier sessions of a user in an organization, or in none.
    pub(crate) fn user_in(organization: Option<&'a str>, user: &'a str) -> Self {
        organization.map_or(Self::UserInNoOrganization(user), |id| Self::OrganizationUser(id, user))
    }

    pub(crate) fn key(self) -> TargetKey {
        match self {
            Self::Email(email) => TargetKey::of("e-mail in no organization", &[&fold_email(email)]),
            Self::EnvironmentSession(id) => TargetKey::of("environment session", &[id]),
            Self::Organization(id) => TargetKey::of("organization", &[id]),
            Self::OrganizationEmail(organization, email) => {
                TargetKey::of("e-mail in organization", &[organization, &fold_email(email)])
            }
            Self::OrganizationIdpUser(organization, id) => {
                TargetKey::of("provider's user in organization", &[organization, &fold_user_id(id)])
            }
            Self::OrganizationUser(organization, user) => {
                TargetKey::of("user in organization", &[organization, &fold_user_id(user)])
            }
            Self::Recorded(key) => key,
            Self::Record(id) => TargetKey::of("session", &[id]),
            Self::User(id) => TargetKey::of("user", &[&fold_user_id(id)]),
            Self::UserInNoOrganization(id) => {
                TargetKey::of("user in no organization", &[&fold_user_id(id)])
            }
        }
    }

    /// The key in the shared store which records that such a session has begun.
    pub(crate) fn marker_id(self) -> String {
        self.key().text()
    }

    /// Whether it names a user by what bearer tokens may lack.
    pub(crate) fn is_linked_to_users(self) -> bool {
        match self {
            Self::Email(_)
            | Self::OrganizationEmail(..)
            | Self::OrganizationIdpUser(..)
            | Self::Recorded(_)
            | Self::User(_) => true,
            Self::EnvironmentSession(_)
            | Self::Organization(_)
            | Self::OrganizationUser(..)
            | Self::Record(_)
            | Self::UserInNoOrganization(_) => false,
        }
    }

    /// Record IDs are never reused; all others may begin new sessions.
    pub(super) fn is_permanent(self) -> bool {
        matches!(self, Self::Record(_))
    }
}

/// The key of a target, a hash: of constant size, and without personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TargetKey(pub(crate) [u8; 16]);

impl TargetKey {
    pub(crate) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    pub(crate) fn of(kind: &str, ids: &[&str]) -> Self {
        let hash = digest(&SHA256, format!("{kind}\0{}", ids.join("\0")).as_bytes());
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// The keys by which a session can be revoked, and the revocation position at which it began.
pub(crate) struct RevocableSession {
    pub(super) keys: Vec<TargetKey>,
    /// The one of its record ID.
    pub(super) record: Option<TargetKey>,
    /// The one of the environment's session, which differs with each login.
    pub(super) environment_session: Option<TargetKey>,
    pub(super) position: RecordedPosition,
    /// When the environment issued the tokens of the login, by its own clock: seconds.
    pub(super) issued_at: Option<i64>,
}

impl RevocableSession {
    pub(crate) fn new<'a>(
        targets: impl IntoIterator<Item = RevocationTarget<'a>>,
        position: RecordedPosition,
        issued_at: Option<i64>,
    ) -> Self {
        let (mut keys, mut record, mut environment_session) = (Vec::new(), None, None);
        for target in targets {
            let key = target.key();
            keys.push(key);
            match target {
                RevocationTarget::Record(_) => record = Some(key),
                RevocationTarget::EnvironmentSession(_) => environment_session = Some(key),
                _ => {}
            }
        }
        Self { keys, record, environment_session, position, issued_at }
    }

    /// Returns the IDs of the markers that the session has begun: one for each key by which it can
    /// be revoked from outside this app, so not for its record ID.
    pub(crate) fn marker_ids(&self) -> impl Iterator<Item = String> {
        self.keys.iter().filter(|key| Some(**key) != self.record).map(TargetKey::text)
    }

    /// Returns the one of these IDs for the environment's session.
    pub(crate) fn environment_session_marker(&self) -> Option<String> {
        self.environment_session.as_ref().map(TargetKey::text)
    }
}
