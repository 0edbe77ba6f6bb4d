//! `/consent`: the page where a user allows a client to use a resource, and its form.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::pages::{self, ConsentPage};
use crate::sandbox::parameters::{Parameters, session_cookies, with_query};
use crate::sandbox::respond::redirect;
use crate::sandbox::state::State;
use crate::sandbox::state::authorization::{
    AtResource, AuthorizationError, AuthorizationRequest, SignedIn,
};
use crate::sandbox::state::users::SandboxUser;

/// Whether the user has to consent. The application itself never requires it.
pub(crate) fn is_needed(
    state: &State,
    authorization: &AuthorizationRequest,
    user: &SandboxUser,
) -> bool {
    let AuthorizationRequest { client, scopes, forces_consent, .. } = authorization;
    client.at.is_some()
        && (*forces_consent || !state.consents.allows(&user.id, client.holder(), scopes))
}

/// Where the browser is redirected once its user is known: to the page, or back with a code.
pub(crate) fn next(
    state: &mut State,
    authorization: AuthorizationRequest,
    signed_in: SignedIn,
) -> String {
    if !is_needed(state, &authorization, &signed_in.user) {
        return state.grant(authorization, signed_in);
    }
    let transaction = state.open_transaction(authorization, Some(signed_in));
    with_query("/consent", &[("transaction", Some(&transaction))])
}

/// `GET /consent`: the page.
pub(crate) fn show(state: &State, request: &Request<Bytes>) -> Response<Bytes> {
    let parameters = Parameters::from_query(request);
    let transaction = parameters.get("transaction").unwrap_or_default();
    let Some((AuthorizationRequest { client, reply, scopes, .. }, SignedIn { user, .. })) =
        pending(state, request, transaction)
    else {
        return pages::expired();
    };
    let Some(AtResource { client, resource }) = &client.at else { return pages::expired() };
    pages::consent(&ConsentPage {
        transaction,
        client: client.name(),
        resource: &resource.name,
        redirect_uri: &reply.redirect_uri,
        email: &user.email,
        scopes,
    })
}

/// `POST /consent`: the user allows or denies.
pub(crate) fn submit(state: &mut State, request: &Request<Bytes>) -> Response<Bytes> {
    pages::handle_form(request, pages::SIGN_IN_FAILED, |form| {
        let id = form.get("transaction").unwrap_or_default();
        let Some((authorization, signed_in)) = pending(state, request, id) else {
            return pages::expired();
        };
        let (authorization, signed_in) = (authorization.clone(), signed_in.clone());
        state.close_transaction(id);
        let location = match form.get("action") {
            Some("allow") => {
                let client = authorization.client.holder();
                state.consents.add(&signed_in.user.id, client, &authorization.scopes);
                state.grant(authorization, signed_in)
            }
            _ => authorization.reply.error(&AuthorizationError::denied()),
        };
        redirect(StatusCode::SEE_OTHER, &location)
    })
}

/// The pending consent, if this browser has the session of its user.
fn pending<'s>(
    state: &'s State,
    request: &Request<Bytes>,
    transaction: &str,
) -> Option<(&'s AuthorizationRequest, &'s SignedIn)> {
    let (authorization, signed_in) = state.transaction(transaction)?;
    let signed_in = signed_in?;
    let (session_id, _) = state.session_of(session_cookies(request))?;
    (session_id == signed_in.session_id).then_some((authorization, signed_in))
}
