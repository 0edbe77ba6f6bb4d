//! `/api/v1`: authorization, and helpers of its resources.

mod api_keys;
mod auth_requests;
mod connected_accounts;
mod connections;
mod directories;
mod domains;
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
use http::{Method, Request, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::environment::Environment;
use super::respond::{self, allow_methods, timestamp};
use super::tokens::own_claims;

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
    let Some(resource) = decoded(resource) else {
        return ApiErrorResponse::invalid("the path is not UTF-8").response();
    };
    let response = operation(environment, request, &resource);
    match response.map(|response| (response.status(), response)) {
        Some((status, response)) if status != StatusCode::METHOD_NOT_ALLOWED => response,
        _ => not_played(request),
    }
}

/// The response to an operation of the API that the sandbox does not have, or the API neither.
fn not_played(request: &Request<Bytes>) -> Response<Bytes> {
    let operation = format!("{} {}", request.method(), request.uri().path());
    let message = format!("the sandbox does not play {operation}");
    respond::api_error(StatusCode::NOT_IMPLEMENTED, 12, &message)
}

fn operation(
    environment: &Environment,
    request: &Request<Bytes>,
    resource: &[String],
) -> Option<Response<Bytes>> {
    let resource: Vec<_> = resource.iter().map(String::as_str).collect();
    let method = request.method();
    let get = |endpoint: &dyn Fn() -> ApiResult| {
        allow_methods(&[Method::GET], method, || respond(endpoint()))
    };
    let patch = |endpoint: &dyn Fn() -> ApiResult| {
        allow_methods(&[Method::PATCH], method, || respond(endpoint()))
    };
    let put = |endpoint: &dyn Fn() -> ApiResult| {
        allow_methods(&[Method::PUT], method, || respond(endpoint()))
    };
    let post = |endpoint: &dyn Fn() -> ApiResult| {
        allow_methods(&[Method::POST], method, || respond(endpoint()))
    };
    Some(match resource.as_slice() {
        ["connections"] => get(&|| connections::list(environment, request)),
        ["organizations"] if method == Method::POST => {
            created(organizations::create(environment, request))
        }
        ["organizations"] => allow_methods(&[Method::GET, Method::POST], method, || {
            respond(organizations::list(environment, request))
        }),
        ["organizations:external", id] => get(&|| organizations::get_external(environment, id)),
        ["organizations", id] if method == Method::PATCH => {
            respond(organizations::update(environment, id, request))
        }
        ["organizations", id] if method == Method::DELETE => {
            respond(organizations::delete(environment, id))
        }
        ["organizations", id] => {
            let get = || respond(organizations::get(environment, id));
            allow_methods(&[Method::GET, Method::PATCH, Method::DELETE], method, get)
        }
        ["organizations", organization, "connections", id] => match id.split_once(':') {
            None if method == Method::DELETE => {
                respond(connections::delete(environment, organization, id))
            }
            None => allow_methods(&[Method::GET, Method::DELETE], method, || {
                respond(connections::get(environment, organization, id))
            }),
            Some((id, verb @ ("enable" | "disable"))) => {
                patch(&|| connections::set_enabled(environment, organization, id, verb == "enable"))
            }
            Some(_) => return None,
        },
        ["organizations", id, "portal_links"] => {
            put(&|| organizations::portal_link(environment, id, request))
        }
        ["organizations", id, "settings"] => {
            patch(&|| organizations::update_settings(environment, id, request))
        }
        ["organizations", id, "settings", "usermanagement"] => {
            patch(&|| organizations::update_user_management(environment, id, request))
        }
        ["organizations", id, "session-policy"] if method == Method::GET => {
            respond(organizations::session_policy(environment, id))
        }
        ["organizations", id, "session-policy"] => {
            patch(&|| organizations::update_session_policy(environment, id, request))
        }
        ["organizations", organization, "directories"] => {
            get(&|| directories::list(environment, organization))
        }
        ["organizations", organization, "directories", id] => match id.split_once(':') {
            None => get(&|| directories::get(environment, organization, id)),
            Some((id, verb @ ("enable" | "disable"))) => {
                patch(&|| directories::set_enabled(environment, organization, id, verb == "enable"))
            }
            Some(_) => return None,
        },
        ["organizations", organization, "directories", id, "users"] => {
            get(&|| directories::users(environment, organization, id, request))
        }
        ["organizations", organization, "directories", id, "groups"] => {
            get(&|| directories::groups(environment, organization, id, request))
        }
        ["passwordless", "email", "send"] => post(&|| passwordless::send(environment, request)),
        ["passwordless", "email", "resend"] => post(&|| passwordless::resend(environment, request)),
        ["passwordless", "email", "verify"] => post(&|| passwordless::verify(environment, request)),
        ["sessions", id] => get(&|| sessions::get(environment, id)),
        ["sessions", id, "revoke"] => post(&|| sessions::revoke(environment, id)),
        ["users", id, "sessions"] => get(&|| sessions::list(environment, id, request)),
        ["users", id, "sessions", "revoke"] => post(&|| sessions::revoke_all(environment, id)),
        resource => connected_accounts::response(environment, request, resource)
            .or_else(|| users::response(environment, request, resource))
            .or_else(|| memberships::response(environment, request, resource))
            .or_else(|| roles::response(environment, request, resource))
            .or_else(|| api_keys::response(environment, request, resource))
            .or_else(|| auth_requests::response(environment, request, resource))
            .or_else(|| domains::response(environment, request, resource))
            .or_else(|| organization_clients::response(environment, request, resource))
            .or_else(|| mcp_configs::response(environment, request, resource))
            .or_else(|| tools::response(environment, request, resource))?,
    })
}

