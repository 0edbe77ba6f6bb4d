//! `/login`: the hosted login page and its form.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};

use crate::sandbox::forms::is_email_address;
use crate::sandbox::hosted_login::connection_selection::domain_of;
use crate::sandbox::hosted_login::{consent, idp};
use crate::sandbox::pages::{self, LoginPage, Screen};
use crate::sandbox::parameters::{Parameters, session_cookie, with_query};
use crate::sandbox::respond::{redirect, set_cookie};
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::{AuthorizationError, AuthorizationRequest, SignedIn};
use crate::sandbox::state::users::{NewUser, SandboxUser};

/// `GET /login`: the page again, for example with the other form.
pub(crate) fn show(state: &State, request: &Request<Bytes>) -> Response<Bytes> {
    let parameters = Parameters::from_query(request);
    let id = parameters.get("transaction").unwrap_or_default();
    match state.transaction(id) {
        Some((authorization, None)) => {
            page(state, id, authorization, Screen::of(&parameters), None)
        }
        _ => pages::expired(),
    }
}

/// `POST /login`: a user signs in, signs up or cancels.
pub(crate) fn submit(state: &mut State, request: &Request<Bytes>) -> Response<Bytes> {
    pages::handle_form(request, pages::SIGN_IN_FAILED, |form| {
        let id = form.get("transaction").unwrap_or_default();
        let Some((authorization, None)) = state.transaction(id) else {
            return pages::expired();
        };
        let authorization = authorization.clone();

        let failure = match form.get("action") {
            Some("cancel") => Some(AuthorizationError::denied()),
            _ => idp::failure(state, &authorization, &form),
        };
        if let Some(failure) = failure {
            state.close_transaction(id);
            return redirect(StatusCode::SEE_OTHER, &authorization.reply.error(&failure));
        }
        let email = form.get("email").unwrap_or_default().trim();
        sign_in(state, request, id, &authorization, &form, email).unwrap_or_else(|problem| {
            page(state, id, &authorization, Screen::of(&form), Some((email, problem)))
        })
    })
}

/// Signs in the user with this address, or selects the connection of its domain. The error is a
/// message for the user.
fn sign_in(
    state: &mut State,
    request: &Request<Bytes>,
    transaction: &str,
    authorization: &AuthorizationRequest,
    form: &Parameters,
    email: &str,
) -> Result<Response<Bytes>, &'static str> {
    if !is_email_address(email) {
        return Err("Enter an e-mail address, such as jane@acme.test.");
    }
    if authorization.only_sso && authorization.connection_id.is_none() {
        let connection = domain_of(email)
            .and_then(|domain| state.connections.enabled_for(domain))
            .ok_or("Single sign-on is not available for this domain.")?;
        let authorization = AuthorizationRequest {
            organization_id: Some(connection.organization_id.clone()),
            connection_id: Some(connection.id.clone()),
            login_hint: Some(email.to_owned()),
            ..authorization.clone()
        };
        state.close_transaction(transaction);
        let id = state.open_transaction(authorization, None);
        let location = with_query("/login", &[("transaction", Some(&id))]);
        return Ok(redirect(StatusCode::SEE_OTHER, &location));
    }
    if let Some(invited) = &authorization.invitation {
        // Only the invited user can accept it.
        let invitee = state.users.find(email).map(|user| user.id.clone());
        if !invitee.is_some_and(|id| state.accept_invitation(&invited.token, &id)) {
            return Err("The invitation is for another address, or has expired.");
        }
    }
    let user = state.find_or_add_user(new_user(email, form, authorization));
    let user =
        authorization.member(&user).ok_or("This user is not a member of the organization.")?;
    state.close_transaction(transaction);
    Ok(signed_in(state, request, authorization.clone(), user, StatusCode::SEE_OTHER))
}

/// Starts the session of a user who has signed in, and redirects the browser with its cookie.
pub(crate) fn signed_in(
    state: &mut State,
    request: &Request<Bytes>,
    authorization: AuthorizationRequest,
    user: SandboxUser,
    status: StatusCode,
) -> Response<Bytes> {
    let user_agent =
        request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let (session_id, cookie) = state.start_session(&user, user_agent);
    let location = consent::next(state, authorization, SignedIn { user, session_id });
    set_cookie(redirect(status, &location), &session_cookie(&cookie, &state.environment_url))
}

/// The login page for a request; `problem` is the rejected input with its error.
pub(crate) fn page(
    state: &State,
    transaction: &str,
    authorization: &AuthorizationRequest,
    screen: Screen,
    problem: Option<(&str, &str)>,
) -> Response<Bytes> {
    let (email, problem) = match problem {
        Some((email, problem)) => (email, Some(problem)),
        None => (authorization.login_hint.as_deref().unwrap_or_default(), None),
    };
    if let Some(id) = &authorization.connection_id {
        return idp::page(state, transaction, authorization, id, email, problem);
    }
    let redirect_uri = &authorization.reply.redirect_uri;
    if authorization.only_sso {
        return pages::find_connection(transaction, redirect_uri, email, problem);
    }
    let users: Vec<_> =
        state.users.all.iter().filter_map(|user| authorization.member(user)).collect();
    pages::login(&LoginPage {
        screen,
        transaction,
        redirect_uri,
        organization: authorization
            .organization_id
            .as_ref()
            .and_then(|id| state.users.organization(id))
            .map(|organization| organization.display_name.as_str()),
        users: &users,
        email,
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
