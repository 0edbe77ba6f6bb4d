//! A protected resource: an MCP server, or any API that clients discover.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde::Serialize;
use url::Url;

use crate::challenge::ScopeToken;
use crate::dpop::Dpop;
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::scalekit::Scalekit;
use crate::token::Leeway;
use crate::token::TokenVerifier;
use crate::util::base64url::is_base64url;
use crate::util::host_redirect::HostAndPort;
use crate::util::route_check::RouteCheck;
use crate::util::telemetry;
use crate::util::url_policy::require_https_or_loopback;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

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
pub struct ProtectedResource(Arc<Inner>);

struct Inner {
    id: ResourceId,
    address: Address,
    additional: Vec<(HostAndPort, Address)>,
    metadata_path: String,
    verifier: TokenVerifier,
    dpop: Option<Dpop>,
    metadata_route: RouteCheck,
}

/// A URL of a resource, and its metadata.
struct Address {
    url: String,
    metadata_url: Arc<Url>,
    metadata: Bytes,
}

impl ProtectedResource {
    /// Configures a resource with its public URL, exactly as clients call it, and the ID under
    /// which the URL is registered in the dashboard. A trailing slash of the URL is removed.
    pub fn builder(
        scalekit: &Scalekit,
        url: impl Into<String>,
        id: ResourceId,
    ) -> ProtectedResourceBuilder {
        ProtectedResourceBuilder {
            scalekit: scalekit.clone(),
            url: url.into(),
            additional_urls: Vec::new(),
            id,
            name: None,
            scopes: Vec::new(),
            documentation: None,
            leeway: Leeway::default(),
            dpop: None,
        }
    }

    /// The resource's public URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.address.url
    }

    /// The resource's ID in the dashboard.
    #[must_use]
    pub fn id(&self) -> &ResourceId {
        &self.0.id
    }

    /// The URL of its metadata, which challenges contain. Those for an
    /// [additional URL](ProtectedResourceBuilder::additional_url) differ in the host.
    #[must_use]
    pub fn metadata_url(&self) -> &Url {
        &self.0.address.metadata_url
    }

    /// A verifier of tokens for this resource, for use without a layer.
    #[must_use]
    pub fn verifier(&self) -> &TokenVerifier {
        &self.0.verifier
    }

    pub(crate) fn dpop(&self) -> Option<&Dpop> {
        self.0.dpop.as_ref()
    }

    /// The routes or the layer of the metadata.
    pub(super) fn metadata_route(&self) -> &RouteCheck {
        &self.0.metadata_route
    }

    /// Logs once, when a client is referred to the metadata, that nothing serves it.
    pub(crate) fn report_missing_metadata(&self) {
        if self.metadata_route().report_missing() {
            telemetry::metadata_route_missing(self.metadata_url().as_str());
        }
    }

    pub(crate) fn shared_metadata_url(&self) -> Arc<Url> {
        Arc::clone(&self.0.address.metadata_url)
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
        self.additional(uri, headers).unwrap_or(&self.0.address).metadata.clone()
    }

    fn additional(&self, uri: &Uri, headers: &HeaderMap) -> Option<&Address> {
        if self.0.additional.is_empty() {
            return None;
        }
        let host = HostAndPort::from_parts(uri, headers)?;
        self.0.additional.iter().find(|(known, _)| *known == host).map(|(_, address)| address)
    }

    /// Whether this path serves the metadata: the one that ends in the resource's path (RFC 9728
    /// section 3.1), or the one for the whole host, which clients try next. Some clients add a slash.
    pub(crate) fn is_metadata_path(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        path == self.0.metadata_path || path == WELL_KNOWN
    }

    /// These two paths, or one if they are equal, with and without a slash.
    #[cfg(feature = "axum")]
    pub(super) fn metadata_paths(&self) -> impl Iterator<Item = String> {
        let own = self.0.metadata_path.as_str();
        let paths = [WELL_KNOWN].into_iter().chain((own != WELL_KNOWN).then_some(own));
        paths.flat_map(|path| [path.to_owned(), format!("{path}/")])
    }
}

