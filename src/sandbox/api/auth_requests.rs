//! `/api/v1/connections/{connection_id}/auth-requests/{login_request_id}/user`

use bytes::Bytes;
use http::{Method, Response};
use serde::Deserialize;
use serde_json::json;

use super::{ApiErrorResponse, ApiRequest, ApiResult, parse, respond};
use crate::sandbox::forms::is_email_address;
use crate::sandbox::state::State;
use crate::sandbox::state::users::NewUser;

/// Of `sub` (OpenID Connect Core, section 2) and of each name.
const MAX_TEXT_BYTES: usize = 255;

/// Responds to a request, by its path after `/api/v1/`.
pub(super) fn response(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { body, .. } = request;
    match (request.method, request.resource) {
        (&Method::POST, ["connections", connection, "auth-requests", id, "user"]) => {
            Some(respond(set_user(state, connection, id, body)))
        }
        _ => None,
    }
}

/// Fields of the user that tokens do not contain are ignored.
fn set_user(state: &mut State, connection: &str, id: &str, body: &[u8]) -> ApiResult {
    #[derive(Deserialize)]
    struct Body {
        sub: String,
        email: String,
        name: Option<String>,
        given_name: Option<String>,
        family_name: Option<String>,
    }
    parse::id(connection, "conn_", "invalid ID: it must start with conn_")?;
    let Body { sub, email, name, given_name, family_name } =
        parse::body(body, "the body is not a user with sub and email")?;
    if sub.is_empty() || !is_email_address(&email) {
        return Err(ApiErrorResponse::invalid("sub or email is invalid"));
    }
    if [Some(&sub), name.as_ref(), given_name.as_ref(), family_name.as_ref()]
        .into_iter()
        .flatten()
        .any(|text| text.len() > MAX_TEXT_BYTES)
    {
        return Err(ApiErrorResponse::invalid("sub or a name is too long"));
    }
    let user = NewUser::new(&email).external_id(&sub);
    let user = match (given_name, family_name, name) {
        (None, None, None) => user,
        (None, None, Some(name)) => match name.split_once(' ') {
            Some((given, family)) => user.name(given, family),
            None => user.name(&name, ""),
        },
        (given, family, _) => user.name(&given.unwrap_or_default(), &family.unwrap_or_default()),
    };
    match state.own_logins.set_user(connection, id, user, state.now) {
        true => Ok(json!({})),
        false => Err(ApiErrorResponse::not_found("the login body is unknown or has expired")),
    }
}
