use bytes::Bytes;
use http::{HeaderValue, Response, header};
use serde::Serialize;
use serde_json::{Map, Value};

/// The response to an [`InterceptorRequest`](super::InterceptorRequest).
///
/// An axum handler returns it directly; others convert it into a [`Response`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use = "the environment waits for it"]
pub struct InterceptorResponse {
    decision: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<DenyMessage>,
    #[serde(rename = "response", skip_serializing_if = "Option::is_none")]
    additions: Option<Additions>,
}

impl InterceptorResponse {
    /// Allows the action.
    pub fn allow() -> Self {
        Self { decision: Decision::Allow, error: None, additions: None }
    }

    /// Denies the action with a message for the user. Without text, Scalekit shows a general one.
    pub fn deny(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            decision: Decision::Deny,
            error: (!message.is_empty()).then_some(DenyMessage { message }),
            additions: None,
        }
    }

    /// Adds a claim to the token: when a session is created, to the `custom_claims` of its access
    /// tokens; when an application's token is issued, to that token, including `scope` and `aud`.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.additions().claims.insert(name.into(), value.into());
        self
    }

    /// Adds claims to the token, as [`claim`](Self::claim) does.
    pub fn claims(mut self, claims: Map<String, Value>) -> Self {
        self.additions().claims.extend(claims);
        self
    }

    /// Makes the user who signs up a member of an organization.
    pub fn create_organization_membership(mut self, membership: NewMembership) -> Self {
        self.additions().create_organization_membership = Some(membership);
        self
    }

    fn additions(&mut self) -> &mut Additions {
        self.additions.get_or_insert_default()
    }
}

/// Always HTTP 200: the body contains the decision.
impl From<InterceptorResponse> for Response<Bytes> {
    fn from(response: InterceptorResponse) -> Self {
        // Maps with text keys can always be serialized. The fallback denies.
        let body = serde_json::to_vec(&response).unwrap_or(br#"{"decision":"DENY"}"#.to_vec());
        let mut response = Self::new(body.into());
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// The membership of a user who signs up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewMembership {
    /// The organization (`org_…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// The organization, by your app's ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_organization_id: Option<String>,
    /// The names of the user's roles in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

impl NewMembership {
    /// Creates a membership of the organization with this ID (`org_…`).
    #[must_use]
    pub fn in_organization(id: impl Into<String>) -> Self {
        Self { organization_id: Some(id.into()), ..Self::default() }
    }

    /// Creates a membership of the organization with your app's ID.
    #[must_use]
    pub fn in_external_organization(external_id: impl Into<String>) -> Self {
        Self { external_organization_id: Some(external_id.into()), ..Self::default() }
    }

    /// Adds a role. Can be called again, for several roles.
    #[must_use]
    pub fn role(mut self, name: impl Into<String>) -> Self {
        self.roles.push(name.into());
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Decision {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct DenyMessage {
    message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Additions {
    #[serde(skip_serializing_if = "Map::is_empty")]
    claims: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_organization_membership: Option<NewMembership>,
}
