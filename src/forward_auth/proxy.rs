use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use tower_layer::Layer;

use super::{ForwardAuthService, IdentityService};
use crate::util::request_target::{BrowserTarget, original_uri};

/// Forwarded authentication for one kind of proxy. See the [module docs](crate::forward_auth).
#[derive(Clone, Debug)]
#[must_use]
pub struct ForwardAuth(Proxy);

#[derive(Clone, Debug)]
enum Proxy {
    Nginx,
    Traefik,
    Envoy { path_prefix: Arc<str> },
}

const REDIRECT: HeaderName = HeaderName::from_static("x-auth-request-redirect");
/// As many as a refresh of the largest session sets.
const SET_COOKIE: [HeaderName; 4] = [
    HeaderName::from_static("x-auth-request-set-cookie-1"),
    HeaderName::from_static("x-auth-request-set-cookie-2"),
    HeaderName::from_static("x-auth-request-set-cookie-3"),
    HeaderName::from_static("x-auth-request-set-cookie-4"),
];

impl ForwardAuth {
    /// For nginx with `auth_request`, and ingress controllers that use it.
    ///
    /// The request's method and target are in `X-Original-Method` (`$request_method`) and
    /// `X-Original-URI` (`$request_uri`). nginx accepts 401 and 403 only, so a redirect becomes 401
    /// with its target in `X-Auth-Request-Redirect`, and 400 becomes 403. `Set-Cookie` headers are
    /// also in `X-Auth-Request-Set-Cookie-1` to `-4`.
    pub fn nginx() -> Self {
        Self(Proxy::Nginx)
    }

    /// For Traefik with `ForwardAuth`.
    ///
    /// The request's method, host and target are in `X-Forwarded-Method`, `X-Forwarded-Host` and
    /// `X-Forwarded-Uri`. Responses other than 200 are sent to the browser as they are.
    pub fn traefik() -> Self {
        Self(Proxy::Traefik)
    }

    /// For Envoy with `ext_authz` (`http_service`), which sends the request's own method, host and
    /// path, with its `path_prefix` before the path. A router of axum may have removed the prefix
    /// already; if another router does, set an empty one here. Responses other than 200 are sent to the
    /// browser as they are.
    pub fn envoy(path_prefix: &str) -> Self {
        Self(Proxy::Envoy { path_prefix: path_prefix.trim_end_matches('/').into() })
    }

    /// Returns the service that evaluates requests by this layer or stack of layers.
    pub fn service<L: Layer<IdentityService>>(&self, layer: L) -> ForwardAuthService<L::Service> {
        ForwardAuthService { inner: layer.layer(IdentityService), config: self.clone() }
    }

    /// Turns the proxy's subrequest into the request that it received.
    pub(super) fn restore<B>(&self, request: &mut Request<B>) -> Result<(), InvalidSubrequest> {
        let headers = request.headers();
        let (method, target) = match &self.0 {
            Proxy::Nginx => {
                (method_in(headers, "x-original-method")?, target_in(headers, "x-original-uri")?)
            }
            Proxy::Traefik => {
                (method_in(headers, "x-forwarded-method")?, target_in(headers, "x-forwarded-uri")?)
            }
            Proxy::Envoy { path_prefix } => {
                // A path of the browser may begin with the prefix, too.
                let sent = original_uri(request.extensions()).unwrap_or(request.uri());
                let target = without_prefix(sent, path_prefix);
                (request.method().clone(), target.ok_or(InvalidSubrequest::Header("path"))?)
            }
        };
        if matches!(self.0, Proxy::Traefik) && headers.contains_key("x-forwarded-host") {
            let host = single(headers, "x-forwarded-host")?.clone();
            request.headers_mut().insert(header::HOST, host);
        }
        // Over HTTP/2 it is in `:authority`, which the target of the browser replaces.
        if !request.headers().contains_key(header::HOST)
            && let Some(authority) = request.uri().authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(header::HOST, host);
        }
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(target.clone());
        request.extensions_mut().insert(BrowserTarget(target));
        // Proxies drop `Upgrade`, by which `is_state_changing` recognizes a WebSocket handshake. Of one
        // over HTTP/2 or HTTP/3, Envoy makes a `GET` request without a key (RFC 8441, section 5).
        if request.headers().contains_key(header::SEC_WEBSOCKET_KEY)
            || request.headers().contains_key(header::SEC_WEBSOCKET_VERSION)
        {
            request.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        Ok(())
    }

