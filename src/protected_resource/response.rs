//! The responses of the well-known URLs.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::resource::ProtectedResource;
use crate::middleware::rejection::json_response;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// Clients request it with each connection. Changes of the configuration take effect within minutes.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

pub(super) fn response<B>(request: &Request<B>, resource: &ProtectedResource) -> Response<Bytes> {
    let method = request.method();
    let mut response = match *method {
        Method::GET | Method::HEAD => {
            document(resource.metadata(request.uri(), request.headers()), method == Method::HEAD)
        }
        Method::OPTIONS => cors_preflight(),
        _ => json_response(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Only GET, HEAD and OPTIONS are allowed",
        ),
    };
    let headers = response.headers_mut();
    if method != Method::GET && method != Method::HEAD {
        headers.insert(header::ALLOW, METHODS);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

fn document(metadata: Bytes, is_head: bool) -> Response<Bytes> {
    let length = metadata.len();
    let mut response = Response::new(if is_head { Bytes::new() } else { metadata });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, CACHED);
    if is_head {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

/// Allows all headers, because browser-based clients send `MCP-Protocol-Version`.
fn cors_preflight() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ANY);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
