//! A protected resource: an MCP server, or any API that clients discover.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use url::Url;

use crate::dpop::Dpop;
use crate::error::{ConfigError, ConfigProblem};
use crate::token::TokenVerifier;
use crate::util::base64url::is_base64url;
use crate::util::host_redirect::HostAndPort;
use crate::util::route_check::RouteCheck;
use crate::util::telemetry;

pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Identifier of a resource in the dashboard (`MCP servers`): `res_…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceId(Arc<str>);

impl ResourceId {
    /// Parses the identifier.
    ///
    /// # Errors
    /// When it is not `res_` followed by letters, digits, `-` or `_`.
    pub fn new(id: impl AsRef<str>) -> Result<Self, ConfigError> {
        let id = id.as_ref();
        match id.strip_prefix("res_") {
            Some(rest)
                if !rest.is_empty() && rest.len() <= 64 && rest.bytes().all(is_base64url) =>
            {
                Ok(Self(id.into()))
            }
            _ => {
                let reason = "must be a resource id of the dashboard, res_…";
                Err(ConfigProblem::invalid("resource id", reason).into())
            }
        }
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Configuration of a protected resource, for layers and clients (RFC 9728). Cheap to clone.
///
/// A token is accepted if `aud` contains the resource's ID or a URL of it, `iss` is the environment or
/// its issuer for this resource, and the claim `resource`, if present, is a URL of it. A
/// trailing slash is ignored if the URL has no path, or if it was configured with one.
#[derive(Clone)]
pub struct ProtectedResource {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) id: ResourceId,
    pub(super) address: Address,
    pub(super) additional: Vec<(HostAndPort, Address)>,
    pub(super) verifier: TokenVerifier,
    pub(super) dpop: Option<Dpop>,
    pub(super) metadata_route: RouteCheck,
}

/// A URL of a resource, and its metadata.
pub(super) struct Address {
    pub(super) url: String,
    pub(super) metadata_url: Arc<Url>,
    pub(super) metadata: Bytes,
}

impl ProtectedResource {
    /// The resource's public URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.address.url
    }

    /// The resource's ID in the dashboard.
    #[must_use]
    pub fn id(&self) -> &ResourceId {
        &self.inner.id
    }

    /// The URL of its metadata, which challenges contain. Those for an
    /// [additional URL](super::ProtectedResourceBuilder::additional_url) differ in the host.
    #[must_use]
    pub fn metadata_url(&self) -> &Url {
        &self.inner.address.metadata_url
    }

    /// A verifier of tokens for this resource, for use without a layer.
    #[must_use]
    pub fn verifier(&self) -> &TokenVerifier {
        &self.inner.verifier
    }

    pub(crate) fn dpop(&self) -> Option<&Dpop> {
        self.inner.dpop.as_ref()
    }

    /// The routes or the layer of the metadata.
    pub(super) fn metadata_route(&self) -> &RouteCheck {
        &self.inner.metadata_route
    }

    /// Logs once, when a client is referred to the metadata, that nothing serves it.
    pub(crate) fn report_missing_metadata(&self) {
        if self.metadata_route().report_missing() {
            telemetry::metadata_route_missing(self.metadata_url().as_str());
        }
    }

    pub(crate) fn shared_metadata_url(&self) -> Arc<Url> {
        Arc::clone(&self.inner.address.metadata_url)
    }

    /// The URL of the metadata of an additional URL, if the request names its host.
    pub(crate) fn additional_metadata_url(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<&Arc<Url>> {
        self.additional(uri, headers).map(|address| &address.metadata_url)
    }

    /// The metadata document (RFC 9728 section 2) for the host of a request.
    pub(super) fn metadata(&self, uri: &Uri, headers: &HeaderMap) -> Bytes {
        self.additional(uri, headers).unwrap_or(&self.inner.address).metadata.clone()
    }

    fn additional(&self, uri: &Uri, headers: &HeaderMap) -> Option<&Address> {
        if self.inner.additional.is_empty() {
            return None;
        }
        let host = HostAndPort::from_parts(uri, headers)?;
        self.inner.additional.iter().find(|(known, _)| *known == host).map(|(_, address)| address)
    }

    /// Whether this path serves the metadata: the one that ends in the resource's path (RFC 9728
    /// section 3.1), or the one for the whole host, which clients try next. Some clients add a slash.
    pub(crate) fn is_metadata_path(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        path == self.metadata_url().path() || path == WELL_KNOWN
    }

    /// These two paths, or one if they are equal, with and without a slash.
    #[cfg(feature = "axum")]
    pub(super) fn metadata_paths(&self) -> impl Iterator<Item = String> {
        let own = self.metadata_url().path();
        [WELL_KNOWN]
            .into_iter()
            .chain((own != WELL_KNOWN).then_some(own))
            .flat_map(|path| [path.to_owned(), format!("{path}/")])
    }
}

impl fmt::Debug for ProtectedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedResource")
            .field("url", &self.inner.address.url)
            .field("id", &self.inner.id)
            .finish_non_exhaustive()
    }
}
