//! `/invitations/{token}`: the link in the e-mail of an invitation.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::hosted_login::idp_initiated::initiate_login_url;
use crate::sandbox::pages;
use crate::sandbox::respond::redirect;

const REJECTED: &str = "The invitation cannot be accepted";

/// Opens the application's login route, which continues at the environment. Accepting takes the
/// sign-in: programs that open links of e-mails do not accept.
pub(crate) fn open(environment: &Environment, token: &str) -> Response<Bytes> {
    let state = environment.lock();
    if state.invited(token).is_none() {
        return pages::problem(
            StatusCode::NOT_FOUND,
            REJECTED,
            "It has expired, or was withdrawn. Ask for a new one.",
        );
    }
    let Some(mut url) = initiate_login_url(&state) else {
        return pages::no_initiate_login_url(REJECTED);
    };
    url.query_pairs_mut().append_pair("invitation_token", token);
    redirect(StatusCode::FOUND, url.as_str())
}
