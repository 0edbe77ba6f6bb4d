//! `/api/v1/connections/{connection_id}/auth-requests/{login_request_id}/user`

use bytes::Bytes;
use http::{Method, Request, Response};
use serde::Deserialize;
use serde_json::json;

use super::{ApiErrorResponse, ApiResult, checked, respond};
use crate::sandbox::environment::Environment;
use crate::sandbox::forms::is_email_address;
use crate::sandbox::state::users::NewUser;

/// Of `sub` (OpenID Connect Core, section 2) and of each name.
const MAX_TEXT_BYTES: usize = 255;

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Option<Response<Bytes>> {
    match (request.method(), resource) {
        (&Method::POST, ["connections", connection, "auth-requests", id, "user"]) => {
            Some(respond(set_user(environment, connection, id, request)))
        }
        _ => None,
    }
}

/// Fields of the user that tokens do not contain are ignored.
fn set_user(
    environment: &Environment,
    connection: &str,
    id: &str,
    request: &Request<Bytes>,
) -> ApiResult {
    #[derive(Deserialize)]
    struct Body {
        sub: String,
        email: String,
        name: Option<String>,
        given_name: Option<String>,
        family_name: Option<String>,
    }
    let connection = checked(connection, "conn_", "invalid ID: it must start with conn_")?;
    let body: Body = serde_json::from_slice(request.body())
        .map_err(|_| ApiErrorResponse::invalid("the body is not a user with sub and email"))?;
    if body.sub.is_empty() || !is_email_address(&body.email) {
        return Err(ApiErrorResponse::invalid("sub or email is invalid"));
    }
    let texts =
        [Some(&body.sub), body.name.as_ref(), body.given_name.as_ref(), body.family_name.as_ref()];
    if texts.into_iter().flatten().any(|text| text.len() > MAX_TEXT_BYTES) {
        return Err(ApiErrorResponse::invalid("sub or a name is too long"));
    }
    let mut user = NewUser::new(&body.email).external_id(&body.sub);
    match (&body.given_name, &body.family_name, &body.name) {
        (None, None, None) => {}
        (None, None, Some(name)) => {
            let (given, family) = name.split_once(' ').unwrap_or((name.as_str(), ""));
            user = user.name(given, family);
        }
        (given, family, _) => {
            let [given, family] = [given, family].map(|name| name.as_deref().unwrap_or_default());
            user = user.name(given, family);
        }
    }
    let now = environment.now();
    match environment.lock().own_logins.set_user(connection, id, user, now) {
        true => Ok(json!({})),
        false => Err(ApiErrorResponse::not_found("the login request is unknown or has expired")),
    }
}
