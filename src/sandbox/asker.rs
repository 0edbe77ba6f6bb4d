//! Who asks for codes and tokens: the application, or a client of a resource.

use super::environment::Environment;
use super::parameters::Parameters;
use super::resources::{Client, Resource};
use super::state::State;

#[derive(Clone, Debug)]
pub(super) struct Asker {
    client_id: String,
    /// The resource, for its clients; the application asks for itself.
    pub(super) at: Option<AtResource>,
}

/// A client and the resource it is at.
#[derive(Clone, Debug)]
pub(super) struct AtResource {
    pub(super) client: Client,
    pub(super) resource: Resource,
}

impl Asker {
    /// The asker by this id, or a sentence on why there is none.
    pub(super) fn find(
        environment: &Environment,
        state: &State,
        resource_id: Option<&str>,
        client_id: &str,
    ) -> Result<Self, String> {
        let unknown = || format!("The client_id {client_id} is not known here.");
        let at = match resource_id {
            None if client_id == environment.client_id => None,
            None => return Err(unknown()),
            Some(id) => {
                let resource = state.resources.get(id).cloned().ok_or_else(unknown)?;
                Some(AtResource { client: state.resources.clients.find(id, client_id)?, resource })
            }
        };
        Ok(Self { client_id: client_id.to_owned(), at })
    }

    /// To whom codes and refresh tokens are bound.
    pub(super) fn holder(&self) -> Holder {
        let resource_id = self.at.as_ref().map(|at| at.resource.id.clone());
        Holder { client_id: self.client_id.clone(), resource_id }
    }

    /// Whether the request names the resource it is for (RFC 8707). The application has none to
    /// name; what it sends is ignored.
    pub(super) fn indicates_resource(&self, parameters: &Parameters) -> Result<bool, &'static str> {
        match (&self.at, parameters.get("resource")) {
            (Some(at), Some(indicator)) if at.resource.is_meant_by(indicator) => Ok(true),
            (Some(_), Some(_)) => Err("resource is not the one of this authorization server"),
            _ => Ok(false),
        }
    }
}

impl AtResource {
    /// What a request asks for that has no `scope`: what the client registered, or everything.
    pub(super) fn default_scope(&self) -> String {
        let registered = self.client.metadata.scope.clone();
        registered.unwrap_or_else(|| self.resource.scopes.join(" "))
    }
}

/// A client where it is one: what was given to one holder is worthless for any other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Holder {
    pub(super) client_id: String,
    pub(super) resource_id: Option<String>,
}
