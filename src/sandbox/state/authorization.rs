//! Authorization requests and the clients that send them.

use crate::sandbox::parameters::{Parameters, with_query};
use crate::sandbox::state::clients::Client;
use crate::sandbox::state::resources::Resource;
use crate::sandbox::state::users::User;

/// The scopes the environment knows; others are left out of what is granted.
pub(crate) const SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// An authorization request that is in order.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizationRequest {
    pub(crate) client: OAuthClient,
    pub(crate) reply: Reply,
    pub(crate) code_challenge: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) login_hint: Option<String>,
    /// The organization whose users may answer it.
    pub(crate) organization_id: Option<String>,
    /// The connection they answer it through.
    pub(crate) connection_id: Option<String>,
    /// Whether it can only be handled through a connection.
    pub(crate) only_sso: bool,
    pub(crate) scopes: Vec<String>,
    /// Whether the user is asked even for what they allowed before.
    pub(crate) asks_again: bool,
    /// Whether it names the resource (RFC 8707).
    pub(crate) indicates_resource: bool,
}

impl AuthorizationRequest {
    /// Whether the user may sign in for the request.
    pub(crate) fn allows(&self, user: &User) -> bool {
        self.organization_id.as_ref().is_none_or(|id| *id == user.organization_id)
    }

    /// Whether refresh tokens come of it.
    pub(crate) fn may_refresh(&self) -> bool {
        if self.only_sso {
            return false;
        }
        // Clients of resources say so when they register, and rarely ask for `offline_access`.
        let registered =
            self.client.at.as_ref().is_some_and(|at| at.client.may_use("refresh_token"));
        registered || self.scopes.iter().any(|scope| scope == "offline_access")
    }
}

/// A person at their browser.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) user: User,
    pub(crate) session_id: String,
}

/// Where a response goes, and what every response has in it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    /// `iss` (RFC 9207), which tells the authorization servers of resources apart.
    pub(crate) issuer: Option<String>,
}

impl Reply {
    pub(crate) fn code(&self, code: &str) -> String {
        self.with(&[("code", Some(code))])
    }

    pub(crate) fn error(&self, rejected: &AuthorizationError) -> String {
        let description = Some(rejected.description.as_str());
        self.with(&[("error", Some(rejected.error)), ("error_description", description)])
    }

    fn with(&self, response: &[(&str, Option<&str>)]) -> String {
        let always = [("state", self.state.as_deref()), ("iss", self.issuer.as_deref())];
        with_query(&self.redirect_uri, &[response, &always].concat())
    }
}

/// An error that the application is told by redirect.
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
}

#[derive(Clone, Debug)]
pub(crate) struct OAuthClient {
    pub(crate) client_id: String,
    /// The resource, for its clients; the application asks for itself.
    pub(crate) at: Option<AtResource>,
}

/// A client and the resource it is at.
#[derive(Clone, Debug)]
pub(crate) struct AtResource {
    pub(crate) client: Client,
    pub(crate) resource: Resource,
}

impl OAuthClient {
    /// To whom codes and refresh tokens are bound.
    pub(crate) fn holder(&self) -> Holder {
        let resource_id = self.at.as_ref().map(|at| at.resource.id.clone());
        Holder { client_id: self.client_id.clone(), resource_id }
    }

    /// Whether the request names the resource it is for (RFC 8707). The application has none to
    /// name; what it sends is ignored.
    pub(crate) fn indicates_resource(&self, parameters: &Parameters) -> Result<bool, &'static str> {
        match (&self.at, parameters.get("resource")) {
            (Some(at), Some(indicator)) if at.resource.is_meant_by(indicator) => Ok(true),
            (Some(_), Some(_)) => Err("resource is not the one of this authorization server"),
            _ => Ok(false),
        }
    }
}

impl AtResource {
    /// What a request asks for that has no `scope`: what the client registered, or everything.
    pub(crate) fn default_scope(&self) -> String {
        let registered = self.client.metadata.scope.clone();
        registered.unwrap_or_else(|| self.resource.scopes.join(" "))
    }
}

/// A client where it is one: what was given to one holder is worthless for any other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) client_id: String,
    pub(crate) resource_id: Option<String>,
}
