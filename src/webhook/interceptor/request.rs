use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::model::lenient;
use crate::token::parse_object;
use crate::util::open_enum::open_enum;
use crate::webhook::EventError;

/// A question that the environment asks before it goes on.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct InterceptorRequest {
    /// The interceptor's name in the dashboard.
    pub display_name: Option<String>,
    /// What is about to happen.
    pub trigger_point: TriggerPoint,
    /// Where, and by whom.
    pub context: InterceptorContext,
    /// To whom or what.
    pub data: InterceptorData,
    /// The whole request as it came, with all that has no name here.
    pub raw: Map<String, Value>,
}

impl InterceptorRequest {
    /// Reads the body of a request. It says nothing about who sent it: verify the signature first.
    ///
    /// Only `trigger_point` has to be there. A field that does not fit reads as absent.
    ///
    /// # Errors
    /// When it is no JSON object, or has no trigger point.
    pub fn parse(body: &[u8]) -> Result<Self, EventError> {
        let raw = parse_object(body).map_err(|_| EventError::Malformed)?;
        let trigger_point = raw.get("trigger_point").and_then(lenient::text_of);
        let trigger_point = trigger_point.ok_or(EventError::Missing("trigger_point"))?;
        let trigger_point = TriggerPoint::from(trigger_point.as_str());
        let data = raw.get("data").unwrap_or(&Value::Null);
        Ok(Self {
            display_name: raw.get("display_name").and_then(lenient::text_of),
            context: raw.get("interceptor_context").map(lenient::read).unwrap_or_default(),
            data: InterceptorData::read(&trigger_point, data),
            trigger_point,
            raw,
        })
    }
}

// By hand: the rest is what is known about a user, and the `state` of their login.
impl fmt::Debug for InterceptorRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterceptorRequest")
            .field("display_name", &self.display_name)
            .field("trigger_point", &self.trigger_point)
            .finish_non_exhaustive()
    }
}

open_enum! {
    /// What is about to happen.
    TriggerPoint {
        /// An application gets a token in its own name.
        PreM2mTokenCreation = "PRE_M2M_TOKEN_CREATION",
        /// A session begins.
        PreSessionCreation = "PRE_SESSION_CREATION",
        /// A user signs up.
        PreSignup = "PRE_SIGNUP",
        /// A user is invited.
        PreUserInvitation = "PRE_USER_INVITATION",
    }
}

/// To whom or what it is about to happen. One variant for each [`TriggerPoint`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum InterceptorData {
    /// An application gets a token with these claims.
    M2mTokenCreation(Box<M2mTokenClaims>),
    /// A session of this user begins.
    SessionCreation(Box<InterceptorUser>),
    /// A user signs up: told if your other organizations know them, else only the context's
    /// [`user_email`](InterceptorContext::user_email) says who it is.
    Signup(Option<Box<InterceptorUser>>),
    /// This organization invites the context's [`user_email`](InterceptorContext::user_email).
    UserInvitation(Box<InvitingOrganization>),
    /// Anything else, as it came.
    Unknown(Value),
}

impl InterceptorData {
    fn read(trigger_point: &TriggerPoint, data: &Value) -> Self {
        let part = |name: &str| data.get(name).filter(|part| part.is_object());
        match trigger_point {
            TriggerPoint::PreM2mTokenCreation => Self::M2mTokenCreation(
                part("m2m_token_claims").map(lenient::read).unwrap_or_default(),
            ),
            TriggerPoint::PreSessionCreation => {
                Self::SessionCreation(part("user").map(lenient::read).unwrap_or_default())
            }
            TriggerPoint::PreSignup => Self::Signup(part("user").map(lenient::read)),
            TriggerPoint::PreUserInvitation => {
                Self::UserInvitation(part("organization").map(lenient::read).unwrap_or_default())
            }
            TriggerPoint::Unknown(_) => Self::Unknown(data.clone()),
        }
    }
}