    /// Adapts a response to the proxy.
    pub(super) fn adapt<B>(&self, response: &mut Response<B>) {
        if !matches!(self.0, Proxy::Nginx) {
            return;
        }
        *response.status_mut() = match response.status() {
            status if status.is_redirection() => StatusCode::UNAUTHORIZED,
            StatusCode::BAD_REQUEST => StatusCode::FORBIDDEN,
            status => status,
        };
        let headers = response.headers_mut();
        if let Some(location) = headers.remove(header::LOCATION) {
            headers.insert(REDIRECT, location);
        }
        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
        for (name, cookie) in SET_COOKIE.into_iter().zip(cookies) {
            headers.insert(name, cookie);
        }
    }
}

/// Why a subrequest is not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidSubrequest {
    /// The proxy does not send what it is configured to send.
    #[error(
        "expected exactly one valid {0} from the proxy: check that it sends this, and that the \
         constructor (`nginx`, `traefik`, `envoy`) is that of this proxy"
    )]
    Header(&'static str),
    /// The client has sent it, and the proxy accepts it.
    #[error("the path or query contains characters that are not permitted in a URI")]
    Target,
}

fn method_in(headers: &HeaderMap, name: &'static str) -> Result<Method, InvalidSubrequest> {
    Method::from_bytes(single(headers, name)?.as_bytes())
        .map_err(|_| InvalidSubrequest::Header(name))
}

fn target_in(headers: &HeaderMap, name: &'static str) -> Result<PathAndQuery, InvalidSubrequest> {
    match single(headers, name)?.as_bytes() {
        target @ [b'/', ..] => {
            PathAndQuery::try_from(target).map_err(|_| InvalidSubrequest::Target)
        }
        _ => Err(InvalidSubrequest::Header(name)),
    }
}

fn single<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<&'h HeaderValue, InvalidSubrequest> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(InvalidSubrequest::Header(name)),
    }
}

