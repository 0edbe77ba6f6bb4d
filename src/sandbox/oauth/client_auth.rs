//! The client of an authorization or token request.

use crate::sandbox::environment::Environment;
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::{AtResource, OAuthClient};

/// The client with this ID, or the error.
pub(crate) fn find(
    environment: &Environment,
    state: &State,
    resource_id: Option<&str>,
    client_id: &str,
) -> Result<OAuthClient, String> {
    let at = match resource_id.map(|id| state.resources.get(id)) {
        None if client_id == environment.client_id => None,
        Some(Some(resource)) => Some(AtResource {
            client: state.resources.clients.find(&resource.id, client_id)?,
            resource: resource.clone(),
        }),
        None | Some(None) => return Err(format!("The client_id {client_id} is unknown.")),
    };
    Ok(OAuthClient { client_id: client_id.to_owned(), at, machine: None })
}
