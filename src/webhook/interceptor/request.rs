use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::model::lenient::{self, member_text};
use crate::util::json::parse_object;
use crate::util::open_enum::open_enum;
use crate::webhook::EventError;

/// An interceptor request, to which the response allows or denies an action.
///
/// Serializes as it was sent, without the login's `state` and without members that have no field
/// here; [`raw`](Self::raw) has them.
#[derive(Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InterceptorRequest {
    /// The interceptor's name in the dashboard.
    pub display_name: Option<String>,
    /// The trigger of the request.
    pub trigger_point: TriggerPoint,
    /// The context: user, organization, device.
    #[serde(rename = "interceptor_context")]
    pub context: InterceptorContext,
    /// The subject of the action.
    pub data: InterceptorData,
    /// The whole request, including all unknown members.
    #[serde(skip)]
    pub raw: Map<String, Value>,
}

impl InterceptorRequest {
    /// Parses the body of a request. Parsing does not authenticate the sender: verify the signature
    /// first.
    ///
    /// Only `trigger_point` is required. A malformed field reads as absent.
    ///
    /// # Errors
    /// When it is not a JSON object, or has no trigger point.
    pub fn parse(body: &[u8]) -> Result<Self, EventError> {
        let raw = parse_object(body).map_err(|_| EventError::Malformed)?;
        let trigger_point = member_text(&raw, "trigger_point")
            .map(|word| TriggerPoint::from(word.as_str()))
            .ok_or(EventError::Missing("trigger_point"))?;
        Ok(Self {
            display_name: member_text(&raw, "display_name"),
            context: raw.get("interceptor_context").map(lenient::read).unwrap_or_default(),
            data: InterceptorData::read(&trigger_point, raw.get("data").unwrap_or(&Value::Null)),
            trigger_point,
            raw,
        })
    }
}

// Manual impl: the rest is personal data, and the `state` of the login.
impl fmt::Debug for InterceptorRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterceptorRequest")
            .field("display_name", &self.display_name)
            .field("trigger_point", &self.trigger_point)
            .finish_non_exhaustive()
    }
}

open_enum! {
    /// Trigger of an interceptor request.
    TriggerPoint {
        /// Before a token is issued to an application.
        PreM2mTokenCreation = "PRE_M2M_TOKEN_CREATION",
        /// Before a session is created.
        PreSessionCreation = "PRE_SESSION_CREATION",
        /// Before a user signs up.
        PreSignup = "PRE_SIGNUP",
        /// Before a user is invited.
        PreUserInvitation = "PRE_USER_INVITATION",
    }
}

/// The subject of an interceptor request. One variant for each [`TriggerPoint`]. Serializes to the
/// request's `data`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub enum InterceptorData {
    /// The token that an application requests.
    #[serde(rename = "m2m_token_claims")]
    M2mTokenCreation(Box<M2mTokenClaims>),
    /// The user whose session is created.
    #[serde(rename = "user")]
    SessionCreation(Box<InterceptorUser>),
    /// The user who signs up, if one of your other organizations knows them; otherwise only the
    /// context's [`user_email`](InterceptorContext::user_email) identifies the user.
    #[serde(rename = "user")]
    Signup(Option<Box<InterceptorUser>>),
    /// The organization to which the context's [`user_email`](InterceptorContext::user_email) is
    /// invited.
    #[serde(rename = "organization")]
    UserInvitation(Box<InvitingOrganization>),
    /// Any other data, unchanged.
    #[serde(untagged)]
    Unknown(Value),
}

impl InterceptorData {
    fn read(trigger_point: &TriggerPoint, data: &Value) -> Self {
        match trigger_point {
            TriggerPoint::PreM2mTokenCreation => {
                Self::M2mTokenCreation(subject(data, "m2m_token_claims").unwrap_or_default())
            }
            TriggerPoint::PreSessionCreation => {
                Self::SessionCreation(subject(data, "user").unwrap_or_default())
            }
            TriggerPoint::PreSignup => Self::Signup(subject(data, "user")),
            TriggerPoint::PreUserInvitation => {
                Self::UserInvitation(subject(data, "organization").unwrap_or_default())
            }
            TriggerPoint::Unknown(_) => Self::Unknown(data.clone()),
        }
    }
}

/// An object in the data.
fn subject<T: DeserializeOwned + Default>(data: &Value, name: &str) -> Option<Box<T>> {
    data.get(name).filter(|subject| subject.is_object()).map(lenient::read)
}

