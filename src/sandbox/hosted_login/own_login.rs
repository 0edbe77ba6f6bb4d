//! The application's own login page instead of the hosted one: the redirect there, and the return.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use time::OffsetDateTime;

use crate::sandbox::environment::Environment;
use crate::sandbox::hosted_login::consent;
use crate::sandbox::pages;
use crate::sandbox::parameters::{Parameters, session_cookie};
use crate::sandbox::respond::{redirect, set_cookie};
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::{AuthorizationRequest, SignedIn};
use crate::sandbox::state::own_logins::PendingOwnLogin;
use crate::sandbox::state::resources::OwnLoginPage;

/// Redirects the browser to the login page.
pub(crate) fn begin(
    state: &mut State,
    own: &OwnLoginPage,
    authorization: AuthorizationRequest,
    now: OffsetDateTime,
) -> Response<Bytes> {
    let (id, login_state) = state.own_logins.begin(&own.connection_id, authorization, now);
    let mut url = own.url.clone();
    let parameters = [("login_request_id", &*id), ("state", &*login_state)];
    url.query_pairs_mut().extend_pairs(parameters);
    redirect(StatusCode::FOUND, url.as_str())
}

/// `GET /sso/v1/connections/{connection_id}/partner:callback`: the browser returns.
pub(crate) fn callback(
    environment: &Environment,
    request: &Request<Bytes>,
    connection_id: &str,
) -> Response<Bytes> {
    let now = environment.now();
    let parameters = Parameters::from_query(request);
    let mut state = environment.lock();
    let login_state = parameters.get("state").filter(|_| !parameters.repeats("state"));
    let ended = login_state.and_then(|text| state.own_logins.end(connection_id, text, now));
    let rejected =
        |reason: &str| pages::problem(StatusCode::BAD_REQUEST, pages::SIGN_IN_FAILED, reason);
    let Some(PendingOwnLogin { request: authorization, user, .. }) = ended else {
        return rejected("invalid_state: the login is unknown or has expired.");
    };
    let Some(user) = user else {
        return rejected("The application has not named the user who has logged in.");
    };
    // The address of a user may change, the application's ID does not.
    let known = user.external_id.as_deref().and_then(|id| state.users.with_external_id(id));
    let user = known.cloned().unwrap_or_else(|| state.find_or_add_user(user));
    let Some(user) = authorization.member(&user) else {
        return rejected("This user is not a member of the organization.");
    };
    let user_agent =
        request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let (session_id, cookie) = state.start_session(&user, user_agent, now);
    let location = consent::next(&mut state, authorization, SignedIn { user, session_id }, now);
    let cookie = session_cookie(&cookie, &state.environment_url);
    set_cookie(redirect(StatusCode::FOUND, &location), &cookie)
}
