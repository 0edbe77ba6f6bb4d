//! The identity provider behind a connection, as the sandbox plays it: its sign-in page, and the
//! ways in which it or its answer may fail.

use bytes::Bytes;
use http::Response;

use super::authorize::{AuthorizationRequest, Refused};
use super::pages::{self, IdentityProviderPage};
use super::parameters::Parameters;
use super::selection::not_active;
use super::state::State;

/// What may go wrong between an identity provider and the environment: the code that the
/// application is told, and the description that goes with it.
pub(super) const FAILURES: [(&str, &str); 8] = [
    ("assertion_expired", "The assertion has expired"),
    ("failed_to_exchange_token", "The identity provider refused the code"),
    ("invalid_id_token", "The ID token of the identity provider is not valid"),
    ("invalid_saml_response", "The SAML response is not valid"),
    ("mandatory_attribute_missing", "The identity provider sent no email attribute"),
    ("signature_validation_failed", "The signature of the response is not valid"),
    ("user_login_required", "The user has to log in at the identity provider"),
    ("user_not_active", "The user is not active at the identity provider"),
];

/// The sign-in page for the people of a connection.
pub(super) fn page(
    state: &State,
    transaction: &str,
    wanted: &AuthorizationRequest,
    connection_id: &str,
    email: &str,
    problem: Option<&str>,
) -> Response<Bytes> {
    let users: Vec<_> = state.people.users.iter().filter(|user| wanted.admits(user)).collect();
    let organization = wanted.organization_id.as_ref().and_then(|id| state.people.organization(id));
    pages::identity_provider(&IdentityProviderPage {
        transaction,
        connection: state.people.connection(connection_id),
        organization: organization.map_or("", |organization| &organization.display_name),
        redirect_uri: &wanted.reply.redirect_uri,
        users: &users,
        email,
        problem,
    })
}

/// What the application is told instead of who signed in: the failure that was picked at the page,
/// or that the connection was switched off in the meantime.
pub(super) fn failure(
    state: &State,
    wanted: &AuthorizationRequest,
    form: &Parameters,
) -> Option<Refused> {
    let connection = state.people.connection(wanted.connection_id.as_deref()?);
    if !connection.is_some_and(|connection| connection.enabled) {
        return Some(not_active());
    }
    let picked = form.get("error").filter(|_| form.get("action") == Some("fail"))?;
    let (error, description) = FAILURES.iter().find(|(error, _)| *error == picked)?;
    Some(Refused::new(error, *description))
}