/// Context of an interceptor request. Device details come from the browser and are not trustworthy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InterceptorContext {
    /// The environment (`env_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub environment_id: Option<String>,
    /// The user, if known (`usr_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub user_id: Option<String>,
    /// The user's e-mail address; for an invitation, that of the invited user.
    #[serde(deserialize_with = "lenient::text")]
    pub user_email: Option<String>,
    /// The organization, if any (`org_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// The application that requests a token (`m2morg_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub client_id: Option<String>,
    /// How the user authenticates.
    #[serde(deserialize_with = "lenient::list")]
    pub connection_details: Vec<ConnectionDetails>,
    /// Parameters of the login request, on signup.
    #[serde(deserialize_with = "lenient::object")]
    pub auth_request: AuthRequest,
    /// `Desktop`, `Mobile`, `Tablet` or `Unknown`.
    #[serde(deserialize_with = "lenient::text")]
    pub device_type: Option<String>,
    /// IP address.
    #[serde(deserialize_with = "lenient::text")]
    pub ip_address: Option<String>,
    /// Country of the IP address, for instance `IN`.
    #[serde(deserialize_with = "lenient::text")]
    pub region: Option<String>,
    /// City of the IP address.
    #[serde(deserialize_with = "lenient::text")]
    pub city: Option<String>,
    /// The `User-Agent` header.
    #[serde(deserialize_with = "lenient::text")]
    pub user_agent: Option<String>,
    /// Time of the request.
    #[serde(with = "lenient::timestamp")]
    pub triggered_at: Option<OffsetDateTime>,
}

/// An authentication method.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConnectionDetails {
    /// `conn_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// `OAUTH`, `SAML`, `OIDC`, `PASSWORD` and others.
    #[serde(deserialize_with = "lenient::text", rename = "type")]
    pub connection_type: Option<String>,
    /// For instance `GOOGLE`.
    #[serde(deserialize_with = "lenient::text")]
    pub provider: Option<String>,
}

/// Parameters of the authorization URL.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AuthRequest {
    /// The connection.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_id: Option<String>,
    /// The organization.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// The domain that selects the connection.
    #[serde(deserialize_with = "lenient::text")]
    pub domain: Option<String>,
    /// The login hint.
    #[serde(deserialize_with = "lenient::text")]
    pub login_hint: Option<String>,
    /// Your app's own `state`, which binds the login to a browser. Not serialized.
    #[serde(deserialize_with = "lenient::text", skip_serializing)]
    pub state: Option<String>,
}

// Manual impl: omits personal data and the `state`.
impl fmt::Debug for AuthRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRequest")
            .field("connection_id", &self.connection_id)
            .field("organization_id", &self.organization_id)
            .finish_non_exhaustive()
    }
}

/// The user of an interceptor request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InterceptorUser {
    /// `usr_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// E-mail address.
    #[serde(deserialize_with = "lenient::text")]
    pub email: Option<String>,
    /// Whether the e-mail address is verified.
    #[serde(deserialize_with = "lenient::flag")]
    pub email_verified: Option<bool>,
    /// Full name.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// First name, on signup.
    #[serde(deserialize_with = "lenient::text")]
    pub given_name: Option<String>,
    /// Last name, on signup.
    #[serde(deserialize_with = "lenient::text")]
    pub family_name: Option<String>,
    /// First name, when a session is created.
    #[serde(deserialize_with = "lenient::text")]
    pub first_name: Option<String>,
    /// Last name, when a session is created.
    #[serde(deserialize_with = "lenient::text")]
    pub last_name: Option<String>,
    /// Time of creation.
    #[serde(with = "lenient::timestamp")]
    pub created_at: Option<OffsetDateTime>,
    /// Time of the last change.
    #[serde(with = "lenient::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// Your app's metadata.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
    /// The user's organizations.
    #[serde(deserialize_with = "lenient::list")]
    pub memberships: Vec<UserMembership>,
}

/// A user's membership of an organization.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UserMembership {
    /// `org_…`
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// The organization's name.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_name: Option<String>,
    /// For instance `ACTIVE`.
    #[serde(deserialize_with = "lenient::text")]
    pub status: Option<String>,
    /// The user's roles in it.
    #[serde(deserialize_with = "lenient::list")]
    pub roles: Vec<String>,
    /// Your app's metadata of the membership.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
}

/// The organization to which a user is invited.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InvitingOrganization {
    /// `org_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Its name.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// The token that is about to be issued to an application.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct M2mTokenClaims {
    /// The application (`m2morg_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub client_id: Option<String>,
    /// Its claims.
    #[serde(deserialize_with = "lenient::object")]
    pub claims: M2mClaims,
}

/// Claims of an application's token.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct M2mClaims {
    /// The application's organization (`org_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub oid: Option<String>,
    /// Its scopes, separated by spaces.
    #[serde(deserialize_with = "lenient::text")]
    pub scope: Option<String>,
    /// Its scopes.
    #[serde(deserialize_with = "lenient::list")]
    pub scopes: Vec<String>,
    /// Custom claims of the application.
    #[serde(deserialize_with = "lenient::map")]
    pub custom_claims: Map<String, Value>,
}
