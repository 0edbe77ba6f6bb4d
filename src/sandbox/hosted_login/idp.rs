//! The simulated identity provider of a connection: its sign-in page, and its failures.

use bytes::Bytes;
use http::Response;

use crate::sandbox::hosted_login::connection_selection::not_active;
use crate::sandbox::pages::IdentityProviderPage;
use crate::sandbox::pages::{self, FAILURES};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::{AuthorizationError, AuthorizationRequest};

/// The sign-in page for the users of a connection.
pub(crate) fn page(
    state: &State,
    transaction: &str,
    authorization: &AuthorizationRequest,
    connection_id: &str,
    email: &str,
    problem: Option<&str>,
) -> Response<Bytes> {
    let users: Vec<_> =
        state.users.all.iter().filter_map(|user| authorization.member(user)).collect();
    pages::identity_provider(&IdentityProviderPage {
        transaction,
        connection: state.connections.get(connection_id),
        organization: authorization
            .organization_id
            .as_deref()
            .map_or("", |id| state.users.organization_name(id)),
        redirect_uri: &authorization.reply.redirect_uri,
        users: &users,
        email,
        problem,
    })
}

/// The error of the login: the one selected on the page, or that the connection was disabled
/// meanwhile.
pub(crate) fn failure(
    state: &State,
    authorization: &AuthorizationRequest,
    form: &Parameters,
) -> Option<AuthorizationError> {
    let connection = state.connections.get(authorization.connection_id.as_deref()?);
    if !connection.is_some_and(|connection| connection.enabled) {
        return Some(not_active());
    }
    let (error, description) = picked_failure(form)?;
    Some(AuthorizationError::new(error, description))
}

/// The failure that is selected on the page, with its description.
pub(crate) fn picked_failure(form: &Parameters) -> Option<(&'static str, &'static str)> {
    let picked = form.get("error").filter(|_| form.get("action") == Some("fail"))?;
    FAILURES.into_iter().find(|(error, _)| *error == picked)
}
