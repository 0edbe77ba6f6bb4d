//! The origin and the purpose of a request: a browser, a page of this app or of another site.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use url::Url;

static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_USER: HeaderName = HeaderName::from_static("sec-fetch-user");
static NEXT_ROUTER_PREFETCH: HeaderName = HeaderName::from_static("next-router-prefetch");
/// Headers that name the purpose of a request.
static PURPOSES: [HeaderName; 5] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
    HeaderName::from_static("x-sec-purpose"),
];

/// The initiator of a browser's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initiator {
    /// A page of this app or of a trusted origin, or the user: the address bar, a bookmark.
    Own,
    /// A page of another origin.
    Other,
    /// The request has none of these headers: a navigation of an old browser, or no browser.
    Unknown,
}

/// Reads `Sec-Fetch-Site`, in older browsers `Origin`, else `Referer`. Requests of `trusted`
/// origins count as the app's own.
pub(crate) fn initiator(headers: &HeaderMap, ours: &Url, trusted: &[String]) -> Initiator {
    let origin =
        headers.get(header::ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()));
    let is_own = match headers.get(&SEC_FETCH_SITE) {
        Some(site) if site == "same-origin" || site == "none" => true,
        Some(_) => origin.is_some_and(|origin| trusted.iter().any(|trusted| *trusted == origin)),
        None => match origin.or_else(|| referer_origin(headers).map(Cow::Owned)) {
            Some(origin) => {
                origin == ours.origin().ascii_serialization()
                    || trusted.iter().any(|trusted| *trusted == origin)
            }
            None => return Initiator::Unknown,
        },
    };
    if is_own { Initiator::Own } else { Initiator::Other }
}

/// The origin of the URL in `Referer`; `null` if it is not a URL.
fn referer_origin(headers: &HeaderMap) -> Option<String> {
    let url = Url::parse(headers.get(header::REFERER)?.to_str().unwrap_or_default());
    Some(url.map_or_else(|_| "null".to_owned(), |url| url.origin().ascii_serialization()))
}

/// Whether a browser says that a page of another origin has caused the request: a script, or an image,
/// a frame, a link.
pub(crate) fn is_of_other_origin(headers: &HeaderMap) -> bool {
    headers.get_all(&SEC_FETCH_SITE).iter().any(|site| site != "same-origin" && site != "none")
}

/// Whether a request may change state, so that its initiator is checked. WebSocket handshakes may:
/// browsers open one to any site, with its cookies, and its messages carry no `Origin`. Over
/// HTTP/1.1 it is a `GET` with `Upgrade`, over HTTP/2 an extended `CONNECT`.
pub(crate) fn is_state_changing<B>(request: &Request<B>) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        || request.headers().contains_key(header::UPGRADE)
        || request.headers().get(&SEC_FETCH_MODE).is_some_and(|mode| mode == "websocket")
}

/// Whether a browser or framework makes the request before the user follows the link, and may never
/// show the response: `Sec-Purpose` (Fetch, section 3.7), the headers before it, and Next.js.
///
/// A form, and a request that the user causes (`Sec-Fetch-User`), are not speculative, even if a
/// proxy or an extension marks all requests.
pub(crate) fn is_speculative<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    if !matches!(*request.method(), Method::GET | Method::HEAD)
        || headers.get(&SEC_FETCH_USER).is_some_and(|user| user == "?1")
    {
        return false;
    }
    headers.contains_key(&NEXT_ROUTER_PREFETCH)
        || PURPOSES.iter().flat_map(|name| headers.get_all(name)).any(|value| {
            ["prefetch", "prerender", "preview"]
                .iter()
                .any(|purpose| contains_ignoring_case(value, purpose))
        })
}

/// Whether a browser loads the response into a page, as an image, a frame or a style sheet, which
/// markup alone can cause. Scripts (`empty`) and navigations (`document`) do not embed it, nor does a
/// link in a frame that the user follows.
pub(crate) fn is_embedded<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::GET
        && headers.get(&SEC_FETCH_USER).is_none_or(|user| user != "?1")
        && headers
            .get_all(&SEC_FETCH_DEST)
            .iter()
            .any(|destination| destination != "document" && destination != "empty")
}

/// Whether a browser is going to show the response, as a page instead of JSON.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    match headers.get(&SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|accept| contains_ignoring_case(accept, "text/html")),
    }
}

fn contains_ignoring_case(value: &HeaderValue, text: &str) -> bool {
    value.as_bytes().windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
}

/// Whether a browser is navigating. A redirect would send `fetch` to another origin and lose the
/// content of a form.
pub(crate) fn is_navigation<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && wants_html(request.headers())
}

