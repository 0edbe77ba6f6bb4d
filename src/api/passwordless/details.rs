//! What the calls are given and answer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

use crate::api::ApiError;
use crate::model::wire;
use crate::secret::SecretString;
use crate::util::open_enum::open_enum;

/// The most variables that a mail may have.
const MAX_VARIABLES: usize = 30;
/// Much longer than any id, and it still fits in a cookie.
const MAX_ID_BYTES: usize = 512;
/// Names that the environment keeps for itself.
const RESERVED_VARIABLES: [&str; 5] =
    ["expire_time", "expiry_time", "expiry_time_relative", "link", "otp"];

open_enum! {
    /// What a mail has in it; in a verification, what was used of it.
    PasswordlessType {
        /// A magic link.
        Link = "LINK",
        /// A magic link and a code.
        LinkOtp = "LINK_OTP",
        /// A code.
        Otp = "OTP",
    }
}

impl PasswordlessType {
    /// Whether there is a code to type in.
    #[must_use]
    pub fn has_code(&self) -> bool {
        matches!(self, Self::LinkOtp | Self::Otp)
    }

    /// Whether there is a link to open.
    #[must_use]
    pub fn has_link(&self) -> bool {
        matches!(self, Self::Link | Self::LinkOtp)
    }
}

open_enum! {
    /// Which of the dashboard's templates a mail is made of.
    MailTemplate {
        /// For a user who has an account.
        SignIn = "SIGNIN",
        /// For a user new.
        SignUp = "SIGNUP",
    }
}

/// A mail that is to be sent.
#[derive(Clone, Default, Serialize)]
#[non_exhaustive]
pub struct NewMail {
    /// To whom.
    pub email: String,
    /// How it is worded; the environment decides unless set.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "word")]
    pub template: Option<MailTemplate>,
    /// What to put into the template: at most 30, and none of the environment's own names (`otp`,
    /// `link`, `expire_time`, `expiry_time`, `expiry_time_relative`). Every variable that the
    /// template uses must be there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub template_variables: BTreeMap<String, String>,
    /// How long its code and link are good, in whole seconds; 5 minutes unless set.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub expires_in: Option<Duration>,
    /// Where its link leads, with `link_token` as a parameter. Needed if the dashboard has magic
    /// links on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub magiclink_auth_uri: Option<String>,
    /// Comes back with the verification: make it random, keep it where only the browser that asks
    /// has it, and compare.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "secret")]
    pub state: Option<SecretString>,
}

impl NewMail {
    /// A mail to this address; all else may be added.
    #[must_use]
    pub fn new(email: impl Into<String>) -> Self {
        Self { email: email.into(), ..Self::default() }
    }

    /// What the environment would reject.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.email.is_empty() {
            return Some("the mail has no address");
        }
        if self.expires_in.is_some_and(|lifetime| lifetime < Duration::from_secs(1)) {
            return Some("expires_in is less than a second");
        }
        check_variables(&self.template_variables)
    }
}

/// What is wrong with a mail's variables.
pub(crate) fn check_variables(variables: &BTreeMap<String, String>) -> Option<&'static str> {
    if variables.len() > MAX_VARIABLES {
        return Some("there are more than 30 template variables");
    }
    let reserved = RESERVED_VARIABLES.iter().any(|name| variables.contains_key(*name));
    reserved.then_some(
        "a template variable has a name that is the environment's own: expire_time, expiry_time, \
         expiry_time_relative, link or otp",
    )
}

// By hand: the state stands for a person's browser, and the rest is about the person.
impl fmt::Debug for NewMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMail")
            .field("template", &self.template)
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// A mail that was sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SentMail {
    /// The request that its code and link belong to. Keep it where only the browser that asked
    /// has it.
    pub auth_request_id: SecretString,
    /// Until when its code and link are good (UTC), if told.
    pub expires_at: Option<OffsetDateTime>,
    /// How long that is, if told.
    pub expires_in: Option<Duration>,
    /// What is in it, if told.
    pub passwordless_type: Option<PasswordlessType>,
}

/// An address whose mail a user has read.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedEmail {
    /// The address.
    pub email: String,
    /// The `state` that the mail was sent with: compare it with the one you kept.
    pub state: Option<SecretString>,
    /// The template of the mail, if told.
    pub template: Option<MailTemplate>,
    /// What was used, if told.
    pub passwordless_type: Option<PasswordlessType>,
}

// By hand: whose address it is concerns no log.
impl fmt::Debug for VerifiedEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedEmail")
            .field("template", &self.template)
            .field("passwordless_type", &self.passwordless_type)
            .finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SentResponse {
    #[serde(deserialize_with = "wire::text")]
    auth_request_id: Option<String>,
    #[serde(deserialize_with = "wire::unix_time")]
    expires_at: Option<OffsetDateTime>,
    #[serde(deserialize_with = "wire::number")]
    expires_in: Option<u64>,
    #[serde(deserialize_with = "wire::word")]
    passwordless_type: Option<PasswordlessType>,
}

impl SentResponse {
    pub(super) fn sent(self) -> Result<SentMail, ApiError> {
        let id = self.auth_request_id.ok_or(ApiError::unexpected("it has no auth_request_id"))?;
        if id.len() > MAX_ID_BYTES {
            return Err(ApiError::unexpected("its auth_request_id is too long"));
        }
        Ok(SentMail {
            auth_request_id: id.into(),
            expires_at: self.expires_at,
            expires_in: self.expires_in.map(Duration::from_secs),
            passwordless_type: self.passwordless_type,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct VerifiedResponse {
    #[serde(deserialize_with = "wire::text")]
    email: Option<String>,
    #[serde(deserialize_with = "wire::text")]
    state: Option<String>,
    #[serde(deserialize_with = "wire::word")]
    template: Option<MailTemplate>,
    #[serde(deserialize_with = "wire::word")]
    passwordless_type: Option<PasswordlessType>,
}

impl VerifiedResponse {
    pub(super) fn verified(self) -> Result<VerifiedEmail, ApiError> {
        Ok(VerifiedEmail {
            email: self.email.ok_or(ApiError::unexpected("it has no email"))?,
            state: self.state.map(SecretString::from),
            template: self.template,
            passwordless_type: self.passwordless_type,
        })
    }
}

fn seconds<S: Serializer>(lifetime: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    lifetime.map(|lifetime| lifetime.as_secs()).serialize(serializer)
}

fn secret<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(SecretString::expose).serialize(serializer)
}

fn word<S: Serializer>(word: &Option<MailTemplate>, serializer: S) -> Result<S::Ok, S::Error> {
    word.as_ref().map(MailTemplate::as_str).serialize(serializer)
}
