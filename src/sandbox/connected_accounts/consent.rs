//! `/magicLink/{token}`: where a user authorizes the application at a service.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use time::OffsetDateTime;
use url::Url;

use crate::sandbox::environment::Environment;
use crate::sandbox::pages::{self, ConnectPage};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::redirect_uri::is_loopback;
use crate::sandbox::respond::redirect;
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{AccountSelector, AccountStatus, ConsentFlow};

/// `GET`: the page. A request that does not accept HTML, as of a program, authorizes the
/// application at once.
pub(crate) fn show(
    environment: &Environment,
    request: &Request<Bytes>,
    token: &str,
) -> Response<Bytes> {
    let now = environment.now();
    let mut state = environment.lock();
    let Some(flow) = state.connected_accounts.link(token, now).cloned() else { return expired() };
    let mut accept =
        request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if !accept.any(|accept| accept.contains("text/html")) {
        return allow(&mut state, token, flow, StatusCode::FOUND, now);
    }
    let Some(account) = state.connected_accounts.get(&AccountSelector::Id(flow.account_id.clone()))
    else {
        return expired();
    };
    let connector = account.connection.connector;
    pages::connect(&ConnectPage {
        token,
        service: connector.service,
        purpose: connector.purpose,
        connection: &account.connection.name,
        identifier: &account.identifier,
        user_verify_url: flow.user_verify_url.as_deref(),
        scopes: connector.scopes(),
    })
}

/// `POST`: the user allows or denies.
pub(crate) fn submit(
    environment: &Environment,
    request: &Request<Bytes>,
    token: &str,
) -> Response<Bytes> {
    pages::handle_form(request, NOT_CONNECTED, |form| {
        let now = environment.now();
        let mut state = environment.lock();
        let Some(mut flow) = state.connected_accounts.link(token, now).cloned() else {
            return expired();
        };
        match form.get("action") {
            Some("allow") => {
                flow.api_key = form.get("api_key").map(str::to_owned);
                allow(&mut state, token, flow, StatusCode::SEE_OTHER, now)
            }
            _ => {
                state.connected_accounts.close_link(token);
                let reason = "You denied access. Go back to the application to try again.";
                pages::problem(StatusCode::OK, NOT_CONNECTED, reason)
            }
        }
    })
}

/// `/connected`: the last page, unless the application has set another.
pub(crate) fn connected(request: &Request<Bytes>) -> Response<Bytes> {
    let query = Parameters::from_query(request);
    // The URL in the query is untrusted: only that of an application on a loopback address is
    // linked.
    pages::connected(query.get("application").filter(|url| is_loopback(url)))
}

const NOT_CONNECTED: &str = "The account is not connected";

fn expired() -> Response<Bytes> {
    let reason = "The link has been used or has expired. Go back to the application for a new one.";
    pages::problem(StatusCode::NOT_FOUND, "This link is invalid", reason)
}

/// The user has authorized the application: the account is active, or waits for the application to
/// verify the user.
fn allow(
    state: &mut State,
    token: &str,
    flow: ConsentFlow,
    status: StatusCode,
    now: OffsetDateTime,
) -> Response<Bytes> {
    state.connected_accounts.close_link(token);
    let id = flow.account_id.clone();
    let verify_url = flow.user_verify_url.as_deref().and_then(|url| Url::parse(url).ok());
    if verify_url.is_none() && state.connected_accounts.verification_required {
        let reason = "failed_to_exchange: this environment requires user verification, and the link \
                      has no user_verify_url.";
        return pages::problem(StatusCode::BAD_REQUEST, NOT_CONNECTED, reason);
    }
    let Some(mut verify_url) = verify_url else {
        state.connect_account(&id, flow.api_key.as_deref(), now);
        return redirect(status, "/connected");
    };
    let given_state = flow.state.clone();
    let auth_request_id = state.connected_accounts.await_verification(flow, now);
    state.set_account_status(&id, AccountStatus::PendingVerification, now);
    verify_url.query_pairs_mut().append_pair("auth_request_id", &auth_request_id);
    if let Some(given_state) = given_state {
        verify_url.query_pairs_mut().append_pair("state", &given_state);
    }
    redirect(status, verify_url.as_str())
}
