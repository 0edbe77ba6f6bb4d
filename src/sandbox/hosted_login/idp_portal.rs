//! `/idp/{connection_id}`: the portal of a company's identity provider, from which its users open
//! the application.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::hosted_login::idp::picked_failure;
use crate::sandbox::hosted_login::idp_initiated::{
    NewIdpInitiatedLogin, failed_login_url, initiate_login_url, login_token, login_url,
};
use crate::sandbox::pages::{self, IdpPortalPage};
use crate::sandbox::respond::redirect;
use crate::sandbox::state::State;

const REJECTED: &str = "The application cannot be opened";

/// `GET /idp/{connection_id}`: the page.
pub(crate) fn show(state: &State, connection_id: &str) -> Response<Bytes> {
    let Some(connection) = state.connections.get(connection_id) else { return unknown() };
    let users: Vec<_> = state
        .users
        .all
        .iter()
        .filter_map(|user| user.active_at(&connection.organization_id))
        .collect();
    pages::idp_portal(&IdpPortalPage {
        connection,
        organization: state.users.organization_name(&connection.organization_id),
        application: initiate_login_url(state).as_ref(),
        users: &users,
    })
}

/// `POST /idp/{connection_id}`: a user opens the application, or simulates a failure.
pub(crate) fn submit(
    environment: &Environment,
    request: &Request<Bytes>,
    connection_id: &str,
) -> Response<Bytes> {
    pages::handle_form(request, REJECTED, |form| {
        let connection = environment.lock().connections.get(connection_id).cloned();
        let Some(connection) = connection else { return unknown() };
        let failure = match form.get("action") {
            Some("fail") => picked_failure(&form),
            _ if !connection.enabled => {
                Some(("connection_not_active", "The connection is disabled"))
            }
            _ => None,
        };
        let location = match failure {
            Some((error, description)) => {
                let description = form.get("error_description").unwrap_or(description);
                failed_login_url(&environment.lock(), error, description)
            }
            None => {
                let mut login = NewIdpInitiatedLogin::new(&connection.id);
                if let Some(email) = form.get("login_hint") {
                    login = login.login_hint(email);
                }
                if let Some(relay_state) = form.get("relay_state") {
                    login = login.relay_state(relay_state);
                }
                // It may have been deleted meanwhile.
                let Some(token) = login_token(environment, &login) else { return unknown() };
                login_url(&environment.lock(), &token)
            }
        };
        match location {
            Some(location) => redirect(StatusCode::SEE_OTHER, &location),
            None => pages::no_initiate_login_url(REJECTED),
        }
    })
}

fn unknown() -> Response<Bytes> {
    pages::problem(
        StatusCode::NOT_FOUND,
        "No such identity provider",
        "There is no connection with this ID.",
    )
}
