//! Controls of webhooks.

use std::sync::Arc;

use serde_json::Value;

use crate::http_client::HttpClient;
use crate::sandbox::environment::Environment;
use crate::sandbox::state::webhooks::Delivery;
use crate::sandbox::webhooks::delivery;
use crate::sandbox::webhooks::endpoint::WebhookEndpoint;

/// Webhook endpoints, events and deliveries. Returned by
/// [`Sandbox::webhooks`](crate::sandbox::Sandbox::webhooks).
#[derive(Clone, Copy, Debug)]
pub struct Webhooks<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Webhooks<'_> {
    /// Adds an endpoint that receives all events from now on, through the client of
    /// [`set_client`](Self::set_client).
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let endpoint = sandbox.webhooks().add_endpoint("https://app.example.com/webhooks");
    /// assert!(endpoint.secret().expose().starts_with("whsec_"));
    /// ```
    ///
    /// # Panics
    ///
    /// When the random source of the operating system fails.
    pub fn add_endpoint(&self, url: &str) -> WebhookEndpoint {
        let id = self.environment.lock().webhooks.add_endpoint(url);
        WebhookEndpoint::new(Arc::clone(self.environment), id)
    }

    /// Sets the client that sends webhooks. Default: none, and messages stay pending.
    ///
    /// In a test it may be a [`ServiceClient`](crate::http_client::ServiceClient) around the
    /// application itself. The sandbox holds the client: an application in it that holds the
    /// sandbox keeps both alive.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Full;
    /// use tower_scalekit::http_client::ServiceClient;
    /// use tower_scalekit::sandbox::{DeliveryState, Sandbox};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = tower::service_fn(|request: Request<Bytes>| async move {
    ///     assert!(request.headers()["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    ///     Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
    /// });
    /// let sandbox = Sandbox::new();
    /// sandbox.webhooks().add_endpoint("https://app.example.com/webhooks");
    /// sandbox.webhooks().set_client(ServiceClient::new(app));
    /// let directory = sandbox.directories().first_id(&sandbox.organizations().list()[0].id).unwrap();
    /// sandbox.directories().add_user(&directory, "ada@acme.test");
    /// assert_eq!(sandbox.webhooks().deliver_due().await, 1);
    /// assert_eq!(sandbox.webhooks().deliveries()[0].state, DeliveryState::Delivered);
    /// # }
    /// ```
    pub fn set_client(&self, client: impl HttpClient) {
        self.environment.lock().webhooks.client = Some(Arc::new(client));
    }

    /// Sends an event to all endpoints and returns the ID of the message (`msg_…`).
    ///
    /// `data` is sent unchanged; the envelope follows from the type and from the organization that
    /// `data` names.
    pub fn emit(&self, event_type: &str, data: Value) -> String {
        self.environment.lock().webhooks.emit(event_type, data, self.environment.now())
    }

    /// Sends all messages that are due by the sandbox's
    /// [`clock`](crate::sandbox::Sandbox::clock), and returns the number of attempts.
    ///
    /// Messages to one endpoint are sent one after the other, in the order of their events; each
    /// may take 10 s of tokio's time. Endpoints do not wait for one another. After a response other
    /// than 2xx a message is due again 5 s, 30 s, 2 min, 5 min and 15 min after the previous
    /// attempt; later messages do not wait for it.
    pub async fn deliver_due(self) -> usize {
        delivery::deliver_due(self.environment).await
    }

    /// Calls [`deliver_due`](Self::deliver_due) twice a second, in the background, until the
    /// sandbox is dropped. Further calls change nothing.
    ///
    /// # Panics
    ///
    /// When it is called outside of a tokio runtime.
    pub fn start_delivery(&self) {
        delivery::start(self.environment);
    }

    /// Deliveries, one for each message and endpoint, oldest first. Of those that are delivered or
    /// failed, the last 10,000 are retained.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.environment.lock().webhooks.deliveries().cloned().collect()
    }

    /// Makes a message due again at all of its endpoints: the same ID and body, a new timestamp, and
    /// a new series of attempts. Returns whether the message is known.
    pub fn redeliver(&self, message_id: &str) -> bool {
        self.environment.lock().webhooks.redeliver(message_id, self.environment.now())
    }
}
