//! Authorization requests and the clients that send them.

use std::fmt;

use crate::sandbox::parameters::{Parameters, with_query};
use crate::sandbox::state::clients::Client;
use crate::sandbox::state::machines::MachineClient;
use crate::sandbox::state::resources::Resource;
use crate::sandbox::state::users::SandboxUser;

/// The scopes that the environment supports; others are not granted.
pub(crate) const SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// A valid authorization request.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizationRequest {
    pub(crate) client: OAuthClient,
    pub(crate) reply: Reply,
    pub(crate) code_challenge: Option<String>,
    /// The key that the client is going to prove when it exchanges the code (RFC 9449, section 10).
    pub(crate) dpop_key: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) login_hint: Option<String>,
    /// The organization whose users may sign in.
    pub(crate) organization_id: Option<String>,
    /// The connection that they sign in through.
    pub(crate) connection_id: Option<String>,
    /// Whether a connection is required.
    pub(crate) only_sso: bool,
    pub(crate) scopes: Vec<String>,
    /// Whether consent is required even if it was given before.
    pub(crate) forces_consent: bool,
    /// Whether the request has a `resource` parameter (RFC 8707).
    pub(crate) indicates_resource: bool,
    pub(crate) invitation: Option<Invited>,
}

/// The invitation that a request accepts.
#[derive(Clone)]
pub(crate) struct Invited {
    pub(crate) token: String,
    pub(crate) user_id: String,
}

// Manual impl: the token is a credential.
impl fmt::Debug for Invited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invited").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

impl AuthorizationRequest {
    /// The user as the member who may sign in for the request: an active one, or the invited one.
    pub(crate) fn member(&self, user: &SandboxUser) -> Option<SandboxUser> {
        match (&self.organization_id, &self.invitation) {
            (Some(id), Some(invited)) => user.at(id).filter(|user| user.id == invited.user_id),
            (Some(id), None) => user.active_at(id),
            (None, _) => user.memberships().find(|user| user.membership.is_active()),
        }
    }

    /// Whether a refresh token is issued.
    pub(crate) fn may_refresh(&self) -> bool {
        // Clients of resources register for it, and rarely request `offline_access`.
        !self.only_sso
            && (self.client.at.as_ref().is_some_and(|at| at.client.may_use("refresh_token"))
                || self.scopes.iter().any(|scope| scope == "offline_access"))
    }
}

/// A user in a browser.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) user: SandboxUser,
    pub(crate) session_id: String,
}

/// The redirect URI, and the parameters of every response.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    /// `iss` (RFC 9207), which distinguishes the authorization servers of resources.
    pub(crate) issuer: Option<String>,
}

impl Reply {
    pub(crate) fn code(&self, code: &str) -> String {
        self.with(&[("code", Some(code))])
    }

    pub(crate) fn error(&self, rejected: &AuthorizationError) -> String {
        self.with(&[
            ("error", Some(rejected.error)),
            ("error_description", Some(&rejected.description)),
        ])
    }

    fn with(&self, response: &[(&str, Option<&str>)]) -> String {
        let always = [("state", self.state.as_deref()), ("iss", self.issuer.as_deref())];
        with_query(&self.redirect_uri, &[response, &always].concat())
    }
}

/// An error that is returned to the application by redirect.
#[derive(Debug)]
pub(crate) struct AuthorizationError {
    error: &'static str,
    description: String,
}

impl AuthorizationError {
    pub(crate) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { error, description: description.into() }
    }

    pub(crate) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    /// The user has cancelled, or denied consent.
    pub(crate) fn denied() -> Self {
        Self::new("access_denied", "User denied access")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct OAuthClient {
    pub(crate) client_id: String,
    /// The resource, for its clients; `None` for the application.
    pub(crate) at: Option<AtResource>,
    /// For a machine of an organization.
    pub(crate) machine: Option<MachineClient>,
}

/// A client and its resource.
#[derive(Clone, Debug)]
pub(crate) struct AtResource {
    pub(crate) client: Client,
    pub(crate) resource: Resource,
}

impl OAuthClient {
    /// The client to which codes and refresh tokens are bound.
    pub(crate) fn holder(&self) -> Holder {
        Holder {
            client_id: self.client_id.clone(),
            resource_id: self.at.as_ref().map(|at| at.resource.id.clone()),
        }
    }

    /// Whether the request names its resource (RFC 8707). The application has none; its parameter
    /// is ignored.
    pub(crate) fn indicates_resource(&self, parameters: &Parameters) -> Result<bool, &'static str> {
        match (&self.at, parameters.get("resource")) {
            (Some(at), Some(indicator)) if at.resource.is_indicated_by(indicator) => Ok(true),
            (Some(_), Some(_)) => Err("resource is not the one of this authorization server"),
            _ => Ok(false),
        }
    }
}

impl AtResource {
    /// The scopes of a request without `scope`: those that the client registered, or all.
    pub(crate) fn default_scope(&self) -> String {
        self.client.metadata.scope.clone().unwrap_or_else(|| self.resource.scopes.join(" "))
    }
}

/// A client and its resource: codes and tokens of one holder do not work for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) client_id: String,
    pub(crate) resource_id: Option<String>,
}