impl fmt::Debug for ProtectedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedResource")
            .field("url", &self.0.address.url)
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}

/// Builds a [`ProtectedResource`].
#[derive(Debug)]
#[must_use]
pub struct ProtectedResourceBuilder {
    scalekit: Scalekit,
    url: String,
    additional_urls: Vec<String>,
    id: ResourceId,
    name: Option<String>,
    scopes: Vec<String>,
    documentation: Option<String>,
    leeway: Leeway,
    dpop: Option<Dpop>,
}

impl ProtectedResourceBuilder {
    /// Adds a URL of the same server under another host or port, such as `http://localhost:3000/mcp`
    /// beside `http://127.0.0.1:3000/mcp`. Default: none.
    ///
    /// A client compares the URL that it calls with that of the metadata, character by character (RFC
    /// 9728, section 3.3). A request whose `Host` is the one of an additional URL therefore gets the
    /// metadata, and the challenge, of that URL. Any other `Host` gets those of the first. Tokens for
    /// each of the URLs are accepted.
    ///
    /// The dashboard has one URL for each resource. Its tokens probably contain that one, or the ID,
    /// whichever URL the client calls; this is not verified.
    ///
    /// Add loopback URLs in development only. A proxy on the same machine that does not [forward the
    /// host](crate::guides::behind_a_proxy) requests them, and its clients would get their metadata.
    pub fn additional_url(mut self, url: impl Into<String>) -> Self {
        self.additional_urls.push(url.into());
        self
    }

    /// Sets the resource's display name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the scopes that clients may request. Leave `offline_access` out: it is a scope of the
    /// authorization server.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the URL of documentation for client developers.
    pub fn documentation(mut self, url: impl Into<String>) -> Self {
        self.documentation = Some(url.into());
        self
    }

