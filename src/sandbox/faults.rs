//! Endpoints that fail on request, and how often each was called.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::sync::watch;

use super::Sandbox;
use super::parameters::Parameters;

impl Sandbox {
    /// Lets an endpoint answer every request with a fault, until it is [healed](Self::heal).
    pub fn fail(&self, endpoint: Endpoint, fault: Fault) {
        self.environment.lock().endpoint_faults.add(endpoint, Meets::Fault(fault), None);
    }

    /// Lets an endpoint answer its next `times` requests with a fault. Several calls line up.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_scalekit::sandbox::{Endpoint, Fault, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// sandbox.fail_times(Endpoint::Token, 2, Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    /// sandbox.fail_times(Endpoint::Token, 1, Fault::ResponseLost);
    /// ```
    pub fn fail_times(&self, endpoint: Endpoint, times: usize, fault: Fault) {
        self.environment.lock().endpoint_faults.add(endpoint, Meets::Fault(fault), Some(times));
    }

    /// Lets requests to an endpoint arrive, be counted, and wait until what this returns is
    /// dropped; then they are answered. For races: who else asks while one request is under way?
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Request;
    /// use tower_scalekit::http_client::HttpClient as _;
    /// use tower_scalekit::sandbox::{Endpoint, Sandbox};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let sandbox = Sandbox::new();
    /// let held = sandbox.hold(Endpoint::Keys);
    /// let request = Request::get(format!("{}/keys", sandbox.environment_url()));
    /// let request = request.body(Bytes::new()).unwrap();
    /// let client = sandbox.client();
    /// let waiting = tokio::spawn(async move { client.send(request).await });
    /// while sandbox.requests(Endpoint::Keys) == 0 {
    ///     tokio::task::yield_now().await;
    /// }
    /// drop(held);
    /// assert!(waiting.await.unwrap().unwrap().status().is_success());
    /// # }
    /// ```
    pub fn hold(&self, endpoint: Endpoint) -> HeldRequests {
        let (release, held) = watch::channel(());
        self.environment.lock().endpoint_faults.add(endpoint, Meets::Hold(held), None);
        HeldRequests { _release: release }
    }

    /// Lets an endpoint answer again as it should.
    pub fn heal(&self, endpoint: Endpoint) {
        self.environment.lock().endpoint_faults.heal(endpoint);
    }

    /// How many requests were made to an endpoint, those answered by a fault included.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> usize {
        self.environment.lock().endpoint_faults.requests(endpoint)
    }

    /// How many of the requests to the token endpoint were refresh grants, whatever the answer.
    #[must_use]
    pub fn refreshes(&self) -> usize {
        self.environment.lock().endpoint_faults.refreshes
    }
}

/// A part of the environment that can fail on its own.
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

/// What happens to a request instead of, or on top of, its answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// This response, whatever was asked: a 429 with `Retry-After`, a redirect, broken JSON.
    Answer(Response<Bytes>),
    /// The right answer, so much later (by tokio's time, not by [`Sandbox::clock`]).
    Delay(Duration),
    /// A web page with status 200, as captive portals and proxies give.
    Html,
    /// The request is carried out and its response gets lost on the way.
    ResponseLost,
    /// An error with this status.
    Status(StatusCode),
    /// No connection; on a socket it is closed without an answer.
    Unreachable,
}

/// Requests that wait for their answer until this is dropped. Made by [`Sandbox::hold`].
#[derive(Debug)]
#[must_use = "the requests go on when this is dropped"]
pub struct HeldRequests {
    _release: watch::Sender<()>,
}

/// What a request meets on its way to the endpoint.
#[derive(Clone, Debug)]
pub(super) enum Meets {
    Fault(Fault),
    /// Closed when the requests may go on.
    Hold(watch::Receiver<()>),
}

/// The faults in waiting and the counts.
#[derive(Debug, Default)]
pub(super) struct EndpointFaults {
    requests: HashMap<Endpoint, usize>,
    refreshes: usize,
    waiting: HashMap<Endpoint, VecDeque<(Meets, Option<usize>)>>,
}

impl EndpointFaults {
    /// Counts a request and gives what it meets.
    pub(super) fn arrival(&mut self, request: &Request<Bytes>) -> Option<Meets> {
        let endpoint = Endpoint::at(request.uri().path())?;
        *self.requests.entry(endpoint).or_default() += 1;
        if endpoint == Endpoint::Token
            && let Some(form) = Parameters::of_form(request)
            && form.get("grant_type") == Some("refresh_token")
        {
            self.refreshes += 1;
        }
        let waiting = self.waiting.get_mut(&endpoint)?;
        let released =
            |meets: &Meets| matches!(meets, Meets::Hold(held) if held.has_changed().is_err());
        waiting.retain(|(meets, _)| !released(meets));
        let (meets, left) = waiting.front_mut()?;
        let meets = meets.clone();
        if let Some(left) = left {
            *left -= 1;
            if *left == 0 {
                waiting.pop_front();
            }
        }
        Some(meets)
    }

    fn add(&mut self, endpoint: Endpoint, meets: Meets, times: Option<usize>) {
        if times != Some(0) {
            self.waiting.entry(endpoint).or_default().push_back((meets, times));
        }
    }

    fn heal(&mut self, endpoint: Endpoint) {
        self.waiting.remove(&endpoint);
    }

    fn requests(&self, endpoint: Endpoint) -> usize {
        self.requests.get(&endpoint).copied().unwrap_or_default()
    }
}
