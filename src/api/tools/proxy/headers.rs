//! Allow lists for headers of requests to the environment's proxy and of its responses.

use http::HeaderMap;
use http::header::{self, HeaderName};

use crate::api::ApiError;

/// Request headers that are forwarded by default: they describe the content and what is acceptable.
const FORWARDED: [HeaderName; 18] = [
    header::ACCEPT,
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::PRAGMA,
    header::RANGE,
    header::USER_AGENT,
];

/// Hop-by-hop headers (RFC 9110, section 7.6.1), in both directions.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Request headers that are never forwarded, by their names with hyphens: the app's credentials,
/// the account of the request, and replacements of the validated method, host or path.
const NEVER_FORWARDED: [&str; 18] = [
    "authorization",
    "connected-account-id",
    "connection-name",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "identifier",
    "organization-id",
    "user-id",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// Response headers that affect the server which sends them, by their names or prefixes: in a
/// browser the app's whole origin, or the web server in front of the app.
const NOT_RETURNED: [&str; 18] = [
    "access-control-",
    "alt-svc",
    "clear-site-data",
    "nel",
    "public-key-pins",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "timing-allow-origin",
    "x-accel-",
    "x-lighttpd-send-file",
    "x-litespeed-location",
    "x-reproxy-url",
    "x-sendfile",
];

/// Keeps the request headers that are forwarded by default, or that the app has added.
pub(super) fn retain_forwarded(
    headers: &mut HeaderMap,
    named: &[HeaderName],
) -> Result<(), ApiError> {
    if named.iter().any(is_never_forwarded) {
        return Err(ApiError::InvalidCall("a header of forward_header is never forwarded"));
    }
    remove_hop_by_hop(headers);
    retain(headers, |name| FORWARDED.contains(name) || named.contains(name));
    Ok(())
}

/// Removes the response headers that affect the server which sends them.
pub(super) fn remove_not_returned(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    retain(headers, |name| {
        !NOT_RETURNED.iter().any(|removed| {
            name == removed || removed.ends_with('-') && name.as_str().starts_with(removed)
        })
    });
}

fn is_never_forwarded(name: &HeaderName) -> bool {
    // Some servers do not distinguish the two characters.
    let name = name.as_str().replace('_', "-");
    NEVER_FORWARDED.contains(&name.as_str())
        || HOP_BY_HOP.contains(&name.as_str())
        || name.starts_with("x-forwarded-")
}

/// Removes hop-by-hop headers, including those that `Connection` lists.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    retain(headers, |name| !named.contains(name) && !HOP_BY_HOP.contains(&name.as_str()));
}

fn retain(headers: &mut HeaderMap, is_retained: impl Fn(&HeaderName) -> bool) {
    let removed: Vec<_> = headers.keys().filter(|name| !is_retained(name)).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}
