//! URLs from the API to which users are redirected.

use std::fmt;

use serde::Deserialize;
use time::OffsetDateTime;
use url::Url;

use crate::api::ApiError;
use crate::model::wire;

/// A URL where the user authorizes your app at the service. Whoever opens it can use it, so `Debug`
/// does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationLink {
    url: Url,
    expires_at: Option<OffsetDateTime>,
}

impl AuthorizationLink {
    /// `None` if it is not a web page.
    pub(in crate::api) fn new(url: &str, expires_at: Option<OffsetDateTime>) -> Option<Self> {
        Some(Self { url: web_address(url)?, expires_at })
    }

    /// The URL, always http or https.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Expiry, if known.
    #[must_use]
    pub fn expires_at(&self) -> Option<OffsetDateTime> {
        self.expires_at
    }
}

impl fmt::Debug for AuthorizationLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationLink")
            .field("host", &self.url.host_str())
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct LinkResponse {
    #[serde(deserialize_with = "wire::or_default")]
    link: String,
    #[serde(with = "wire::timestamp")]
    expiry: Option<OffsetDateTime>,
}

impl LinkResponse {
    pub(super) fn link(self) -> Result<AuthorizationLink, ApiError> {
        AuthorizationLink::new(&self.link, self.expiry)
            .ok_or(ApiError::unexpected("a link that is not an http or https URL"))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct VerifiedResponse {
    #[serde(deserialize_with = "wire::text")]
    post_user_verify_redirect_url: Option<String>,
}

impl VerifiedResponse {
    /// The URL to redirect the user to, if it is a web page. The account is active either way.
    pub(super) fn url(self) -> Option<Url> {
        web_address(&self.post_user_verify_redirect_url?)
    }
}

/// An absolute http or https URL: `javascript:` and similar ones would run in the origin that
/// redirects there.
fn web_address(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_sent_to_web_pages_only() {
        for good in ["https://acme.scalekit.dev/magicLink/1?a=b", "http://127.0.0.1:3000/"] {
            let response = LinkResponse { link: good.to_owned(), expiry: None };
            assert_eq!(response.link().unwrap().url().as_str(), good);
        }
        for bad in ["", "/there", "//evil.test/", "javascript:alert(1)", "data:text/html,x"] {
            let response = LinkResponse { link: bad.to_owned(), expiry: None };
            assert!(matches!(response.link(), Err(ApiError::UnexpectedResponse { .. })), "{bad}");
        }
        for bad in ["/there", "javascript:alert(1)", "https://user:pass@acme.test/"] {
            let url = Some(bad.to_owned());
            let response = VerifiedResponse { post_user_verify_redirect_url: url };
            assert!(response.url().is_none(), "{bad}");
        }
        assert_eq!(VerifiedResponse::default().url(), None);
    }

    #[test]
    fn debug_does_not_print_a_link() {
        let link = "https://acme.test/magicLink/geheim".to_owned();
        let link = LinkResponse { link, expiry: None }.link().unwrap();
        assert!(!format!("{link:?}").contains("geheim"));
    }
}
