//! The application's own login page instead of the hosted one: the redirect there, and the return.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::hosted_login::login::signed_in;
use crate::sandbox::pages;
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::redirect;
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::AuthorizationRequest;
use crate::sandbox::state::own_logins::PendingOwnLogin;
use crate::sandbox::state::resources::OwnLoginPage;

/// Redirects the browser to the login page.
pub(crate) fn begin(
    state: &mut State,
    own: &OwnLoginPage,
    authorization: AuthorizationRequest,
) -> Response<Bytes> {
    let (id, login_state) = state.own_logins.begin(&own.connection_id, authorization, state.now);
    let mut url = own.url.clone();
    url.query_pairs_mut().append_pair("login_request_id", &id).append_pair("state", &login_state);
    redirect(StatusCode::FOUND, url.as_str())
}

/// `GET /sso/v1/connections/{connection_id}/partner:callback`: the browser returns.
pub(crate) fn callback(
    state: &mut State,
    request: &Request<Bytes>,
    connection_id: &str,
) -> Response<Bytes> {
    let parameters = Parameters::from_query(request);
    let Some(PendingOwnLogin { request: authorization, user, .. }) = parameters
        .get("state")
        .filter(|_| !parameters.repeats("state"))
        .and_then(|login_state| state.own_logins.end(connection_id, login_state, state.now))
    else {
        return rejected("invalid_state: the login is unknown or has expired.");
    };
    let Some(user) = user else {
        return rejected("The application has not named the user who has logged in.");
    };
    // The address of a user may change, the application's ID does not.
    let known = user.external_id.as_deref().and_then(|id| state.users.with_external_id(id));
    let user = known.cloned().unwrap_or_else(|| state.find_or_add_user(user));
    match authorization.member(&user) {
        Some(user) => signed_in(state, request, authorization, user, StatusCode::FOUND),
        None => rejected("This user is not a member of the organization."),
    }
}

fn rejected(reason: &str) -> Response<Bytes> {
    pages::problem(StatusCode::BAD_REQUEST, pages::SIGN_IN_FAILED, reason)
}
