//! `/magicLink/{token}`: where a user authorizes the application at a service.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use url::Url;

use crate::sandbox::pages::{self, ConnectPage};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::redirect_uri::is_loopback;
use crate::sandbox::respond::redirect;
use crate::sandbox::state::State;
use crate::sandbox::state::connected_accounts::{
    Account, AccountConnection, AccountStatus, ConsentFlow,
};

/// `GET`: the page. A request that does not accept HTML, as of a program, authorizes the
/// application at once.
pub(crate) fn show(state: &mut State, request: &Request<Bytes>, token: &str) -> Response<Bytes> {
    let Some(flow) = state.connected_accounts.link(token, state.now).cloned() else {
        return expired();
    };
    if !accepts_html(request) {
        return allow(state, token, flow, StatusCode::FOUND);
    }
    let Some(Account { connection: AccountConnection { connector, name, .. }, identifier, .. }) =
        state.connected_accounts.with_id(&flow.account_id)
    else {
        return expired();
    };
    pages::connect(&ConnectPage {
        token,
        service: connector.service,
        purpose: connector.purpose,
        connection: name,
        identifier,
        user_verify_url: flow.user_verify_url.as_deref(),
        scopes: connector.scopes(),
    })
}

fn accepts_html(request: &Request<Bytes>) -> bool {
    request
        .headers()
        .get_all(header::ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|accept| accept.contains("text/html")))
}

/// `POST`: the user allows or denies.
pub(crate) fn submit(state: &mut State, request: &Request<Bytes>, token: &str) -> Response<Bytes> {
    pages::handle_form(request, NOT_CONNECTED, |form| {
        let Some(mut flow) = state.connected_accounts.link(token, state.now).cloned() else {
            return expired();
        };
        if form.get("action") == Some("allow") {
            flow.api_key = form.get("api_key").map(str::to_owned);
            return allow(state, token, flow, StatusCode::SEE_OTHER);
        }
        state.connected_accounts.close_link(token);
        pages::problem(
            StatusCode::OK,
            NOT_CONNECTED,
            "You denied access. Go back to the application to try again.",
        )
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
    pages::problem(
        StatusCode::NOT_FOUND,
        "This link is invalid",
        "The link has been used or has expired. Go back to the application for a new one.",
    )
}

/// The user has authorized the application: the account is active, or waits for the application to
/// verify the user.
fn allow(state: &mut State, token: &str, flow: ConsentFlow, status: StatusCode) -> Response<Bytes> {
    state.connected_accounts.close_link(token);
    let verify_url = flow.user_verify_url.as_deref().and_then(|url| Url::parse(url).ok());
    let Some(mut verify_url) = verify_url else {
        if state.connected_accounts.verification_required {
            return pages::problem(
                StatusCode::BAD_REQUEST,
                NOT_CONNECTED,
                "failed_to_exchange: this environment requires user verification, and the link \
                 has no user_verify_url.",
            );
        }
        state.connect_account(&flow.account_id, flow.api_key.as_deref());
        return redirect(status, "/connected");
    };
    state.set_account_status(&flow.account_id, AccountStatus::PendingVerification);
    let given_state = flow.state.clone();
    let auth_request_id = state.connected_accounts.await_verification(flow, state.now);
    verify_url
        .query_pairs_mut()
        .append_pair("auth_request_id", &auth_request_id)
        .extend_pairs(given_state.map(|given_state| ("state", given_state)));
    redirect(status, verify_url.as_str())
}
