//! `GET /oidc/logout`: ends the environment's own session.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::{Parameters, SESSION_COOKIE, session_cookies, with_query};
use crate::sandbox::respond::{redirect, set_cookie};
use crate::sandbox::state::sessions::SessionEnd;
use crate::sandbox::tokens::own_claims;
use crate::sandbox::{pages, redirect_uri};

pub(crate) fn logout(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    match checked(environment, request) {
        Ok(response) => {
            let gone = format!("{SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
            set_cookie(response, &gone)
        }
        Err(reason) => pages::problem(StatusCode::BAD_REQUEST, "Signing out failed", &reason),
    }
}

fn checked(environment: &Environment, request: &Request<Bytes>) -> Result<Response<Bytes>, String> {
    let parameters = Parameters::from_query(request);
    if let Some(name) = parameters.repeated() {
        return Err(format!("The application sent {name} more than once."));
    }
    let hinted = match parameters.get("id_token_hint") {
        None => None,
        Some(hint) => Some(
            session_of_hint(environment, hint)
                .ok_or("The id_token_hint is not an ID token of this environment.")?,
        ),
    };
    let now = environment.now();
    let mut state = environment.lock();
    let back_to = parameters.get("post_logout_redirect_uri");
    if let Some(uri) = back_to {
        let loopback = environment.settings.loopback_redirects;
        if let Some(reason) =
            redirect_uri::reason_to_reject(uri, &state.post_logout_redirect_uris, loopback)
        {
            return Err(format!("The post_logout_redirect_uri {uri} is not allowed. {reason}"));
        }
    }
    let of_browser = state.session_of(session_cookies(request)).map(|(id, _)| id);
    for id in [hinted, of_browser].into_iter().flatten() {
        state.end_session(&id, SessionEnd::LoggedOut, now);
    }
    Ok(match back_to {
        Some(uri) => {
            redirect(StatusCode::FOUND, &with_query(uri, &[("state", parameters.get("state"))]))
        }
        None => pages::signed_out(),
    })
}

/// The `sid` of an ID token that this environment signed; it may have expired.
fn session_of_hint(environment: &Environment, token: &str) -> Option<String> {
    let claims = own_claims(environment, token)?;
    let sid = claims.get("sid")?.as_str()?;
    claims.get("at_hash").is_some().then(|| sid.to_owned())
}