/// Whether a browser says that it is navigating to a page that its user sees.
pub(crate) fn is_browser_navigation<B>(request: &Request<B>) -> bool {
    request.headers().get(&SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate")
        && !is_speculative(request)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn requests_made_by_other_sites_are_distinguished() {
        let ours = Url::parse("https://app.test/auth/callback").unwrap();
        let check = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            initiator(&headers, &ours, &[]) == Initiator::Other
        };
        assert!(!check("sec-fetch-site", "same-origin") && !check("sec-fetch-site", "none"));
        assert!(check("sec-fetch-site", "same-site") && check("sec-fetch-site", "cross-site"));
        assert!(!check("origin", "https://app.test"));
        for origin in
            ["null", "https://app.test.evil.test", "http://app.test", "https://app.test:444"]
        {
            assert!(check("origin", origin), "{origin}");
        }
        assert_eq!(initiator(&HeaderMap::new(), &ours, &[]), Initiator::Unknown);
        assert!(!check("referer", "https://app.test/a?b") && !check("referer", "https://app.test"));
        for referer in
            ["https://evil.test/https://app.test/", "about:blank", "/a", "http://app.test/"]
        {
            assert!(check("referer", referer), "{referer}");
        }

        let trusted = ["https://www.app.test".to_owned()];
        for (origin, rejected) in [("https://www.app.test", false), ("https://x.app.test", true)] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            let expected = if rejected { Initiator::Other } else { Initiator::Own };
            assert_eq!(initiator(&headers, &ours, &trusted), expected);
            headers.insert("sec-fetch-site", HeaderValue::from_static("same-site"));
            let expected = if rejected { Initiator::Other } else { Initiator::Own };
            assert_eq!(initiator(&headers, &ours, &trusted), expected);
        }
    }

    #[test]
    fn websocket_upgrades_are_state_changing() {
        let check = |method: Method, headers: &[(&'static str, &'static str)]| {
            let mut request = Request::builder().method(method).body(()).unwrap();
            for (name, value) in headers {
                request.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            is_state_changing(&request)
        };
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
            assert!(!check(method.clone(), &[("sec-fetch-mode", "navigate")]), "{method}");
            assert!(check(method.clone(), &[("upgrade", "websocket")]), "{method}");
            assert!(check(method.clone(), &[("upgrade", "h2c, WebSocket")]), "{method}");
            assert!(check(method, &[("sec-fetch-mode", "websocket")]));
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND"] {
            assert!(check(method.parse().unwrap(), &[]), "{method}");
        }
    }

    #[test]
    fn speculative_requests_are_recognized() {
        let check = |method: &str, values: &[(&'static str, &'static str)]| {
            let mut request = Request::builder().method(method).body(()).unwrap();
            for (name, value) in values {
                request.headers_mut().append(*name, HeaderValue::from_static(value));
            }
            is_speculative(&request)
        };
        for name in ["sec-purpose", "purpose", "x-purpose", "x-moz", "x-sec-purpose"] {
            for value in ["prefetch", "prefetch;prerender", "a, PREVIEW", "prerender"] {
                assert!(check("GET", &[(name, value)]) && check("HEAD", &[(name, value)]));
                assert!(check("GET", &[(name, "x"), (name, value)]));
                assert!(check("GET", &[(name, value), ("sec-fetch-user", "?0")]));
                // The user has followed a link or sent a form.
                assert!(!check("GET", &[(name, value), ("sec-fetch-user", "?1")]));
                assert!(!check("POST", &[(name, value)]));
            }
            assert!(!check("GET", &[(name, "")]) && !check("GET", &[(name, "navigate")]));
        }
        assert!(check("GET", &[("next-router-prefetch", "1")]));
        assert!(!check("DELETE", &[("next-router-prefetch", "1")]));
        assert!(!check("GET", &[]) && !check("GET", &[("sec-fetch-dest", "prefetch")]));
    }

    #[test]
    fn navigations_are_recognized_by_mode_or_else_by_accept() {
        let check = |method: Method, headers: &[(&'static str, &'static str)]| {
            let mut request = Request::builder().method(method).body(()).unwrap();
            for (name, value) in headers {
                request.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            (is_navigation(&request), wants_html(request.headers()))
        };
        let navigates = [("sec-fetch-mode", "navigate"), ("accept", "*/*")];
        assert_eq!(check(Method::GET, &navigates), (true, true));
        let accepts = [("accept", "application/xml, Text/HTML;q=0.9")];
        assert_eq!(check(Method::HEAD, &accepts), (true, true));
        assert_eq!(check(Method::POST, &navigates), (false, true));
        for mode in ["cors", "no-cors", "same-origin", "websocket"] {
            let headers = [("sec-fetch-mode", mode), ("accept", "text/html")];
            assert_eq!(check(Method::GET, &headers), (false, false), "{mode}");
        }
        assert_eq!(check(Method::GET, &[("accept", "*/*")]), (false, false));
        assert_eq!(check(Method::GET, &[]), (false, false));
    }
}
