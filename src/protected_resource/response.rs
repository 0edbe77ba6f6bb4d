//! The responses of the well-known URLs.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::resource::ProtectedResource;
use crate::middleware::rejection::json_response;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// Clients request it with each connection; configuration changes take effect within minutes.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

pub(super) fn response<B>(request: &Request<B>, resource: &ProtectedResource) -> Response<Bytes> {
    let method = request.method();
    let mut response = match *method {
        Method::GET | Method::HEAD => {
            let metadata = resource.metadata(request.uri(), request.headers());
            document(metadata, method == Method::HEAD)
        }
        Method::OPTIONS => permission(),
        _ => {
            let message = "Only GET, HEAD and OPTIONS are allowed";
            json_response(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        }
    };
    let headers = response.headers_mut();
    if method != Method::GET && method != Method::HEAD {
        headers.insert(header::ALLOW, METHODS);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

fn document(metadata: Bytes, head: bool) -> Response<Bytes> {
    let length = HeaderValue::from(metadata.len());
    let mut response = Response::new(if head { Bytes::new() } else { metadata });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, CACHED);
    if head {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    response
}

/// Browser-based clients send `MCP-Protocol-Version`, which CORS must allow.
fn permission() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ANY);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