    /// Sets how long after `exp` a token is accepted. Default: 5 s, at most 60 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway.expiry = leeway;
        self
    }

    /// Sets how far `nbf` and `iat` may be ahead of this server's clock. Default: 60 s, at most
    /// 5 minutes.
    pub fn not_before_leeway(mut self, leeway: Duration) -> Self {
        self.leeway.not_before = leeway;
        self
    }

    /// Accepts tokens that are bound to a key, with a proof of its possession (RFC 9449), and says so in
    /// the metadata. See [`dpop`](crate::dpop). Default: they are rejected.
    pub fn dpop(mut self, dpop: &Dpop) -> Self {
        self.dpop = Some(dpop.clone());
        self
    }

    /// Validates the settings. Sends no request.
    ///
    /// # Errors
    /// Returned when settings are invalid. Lists all of them.
    pub fn build(self) -> Result<ProtectedResource, ConfigError> {
        let mut problems = Problems::default();
        let leeway = problems.collect(self.leeway.checked()).unwrap_or_default();
        let url = problems.collect(parse_resource_url(&self.url));
        let additional: Vec<_> = self
            .additional_urls
            .iter()
            .filter_map(|url| problems.collect(parse_resource_url(url)))
            .collect();
        let mut urls = url.iter().chain(&additional);
        if self.dpop.as_ref().is_some_and(|dpop| urls.any(|(one, _)| !dpop.covers(one))) {
            let reason = "must have a public URL with the origin of each URL of the resource";
            problems.push(ConfigProblem::invalid("dpop", reason));
        }
        let mut hosts = Vec::new();
        for (one, text) in url.iter().chain(&additional) {
            problems.collect(self.scalekit.check_app_url("resource URL", one));
            let host = HostAndPort::from_url(one);
            let is_same_path = url
                .iter()
                .all(|(first, first_text)| path_of(first_text, first) == path_of(text, one));
            if hosts.contains(&host) || !is_same_path {
                let reason =
                    format!("{text:?} must have a host or port of its own, and the same path");
                problems.push(ConfigProblem::invalid("additional URL", reason));
            }
            hosts.push(host);
        }
        let documentation = self.documentation.as_deref().map(parse_documentation).transpose();
        let documentation = problems.collect(documentation);
        for scope in &self.scopes {
            problems.collect(ScopeToken::new(scope));
            if scope == "offline_access" {
                let reason = "offline_access is a scope of the authorization server alone";
                problems.push(ConfigProblem::invalid("scopes", reason));
            }
        }
        let dpop = self.dpop;
        let environment = self.scalekit.environment_url();
        let issuer = format!("{environment}/resources/{}", self.id.as_str());
        let resource = url.zip(documentation).map(|((url, text), documentation)| {
            let metadata_path = format!("{WELL_KNOWN}{}", path_of(&text, &url));
            let address = |mut url: Url, text: String| {
                let metadata = serde_json::to_vec(&Metadata {
                    resource: &text,
                    authorization_servers: [&issuer],
                    bearer_methods_supported: ["header"],
                    scopes_supported: &self.scopes,
                    resource_name: self.name.as_deref(),
                    resource_documentation: documentation.as_ref().map(Url::as_str),
                    dpop_signing_alg_values_supported: dpop
                        .iter()
                        .flat_map(|dpop| dpop.algorithms().split(' '))
                        .collect(),
                    dpop_bound_access_tokens_required: dpop.as_ref().is_some_and(Dpop::is_required),
                });
                url.set_path(&metadata_path);
                let metadata = metadata.unwrap_or_default().into();
                Address { url: text, metadata_url: Arc::new(url), metadata }
            };
            let verifier = self.scalekit.token_verifier().issuer(&issuer).leeways(leeway);
            let verifier = [(&url, &text)]
                .into_iter()
                .chain(additional.iter().map(|(url, text)| (url, text)))
                .flat_map(|(url, text)| {
                    // The dashboard may have the URL with a trailing slash.
                    let with_slash = url.path().ends_with('/').then(|| format!("{text}/"));
                    [text.clone()].into_iter().chain(with_slash)
                })
                .fold(verifier.audience(self.id.as_str()), |verifier, url| {
                    verifier.audience(&url).resource(url)
                });
            let additional = additional
                .into_iter()
                .filter_map(|(url, text)| Some((HostAndPort::from_url(&url)?, address(url, text))));
            Ok::<_, ConfigError>(ProtectedResource(Arc::new(Inner {
                additional: additional.collect(),
                address: address(url, text),
                metadata_path,
                verifier: verifier.build()?,
                dpop: dpop.clone(),
                metadata_route: RouteCheck::default(),
                id: self.id,
            })))
        });
        let resource = resource.and_then(|resource| problems.collect(resource));
        let resource = problems.finish(resource)?;
        #[cfg(all(feature = "reqwest", feature = "sandbox"))]
        if let Some(sandbox) = self.scalekit.sandbox() {
            let id = resource.id().as_str();
            let additional = resource.0.additional.iter().map(|(_, address)| &*address.url);
            let urls = [resource.url()].into_iter().chain(additional);
            sandbox.mcp().register_resource(id, urls, &self.scopes);
        }
        Ok(resource)
    }
}

/// RFC 9728 section 2: members without elements are omitted.
#[derive(Serialize)]
struct Metadata<'a> {
    resource: &'a str,
    authorization_servers: [&'a str; 1],
    bearer_methods_supported: [&'a str; 1],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scopes_supported: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dpop_signing_alg_values_supported: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dpop_bound_access_tokens_required: bool,
}

/// The URL, and its text without a trailing slash, which is what clients compare.
fn parse_resource_url(text: &str) -> Result<(Url, String), ConfigError> {
    let invalid = |reason: String| ConfigProblem::invalid("resource URL", reason);
    let url = Url::parse(text).map_err(|error| invalid(format!("not a URL: {error}")))?;
    require_https_or_loopback(&url).map_err(|reason| invalid(reason.to_owned()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("must not have a query or fragment".to_owned()).into());
    }
    let normal = url.as_str().trim_end_matches('/').to_owned();
    if normal != text.trim_end_matches('/') {
        let reason =
            "must be written in its normal form, because clients compare character by character";
        return Err(invalid(reason.to_owned()).into());
    }
    Ok((url, normal))
}

fn path_of<'a>(text: &'a str, url: &Url) -> &'a str {
    text.strip_prefix(&url.origin().ascii_serialization()).unwrap_or_default()
}

