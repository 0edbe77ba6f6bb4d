//! `/login`: the hosted page where a person says who they are, and its form.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};

use super::authorize::{AuthorizationRequest, Refused, SESSION_COOKIE, SignedIn};
use super::consent;
use super::environment::Environment;
use super::identity_provider;
use super::pages::{self, LoginPage};
use super::parameters::{Parameters, with_query};
use super::people::NewUser;
use super::respond::{redirect, set_cookie};
use super::selection::{self, Selection};
use super::state::State;

/// Which of the two forms is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    SignIn,
    SignUp,
}

impl Screen {
    fn of(parameters: &Parameters) -> Self {
        if parameters.get("screen") == Some("sign-up") { Self::SignUp } else { Self::SignIn }
    }
}

/// `GET /login`: the page again, say in its other form.
pub(super) fn show(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    let parameters = Parameters::of_query(request);
    let state = environment.lock();
    let id = parameters.get("transaction").unwrap_or_default();
    match state.transaction(id, environment.now()) {
        Some((wanted, None)) => page(&state, id, wanted, Screen::of(&parameters), None),
        _ => expired(),
    }
}

/// `POST /login`: somebody signs in, signs up or cancels.
pub(super) fn submit(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    let form = match form_of_own_page(request) {
        Ok(form) => form,
        Err(refused) => return refused.page(),
    };
    let now = environment.now();
    let id = form.get("transaction").unwrap_or_default();
    let mut state = environment.lock();
    let Some((wanted, None)) = state.transaction(id, now) else { return expired() };
    let wanted = wanted.clone();

    if form.get("action") == Some("cancel") {
        state.close_transaction(id);
        let refused = Refused::new("access_denied", "User denied access");
        return redirect(StatusCode::SEE_OTHER, &wanted.reply.error(&refused));
    }
    if let Some(refused) = identity_provider::failure(&state, &wanted, &form) {
        state.close_transaction(id);
        return redirect(StatusCode::SEE_OTHER, &wanted.reply.error(&refused));
    }
    let email = form.get("email").unwrap_or_default().trim();
    let refused = |state: &State, problem: &str| {
        page(state, id, &wanted, Screen::of(&form), Some((email, problem)))
    };
    if !looks_like_an_address(email) {
        return refused(&state, "Enter an e-mail address, such as jane@acme.test.");
    }
    if wanted.only_sso && wanted.connection_id.is_none() {
        let domain = selection::domain_of(email).unwrap_or_default();
        let Some(connection) = selection::enabled_for(&state.people, domain) else {
            return refused(&state, "There is no single sign-on for this domain.");
        };
        let selected = Selection::from(connection);
        let wanted = AuthorizationRequest {
            organization_id: selected.organization_id,
            connection_id: selected.connection_id,
            login_hint: Some(email.to_owned()),
            ..wanted
        };
        state.close_transaction(id);
        let id = state.open_transaction(wanted, None, now);
        let location = with_query("/login", &[("transaction", Some(&id))]);
        return redirect(StatusCode::SEE_OTHER, &location);
    }
    let user = state.people.find_or_add(new_user(email, &form, &wanted));
    if !wanted.admits(&user) {
        return refused(&state, "This user belongs to another organization.");
    }
    state.close_transaction(id);
    let user_agent = request.headers().get(header::USER_AGENT);
    let user_agent = user_agent.and_then(|value| value.to_str().ok());
    let (session_id, cookie) = state.start_session(&user, user_agent, now);
    let location = consent::next(&mut state, wanted, SignedIn { user, session_id }, now);
    let secure = if state.environment_url.starts_with("https:") { "; Secure" } else { "" };
    let cookie = format!("{SESSION_COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax{secure}");
    set_cookie(redirect(StatusCode::SEE_OTHER, &location), &cookie)
}

/// The login page for a request; `problem` is what was typed and what is wrong with it.
pub(super) fn page(
    state: &State,
    transaction: &str,
    wanted: &AuthorizationRequest,
    screen: Screen,
    problem: Option<(&str, &str)>,
) -> Response<Bytes> {
    let typed = problem.map(|(typed, _)| typed).or(wanted.login_hint.as_deref());
    let typed = typed.unwrap_or_default();
    let problem = problem.map(|(_, problem)| problem);
    if let Some(id) = &wanted.connection_id {
        return identity_provider::page(state, transaction, wanted, id, typed, problem);
    }
    if wanted.only_sso {
        let redirect_uri = &wanted.reply.redirect_uri;
        return pages::find_connection(transaction, redirect_uri, typed, problem);
    }
    let organization = wanted.organization_id.as_ref().and_then(|id| state.people.organization(id));
    let users: Vec<_> = state.people.users.iter().filter(|user| wanted.admits(user)).collect();
    pages::login(&LoginPage {
        screen,
        transaction,
        redirect_uri: &wanted.reply.redirect_uri,
        organization: organization.map(|organization| organization.display_name.as_str()),
        users: &users,
        email: typed,
        problem,
    })
}

/// The form of one of our pages, or what is wrong with it.
pub(super) fn form_of_own_page(request: &Request<Bytes>) -> Result<Parameters, FormRefused> {
    // The page's own form is same-origin; anybody else's would sign the visitor in as a stranger.
    let site = request.headers().get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(FormRefused(StatusCode::FORBIDDEN, "The form was sent from another site."));
    }
    let none = FormRefused(StatusCode::BAD_REQUEST, "The request has no form in it.");
    Parameters::of_form(request).ok_or(none)
}

#[derive(Debug)]
pub(super) struct FormRefused(StatusCode, &'static str);

impl FormRefused {
    pub(super) fn page(&self) -> Response<Bytes> {
        self.page_with_title("This sign-in cannot go on")
    }

    pub(super) fn page_with_title(&self, title: &str) -> Response<Bytes> {
        pages::problem(self.0, title, self.1)
    }
}

pub(super) fn expired() -> Response<Bytes> {
    let reason =
        "It was finished, or left open for too long. Go back to the application and start again.";
    pages::problem(StatusCode::BAD_REQUEST, "This sign-in is over", reason)
}

fn new_user(email: &str, form: &Parameters, wanted: &AuthorizationRequest) -> NewUser {
    let mut user = NewUser::new(email);
    if let Some(id) = &wanted.organization_id {
        user = user.organization_id(id);
    }
    if let Some(given_name) = form.get("given_name") {
        user = user.name(given_name, form.get("family_name").unwrap_or_default());
    }
    user
}

pub(super) fn looks_like_an_address(text: &str) -> bool {
    let clean = !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    let parts = text.split_once('@');
    let whole = parts.is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    clean && whole && text.len() <= 254
}
