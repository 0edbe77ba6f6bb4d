//! Responses of routes: their headers, and redirects.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::util::cache_control::{NO_STORE, vary_on_cookie};

/// Sets the headers of every response of a route: cookies, `Vary: Cookie`, and, because the URL may
/// contain a credential, `Cache-Control: no-store` and `Referrer-Policy: no-referrer`.
pub(crate) fn set_route_headers(
    headers: &mut HeaderMap,
    set_cookies: impl IntoIterator<Item = HeaderValue>,
) {
    for cookie in set_cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    set_sensitive_headers(headers);
    vary_on_cookie(headers);
}

/// Forbids caching and the `Referer` header for a response whose URL contains a credential.
pub(crate) fn set_sensitive_headers(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// Redirects from a route.
pub(crate) fn redirect(
    status: StatusCode,
    location: &str,
    set_cookies: impl IntoIterator<Item = HeaderValue>,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Locations are serialized URLs: visible ASCII.
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    headers.insert(header::LOCATION, location);
    set_route_headers(headers, set_cookies);
    response
}
