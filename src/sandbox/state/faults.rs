//! Faults of endpoints, and request counts.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::sync::watch;

use crate::sandbox::parameters::Parameters;

/// An endpoint, or a group of endpoints, that can fail on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// Everything below `/api/v1/` and `/proxy/`
    Api,
    /// `GET /oauth/authorize`, the environment's and those of resources
    Authorize,
    /// `GET /.well-known/openid-configuration` and the metadata of resources
    Discovery,
    /// `GET /keys`
    Keys,
    /// `GET /oidc/logout`
    Logout,
    /// `POST /oauth/token`, the environment's and those of resources
    Token,
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        let segments: Vec<_> = path.split('/').collect();
        match segments.as_slice() {
            ["", "oauth", "authorize"] | ["", "resources", _, "oauth", "authorize"] => {
                Some(Self::Authorize)
            }
            ["", ".well-known", "openid-configuration"]
            | ["", ".well-known", _, "resources", _]
            | ["", "resources", _, ".well-known", _] => Some(Self::Discovery),
            ["", "keys"] => Some(Self::Keys),
            ["", "oidc", "logout"] => Some(Self::Logout),
            ["", "oauth", "token"] | ["", "resources", _, "oauth", "token"] => Some(Self::Token),
            ["", "api", "v1", _, ..] | ["", "proxy", _, ..] => Some(Self::Api),
            _ => None,
        }
    }
}

/// What happens to a request in place of, or in addition to, its response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Returns this response, for instance a 429 with `Retry-After`, a redirect, broken JSON.
    Response(Response<Bytes>),
    /// Delays the response (by tokio's time, not by
    /// [`Sandbox::clock`](crate::sandbox::Sandbox::clock)).
    Delay(Duration),
    /// Returns a web page with status 200, as captive portals and proxies do.
    Html,
    /// Processes the request and drops its response.
    ResponseLost,
    /// Returns an error with this status.
    Status(StatusCode),
    /// Fails to connect; on a socket, closes the connection without a response.
    Unreachable,
}

/// What happens to a request before its response.
#[derive(Clone, Debug)]
pub(crate) enum FaultAction {
    Fault(Fault),
    /// Closed when the requests may continue.
    Hold(watch::Receiver<()>),
}

impl FaultAction {
    fn is_released(&self) -> bool {
        matches!(self, Self::Hold(held) if held.has_changed().is_err())
    }
}

/// Pending faults and request counts.
#[derive(Debug, Default)]
pub(crate) struct EndpointFaults {
    requests: HashMap<Endpoint, usize>,
    pub(crate) refreshes: usize,
    queued: HashMap<Endpoint, VecDeque<(FaultAction, Option<usize>)>>,
}

impl EndpointFaults {
    /// Counts a request and returns the next fault of its endpoint, which replaces or precedes the
    /// response.
    pub(crate) fn next_action(&mut self, request: &Request<Bytes>) -> Option<FaultAction> {
        let endpoint = Endpoint::at(request.uri().path())?;
        *self.requests.entry(endpoint).or_default() += 1;
        if endpoint == Endpoint::Token
            && let Some(form) = Parameters::from_form(request)
            && form.get("grant_type") == Some("refresh_token")
        {
            self.refreshes += 1;
        }
        let queued = self.queued.get_mut(&endpoint)?;
        queued.retain(|(action, _)| !action.is_released());
        let (action, left) = queued.front_mut()?;
        let action = action.clone();
        if let Some(left) = left {
            *left -= 1;
            if *left == 0 {
                queued.pop_front();
            }
        }
        Some(action)
    }

    pub(crate) fn add(&mut self, endpoint: Endpoint, action: FaultAction, times: Option<usize>) {
        if times != Some(0) {
            self.queued.entry(endpoint).or_default().push_back((action, times));
        }
    }

    pub(crate) fn clear(&mut self, endpoint: Endpoint) {
        self.queued.remove(&endpoint);
    }

    pub(crate) fn requests(&self, endpoint: Endpoint) -> usize {
        self.requests.get(&endpoint).copied().unwrap_or_default()
    }
}
