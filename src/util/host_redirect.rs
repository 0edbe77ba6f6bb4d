//! The host that a request names, and the mark of requests that were redirected to another host.

use std::fmt;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Request, Uri, header};
use url::{Host, Url};

/// The query parameter that marks a request that was redirected to another host. Such a request is
/// not redirected again.
pub(crate) const REDIRECT_PARAM: &str = "scalekit_host_redirect";

/// Host and port of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostAndPort {
    host: Host,
    /// `None` for the default port of either scheme: the scheme is known to the proxy only.
    port: Option<u16>,
}

impl HostAndPort {
    /// Returns the host of a request: its `:authority` (RFC 9113, section 8.3.1), or else its one
    /// `Host` header (RFC 9110, section 7.2).
    pub(crate) fn from_request<B>(request: &Request<B>) -> Option<Self> {
        Self::from_parts(request.uri(), request.headers())
    }

    pub(crate) fn from_parts(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        if let Some(authority) = uri.authority() {
            return Self::parse(authority.as_str());
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => Self::parse(host.to_str().ok()?),
            _ => None,
        }
    }

    /// Returns the host of the page that has sent a form, as the browser names it: `Origin`, or else
    /// `Referer`.
    pub(crate) fn of_form_page(headers: &HeaderMap) -> Option<Self> {
        let page = headers.get(header::ORIGIN).or_else(|| headers.get(header::REFERER))?;
        Self::from_url(&Url::parse(page.to_str().ok()?).ok()?)
    }

    pub(crate) fn from_url(url: &Url) -> Option<Self> {
        Some(Self { host: url.host()?.to_owned(), port: url.port().filter(is_not_default) })
    }

    fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
        let port = match text.strip_prefix(authority.host())? {
            "" | ":" => None,
            port => Some(port.strip_prefix(':')?.parse().ok()?),
        };
        Some(Self { host: Host::parse(authority.host()).ok()?, port: port.filter(is_not_default) })
    }
}

fn is_not_default(port: &u16) -> bool {
    !matches!(port, 80 | 443)
}

impl fmt::Display for HostAndPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

/// Inserted into a request whose mark was removed.
#[derive(Clone)]
struct HostRedirected;

/// Whether a request was redirected to another host.
pub(crate) fn is_host_redirected<B>(request: &Request<B>) -> bool {
    request.extensions().get::<HostRedirected>().is_some()
        || request.uri().query().is_some_and(|query| without_redirect_param(query).is_some())
}

/// Removes the mark from the URI of a request, and from axum's `OriginalUri`, before it reaches the
/// app. [`is_host_redirected`] still recognizes the request.
pub(crate) fn strip_redirect_param<B>(request: &mut Request<B>) {
    let Some(uri) = unmarked(request.uri()) else { return };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(HostRedirected);
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions_mut().get_mut::<axum::extract::OriginalUri>()
        && let Some(uri) = unmarked(&original.0)
    {
        original.0 = uri;
    }
}

fn unmarked(uri: &Uri) -> Option<Uri> {
    let query = without_redirect_param(uri.query()?)?;
    let target =
        if query.is_empty() { uri.path().to_owned() } else { [uri.path(), &query].join("?") };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

/// Returns the query without the mark; `None` if it has none.
pub(crate) fn without_redirect_param(query: &str) -> Option<String> {
    if !query.contains(REDIRECT_PARAM) {
        return None;
    }
    let (marks, rest): (Vec<_>, Vec<_>) =
        query.split('&').partition(|pair| pair.split('=').next() == Some(REDIRECT_PARAM));
    (!marks.is_empty()).then(|| rest.join("&"))
}

/// Adds the mark to a path with or without a query.
pub(crate) fn with_redirect_param(target: &str) -> String {
    let separator = match target.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{target}{separator}{REDIRECT_PARAM}=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_as_browsers_resolve_them() {
        let host = |text: &str| HostAndPort::parse(text).map(|host| host.to_string());
        for (text, normal) in [
            ("app.test", "app.test"),
            ("APP.test", "app.test"),
            ("app.test:", "app.test"),
            ("app.test:80", "app.test"),
            ("app.test:443", "app.test"),
            ("app.test:8080", "app.test:8080"),
            ("app.test.", "app.test."),
            ("bücher.test", "xn--bcher-kva.test"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("[::1]:3000", "[::1]:3000"),
            ("[0:0::1]", "[::1]"),
        ] {
            let expected = text.is_ascii().then(|| normal.to_owned());
            assert_eq!(host(text), expected, "{text}");
            let url = HostAndPort::from_url(&Url::parse(&format!("https://{text}")).unwrap());
            assert_eq!(url.unwrap().to_string(), normal, "{text}");
        }
        for text in [
            "",
            ":80",
            "user@app.test",
            "app.test@evil.test",
            "app.test:x",
            "app.test:80:80",
            "app.test:99999",
            "app.test:-1",
            "app.test/x",
            "app.test?x",
            "app.test#x",
            "app test",
            "app.test, evil.test",
            "[::1",
            "::1",
            "%00",
            "a%2fb",
        ] {
            assert_eq!(host(text), None, "{text}");
        }
    }

    #[test]
    fn the_authority_precedes_the_host_and_two_hosts_are_none() {
        let host = |target: &str, hosts: &[&str]| {
            let request = hosts
                .iter()
                .fold(Request::get(target), |request, host| request.header(header::HOST, *host));
            HostAndPort::from_request(&request.body(()).unwrap()).map(|host| host.to_string())
        };
        assert_eq!(host("/", &["a.test"]).as_deref(), Some("a.test"));
        assert_eq!(host("https://b.test:8443/", &[]).as_deref(), Some("b.test:8443"));
        assert_eq!(host("https://b.test/", &["a.test"]).as_deref(), Some("b.test"));
        for hosts in [&[][..], &["a.test", "a.test"], &["a.test", "b.test"], &[""]] {
            assert_eq!(host("/", hosts), None, "{hosts:?}");
        }
    }

    #[test]
    fn the_mark_is_removed_and_all_else_is_kept() {
        for target in ["/", "/a", "/a?b", "/a?b=1&c=%26&b=2", "/a?&", "/a?x=scalekit_host_redirect"]
        {
            let marked = with_redirect_param(target);
            let mut request = Request::get(&marked).body(()).unwrap();
            assert!(is_host_redirected(&request), "{marked}");
            strip_redirect_param(&mut request);
            assert_eq!(request.uri(), target);
            assert!(is_host_redirected(&request), "{marked}");
        }
        assert_eq!(with_redirect_param("/a?"), format!("/a?{REDIRECT_PARAM}=1"));
        assert_eq!(
            without_redirect_param(&format!("{REDIRECT_PARAM}&a&{REDIRECT_PARAM}=2&b")).as_deref(),
            Some("a&b")
        );
        for query in ["", "a=1", "x=scalekit_host_redirect", "scalekit_host_redirect2=1"] {
            assert_eq!(without_redirect_param(query), None, "{query}");
        }
        let absolute = format!("https://app.test/a?{REDIRECT_PARAM}=1");
        assert_eq!(unmarked(&absolute.parse().unwrap()).unwrap(), "https://app.test/a");
    }
}