fn without_prefix(uri: &Uri, prefix: &str) -> Option<PathAndQuery> {
    let target = uri.path_and_query()?;
    match target.as_str().strip_prefix(prefix) {
        Some("") => Some(PathAndQuery::from_static("/")),
        Some(rest) if rest.starts_with('/') => PathAndQuery::try_from(rest).ok(),
        Some(rest) if rest.starts_with('?') => PathAndQuery::try_from(format!("/{rest}")).ok(),
        _ => Some(target.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(
        forward_auth: &ForwardAuth,
        request: http::request::Builder,
    ) -> Result<String, InvalidSubrequest> {
        let mut request = request.body(()).unwrap();
        forward_auth.restore(&mut request)?;
        let target = request.extensions().get::<BrowserTarget>().unwrap();
        assert_eq!(request.uri().path_and_query(), Some(&target.0));
        let host = request.headers().get("host").map_or("", |host| host.to_str().unwrap());
        Ok(format!("{} {host}{}", request.method(), request.uri()))
    }

    #[test]
    fn the_request_is_restored_from_the_headers_of_its_proxy_alone() {
        let (nginx, traefik) = (ForwardAuth::nginx(), ForwardAuth::traefik());
        let request = || Request::get("/auth/verify").header("host", "auth.test");
        let of_nginx = |method, uri| {
            request().header("x-original-method", method).header("x-original-uri", uri)
        };
        let of_traefik = |method, uri| {
            let request = request().header("x-forwarded-method", method);
            request.header("x-forwarded-uri", uri).header("x-forwarded-host", "app.test:8080")
        };
        assert_eq!(restored(&nginx, of_nginx("POST", "/a?b")), Ok("POST auth.test/a?b".into()));
        assert_eq!(
            restored(&traefik, of_traefik("PUT", "/a?b")),
            Ok("PUT app.test:8080/a?b".into())
        );
        assert_eq!(
            restored(&nginx, of_traefik("PUT", "/a")),
            Err(InvalidSubrequest::Header("x-original-method"))
        );
        assert_eq!(
            restored(&traefik, of_nginx("PUT", "/a")),
            Err(InvalidSubrequest::Header("x-forwarded-method"))
        );
        // Clients can send it, and some proxies accept it.
        let sent = restored(&nginx, of_nginx("GET", "/a b"));
        assert_eq!(sent, Err(InvalidSubrequest::Target));
        for target in ["", "a", "http://evil.test/", "*"] {
            assert_eq!(
                restored(&nginx, of_nginx("GET", target)),
                Err(InvalidSubrequest::Header("x-original-uri")),
                "{target}"
            );
        }
        for method in ["", "G T"] {
            assert_eq!(
                restored(&nginx, of_nginx(method, "/")),
                Err(InvalidSubrequest::Header("x-original-method"))
            );
        }
        let twice = of_nginx("POST", "/").header("x-original-method", "GET");
        assert_eq!(restored(&nginx, twice), Err(InvalidSubrequest::Header("x-original-method")));
    }

    #[test]
    fn the_prefix_of_envoy_is_removed() {
        let envoy = ForwardAuth::envoy("/auth/verify/");
        for (uri, target) in [
            ("/auth/verify/a/b?c", "/a/b?c"),
            ("/auth/verify", "/"),
            ("/auth/verify/", "/"),
            ("/auth/verify?c", "/?c"),
            ("/auth/verified", "/auth/verified"),
            ("/a", "/a"),
        ] {
            assert_eq!(restored(&envoy, Request::put(uri)), Ok(format!("PUT {target}")), "{uri}");
        }
    }

    #[test]
    fn the_host_of_an_http2_request_is_kept() {
        let request = Request::get("https://app.test:8443/auth/verify/a");
        assert_eq!(
            restored(&ForwardAuth::envoy("/auth/verify"), request),
            Ok("GET app.test:8443/a".into())
        );
        let request =
            Request::get("https://app.test/auth/verify").header("x-original-method", "GET");
        let request = request.header("x-original-uri", "/a");
        assert_eq!(restored(&ForwardAuth::nginx(), request), Ok("GET app.test/a".into()));
        // Traefik names the browser's host in its own header.
        let request = Request::get("https://auth.test/").header("x-forwarded-method", "GET");
        let request =
            request.header("x-forwarded-uri", "/a").header("x-forwarded-host", "app.test");
        assert_eq!(restored(&ForwardAuth::traefik(), request), Ok("GET app.test/a".into()));
    }

    #[test]
    fn a_websocket_handshake_is_recognized_without_its_hop_by_hop_header() {
        for (name, value) in [("sec-websocket-key", "a"), ("sec-websocket-version", "13")] {
            let request = Request::get("/").header("x-forwarded-method", "GET");
            let request = request.header("x-forwarded-uri", "/ws").header(name, value);
            let mut request = request.body(()).unwrap();
            ForwardAuth::traefik().restore(&mut request).unwrap();
            assert!(crate::util::fetch_metadata::is_state_changing(&request), "{name}");
        }
    }

    #[test]
    fn nginx_gets_its_statuses_and_each_cookie_in_a_header() {
        let adapted = |status: u16| {
            let mut response = Response::builder().status(status).header("location", "/login");
            for cookie in ["a=1", "b=2"] {
                response = response.header("set-cookie", cookie);
            }
            let mut response = response.body(()).unwrap();
            ForwardAuth::nginx().adapt(&mut response);
            response
        };
        for (status, expected) in [(302, 401), (400, 403), (401, 401), (403, 403), (503, 503)] {
            assert_eq!(adapted(status).status(), expected);
        }
        let redirect = adapted(302);
        assert!(!redirect.headers().contains_key("location"));
        assert_eq!(redirect.headers()["x-auth-request-redirect"], "/login");
        assert_eq!(redirect.headers()["x-auth-request-set-cookie-2"], "b=2");
        assert_eq!(redirect.headers().get_all("set-cookie").iter().count(), 2);
    }
}
