use std::sync::Arc;

use http::{HeaderMap, header};
use tower_layer::Layer;
use url::Url;

use super::{OriginRejection, RequireOriginService};
use crate::error::{ConfigError, Problems};
use crate::middleware::rejection::{Renderer, on_rejection};
use crate::util::fetch_metadata::is_of_other_origin;
use crate::util::url_policy::is_loopback;

/// Middleware that rejects requests of pages of other origins. See the [module
/// docs](crate::require_origin).
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireOrigin {
    origins: Arc<[String]>,
    allows_loopback: bool,
    pub(super) renderer: Renderer<OriginRejection>,
}

impl RequireOrigin {
    /// Allows these origins, such as `https://app.example.com`.
    ///
    /// # Errors
    /// When one is not an origin as browsers send it: lower case, without a path, and without the
    /// default port of its scheme. Lists all of them.
    pub fn new(origins: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, ConfigError> {
        let origins: Arc<[String]> = origins.into_iter().map(Into::into).collect();
        let mut problems = Problems::default();
        for origin in origins.iter().filter(|origin| !is_origin(origin)) {
            let reason = format!("{origin:?} is not an origin such as https://app.example.com");
            problems.invalid("RequireOrigin", reason);
        }
        problems.finish(Some(Self {
            origins,
            allows_loopback: false,
            renderer: Renderer::default(),
        }))
    }

    /// Also allows `http` and `https` origins of this machine, `localhost` and loopback addresses, at
    /// any port. Default: not allowed.
    pub fn allow_loopback(mut self) -> Self {
        self.allows_loopback = true;
        self
    }

    pub(super) fn evaluate(&self, headers: &HeaderMap) -> Result<(), OriginRejection> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let is_allowed = match (origins.next(), origins.next()) {
            (None, _) => !is_of_other_origin(headers),
            (Some(origin), None) => origin.to_str().is_ok_and(|origin| self.allows(origin)),
            (Some(_), Some(_)) => false,
        };
        if is_allowed { Ok(()) } else { Err(OriginRejection::OriginNotAllowed) }
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == origin)
            || self.allows_loopback && is_loopback_origin(origin)
    }
}

on_rejection!(RequireOrigin, OriginRejection, renderer);

impl<S> Layer<S> for RequireOrigin {
    type Service = RequireOriginService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireOriginService { inner, layer: self.clone() }
    }
}

/// Whether the text is an origin in its serialized form. Browser extensions have a scheme of their own.
fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    match url.origin() {
        origin if origin.is_tuple() => origin.ascii_serialization() == text,
        _ => url.host_str().is_some_and(|host| format!("{}://{host}", url.scheme()) == text),
    }
}

fn is_loopback_origin(text: &str) -> bool {
    is_origin(text)
        && Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && is_loopback(&url))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn allows(layer: &RequireOrigin, origins: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_bytes(origin.as_bytes()).unwrap());
        }
        layer.evaluate(&headers).is_ok()
    }

    #[test]
    fn only_configured_origins_are_allowed() {
        let layer = RequireOrigin::new([
            "https://app.test",
            "http://app.test:8080",
            "chrome-extension://abcdef",
        ])
        .unwrap();
        for allowed in [
            &[][..],
            &["https://app.test"],
            &["http://app.test:8080"],
            &["chrome-extension://abcdef"],
        ] {
            assert!(allows(&layer, allowed), "{allowed:?}");
        }
        for other in [
            &[""][..],
            &["null"],
            &["http://app.test"],
            &["https://app.test:8080"],
            &["https://app.test."],
            &["https://app.test/"],
            &["https://app.test.evil.test"],
            &["https://APP.test"],
            &["https://é"],
            &["http://localhost:3000"],
            &["https://app.test", "https://app.test"],
            &["https://app.test https://app.test"],
        ] {
            assert!(!allows(&layer, other), "{other:?}");
        }
    }

    #[test]
    fn without_an_origin_the_metadata_of_the_request_decides() {
        let layer = RequireOrigin::new(["https://app.test"]).unwrap();
        let allows = |sites: &[&'static str], origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            for site in sites {
                headers.append("sec-fetch-site", HeaderValue::from_static(site));
            }
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            layer.evaluate(&headers).is_ok()
        };
        for own in [&[][..], &["same-origin"], &["none"]] {
            assert!(allows(own, None), "{own:?}");
        }
        for other in [&["cross-site"][..], &["same-site"], &[""], &["none", "cross-site"]] {
            assert!(!allows(other, None), "{other:?}");
            assert!(allows(other, Some("https://app.test")), "{other:?}");
        }
        assert!(!allows(&["same-origin"], Some("https://rebound.test")));
    }

    #[test]
    fn loopback_origins_may_be_allowed_at_any_port() {
        let layer = RequireOrigin::new([""; 0]).unwrap().allow_loopback();
        for allowed in [
            "http://localhost",
            "http://localhost:6274",
            "https://127.0.0.1:1",
            "http://[::1]:3000",
        ] {
            assert!(allows(&layer, &[allowed]), "{allowed}");
        }
        for other in [
            "http://localhost.evil.test",
            "http://127.0.0.1.nip.io",
            "http://localhost@evil.test",
            "http://localhost:80",
            "http://LOCALHOST",
            "http://0x7f.1",
            "ftp://localhost",
            "http://localhost/",
            "http://192.168.0.1",
            "null",
        ] {
            assert!(!allows(&layer, &[other]), "{other}");
        }
    }

    #[test]
    fn all_invalid_origins_are_reported_at_once() {
        let invalid = [
            "https://app.test/",
            "https://app.test:443",
            "https://APP.test",
            "app.test",
            "null",
            "*",
            "",
            "https://app.test/path",
            "https://me@app.test",
            "chrome-extension://abc/",
        ];
        let error = RequireOrigin::new(invalid).unwrap_err();
        assert_eq!(error.problems().len(), invalid.len(), "{error}");
    }
}
