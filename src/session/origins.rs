//! The origins of an app. A browser has cookies of each, so a login ends where it began.

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

/// The origins of an app: that of the redirect URI, and those of the additional ones.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    first: AppOrigin,
    additional: Vec<AppOrigin>,
}

impl Origins {
    pub(super) fn new(first: AppOrigin) -> Self {
        Self { first, additional: Vec::new() }
    }

    /// Adds an origin.
    ///
    /// # Errors
    /// Returned when the app could not distinguish it from the others, or would need other routes or
    /// cookies there.
    pub(super) fn add(&mut self, origin: AppOrigin) -> Result<(), &'static str> {
        if origin.redirect_uri.path() != self.first.redirect_uri.path() {
            return Err("must have the path of the redirect URI");
        }
        if origin.redirect_uri.scheme() != self.first.redirect_uri.scheme() {
            return Err("must have the scheme of the redirect URI");
        }
        if self.by_host(&origin.host).is_some() {
            return Err("is at the host of another redirect URI");
        }
        self.additional.push(origin);
        Ok(())
    }

    /// Returns the origin of the redirect URI.
    pub(crate) fn first(&self) -> &AppOrigin {
        &self.first
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &AppOrigin> {
        std::iter::once(&self.first).chain(&self.additional)
    }

    pub(crate) fn by_host(&self, host: &HostAndPort) -> Option<&AppOrigin> {
        self.iter().find(|origin| origin.host == *host)
    }

    /// Returns what identifies an origin in an attempt: `None` for the first.
    pub(crate) fn id(&self, origin: &AppOrigin) -> Option<String> {
        (origin.host != self.first.host).then(|| origin.ascii_serialization())
    }

    pub(crate) fn by_id(&self, id: Option<&str>) -> Option<&AppOrigin> {
        match id {
            None => Some(&self.first),
            Some(id) => self.additional.iter().find(|origin| origin.ascii_serialization() == id),
        }
    }

    /// Returns the origin whose host the request names.
    pub(crate) fn by_request<B>(&self, request: &Request<B>) -> Option<&AppOrigin> {
        self.by_host(&HostAndPort::from_request(request)?)
    }

    /// Returns the origin of a request: the first if the request names none of the app's hosts,
    /// because a proxy does not forward the host.
    pub(crate) fn of_request<B>(&self, request: &Request<B>) -> &AppOrigin {
        // Most apps have one origin: nothing to parse.
        match self.additional.is_empty() {
            true => &self.first,
            false => self.by_request(request).unwrap_or(&self.first),
        }
    }
}
