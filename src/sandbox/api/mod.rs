//! `/api/v1`: authorization, and helpers of its resources.

mod api_keys;
mod auth_requests;
mod connected_accounts;
mod connections;
mod directories;
mod domains;
mod error;
mod mcp_configs;
mod memberships;
mod organization_clients;
mod organizations;
mod paging;
mod parse;
mod passwordless;
mod roles;
mod sessions;
mod tools;
mod user_key;
mod users;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use self::error::{ApiErrorResponse, GrpcCode};
use super::environment::Environment;
use super::parameters::Parameters;
use super::respond::{self, timestamp};
use super::state::State;
use super::tokens::bearer_claims;

pub(super) use self::tools::proxy;

/// Responds to a request, by its path after `/api/v1/`, in segments as sent.
pub(super) fn response(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[&str],
) -> Response<Bytes> {
    if !is_from_the_client(environment, request) {
        return ApiErrorResponse::UNAUTHENTICATED.response();
    }
    let decoded: Option<Vec<_>> =
        resource.iter().map(|segment| percent_decode_str(segment).decode_utf8().ok()).collect();
    let Some(decoded) = decoded else {
        return ApiErrorResponse::invalid("the path is not UTF-8").response();
    };
    let resource: Vec<_> = decoded.iter().map(|segment| &**segment).collect();
    if let (&Method::POST, ["mcp", "configs", id, "tokens"]) =
        (request.method(), resource.as_slice())
    {
        // Without the lock, because it signs.
        return respond(mcp_configs::token(environment, request.body(), id));
    }
    let api_request = ApiRequest {
        method: request.method(),
        resource: &resource,
        query: Parameters::from_query(request),
        body: request.body(),
        client_id: &environment.client_id,
    };
    operation(&mut environment.lock(), &api_request).unwrap_or_else(|| not_played(request))
}

/// A request to the API.
struct ApiRequest<'r> {
    method: &'r Method,
    /// The path after `/api/v1/`.
    resource: &'r [&'r str],
    query: Parameters,
    body: &'r [u8],
    client_id: &'r str,
}

/// The response to an operation that the sandbox, or the API itself, does not have.
fn not_played(request: &Request<Bytes>) -> Response<Bytes> {
    let (method, path) = (request.method(), request.uri().path());
    respond::api_error(
        StatusCode::NOT_IMPLEMENTED,
        12,
        &format!("the sandbox does not play {method} {path}"),
    )
}

