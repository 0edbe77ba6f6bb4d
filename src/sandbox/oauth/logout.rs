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
        Ok(response) => set_cookie(
            response,
            &format!("{SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"),
        ),
        Err(reason) => pages::problem(StatusCode::BAD_REQUEST, "Signing out failed", &reason),
    }
}

fn checked(environment: &Environment, request: &Request<Bytes>) -> Result<Response<Bytes>, String> {
    let parameters = Parameters::from_query(request);
    if let Some(name) = parameters.repeated() {
        return Err(format!("The application sent {name} more than once."));
    }
    let hinted = parameters
        .get("id_token_hint")
        .map(|hint| {
            session_of_hint(environment, hint)
                .ok_or("The id_token_hint is not an ID token of this environment.")
        })
        .transpose()?;
    let mut state = environment.lock();
    let back_to = parameters.get("post_logout_redirect_uri");
    if let Some(uri) = back_to
        && let Some(reason) = redirect_uri::reason_to_reject(
            uri,
            &state.post_logout_redirect_uris,
            environment.settings.loopback_redirects,
        )
    {
        return Err(format!("The post_logout_redirect_uri {uri} is not allowed. {reason}"));
    }
    let of_browser = state.session_of(session_cookies(request)).map(|(id, _)| id);
    for id in [hinted, of_browser].into_iter().flatten() {
        state.end_session(&id, SessionEnd::LoggedOut);
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
    claims.get("at_hash")?;
    Some(claims.get("sid")?.as_str()?.to_owned())
}
