//! `/consent`: the page where a person lets a client use a resource in their name, and its form.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use time::OffsetDateTime;

use super::asker::Holder;
use super::authorize::{AuthorizationRequest, Refused, SESSION_COOKIE, SignedIn};
use super::environment::Environment;
use super::login;
use super::pages::{self, ConsentPage};
use super::parameters::{Parameters, cookies, with_query};
use super::people::User;
use super::respond::redirect;
use super::state::State;

/// What each user has allowed each client.
#[derive(Debug, Default)]
pub(super) struct Consents(HashMap<(String, Holder), BTreeSet<String>>);

/// Whether the user has to be asked. The application itself never asks.
pub(super) fn is_needed(state: &State, wanted: &AuthorizationRequest, user: &User) -> bool {
    let allowed = state.consents.0.get(&(user.id.clone(), wanted.asker.holder()));
    let covers = |allowed: &BTreeSet<_>| wanted.scopes.iter().all(|scope| allowed.contains(scope));
    wanted.asker.at.is_some() && (wanted.asks_again || !allowed.is_some_and(covers))
}

/// Where the browser goes once its user is known: to the page, or back with a code.
pub(super) fn next(
    state: &mut State,
    wanted: AuthorizationRequest,
    signed_in: SignedIn,
    now: OffsetDateTime,
) -> String {
    if !is_needed(state, &wanted, &signed_in.user) {
        return wanted.grant(state, signed_in, now);
    }
    let transaction = state.open_transaction(wanted, Some(signed_in), now);
    with_query("/consent", &[("transaction", Some(&transaction))])
}

/// `GET /consent`: the page.
pub(super) fn show(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    let parameters = Parameters::of_query(request);
    let state = environment.lock();
    let id = parameters.get("transaction").unwrap_or_default();
    match question(&state, request, id, environment.now()) {
        Some((wanted, signed_in)) => page(id, wanted, signed_in),
        None => login::expired(),
    }
}

/// `POST /consent`: the person allows it or not.
pub(super) fn submit(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    let form = match login::form_of_own_page(request) {
        Ok(form) => form,
        Err(refused) => return refused.page(),
    };
    let now = environment.now();
    let id = form.get("transaction").unwrap_or_default();
    let mut state = environment.lock();
    let Some((wanted, signed_in)) = question(&state, request, id, now) else {
        return login::expired();
    };
    let (wanted, signed_in) = (wanted.clone(), signed_in.clone());
    state.close_transaction(id);
    let location = match form.get("action") {
        Some("allow") => {
            let key = (signed_in.user.id.clone(), wanted.asker.holder());
            state.consents.0.entry(key).or_default().extend(wanted.scopes.iter().cloned());
            wanted.grant(&mut state, signed_in, now)
        }
        _ => wanted.reply.error(&Refused::new("access_denied", "User denied access")),
    };
    redirect(StatusCode::SEE_OTHER, &location)
}

/// What is to be allowed, if this browser is the one of the user who was asked.
fn question<'s>(
    state: &'s State,
    request: &Request<Bytes>,
    transaction: &str,
    now: OffsetDateTime,
) -> Option<(&'s AuthorizationRequest, &'s SignedIn)> {
    let (wanted, signed_in) = state.transaction(transaction, now)?;
    let signed_in = signed_in?;
    let (session_id, _) = state.session_of(cookies(request, SESSION_COOKIE))?;
    (session_id == signed_in.session_id).then_some((wanted, signed_in))
}

fn page(transaction: &str, wanted: &AuthorizationRequest, signed_in: &SignedIn) -> Response<Bytes> {
    let Some(at) = &wanted.asker.at else { return login::expired() };
    pages::consent(&ConsentPage {
        transaction,
        client: at.client.name(),
        resource: &at.resource.name,
        redirect_uri: &wanted.reply.redirect_uri,
        email: &signed_in.user.email,
        scopes: &wanted.scopes,
    })
}
