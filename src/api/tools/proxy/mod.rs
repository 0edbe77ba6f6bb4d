//! Requests to a service through the environment's proxy.

mod headers;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Extensions, Method, Request, Response, Version};

use super::{MAX_RESPONSE_BYTES, TIMEOUT};
use crate::api::ApiError;
use crate::api::client::request::api_url;
use crate::api::connected_accounts::AccountKey;
use crate::http_client::SendLimits;
use crate::scalekit::Scalekit;

const CONNECTION_NAME: HeaderName = HeaderName::from_static("connection_name");
const IDENTIFIER: HeaderName = HeaderName::from_static("identifier");

/// The `Location` of a proxied response, in the response's extensions: a URL that the service
/// chose.
///
/// It is not in the headers, because a browser would follow it if the app returned the response
/// unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLocation(pub HeaderValue);

/// The request as the environment's proxy expects it, without the access token. Forwards the
/// headers `named` in addition to the default ones.
pub(super) fn proxied(
    scalekit: &Scalekit,
    account: &AccountKey,
    named: &[HeaderName],
    request: Request<Bytes>,
) -> Result<Request<Bytes>, ApiError> {
    // Its headers only have the connection name and identifier: without the rest, another account
    // could match.
    let Some((connection_name, identifier)) = account.names() else {
        return Err(ApiError::InvalidCall(
            "the proxy knows accounts by connection name and identifier only",
        ));
    };
    let (mut parts, body) = request.into_parts();
    if [Method::CONNECT, Method::TRACE].contains(&parts.method) {
        return Err(ApiError::InvalidCall("a proxied request cannot be CONNECT or TRACE"));
    }
    // The HTTP version is not passed on.
    parts.version = Version::default();
    if parts.uri.authority().is_some() || parts.uri.scheme().is_some() {
        return Err(ApiError::InvalidCall("the URI of a proxied request must be a path"));
    }
    let mut url = api_url(scalekit, "/proxy", parts.uri.path())?;
    url.set_query(parts.uri.query());
    parts.uri = url
        .as_str()
        .parse()
        .map_err(|_| ApiError::InvalidCall("the URI of a proxied request is not valid"))?;
    headers::retain_forwarded(&mut parts.headers, named)?;
    parts.headers.insert(CONNECTION_NAME, key_header(connection_name)?);
    parts.headers.insert(IDENTIFIER, key_header(identifier)?);
    // The app's extensions are not passed to the HTTP client.
    parts.extensions = Extensions::new();
    parts.extensions.insert(SendLimits { timeout: TIMEOUT, max_body_bytes: MAX_RESPONSE_BYTES });
    Ok(Request::from_parts(parts, body))
}

/// A part of the account's key as a header. Servers decode non-ASCII values differently, which could
/// match another user. Surrounding white space is lost in transit.
fn key_header(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| !text.is_empty() && text.is_ascii() && text.trim() == text)
        .ok_or(ApiError::InvalidCall("connection name or identifier is not a valid header value"))
}

