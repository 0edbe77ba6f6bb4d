//! `/api/v1/connections/{connection_id}/auth-requests/{login_request_id}/user`

use bytes::Bytes;
use http::{Method, Request, Response};
use serde::Deserialize;
use serde_json::json;

use super::{ApiErrorResponse, ApiResult, checked, respond};
use crate::sandbox::environment::Environment;
use crate::sandbox::forms::is_email_address;
use crate::sandbox::state::users::NewUser;

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
        given_name: Option<String>,
        family_name: Option<String>,
    }
    let connection = checked(connection, "conn_", "invalid ID: it must start with conn_")?;
    let body: Body = serde_json::from_slice(request.body())
        .map_err(|_| ApiErrorResponse::invalid("the body is not a user with sub and email"))?;
    if body.sub.is_empty() || !is_email_address(&body.email) {
        return Err(ApiErrorResponse::invalid("sub or email is invalid"));
    }
    let mut user = NewUser::new(&body.email).external_id(&body.sub);
    if let Some(given_name) = &body.given_name {
        user = user.name(given_name, body.family_name.as_deref().unwrap_or_default());
    }
    let now = environment.now();
    match environment.lock().own_logins.set_user(connection, id, user, now) {
        true => Ok(json!({})),
        false => Err(ApiErrorResponse::not_found("the login request is unknown or has expired")),
    }
}