/// Result of an endpoint.
type ApiResult = Result<Value, ApiErrorResponse>;

fn respond(response: ApiResult) -> Response<Bytes> {
    match response {
        Ok(body) => respond::json(StatusCode::OK, &body),
        Err(rejection) => rejection.response(),
    }
}

/// 201 if a resource was created.
fn created(response: ApiResult) -> Response<Bytes> {
    match response {
        Ok(body) => respond::json(StatusCode::CREATED, &body),
        Err(rejection) => rejection.response(),
    }
}

/// An error in the format of a gRPC gateway.
#[derive(Debug)]
struct ApiErrorResponse {
    status: StatusCode,
    code: u8,
    error_code: &'static str,
    message: &'static str,
}

impl ApiErrorResponse {
    const UNAUTHENTICATED: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        code: 16,
        error_code: "UNAUTHENTICATED",
        message: "the access token is missing, invalid or expired",
    };

    fn invalid(message: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: 3, error_code: "INVALID_ARGUMENT", message }
    }

    const fn conflict(message: &'static str) -> Self {
        Self { status: StatusCode::CONFLICT, code: 6, error_code: "ALREADY_EXISTS", message }
    }

    const fn not_found(message: &'static str) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: 5, error_code: "NOT_FOUND", message }
    }

    /// The error as `errdetailsErrorInfo`, which the document has for some operations.
    fn info_response(&self) -> Response<Bytes> {
        let message = json!({ "locale": "en", "message": self.message });
        let body = json!({
            "error_code": self.error_code,
            "localized_message_info": message,
        });
        respond::json(self.status, &body)
    }

    fn response(&self) -> Response<Bytes> {
        let detail = json!({
            "@type": "type.googleapis.com/scalekit.v1.errdetails.ErrorInfo",
            "error_code": self.error_code,
        });
        let body = json!({ "code": self.code, "message": self.message, "details": [detail] });
        respond::json(self.status, &body)
    }
}

/// Whether the request has a valid token of the client-credentials grant. Tokens of users are for
/// the application's API, not for this one.
fn is_from_the_client(environment: &Environment, request: &Request<Bytes>) -> bool {
    let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (headers.next(), headers.next()) else { return false };
    let credentials = value.to_str().ok().and_then(|value| value.split_once(' '));
    let Some((scheme, token)) = credentials else { return false };
    let Some(claims) = own_claims(environment, token) else { return false };
    let is =
        |name: &str, expected: &str| claims.get(name).and_then(Value::as_str) == Some(expected);
    let seconds = |name: &str| claims.get(name).and_then(Value::as_i64);
    let now = environment.now().unix_timestamp();
    scheme.eq_ignore_ascii_case("bearer")
        && is("sub", &environment.client_id)
        && is("client_id", &environment.client_id)
        && seconds("nbf").is_none_or(|start| start <= now)
        && seconds("exp").is_some_and(|end| now < end)
}

fn decoded(segments: &[&str]) -> Option<Vec<String>> {
    let decode = |segment: &str| Some(percent_decode_str(segment).decode_utf8().ok()?.into_owned());
    segments.iter().map(|segment| decode(segment)).collect()
}

/// The response after a connection or directory was enabled or disabled.
fn enabled_state(kind: &str, is_changed: bool, enabled: bool) -> Value {
    let message = match (is_changed, enabled) {
        (true, _) => String::new(),
        (false, true) => format!("The {kind} is already enabled"),
        (false, false) => format!("The {kind} is already disabled"),
    };
    json!({ "enabled": enabled, "error_message": message })
}

/// The identifier, if it has the prefix of its type.
fn checked<'a>(
    id: &'a str,
    prefix: &str,
    message: &'static str,
) -> Result<&'a str, ApiErrorResponse> {
    if id.starts_with(prefix) { Ok(id) } else { Err(ApiErrorResponse::invalid(message)) }
}