/// The response of the service, without headers that affect the app which returns it to a browser.
pub(super) fn returned(mut response: Response<Bytes>) -> Response<Bytes> {
    if let Some(location) = response.headers_mut().remove(header::LOCATION) {
        response.extensions_mut().insert(ServiceLocation(location));
    }
    headers::remove_not_returned(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::UnreachableClient;

    fn scalekit() -> Scalekit {
        let scalekit = Scalekit::builder("https://acme.scalekit.test", "skc_1", "s3cret");
        scalekit.http_client(UnreachableClient).build().unwrap()
    }

    fn sent(request: Request<&'static str>) -> Result<Request<Bytes>, ApiError> {
        let account = AccountKey::new("gmail", "user_123");
        let named = [HeaderName::from_static("x-goog")];
        proxied(&scalekit(), &account, &named, request.map(Bytes::from))
    }

    #[test]
    fn method_query_body_and_headers_are_forwarded() {
        let request = Request::post("/gmail/v1/x%20y?a=1&a=%2F").header("x-goog", "1");
        let request = request.header("content-type", "text/plain").body("hello").unwrap();
        let sent = sent(request).unwrap();
        assert_eq!(sent.uri(), "https://acme.scalekit.test/proxy/gmail/v1/x%20y?a=1&a=%2F");
        assert_eq!((sent.method().as_str(), sent.body().as_ref()), ("POST", &b"hello"[..]));
        assert_eq!((&sent.headers()["x-goog"], sent.headers().len()), (&"1".parse().unwrap(), 4));
        assert_eq!(sent.headers()["connection_name"], "gmail");
        assert_eq!(sent.headers()["identifier"], "user_123");
        assert_eq!(SendLimits::from_request(&sent).timeout, TIMEOUT);
    }

    #[test]
    fn no_path_escapes_the_proxy() {
        for path in [
            "/../api/v1/organizations",
            "/gmail/../../keys",
            "/gmail/%2e%2e/%2E%2E/keys",
            "/gmail/.%2e/keys",
            "/gmail/..%2f..%2fkeys",
            "/gmail/%252e%252e/keys",
            "/gmail/..%5c..%5ckeys",
            "/gmail/./keys",
            "/gmail/..;/keys",
            "/gmail/..;a=b/..%3B/keys",
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
                        && sent.uri().path() == "/proxy//evil.test:80",
                    "{path}: {}",
                    sent.uri()
                ),
                Err(error) => panic!("{path}: {error}"),
            }
        }
        assert!(sent(Request::get("/gmail/a..b/...").body("").unwrap()).is_ok());
    }

    #[test]
    fn only_allowed_and_named_headers_are_forwarded() {
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
            ("identifier", "another-user"),
            ("connected_account_id", "ca_2"),
            ("organization_id", "org_2"),
            ("organization-id", "org_2"),
            ("user_id", "usr_2"),
            ("x-original-url", "/api/v1/organizations"),
            ("x-rewrite-url", "/api/v1/organizations"),
            ("x-http-method-override", "DELETE"),
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-host", "evil.test"),
            ("forwarded", "host=evil.test"),
            ("x-unknown", "1"),
            ("accept", "application/json"),
            ("if-none-match", "\"1\""),
            ("x-goog", "1"),
        ] {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        let sent = sent(request).unwrap();
        let mut names: Vec<_> = sent.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "connection_name", "identifier", "if-none-match", "x-goog"]);
        assert_eq!(sent.headers().get_all("identifier").iter().count(), 1);
        assert_eq!(sent.headers()["identifier"], "user_123");
    }

    #[test]
    fn a_forwarded_header_that_connection_names_is_removed() {
        let request = Request::get("/gmail/v1/x").header("connection", "Accept, x-goog");
        let request = request.header("accept", "*/*").header("x-goog", "1").body("").unwrap();
        assert_eq!(sent(request).unwrap().headers().len(), 2);
    }

    #[test]
    fn credentials_account_and_overrides_cannot_be_forwarded() {
        for name in [
            "authorization",
            "cookie",
            "host",
            "connection",
            "connection_name",
            "connection-name",
            "connected-account-id",
            "organization_id",
            "x-original-url",
            "x-http-method-override",
            "x-forwarded-for",
        ] {
            let request = Request::get("/gmail/v1/x").body(Bytes::new()).unwrap();
            let account = AccountKey::new("gmail", "user_123");
            let sent = proxied(&scalekit(), &account, &[HeaderName::from_static(name)], request);
            assert!(matches!(sent, Err(ApiError::InvalidCall(_))), "{name}");
        }
    }

    #[test]
    fn connect_and_trace_are_not_sent() {
        for method in [Method::CONNECT, Method::TRACE] {
            let request = Request::builder().method(method).uri("/gmail/v1/x").body("").unwrap();
            assert!(matches!(sent(request), Err(ApiError::InvalidCall(_))));
        }
    }

    #[test]
    fn invalid_header_values_are_not_sent() {
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
            let sent = proxied(&scalekit(), &AccountKey::new(name, identifier), &[], request);
            assert!(matches!(sent, Err(ApiError::InvalidCall(_))), "{name} {identifier}");
        }
    }

    #[test]
    fn accounts_that_the_headers_cannot_identify_are_rejected() {
        let jane = || AccountKey::new("gmail", "jane");
        for account in
            [AccountKey::id("ca_1"), jane().organization_id("org_1"), jane().user_id("usr_1")]
        {
            let request = Request::get("/gmail/v1/x").body(Bytes::new()).unwrap();
            let sent = proxied(&scalekit(), &account, &[], request);
            assert!(matches!(sent, Err(ApiError::InvalidCall(_))), "{account:?}");
        }
    }
}
