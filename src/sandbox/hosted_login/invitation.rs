//! `/invitations/{token}`: the link in the e-mail of an invitation.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::sandbox::hosted_login::idp_initiated::initiate_login_url;
use crate::sandbox::pages;
use crate::sandbox::respond::redirect;
use crate::sandbox::state::State;

const REJECTED: &str = "The invitation cannot be accepted";

/// Opens the application's login route, which continues at the environment. The invitation is
/// accepted by the sign-in, not by the link, because programs open the links of e-mails.
pub(crate) fn open(state: &State, token: &str) -> Response<Bytes> {
    if state.invited(token).is_none() {
        return pages::problem(
            StatusCode::NOT_FOUND,
            REJECTED,
            "It has expired, or was withdrawn. Ask for a new one.",
        );
    }
    let Some(mut url) = initiate_login_url(state) else {
        return pages::no_initiate_login_url(REJECTED);
    };
    url.query_pairs_mut().append_pair("invitation_token", token);
    redirect(StatusCode::FOUND, url.as_str())
}