/// Where something is about to happen, and by whom. Anyone can pretend any browser.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InterceptorContext {
    /// The environment (`env_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub environment_id: Option<String>,
    /// The user, if they are known (`usr_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub user_id: Option<String>,
    /// The user's e-mail address; of an invitation, that of the invited person.
    #[serde(deserialize_with = "lenient::text")]
    pub user_email: Option<String>,
    /// The organization, if there is one (`org_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// The application that wants a token (`m2morg_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub client_id: Option<String>,
    /// How the user shows who they are.
    #[serde(deserialize_with = "lenient::list")]
    pub connection_details: Vec<ConnectionDetails>,
    /// What the login was asked to be, on signup.
    #[serde(deserialize_with = "lenient::object")]
    pub auth_request: AuthRequest,
    /// `Desktop`, `Mobile`, `Tablet` or `Unknown`.
    #[serde(deserialize_with = "lenient::text")]
    pub device_type: Option<String>,
    /// The network address it comes from.
    #[serde(deserialize_with = "lenient::text")]
    pub ip_address: Option<String>,
    /// The country of that address, for instance `IN`.
    #[serde(deserialize_with = "lenient::text")]
    pub region: Option<String>,
    /// The city of that address.
    #[serde(deserialize_with = "lenient::text")]
    pub city: Option<String>,
    /// The `User-Agent` header.
    #[serde(deserialize_with = "lenient::text")]
    pub user_agent: Option<String>,
    /// When the question was asked.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub triggered_at: Option<OffsetDateTime>,
}

/// A way to show who one is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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

/// What a login was asked to be, in the parameters of the authorization URL.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AuthRequest {
    /// Through this connection.
    #[serde(deserialize_with = "lenient::text")]
    pub connection_id: Option<String>,
    /// Into this organization.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_id: Option<String>,
    /// Through the connection of this domain.
    #[serde(deserialize_with = "lenient::text")]
    pub domain: Option<String>,
    /// As this person.
    #[serde(deserialize_with = "lenient::text")]
    pub login_hint: Option<String>,
    /// Your app's own `state`.
    #[serde(deserialize_with = "lenient::text")]
    pub state: Option<String>,
}

// By hand: without who it is and the `state`.
impl fmt::Debug for AuthRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRequest")
            .field("connection_id", &self.connection_id)
            .field("organization_id", &self.organization_id)
            .finish_non_exhaustive()
    }
}

/// The user that something is about to happen to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InterceptorUser {
    /// `usr_…`
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// E-mail address.
    #[serde(deserialize_with = "lenient::text")]
    pub email: Option<String>,
    /// Whether the e-mail address is known to be theirs.
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
    /// First name, when a session begins.
    #[serde(deserialize_with = "lenient::text")]
    pub first_name: Option<String>,
    /// Last name, when a session begins.
    #[serde(deserialize_with = "lenient::text")]
    pub last_name: Option<String>,
    /// When they first came.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub created_at: Option<OffsetDateTime>,
    /// When anything about them last changed.
    #[serde(deserialize_with = "lenient::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
    /// What your app keeps with them.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
    /// The organizations they are in.
    #[serde(deserialize_with = "lenient::list")]
    pub memberships: Vec<UserMembership>,
}

/// An organization that a user is in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
    /// Their roles in it.
    #[serde(deserialize_with = "lenient::list")]
    pub roles: Vec<String>,
    /// What your app keeps with the membership.
    #[serde(deserialize_with = "lenient::map")]
    pub metadata: Map<String, Value>,
}

/// The organization that a user is invited into.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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

/// The token that an application is about to get.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct M2mTokenClaims {
    /// The application (`m2morg_…`).
    #[serde(deserialize_with = "lenient::text")]
    pub client_id: Option<String>,
    /// What the token would say.
    #[serde(deserialize_with = "lenient::object")]
    pub claims: M2mClaims,
}

/// What the token of an application would say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
    /// Claims of the application's own.
    #[serde(deserialize_with = "lenient::map")]
    pub custom_claims: Map<String, Value>,
}
