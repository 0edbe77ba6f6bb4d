use std::fmt;

use serde::Deserialize;
use time::OffsetDateTime;
use url::Url;

use crate::api::ApiError;
use crate::model::wire;
use crate::secret::SecretString;
use crate::util::open_enum::open_enum;

open_enum! {
    /// A feature that an administrator sets up in the admin portal.
    PortalFeature {
        /// Directory sync.
        DirSync = "dir_sync",
        /// Single sign-on.
        Sso = "sso",
    }
}

/// A link to the admin portal, where an organization's administrator sets up single sign-on and
/// directory sync. Returned by
/// [`OrganizationsApi::portal_link`](super::OrganizationsApi::portal_link).
///
/// The first user who opens it acts as the administrator. It works once and within a minute: create
/// it on demand, for a verified administrator, and show it only to that user.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortalLink {
    /// `lnk_…`, which does not grant access.
    pub id: Option<String>,
    /// Expiry.
    pub expire_time: Option<OffsetDateTime>,
    /// The URL to open, or to show in an `iframe`.
    pub location: SecretString,
    origin: String,
}

impl PortalLink {
    /// The value to allow in the `frame-src` of the `Content-Security-Policy` of a page that embeds
    /// the portal: the portal's scheme, host and port.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_scalekit::Sandbox;
    /// use tower_scalekit::api::organizations::PortalFeature;
    ///
    /// let sandbox = Sandbox::new();
    /// let acme = sandbox.organizations().list().remove(0).id;
    /// let organizations = sandbox.scalekit().api().organizations();
    /// let link = organizations.portal_link(&acme, &[PortalFeature::Sso]).await?;
    /// let policy = format!("default-src 'self'; frame-src {}", link.frame_source());
    /// assert_eq!(policy, "default-src 'self'; frame-src https://acme.scalekit.test");
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sandbox"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn frame_source(&self) -> &str {
        &self.origin
    }
}

// Manual impl: the URL grants access to the portal.
impl fmt::Debug for PortalLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortalLink")
            .field("id", &self.id)
            .field("expire_time", &self.expire_time)
            .field("location", &self.location)
            .field("origin", &self.origin)
            .finish()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response {
    link: Option<Link>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Link {
    #[serde(deserialize_with = "wire::text")]
    id: Option<String>,
    #[serde(with = "wire::timestamp")]
    expire_time: Option<OffsetDateTime>,
    #[serde(deserialize_with = "wire::text")]
    location: Option<String>,
}

impl Response {
    /// The link as an absolute URL.
    pub(super) fn link(self, environment: &Url) -> Result<PortalLink, ApiError> {
        let Link { id, expire_time, location } = self.link.unwrap_or_default();
        let location = location
            .map(SecretString::from)
            .ok_or(ApiError::unexpected("a response without its link"))?;
        let url = environment
            .join(location.expose())
            .ok()
            .filter(is_web_url)
            .ok_or(ApiError::unexpected("a link that is not an http or https URL"))?;
        Ok(PortalLink {
            id,
            expire_time,
            origin: url.origin().ascii_serialization(),
            location: SecretString::from(String::from(url)),
        })
    }
}

/// Whether its origin is valid in a `Content-Security-Policy`, where a `;` in a host begins another
/// directive and a `*` is a wildcard.
fn is_web_url(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| {
            host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte))
        })
}
