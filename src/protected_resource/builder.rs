use std::iter;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use url::Url;

use super::resource::{Address, Inner, ProtectedResource, ResourceId, WELL_KNOWN};
use crate::challenge::ScopeToken;
use crate::dpop::Dpop;
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::scalekit::Scalekit;
use crate::token::{Leeway, TokenVerifier};
use crate::util::host_redirect::HostAndPort;
use crate::util::route_check::RouteCheck;
use crate::util::url_policy::parse_secure_url;

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
    /// metadata, and the challenge, of that URL. Any other request gets those of the first. Tokens for
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
        self.leeway.set_expiry(leeway);
        self
    }

    /// Sets how far `nbf` and `iat` may be ahead of this server's clock. Default: 60 s, at most
    /// 5 minutes.
    pub fn not_before_leeway(mut self, leeway: Duration) -> Self {
        self.leeway.set_not_before(leeway);
        self
    }

    /// Accepts tokens that are bound to a key, with a proof of its possession (RFC 9449). The metadata
    /// lists the accepted algorithms. See [`dpop`](crate::dpop). Default: they are rejected.
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
        let url = problems.collect(ResourceUrl::parse(&self.url));
        let additional: Vec<_> = self
            .additional_urls
            .iter()
            .filter_map(|url| problems.collect(ResourceUrl::parse(url)))
            .collect();
        self.check_urls(url.as_ref(), &additional, &mut problems);
        let documentation = problems
            .collect(self.documentation.as_deref().map(parse_documentation).transpose())
            .flatten();
        for scope in &self.scopes {
            problems.collect(ScopeToken::new(scope));
            if scope == "offline_access" {
                let reason = "offline_access is a scope of the authorization server alone";
                problems.invalid("scopes", reason);
            }
        }
        let verifier = url.as_ref().and_then(|url| {
            problems.collect(self.verifier(iter::once(url).chain(&additional), leeway))
        });
        let documentation = documentation.as_ref().map(Url::as_str);
        let resource = problems.finish(url.zip(verifier).map(|(url, verifier)| {
            let inner = Inner {
                address: self.address(url, documentation),
                additional: additional
                    .into_iter()
                    .filter_map(|url| Some((url.host()?, self.address(url, documentation))))
                    .collect(),
                verifier,
                dpop: self.dpop.clone(),
                metadata_route: RouteCheck::default(),
                id: self.id.clone(),
            };
            ProtectedResource { inner: Arc::new(inner) }
        }))?;
        #[cfg(all(feature = "reqwest", feature = "sandbox"))]
        if let Some(sandbox) = self.scalekit.sandbox() {
            let additional = resource.inner.additional.iter().map(|(_, address)| &*address.url);
            sandbox.mcp().register_resource(
                self.id.as_str(),
                iter::once(resource.url()).chain(additional),
                &self.scopes,
            );
        }
        Ok(resource)
    }

    fn check_urls(
        &self,
        url: Option<&ResourceUrl>,
        additional: &[ResourceUrl],
        problems: &mut Problems,
    ) {
        let mut hosts = Vec::new();
        for one in url.into_iter().chain(additional) {
            problems.collect(self.scalekit.check_app_url("resource URL", &one.url));
            let has_path_of_first = url.is_none_or(|first| first.path() == one.path());
            if hosts.contains(&one.host()) || !has_path_of_first {
                let reason = "must have a host or port of its own, and the same path";
                problems.invalid("additional URL", format!("{:?} {reason}", one.text));
            }
            hosts.push(one.host());
        }
        let mut urls = url.into_iter().chain(additional);
        if self.dpop.as_ref().is_some_and(|dpop| urls.any(|one| !dpop.covers(&one.url))) {
            let reason = "must have a public URL at, above or below each URL of the resource";
            problems.invalid("dpop", reason);
        }
    }

    /// The issuer of tokens for this resource.
    fn issuer(&self) -> String {
        format!("{}/resources/{}", self.scalekit.environment_url(), self.id.as_str())
    }

    fn verifier<'u>(
        &self,
        urls: impl Iterator<Item = &'u ResourceUrl>,
        leeway: Leeway,
    ) -> Result<TokenVerifier, ConfigError> {
        let verifier = self.scalekit.token_verifier().issuer(self.issuer()).leeways(leeway);
        urls.flat_map(ResourceUrl::spellings)
            .fold(verifier.audience(self.id.as_str()), |verifier, url| {
                verifier.audience(&url).resource(url)
            })
            .build()
    }

    /// Serializes the metadata of a URL.
    fn address(&self, url: ResourceUrl, documentation: Option<&str>) -> Address {
        let metadata = Metadata {
            resource: &url.text,
            authorization_servers: [&self.issuer()],
            bearer_methods_supported: ["header"],
            scopes_supported: &self.scopes,
            resource_name: self.name.as_deref(),
            resource_documentation: documentation,
            dpop_signing_alg_values_supported: self
                .dpop
                .iter()
                .flat_map(|dpop| dpop.algorithms().split(' '))
                .collect(),
            dpop_bound_access_tokens_required: self.dpop.as_ref().is_some_and(Dpop::is_required),
        };
        let metadata = serde_json::to_vec(&metadata).unwrap_or_default().into();
        let mut metadata_url = url.url.clone();
        metadata_url.set_path(&format!("{WELL_KNOWN}{}", url.path()));
        Address { url: url.text, metadata_url: Arc::new(metadata_url), metadata }
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

/// A URL as it is configured.
struct ResourceUrl {
    url: Url,
    /// Without a trailing slash: what clients compare.
    text: String,
}

impl ResourceUrl {
    fn parse(text: &str) -> Result<Self, ConfigProblem> {
        const SETTING: &str = "resource URL";
        let url = parse_secure_url(SETTING, text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ConfigProblem::invalid(SETTING, "must not have a query or fragment"));
        }
        let normal = url.as_str().trim_end_matches('/').to_owned();
        if normal != text.trim_end_matches('/') {
            return Err(ConfigProblem::invalid(
                SETTING,
                "must be written in its normal form, because clients compare character by character",
            ));
        }
        Ok(Self { url, text: normal })
    }

    fn host(&self) -> Option<HostAndPort> {
        HostAndPort::from_url(&self.url)
    }

    /// Without a trailing slash.
    fn path(&self) -> &str {
        self.url.path().trim_end_matches('/')
    }

    /// The URL in tokens: the dashboard may have it with a trailing slash.
    fn spellings(&self) -> impl Iterator<Item = String> {
        let with_slash = self.url.path().ends_with('/').then(|| format!("{}/", self.text));
        iter::once(self.text.clone()).chain(with_slash)
    }
}

fn parse_documentation(text: &str) -> Result<Url, ConfigError> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "https" | "http")).ok_or_else(|| {
        ConfigProblem::invalid("documentation", "must be an http or https URL").into()
    })
}
