//! The origins of an app. A browser has cookies of each, so a login ends where it began.
//!
//! The *canonical* origin is that of the first redirect URI, and the *canonical host* its host. A
//! *foreign host* is none of the app's: no redirect URI has it.

use http::Request;
use url::Url;

use crate::util::host_redirect::HostAndPort;
use crate::util::return_to::ReturnTo;

/// The app at one of its origins.
#[derive(Clone, Debug)]
pub(crate) struct AppOrigin {
    redirect_uri: Url,
    host: HostAndPort,
}

impl AppOrigin {
    /// Returns `None` for a URI without a host.
    pub(super) fn new(redirect_uri: Url) -> Option<Self> {
        let host = HostAndPort::from_url(&redirect_uri)?;
        Some(Self { redirect_uri, host })
    }

    pub(crate) fn redirect_uri(&self) -> &Url {
        &self.redirect_uri
    }

    pub(crate) fn ascii_serialization(&self) -> String {
        self.redirect_uri.origin().ascii_serialization()
    }

    /// Returns the URL of a path that browsers request.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.ascii_serialization())
    }

    pub(crate) fn host(&self) -> &HostAndPort {
        &self.host
    }

    pub(crate) fn host_name(&self) -> &str {
        self.redirect_uri.host_str().unwrap_or("this app")
    }

    /// Returns the path of an absolute URL at this origin.
    pub(crate) fn page(&self, url: &str) -> Option<ReturnTo> {
        ReturnTo::on_origin(url, &self.redirect_uri)
    }
}

/// The origins of an app: the canonical one, and those of the additional redirect URIs.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    canonical: AppOrigin,
    additional: Vec<AppOrigin>,
}

impl Origins {
    pub(super) fn new(canonical: AppOrigin) -> Self {
        Self { canonical, additional: Vec::new() }
    }

    /// Adds an origin.
    ///
    /// # Errors
    /// Returned when the app could not distinguish it from the others, or would need other routes or
    /// cookies there.
    pub(super) fn add(&mut self, origin: AppOrigin) -> Result<(), &'static str> {
        if origin.redirect_uri.path() != self.canonical.redirect_uri.path() {
            return Err("must have the path of the redirect URI");
        }
        if origin.redirect_uri.scheme() != self.canonical.redirect_uri.scheme() {
            return Err("must have the scheme of the redirect URI");
        }
        if self.by_host(&origin.host).is_some() {
            return Err("is at the host of another redirect URI");
        }
        self.additional.push(origin);
        Ok(())
    }

    /// Returns the canonical origin, that of the first redirect URI.
    pub(crate) fn canonical(&self) -> &AppOrigin {
        &self.canonical
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &AppOrigin> {
        std::iter::once(&self.canonical).chain(&self.additional)
    }

    pub(crate) fn by_host(&self, host: &HostAndPort) -> Option<&AppOrigin> {
        self.iter().find(|origin| origin.host == *host)
    }

    /// Returns what identifies an origin in an attempt: `None` for the canonical one.
    pub(crate) fn id(&self, origin: &AppOrigin) -> Option<String> {
        (origin.host != self.canonical.host).then(|| origin.ascii_serialization())
    }

    pub(crate) fn by_id(&self, id: Option<&str>) -> Option<&AppOrigin> {
        match id {
            None => Some(&self.canonical),
            Some(id) => self.additional.iter().find(|origin| origin.ascii_serialization() == id),
        }
    }

    /// Returns the origin whose host the request names.
    pub(crate) fn by_request<B>(&self, request: &Request<B>) -> Option<&AppOrigin> {
        self.by_host(&HostAndPort::from_request(request)?)
    }

    /// Returns the origin of a request: the canonical one if the request names a foreign host,
    /// because a proxy does not forward the host.
    pub(crate) fn of_request<B>(&self, request: &Request<B>) -> &AppOrigin {
        // Most apps have one origin: nothing to parse.
        match self.additional.is_empty() {
            true => &self.canonical,
            false => self.by_request(request).unwrap_or(&self.canonical),
        }
    }
}
