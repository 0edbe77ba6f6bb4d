use std::sync::Arc;

use http::Uri;
use tower_layer::Layer;
use url::Url;

use super::AddAccessTokenService;
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::util::url_policy::require_https_or_loopback;

const SETTING: &str = "origins";

/// Middleware that adds the access token of a session to outgoing requests. See the
/// [module docs](crate::add_access_token).
#[derive(Clone, Debug)]
#[must_use]
pub struct AddAccessToken {
    origins: Arc<[Url]>,
}

impl AddAccessToken {
    /// Creates a layer for requests to these origins, such as `https://api.example.com`. Access
    /// tokens are sent by `https` only (RFC 6750, section 5.3), or by `http` to a loopback address.
    ///
    /// # Errors
    /// Returned when there is no origin, or when origins are invalid. Lists all of them.
    pub fn new<O: AsRef<str>>(origins: impl IntoIterator<Item = O>) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let mut origins = origins.into_iter().peekable();
        if origins.peek().is_none() {
            problems.missing(SETTING);
        }
        let origins =
            origins.filter_map(|origin| problems.collect(parse_origin(origin.as_ref()))).collect();
        problems.finish(Some(Self { origins }))
    }

    /// Whether a request to this URL may have the token. Compares what HTTP clients connect to.
    pub(super) fn allows(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return false };
        let port = uri.port_u16().or(match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        });
        self.origins.iter().any(|origin| {
            origin.scheme() == scheme
                && origin.host_str().is_some_and(|own| own.eq_ignore_ascii_case(host))
                && origin.port_or_known_default() == port
        })
    }
}

fn parse_origin(text: &str) -> Result<Url, ConfigProblem> {
    let url = Url::parse(text)
        .map_err(|error| ConfigProblem::invalid(SETTING, format!("{text}: not a URL: {error}")))?;
    require_https_or_loopback(&url)
        .map_err(|reason| ConfigProblem::invalid(SETTING, format!("{text}: {reason}")))?;
    if url.origin().ascii_serialization() != text {
        let reason = "must be an origin such as https://api.example.com, without a path";
        return Err(ConfigProblem::invalid(SETTING, format!("{text}: {reason}")));
    }
    Ok(url)
}

impl<S> Layer<S> for AddAccessToken {
    type Service = AddAccessTokenService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AddAccessTokenService { inner, layer: self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_sent_to_the_configured_origins_only() {
        let layer = AddAccessToken::new(["https://api.example.com", "http://127.0.0.1:8080"]);
        let layer = layer.unwrap();
        for (url, is_allowed) in [
            ("https://api.example.com", true),
            ("https://API.example.com:443/reports?a=b", true),
            ("http://127.0.0.1:8080/", true),
            ("http://api.example.com/", false),
            ("https://api.example.com:8443/", false),
            ("https://api.example.com.evil.test/", false),
            ("https://api.example.com@evil.test/", false),
            ("https://evil.test/https://api.example.com", false),
            ("http://127.0.0.1/", false),
            ("/reports", false),
            ("api.example.com:443", false),
        ] {
            assert_eq!(layer.allows(&url.parse().unwrap()), is_allowed, "{url}");
        }
    }

    #[test]
    fn all_invalid_origins_are_reported() {
        let invalid = ["http://api.example.com", "https://api.example.com/", "api.example.com"];
        let error = AddAccessToken::new(invalid).unwrap_err();
        assert_eq!(error.problems().len(), 3, "{error}");
        let error = AddAccessToken::new([""; 0]).unwrap_err();
        assert_eq!(error.to_string(), "origins is not set");
    }
}
