//! A request on its way to a service by way of the environment.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, Request, Version};
use percent_encoding::percent_decode;

use super::{DEADLINE, MAX_ANSWER_BYTES};
use crate::api::ApiError;
use crate::api::connected_accounts::AccountKey;
use crate::http_client::SendLimits;
use crate::scalekit::Scalekit;

const CONNECTION_NAME: HeaderName = HeaderName::from_static("connection_name");
const IDENTIFIER: HeaderName = HeaderName::from_static("identifier");

/// What is of one connection (RFC 9110 section 7.6.1), of another server, or set anew.
const LEFT_BEHIND: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The request as the environment's proxy takes it, but for the token.
pub(super) fn proxied(
    scalekit: &Scalekit,
    account: &AccountKey,
    request: Request<Bytes>,
) -> Result<Request<Bytes>, ApiError> {
    // Its headers have no place for more: what is left out could mean another account.
    let Some((connection_name, identifier)) = account.names() else {
        let problem = "the proxy knows accounts by connection name and identifier alone";
        return Err(ApiError::InvalidCall(problem));
    };
    let (mut parts, body) = request.into_parts();
    if [Method::CONNECT, Method::TRACE].contains(&parts.method) {
        return Err(ApiError::InvalidCall("no proxied request is a tunnel or an echo"));
    }
    // Which one it came by is none of the environment's business.
    parts.version = Version::default();
    if parts.uri.authority().is_some() || parts.uri.scheme().is_some() {
        return Err(ApiError::InvalidCall("the address of a proxied request is a path"));
    }
    let path = parts.uri.path();
    let mut url = scalekit.endpoint(&format!("/proxy{path}"));
    let base = scalekit.endpoint("/proxy");
    // A URL resolves dot segments, and mends what no path has: what is sent must be what was meant.
    if !path.starts_with('/')
        || has_dot_segments(path)
        || url.path().strip_prefix(base.path()) != Some(path)
    {
        let problem = "the path of a proxied request has dot segments or characters that paths do \
                       not have";
        return Err(ApiError::InvalidCall(problem));
    }
    url.set_query(parts.uri.query());
    parts.uri = url.as_str().parse().map_err(|_| {
        ApiError::InvalidCall("the address of a proxied request cannot be requested")
    })?;
    forward_only_what_may_be(&mut parts.headers);
    let value = |text: &str| match HeaderValue::from_str(text) {
        // What is not ASCII is read in one way here and in another there: as somebody else's.
        // White space around it is lost on the way.
        Ok(value) if !text.is_empty() && text.is_ascii() && text.trim() == text => Ok(value),
        _ => Err(ApiError::InvalidCall("connection name or identifier fits into no header")),
    };
    parts.headers.insert(CONNECTION_NAME, value(connection_name)?);
    parts.headers.insert(IDENTIFIER, value(identifier)?);
    // Whatever the app keeps there is none of the HTTP client's business.
    parts.extensions = Extensions::new();
    parts.extensions.insert(SendLimits { deadline: DEADLINE, max_body_bytes: MAX_ANSWER_BYTES });
    Ok(Request::from_parts(parts, body))
}

