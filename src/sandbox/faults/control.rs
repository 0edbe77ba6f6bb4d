//! Controls of endpoint faults.

use std::sync::Arc;

use tokio::sync::watch;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::faults::{Endpoint, Fault, FaultAction};

/// Faults of endpoints. Returned by [`Sandbox::faults`](crate::sandbox::Sandbox::faults).
#[derive(Clone, Copy, Debug)]
pub struct Faults<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Faults<'_> {
    /// Adds a fault to every request of an endpoint, until it is [cleared](Self::clear).
    pub fn add(&self, endpoint: Endpoint, fault: Fault) {
        self.environment.lock().endpoint_faults.add(endpoint, FaultAction::Fault(fault), None);
    }

    /// Adds a fault to the next `times` requests of an endpoint. Several calls queue up.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_scalekit::sandbox::{Endpoint, Fault, Sandbox};
    ///
    /// let sandbox = Sandbox::new();
    /// sandbox.faults().add_times(Endpoint::Token, 2, Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    /// sandbox.faults().add_times(Endpoint::Token, 1, Fault::ResponseLost);
    /// ```
    pub fn add_times(&self, endpoint: Endpoint, times: usize, fault: Fault) {
        self.environment.lock().endpoint_faults.add(
            endpoint,
            FaultAction::Fault(fault),
            Some(times),
        );
    }

    /// Counts requests to an endpoint and holds them until the returned guard is dropped, for tests
    /// of concurrent requests.
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
    /// let held = sandbox.faults().hold(Endpoint::Keys);
    /// let request = Request::get(format!("{}/keys", sandbox.environment_url()));
    /// let request = request.body(Bytes::new()).unwrap();
    /// let client = sandbox.client();
    /// let waiting = tokio::spawn(async move { client.send(request).await });
    /// while sandbox.requests().count(Endpoint::Keys) == 0 {
    ///     tokio::task::yield_now().await;
    /// }
    /// drop(held);
    /// assert!(waiting.await.unwrap().unwrap().status().is_success());
    /// # }
    /// ```
    pub fn hold(&self, endpoint: Endpoint) -> HeldRequests {
        let (release, held) = watch::channel(());
        self.environment.lock().endpoint_faults.add(endpoint, FaultAction::Hold(held), None);
        HeldRequests { _release: release }
    }

    /// Removes all faults of an endpoint.
    pub fn clear(&self, endpoint: Endpoint) {
        self.environment.lock().endpoint_faults.clear(endpoint);
    }
}

/// Counts of requests. Returned by [`Sandbox::requests`](crate::sandbox::Sandbox::requests).
#[derive(Clone, Copy, Debug)]
pub struct Requests<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Requests<'_> {
    /// The number of requests to an endpoint, including those with a fault.
    #[must_use]
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.environment.lock().endpoint_faults.requests(endpoint)
    }

    /// The number of refresh grants at the token endpoint, including those that failed.
    #[must_use]
    pub fn refreshes(&self) -> usize {
        self.environment.lock().endpoint_faults.refreshes
    }
}

/// Holds requests until it is dropped. Returned by [`Faults::hold`].
#[derive(Debug)]
#[must_use = "the requests continue when this is dropped"]
pub struct HeldRequests {
    _release: watch::Sender<()>,
}
