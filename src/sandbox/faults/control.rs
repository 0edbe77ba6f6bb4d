//! Controls of endpoint faults.

use tokio::sync::watch;

use crate::sandbox::Sandbox;
use crate::sandbox::state::faults::{Endpoint, Fault, FaultAction};

impl Sandbox {
    /// Lets an endpoint answer every request with a fault, until it is [healed](Self::heal).
    pub fn fail(&self, endpoint: Endpoint, fault: Fault) {
        self.environment.lock().endpoint_faults.add(endpoint, FaultAction::Fault(fault), None);
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
        self.environment.lock().endpoint_faults.add(
            endpoint,
            FaultAction::Fault(fault),
            Some(times),
        );
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
        self.environment.lock().endpoint_faults.add(endpoint, FaultAction::Hold(held), None);
        HeldRequests { _release: release }
    }

    /// Lets an endpoint answer again as it should.
    pub fn heal(&self, endpoint: Endpoint) {
        self.environment.lock().endpoint_faults.clear(endpoint);
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

/// Requests that wait for their answer until this is dropped. Made by [`Sandbox::hold`].
#[derive(Debug)]
#[must_use = "the requests go on when this is dropped"]
pub struct HeldRequests {
    _release: watch::Sender<()>,
}