fn forward_only_what_may_be(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter();
    let named = named.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let named: Vec<_> = named.map(|name| name.trim().to_ascii_lowercase()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in LEFT_BEHIND {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    // For some that pass it on it is the same as with the underscore.
    headers.remove("connection-name");
}

/// However often they are encoded: nobody knows how often they are decoded on the way. What is
/// encoded more often than anybody would is taken for some.
fn has_dot_segments(path: &str) -> bool {
    let mut path = path.as_bytes().to_vec();
    for _ in 0..MAX_DECODINGS {
        let is_dots = |segment: &[u8]| segment == b"." || segment == b"..";
        if path.split(|byte| matches!(byte, b'/' | b'\\')).any(is_dots) {
            return true;
        }
        let decoded: Vec<u8> = percent_decode(&path).collect();
        if decoded == path {
            return false;
        }
        path = decoded;
    }
    true
}

const MAX_DECODINGS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::Nowhere;

    fn scalekit() -> Scalekit {
        let scalekit = Scalekit::builder("https://acme.scalekit.test/base", "skc_1", "s3cret");
        scalekit.http_client(Nowhere).build().unwrap()
    }

    fn sent(request: Request<&'static str>) -> Result<Request<Bytes>, ApiError> {
        let account = AccountKey::of("gmail", "user_123");
        proxied(&scalekit(), &account, request.map(Bytes::from))
    }

    #[test]
    fn method_query_body_and_headers_pass() {
        let request = Request::post("/gmail/v1/x%20y?a=1&a=%2F").header("x-goog", "1");
        let request = request.header("content-type", "text/plain").body("hello").unwrap();
        let sent = sent(request).unwrap();
        assert_eq!(sent.uri(), "https://acme.scalekit.test/base/proxy/gmail/v1/x%20y?a=1&a=%2F",);
        assert_eq!((sent.method().as_str(), sent.body().as_ref()), ("POST", &b"hello"[..]));
        assert_eq!((&sent.headers()["x-goog"], sent.headers().len()), (&"1".parse().unwrap(), 4));
        assert_eq!(sent.headers()["connection_name"], "gmail");
        assert_eq!(sent.headers()["identifier"], "user_123");
        assert_eq!(SendLimits::of(&sent).deadline, DEADLINE);
    }

    #[test]
    fn no_path_leads_out_of_the_proxy() {
        for path in [
            "/../api/v1/organizations",
            "/gmail/../../keys",
            "/gmail/%2e%2e/%2E%2E/keys",
            "/gmail/.%2e/keys",
            "/gmail/..%2f..%2fkeys",
            "/gmail/%252e%252e/keys",
            "/gmail/..%5c..%5ckeys",
            "/gmail/./keys",
            "/..",
            "https://evil.test/gmail",
            "//evil.test:80",
            "evil.test:80",
            "*",
        ] {
            let Ok(request) = Request::get(path).body("") else { continue };
            match sent(request) {
                Err(ApiError::InvalidCall(_)) => {}
                // A leading double slash stays below the proxy.
                Ok(sent) => assert!(
                    path == "//evil.test:80"
                        && sent.uri().host() == Some("acme.scalekit.test")
                        && sent.uri().path() == "/base/proxy//evil.test:80",
                    "{path}: {}",
                    sent.uri()
                ),
                Err(error) => panic!("{path}: {error}"),
            }
        }
        assert!(sent(Request::get("/gmail/a..b/...").body("").unwrap()).is_ok());
    }

    #[test]
    fn a12_credentials_and_headers_of_one_hop_stay_here() {
        let mut request = Request::get("/gmail/v1/x").body("").unwrap();
        for (name, value) in [
            ("authorization", "Bearer mine"),
            ("cookie", "session=mine"),
            ("host", "app.example.com"),
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Basic x"),
            ("content-length", "7"),
            ("connection_name", "slack"),
            ("identifier", "somebody-else"),
        ] {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        let sent = sent(request).unwrap();
        let mut names: Vec<_> = sent.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["connection_name", "identifier"]);
        assert_eq!(sent.headers().get_all("identifier").iter().count(), 1);
        assert_eq!(sent.headers()["identifier"], "user_123");
    }

    #[test]
    fn a_path_that_is_encoded_over_and_over_is_judged_at_once() {
        assert!(has_dot_segments(&format!("/%{}", "25".repeat(32_000))));
        assert!(!has_dot_segments("/a%252Fb"));
    }

    #[test]
    fn tunnels_and_echoes_are_not_sent() {
        for method in [Method::CONNECT, Method::TRACE] {
            let request = Request::builder().method(method).uri("/gmail/v1/x").body("").unwrap();
            assert!(matches!(sent(request), Err(ApiError::InvalidCall(_))));
        }
    }

    #[test]
    fn what_fits_into_no_header_is_not_sent() {
        for (name, identifier) in [
            ("gmail", ""),
            ("", "a"),
            ("gmail\r\nx: y", "a"),
            ("gmail", "é"),
            ("gmail", "bob "),
            ("gmail ", "bob"),
            ("gmail", "\tbob"),
        ] {
            let request = Request::get("/gmail/v1/x").body(Bytes::new()).unwrap();
            let sent = proxied(&scalekit(), &AccountKey::of(name, identifier), request);
            assert!(matches!(sent, Err(ApiError::InvalidCall(_))), "{name} {identifier}");
        }
    }

    #[test]
    fn an_account_that_the_headers_cannot_name_is_not_guessed_at() {
        let jane = || AccountKey::of("gmail", "jane");
        for account in
            [AccountKey::id("ca_1"), jane().organization_id("org_1"), jane().user_id("usr_1")]
        {
            let request = Request::get("/gmail/v1/x").body(Bytes::new()).unwrap();
            let sent = proxied(&scalekit(), &account, request);
            assert!(matches!(sent, Err(ApiError::InvalidCall(_))), "{account:?}");
        }
    }
}