fn operation(state: &mut State, request: &ApiRequest<'_>) -> Option<Response<Bytes>> {
    let ApiRequest { query, body, .. } = request;
    Some(respond(match (request.method, request.resource) {
        (&Method::GET, ["connections"]) => connections::list(state, query),
        (&Method::GET, ["organizations"]) => organizations::list(state, query),
        (&Method::POST, ["organizations"]) => {
            return Some(created(organizations::create(state, body)));
        }
        (&Method::GET, ["organizations:external", id]) => organizations::get_external(state, id),
        (&Method::GET, ["organizations", id]) => organizations::get(state, id),
        (&Method::PATCH, ["organizations", id]) => organizations::update(state, id, body),
        (&Method::DELETE, ["organizations", id]) => organizations::delete(state, id),
        (&Method::GET, ["organizations", organization, "connections", id]) if !has_verb(id) => {
            connections::get(state, organization, id)
        }
        (&Method::DELETE, ["organizations", organization, "connections", id]) if !has_verb(id) => {
            connections::delete(state, organization, id)
        }
        (&Method::PATCH, ["organizations", organization, "connections", id]) => {
            let (id, enabled) = id_and_verb(id)?;
            connections::set_enabled(state, organization, id, enabled)
        }
        (&Method::PUT, ["organizations", id, "portal_links"]) => {
            organizations::portal_link(state, id, query)
        }
        (&Method::PATCH, ["organizations", id, "settings"]) => {
            organizations::update_settings(state, id, body)
        }
        (&Method::PATCH, ["organizations", id, "settings", "usermanagement"]) => {
            organizations::update_user_management(state, id, body)
        }
        (&Method::GET, ["organizations", id, "session-policy"]) => {
            organizations::session_policy(state, id)
        }
        (&Method::PATCH, ["organizations", id, "session-policy"]) => {
            organizations::update_session_policy(state, id, body)
        }
        (&Method::GET, ["organizations", organization, "directories"]) => {
            directories::list(state, organization)
        }
        (&Method::GET, ["organizations", organization, "directories", id]) if !has_verb(id) => {
            directories::get(state, organization, id)
        }
        (&Method::PATCH, ["organizations", organization, "directories", id]) => {
            let (id, enabled) = id_and_verb(id)?;
            directories::set_enabled(state, organization, id, enabled)
        }
        (&Method::GET, ["organizations", organization, "directories", id, "users"]) => {
            directories::users(state, organization, id, query)
        }
        (&Method::GET, ["organizations", organization, "directories", id, "groups"]) => {
            directories::groups(state, organization, id, query)
        }
        (&Method::POST, ["passwordless", "email", "send"]) => passwordless::send(state, body),
        (&Method::POST, ["passwordless", "email", "resend"]) => passwordless::resend(state, body),
        (&Method::POST, ["passwordless", "email", "verify"]) => passwordless::verify(state, body),
        (&Method::GET, ["sessions", id]) => sessions::get(state, id, request.client_id),
        (&Method::POST, ["sessions", id, "revoke"]) => sessions::revoke(state, id),
        (&Method::GET, ["users", id, "sessions"]) => {
            sessions::list(state, id, query, request.client_id)
        }
        (&Method::POST, ["users", id, "sessions", "revoke"]) => sessions::revoke_all(state, id),
        _ => {
            return connected_accounts::response(state, request)
                .or_else(|| users::response(state, request))
                .or_else(|| memberships::response(state, request))
                .or_else(|| roles::response(state, request))
                .or_else(|| api_keys::response(state, request))
                .or_else(|| auth_requests::response(state, request))
                .or_else(|| domains::response(state, request))
                .or_else(|| organization_clients::response(state, request))
                .or_else(|| mcp_configs::response(state, request))
                .or_else(|| tools::response(state, request));
        }
    }))
}

/// Whether the last segment of a path is `{id}:{verb}`.
fn has_verb(segment: &str) -> bool {
    segment.contains(':')
}

/// `{id}:enable` or `{id}:disable`.
fn id_and_verb(segment: &str) -> Option<(&str, bool)> {
    match segment.split_once(':')? {
        (id, "enable") => Some((id, true)),
        (id, "disable") => Some((id, false)),
        _ => None,
    }
}

/// Result of an endpoint.
type ApiResult<T = Value> = Result<T, ApiErrorResponse>;

fn respond(result: ApiResult) -> Response<Bytes> {
    match result {
        Ok(body) => respond::json(StatusCode::OK, &body),
        Err(rejection) => rejection.response(),
    }
}

/// For operations whose errors are `errdetailsErrorInfo`.
fn respond_with_info(result: ApiResult) -> Response<Bytes> {
    match result {
        Ok(body) => respond::json(StatusCode::OK, &body),
        Err(rejection) => rejection.info_response(),
    }
}

/// 201 if a resource was created.
fn created(result: ApiResult) -> Response<Bytes> {
    match result {
        Ok(body) => respond::json(StatusCode::CREATED, &body),
        Err(rejection) => rejection.response(),
    }
}

/// Whether the request has a valid token of the client-credentials grant. Tokens of users are for
/// the application's API, not for this one.
fn is_from_the_client(environment: &Environment, request: &Request<Bytes>) -> bool {
    let now = environment.now().unix_timestamp();
    bearer_claims(environment, request).is_some_and(|claims| {
        let client_id = Some(environment.client_id.as_str());
        claims.get("sub").and_then(Value::as_str) == client_id
            && claims.get("client_id").and_then(Value::as_str) == client_id
            && claims.get("nbf").and_then(Value::as_i64).is_none_or(|start| start <= now)
            && claims.get("exp").and_then(Value::as_i64).is_some_and(|end| now < end)
    })
}

/// The response after a connection or directory was enabled or disabled.
fn enabled_state(kind: &str, is_changed: bool, enabled: bool) -> Value {
    json!({
        "enabled": enabled,
        "error_message": match (is_changed, enabled) {
            (true, _) => String::new(),
            (false, true) => format!("The {kind} is already enabled"),
            (false, false) => format!("The {kind} is already disabled"),
        },
    })
}
