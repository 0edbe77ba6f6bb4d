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
    let unknown = || format!("The client_id {client_id} is unknown.");
    let at = match resource_id {
        None if client_id == environment.client_id => None,
        None => return Err(unknown()),
        Some(id) => {
            let resource = state.resources.get(id).cloned().ok_or_else(unknown)?;
            Some(AtResource { client: state.resources.clients.find(id, client_id)?, resource })
        }
    };
    Ok(OAuthClient { client_id: client_id.to_owned(), at, machine: None })
}
