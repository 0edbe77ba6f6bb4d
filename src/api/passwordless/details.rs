//! Requests and responses of the calls.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

use crate::api::ApiError;
use crate::model::wire;
use crate::secret::SecretString;
use crate::util::open_enum::open_enum;

/// Maximum number of template variables.
const MAX_VARIABLES: usize = 30;
/// Much longer than any ID, and fits in a cookie.
const MAX_ID_BYTES: usize = 512;
/// Names that the environment reserves.
const RESERVED_VARIABLES: [&str; 5] =
    ["expire_time", "expiry_time", "expiry_time_relative", "link", "otp"];

open_enum! {
    /// What an e-mail contains; in a verification, what was used.
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
    /// Whether it contains a code.
    #[must_use]
    pub fn has_code(&self) -> bool {
        matches!(self, Self::LinkOtp | Self::Otp)
    }

    /// Whether it contains a link.
    #[must_use]
    pub fn has_link(&self) -> bool {
        matches!(self, Self::Link | Self::LinkOtp)
    }
}

open_enum! {
    /// The dashboard's e-mail template.
    EmailTemplate {
        /// For an existing user.
        SignIn = "SIGNIN",
        /// For a new user.
        SignUp = "SIGNUP",
    }
}

/// An e-mail to send.
#[derive(Clone, Default, Serialize)]
#[non_exhaustive]
pub struct NewEmail {
    /// The recipient.
    pub email: String,
    /// The template. Default: the environment's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<EmailTemplate>,
    /// Template variables: at most 30, without the environment's own names (`otp`, `link`,
    /// `expire_time`, `expiry_time`, `expiry_time_relative`). Every variable that the template uses
    /// is required.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub template_variables: BTreeMap<String, String>,
    /// How long the code and link are valid, in whole seconds. Default: 5 minutes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub expires_in: Option<Duration>,
    /// The URL of the link, to which `link_token` is added. Required if magic links are enabled in
    /// the dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub magiclink_auth_uri: Option<String>,
    /// Returned with the verification: make it random, bind it to the requesting browser, and
    /// compare it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "secret")]
    pub state: Option<SecretString>,
}

impl NewEmail {
    /// Creates an e-mail to this address. The other fields are optional.
    #[must_use]
    pub fn new(email: impl Into<String>) -> Self {
        Self { email: email.into(), ..Self::default() }
    }

    /// The problem for which the environment would reject the request.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.email.is_empty() {
            return Some("the e-mail has no recipient");
        }
        if self.expires_in.is_some_and(|lifetime| lifetime < Duration::from_secs(1)) {
            return Some("expires_in is less than a second");
        }
        check_variables(&self.template_variables)
    }
}

/// The problem of the template variables.
pub(crate) fn check_variables(variables: &BTreeMap<String, String>) -> Option<&'static str> {
    if variables.len() > MAX_VARIABLES {
        return Some("there are more than 30 template variables");
    }
    RESERVED_VARIABLES.iter().any(|name| variables.contains_key(*name)).then_some(
        "a template variable has a name that the environment reserves: expire_time, expiry_time, \
         expiry_time_relative, link or otp",
    )
}

// Manual impl: the state is bound to the user's browser, and the rest is personal data.
impl fmt::Debug for NewEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewEmail")
            .field("template", &self.template)
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// An e-mail that was sent. Serializes without `auth_request_id`, times in seconds, so that a handler
/// can return it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SentEmail {
    /// The request of the code and link. Store it where only the requesting browser has it.
    #[serde(skip)]
    pub auth_request_id: SecretString,
    /// Expiry of the code and link (UTC), if known.
    #[serde(serialize_with = "unix_seconds")]
    pub expires_at: Option<OffsetDateTime>,
    /// Their lifetime, if known.
    #[serde(serialize_with = "seconds")]
    pub expires_in: Option<Duration>,
    /// What the e-mail contains, if known.
    pub passwordless_type: Option<PasswordlessType>,
}

/// A verified e-mail address. Serializes without `state`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifiedEmail {
    /// The address.
    pub email: String,
    /// The `state` that the e-mail was sent with: compare it with the stored one.
    #[serde(skip)]
    pub state: Option<SecretString>,
    /// The template, if known.
    pub template: Option<EmailTemplate>,
    /// What was used, if known.
    pub passwordless_type: Option<PasswordlessType>,
}

// Manual impl: e-mail addresses are not logged.
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
    #[serde(deserialize_with = "wire::open_enum")]
    passwordless_type: Option<PasswordlessType>,
}

impl SentResponse {
    pub(super) fn sent(self) -> Result<SentEmail, ApiError> {
        let id = self.auth_request_id.ok_or(ApiError::unexpected("it has no auth_request_id"))?;
        if id.len() > MAX_ID_BYTES {
            return Err(ApiError::unexpected("its auth_request_id is too long"));
        }
        Ok(SentEmail {
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
    #[serde(deserialize_with = "wire::open_enum")]
    template: Option<EmailTemplate>,
    #[serde(deserialize_with = "wire::open_enum")]
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

fn unix_seconds<S: Serializer>(
    time: &Option<OffsetDateTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(OffsetDateTime::unix_timestamp).serialize(serializer)
}

fn secret<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(SecretString::expose).serialize(serializer)
}