fn parse_documentation(text: &str) -> Result<Url, ConfigError> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "https" | "http")).ok_or_else(|| {
        ConfigProblem::invalid("documentation", "must be an http or https URL").into()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http_client::UnreachableClient;

    fn builder(url: &str) -> ProtectedResourceBuilder {
        let scalekit = Scalekit::builder("https://acme.scalekit.dev", "skc_1", "hush");
        let scalekit = scalekit.http_client(UnreachableClient).build().unwrap();
        ProtectedResource::builder(&scalekit, url, ResourceId::new("res_123456789").unwrap())
    }

    fn metadata(resource: &ProtectedResource) -> Value {
        serde_json::from_slice(&resource.0.address.metadata).unwrap()
    }

    #[test]
    fn the_document_matches_the_dashboards() {
        let resource = builder("https://mcp.yourapp.com")
            .scopes(["todo:read", "todo:write"])
            .documentation("https://mcp.yourapp.com/docs")
            .build()
            .unwrap();
        assert_eq!(
            metadata(&resource),
            json!({
                "authorization_servers": ["https://acme.scalekit.dev/resources/res_123456789"],
                "bearer_methods_supported": ["header"],
                "resource": "https://mcp.yourapp.com",
                "resource_documentation": "https://mcp.yourapp.com/docs",
                "scopes_supported": ["todo:read", "todo:write"],
            })
        );
        // Empty members are omitted.
        let least = metadata(&builder("https://mcp.yourapp.com").build().unwrap());
        assert_eq!(least.as_object().unwrap().len(), 3, "{least}");
    }

    #[test]
    fn the_document_says_which_proofs_are_accepted() {
        let url = "https://mcp.yourapp.com/mcp";
        let dpop = Dpop::builder("https://mcp.yourapp.com");
        let optional = metadata(&builder(url).dpop(&dpop.build().unwrap()).build().unwrap());
        let algorithms = json!(["ES256", "ES384", "EdDSA"]);
        assert_eq!(optional["dpop_signing_alg_values_supported"], algorithms);
        assert_eq!(optional.get("dpop_bound_access_tokens_required"), None);

        let dpop = Dpop::builder("https://mcp.yourapp.com").required().build().unwrap();
        let required = metadata(&builder(url).dpop(&dpop).build().unwrap());
        assert_eq!(required["dpop_bound_access_tokens_required"], true);

        let other = Dpop::builder("https://other.yourapp.com").build().unwrap();
        assert!(builder(url).dpop(&other).build().is_err());
    }

    #[test]
    fn the_well_known_segment_precedes_the_path() {
        let well_known = "https://h.test/.well-known/oauth-protected-resource";
        for (url, resource, address) in [
            ("https://h.test", "https://h.test", well_known.to_owned()),
            ("https://h.test/", "https://h.test", well_known.to_owned()),
            ("https://h.test/mcp", "https://h.test/mcp", format!("{well_known}/mcp")),
            ("https://h.test/mcp/", "https://h.test/mcp", format!("{well_known}/mcp")),
            ("https://h.test/a/b%20c", "https://h.test/a/b%20c", format!("{well_known}/a/b%20c")),
        ] {
            let built = builder(url).build().unwrap();
            assert_eq!((built.url(), built.metadata_url().as_str()), (resource, &*address));
            assert_eq!(metadata(&built)["resource"], resource);
            let path = built.metadata_url().path();
            assert!(built.is_metadata_path(path) && built.is_metadata_path(WELL_KNOWN));
            assert!(built.is_metadata_path(&format!("{path}/")));
            for other in ["/", "/mcp", &format!("{path}//"), &format!("{path}x"), "/x/.well-known"]
            {
                assert!(!built.is_metadata_path(other), "{other}");
            }
        }
    }

    #[test]
    fn a_trailing_slash_is_accepted_if_equivalent_or_configured() {
        for (url, accepted) in [
            ("https://h.test", &["https://h.test", "https://h.test/"][..]),
            ("https://h.test/", &["https://h.test", "https://h.test/"]),
            ("https://h.test/mcp", &["https://h.test/mcp"]),
            ("https://h.test/mcp/", &["https://h.test/mcp", "https://h.test/mcp/"]),
        ] {
            let resource = builder(url).build().unwrap();
            assert_eq!(resource.verifier().resources(), accepted, "{url}");
        }
    }

    #[test]
    fn the_host_of_a_request_selects_one_of_the_configured_urls() {
        let resource = builder("http://127.0.0.1:3000/mcp")
            .additional_url("http://localhost:3000/mcp/")
            .additional_url("https://mcp.example.com/mcp")
            .build()
            .unwrap();
        let metadata = |uri: &str, hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append("host", host.parse().unwrap());
            }
            let metadata = resource.metadata(&uri.parse().unwrap(), &headers);
            let metadata: Value = serde_json::from_slice(&metadata).unwrap();
            metadata["resource"].as_str().unwrap().to_owned()
        };
        let first = "http://127.0.0.1:3000/mcp";
        for (hosts, expected) in [
            (&["localhost:3000"][..], "http://localhost:3000/mcp"),
            (&["LOCALHOST:3000"], "http://localhost:3000/mcp"),
            (&["mcp.example.com"], "https://mcp.example.com/mcp"),
            (&["mcp.example.com:443"], "https://mcp.example.com/mcp"),
            (&["127.0.0.1:3000"], first),
            (&["localhost"], first),
            (&["localhost:3001"], first),
            (&["mcp.example.com.evil.test"], first),
            (&["me@localhost:3000"], first),
            (&["localhost:3000", "localhost:3000"], first),
            (&[], first),
        ] {
            assert_eq!(metadata("/", hosts), expected, "{hosts:?}");
        }
        // HTTP/2 names it in the URI.
        assert_eq!(metadata("http://localhost:3000/", &["a.test"]), "http://localhost:3000/mcp");
        let accepted = [
            first,
            "http://localhost:3000/mcp",
            "http://localhost:3000/mcp/",
            "https://mcp.example.com/mcp",
        ];
        assert_eq!(resource.verifier().resources(), accepted);

        for other in [
            "http://127.0.0.1:3000/mcp",
            "https://mcp.example.com/other",
            "http://mcp.example.com/mcp",
            "https://mcp.example.com/mcp?x",
        ] {
            let error = builder("http://127.0.0.1:3000/mcp").additional_url(other).build();
            assert_eq!(error.unwrap_err().problems().len(), 1, "{other}");
        }
        // Proofs name the URL that the client calls.
        let dpop = Dpop::builder("https://one.example.com").build().unwrap();
        let two =
            builder("https://one.example.com/mcp").additional_url("https://two.example.com/mcp");
        assert!(two.dpop(&dpop).build().is_err());
    }

    #[test]
    fn all_invalid_settings_are_reported_at_once() {
        for url in [
            "",
            "/mcp",
            "http://mcp.test/mcp",
            "https://mcp.test/mcp?x",
            "https://mcp.test/mcp#x",
            "https://me@mcp.test/mcp",
            "https://MCP.test/mcp",
            "https://mcp.test:443/mcp",
            "https://mcp.test/a/../mcp",
        ] {
            assert!(builder(url).build().is_err(), "{url}");
        }
        let error = builder("mcp").scopes(["a b", "offline_access"]).documentation("docs").build();
        assert_eq!(error.unwrap_err().problems().len(), 4);
        let too_long = Duration::from_secs(301);
        let error = builder("https://h.test").leeway(too_long).not_before_leeway(too_long).build();
        assert_eq!(error.unwrap_err().problems().len(), 2);
        for id in ["", "res_", "123", "conn_1", "res_a/b", "res_a b"] {
            assert!(ResourceId::new(id).is_err(), "{id}");
        }
    }
}
