//! `/login`: the hosted login page and its form.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};

use crate::sandbox::environment::Environment;
use crate::sandbox::forms::is_email_address;
use crate::sandbox::hosted_login::connection_selection::{self, ConnectionSelection};
use crate::sandbox::hosted_login::{consent, idp};
use crate::sandbox::pages::{self, LoginPage, Screen};
use crate::sandbox::parameters::{Parameters, session_cookie, with_query};
use crate::sandbox::respond::{redirect, set_cookie};
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::{AuthorizationError, AuthorizationRequest, SignedIn};
use crate::sandbox::state::users::NewUser;

/// `GET /login`: the page again, for example with the other form.
pub(crate) fn show(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    let parameters = Parameters::from_query(request);
    let state = environment.lock();
    let id = parameters.get("transaction").unwrap_or_default();
    match state.transaction(id, environment.now()) {
        Some((authorization, None)) => {
            page(&state, id, authorization, Screen::of(&parameters), None)
        }
        _ => pages::expired(),
    }
}

/// `POST /login`: a user signs in, signs up or cancels.
pub(crate) fn submit(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    pages::handle_form(request, pages::SIGN_IN_FAILED, |form| {
        let now = environment.now();
        let id = form.get("transaction").unwrap_or_default();
        let mut state = environment.lock();
        let Some((authorization, None)) = state.transaction(id, now) else {
            return pages::expired();
        };
        let authorization = authorization.clone();

        if form.get("action") == Some("cancel") {
            state.close_transaction(id);
            let rejected = AuthorizationError::new("access_denied", "User denied access");
            return redirect(StatusCode::SEE_OTHER, &authorization.reply.error(&rejected));
        }
        if let Some(rejected) = idp::failure(&state, &authorization, &form) {
            state.close_transaction(id);
            return redirect(StatusCode::SEE_OTHER, &authorization.reply.error(&rejected));
        }
        let email = form.get("email").unwrap_or_default().trim();
        let rejected = |state: &State, problem: &str| {
            page(state, id, &authorization, Screen::of(&form), Some((email, problem)))
        };
        if !is_email_address(email) {
            return rejected(&state, "Enter an e-mail address, such as jane@acme.test.");
        }
        if authorization.only_sso && authorization.connection_id.is_none() {
            let domain = connection_selection::domain_of(email).unwrap_or_default();
            let Some(connection) = state.connections.enabled_for(domain) else {
                return rejected(&state, "Single sign-on is not available for this domain.");
            };
            let selected = ConnectionSelection::from(connection);
            let authorization = AuthorizationRequest {
                organization_id: selected.organization_id,
                connection_id: selected.connection_id,
                login_hint: Some(email.to_owned()),
                ..authorization
            };
            state.close_transaction(id);
            let id = state.open_transaction(authorization, None, now);
            let location = with_query("/login", &[("transaction", Some(&id))]);
            return redirect(StatusCode::SEE_OTHER, &location);
        }
        if let Some(invited) = &authorization.invitation {
            // Only the invited user can accept it.
            let invitee = state.users.find(email).map(|user| user.id.clone());
            if !invitee.is_some_and(|id| state.accept_invitation(&invited.token, &id, now)) {
                return rejected(&state, "The invitation is for another address, or has expired.");
            }
        }
        let user = state.find_or_add_user(new_user(email, &form, &authorization));
        let Some(user) = authorization.member(&user) else {
            return rejected(&state, "This user is not a member of the organization.");
        };
        state.close_transaction(id);
        let user_agent =
            request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let (session_id, cookie) = state.start_session(&user, user_agent, now);
        let location = consent::next(&mut state, authorization, SignedIn { user, session_id }, now);
        let cookie = session_cookie(&cookie, &state.environment_url);
        set_cookie(redirect(StatusCode::SEE_OTHER, &location), &cookie)
    })
}

/// The login page for a request; `problem` is the rejected input with its error.
pub(crate) fn page(
    state: &State,
    transaction: &str,
    authorization: &AuthorizationRequest,
    screen: Screen,
    problem: Option<(&str, &str)>,
) -> Response<Bytes> {
    let typed =
        problem.map(|(typed, _)| typed).or(authorization.login_hint.as_deref()).unwrap_or_default();
    let problem = problem.map(|(_, problem)| problem);
    if let Some(id) = &authorization.connection_id {
        return idp::page(state, transaction, authorization, id, typed, problem);
    }
    if authorization.only_sso {
        let redirect_uri = &authorization.reply.redirect_uri;
        return pages::find_connection(transaction, redirect_uri, typed, problem);
    }
    let organization =
        authorization.organization_id.as_ref().and_then(|id| state.users.organization(id));
    let users: Vec<_> =
        state.users.all.iter().filter_map(|user| authorization.member(user)).collect();
    pages::login(&LoginPage {
        screen,
        transaction,
        redirect_uri: &authorization.reply.redirect_uri,
        organization: organization.map(|organization| organization.display_name.as_str()),
        users: &users,
        email: typed,
        problem,
    })
}

fn new_user(email: &str, form: &Parameters, authorization: &AuthorizationRequest) -> NewUser {
    let mut user = NewUser::new(email);
    if let Some(id) = &authorization.organization_id {
        user = user.organization_id(id);
    }
    if let Some(given_name) = form.get("given_name") {
        user = user.name(given_name, form.get("family_name").unwrap_or_default());
    }
    user
}
