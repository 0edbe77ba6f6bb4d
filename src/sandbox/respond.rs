//! Helpers for responses.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Calls the endpoint if it has the method, else responds with 405 and its methods.
pub(crate) fn allow_methods(
    allowed: &[Method],
    method: &Method,
    endpoint: impl FnOnce() -> Response<Bytes>,
) -> Response<Bytes> {
    if allowed.contains(method) {
        return endpoint();
    }
    let mut response = api_error(StatusCode::METHOD_NOT_ALLOWED, 12, "Method Not Allowed");
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(header::ALLOW, names);
    }
    response
}

/// A JSON response with `Cache-Control: no-store`.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    response(status, "application/json", body.to_string())
}

/// An error in the API's format: a gRPC code and a message.
pub(crate) fn api_error(status: StatusCode, code: u8, message: &str) -> Response<Bytes> {
    json(status, &json!({ "code": code, "message": message, "details": [] }))
}

/// The response to clients of the gRPC API.
pub(crate) const NO_GRPC: &str = "this sandbox speaks HTTP/1.1 and JSON; the gRPC API, which the \
    typed clients of the official SDKs use, is not served";

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The response to a gRPC request over HTTP/1.1, such as gRPC-Web.
pub(crate) fn grpc_rejection() -> Response<Bytes> {
    let mut response = api_error(StatusCode::NOT_IMPLEMENTED, 12, NO_GRPC);
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from_static("12"));
    headers.insert("grpc-message", HeaderValue::from_static(NO_GRPC));
    response
}

/// RFC 3339 in UTC.
pub(crate) fn timestamp(time: OffsetDateTime) -> Value {
    time.to_offset(time::UtcOffset::UTC).format(&Rfc3339).map_or(Value::Null, Value::from)
}

/// The members of an object.
pub(crate) fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The members of an object, without those that are `null`.
pub(crate) fn without_nulls(object: Value) -> Map<String, Value> {
    let mut members = members(object);
    members.retain(|_, value| !value.is_null());
    members
}

pub(crate) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Redirects the browser to `location`: 302 after a GET, 303 after a POST, never 307.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Response<Bytes> {
    let Ok(location) = HeaderValue::from_str(location) else {
        return api_error(StatusCode::BAD_REQUEST, 3, "the redirect is not a valid header value");
    };
    let mut response = response(status, "text/plain; charset=utf-8", Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub(crate) fn set_cookie(mut response: Response<Bytes>, cookie: &str) -> Response<Bytes> {
    // Fixed names and base64url values are always a valid header.
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Allows web pages of every origin to read a response, without cookies (`*`).
pub(crate) fn readable_everywhere(response: Response<Bytes>) -> Response<Bytes> {
    with_header(response, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")
}

/// The response with another header, in place of its former value.
pub(crate) fn with_header(
    mut response: Response<Bytes>,
    name: HeaderName,
    value: &'static str,
) -> Response<Bytes> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// The response to a CORS preflight.
pub(crate) fn preflight(allowed: &Method) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if let Ok(allowed) = HeaderValue::from_str(&format!("{allowed}, OPTIONS")) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allowed);
    }
    // `*` does not include `Authorization`.
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, *"));
    response
}
