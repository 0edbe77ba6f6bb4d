//! Controls of webhooks.

use std::sync::Arc;

use serde_json::Value;

use crate::http_client::HttpClient;
use crate::sandbox::Sandbox;
use crate::sandbox::state::webhook_envelope::ENVIRONMENT_ID;
use crate::sandbox::state::webhooks::Delivery;
use crate::sandbox::webhooks::delivery;
use crate::sandbox::webhooks::endpoint::WebhookEndpoint;

impl Sandbox {
    /// The id of the environment (`env_…`) in its events.
    #[must_use]
    pub fn environment_id(&self) -> &str {
        ENVIRONMENT_ID
    }

    /// Sends all events from now on to this URL too; see
    /// [`deliver_webhooks_with`](Self::deliver_webhooks_with) for how they get there.
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let endpoint = sandbox.add_webhook_endpoint("https://app.example.com/webhooks");
    /// assert!(endpoint.secret().expose().starts_with("whsec_"));
    /// ```
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes for the secret.
    pub fn add_webhook_endpoint(&self, url: &str) -> WebhookEndpoint {
        let id = self.environment.lock().webhooks.add_endpoint(url);
        WebhookEndpoint::new(Arc::clone(&self.environment), id)
    }

    /// Sends webhooks through this client. Without one, all of them wait.
    ///
    /// In a test it may be a [`ServiceClient`](crate::http_client::ServiceClient) around the
    /// application itself. It is kept as long as the sandbox: an application in it that holds the
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
    /// sandbox.add_webhook_endpoint("https://app.example.com/webhooks");
    /// sandbox.deliver_webhooks_with(ServiceClient::new(app));
    /// let directory = sandbox.directory_id(&sandbox.organizations()[0].id).unwrap();
    /// sandbox.add_directory_user(&directory, "ada@acme.test");
    /// assert_eq!(sandbox.deliver_due().await, 1);
    /// assert_eq!(sandbox.deliveries()[0].state, DeliveryState::Delivered);
    /// # }
    /// ```
    pub fn deliver_webhooks_with(&self, client: impl HttpClient) {
        self.environment.lock().webhooks.client = Some(Arc::new(client));
    }

    /// Tells all endpoints of an event, and gives the id of the message (`msg_…`) that does.
    ///
    /// `data` is sent as it is; what stands around it follows from the type. The organization is
    /// the one that `data` names, if it does.
    pub fn emit(&self, event_type: &str, data: Value) -> String {
        let now = self.environment.now();
        self.environment.lock().webhooks.emit(event_type, data, now)
    }

    /// Sends everything that is due now by the sandbox's [`clock`](Self::clock), and says how many
    /// attempts that were.
    ///
    /// Messages to one endpoint go out one after the other, in the order of their events; each
    /// may take 10 s of tokio's time. Endpoints do not wait for one another. A message that is not
    /// answered with 2xx is due again 5 s, 30 s, 2 min, 5 min and 15 min after the attempt before;
    /// later ones do not wait for it.
    pub async fn deliver_due(&self) -> usize {
        delivery::deliver_due(&self.environment).await
    }

    /// Calls [`deliver_due`](Self::deliver_due) twice a second, in the background, until the
    /// sandbox is dropped. Further calls change nothing.
    ///
    /// # Panics
    ///
    /// When it is called outside of a tokio runtime.
    pub fn start_delivery(&self) {
        delivery::start(&self.environment);
    }

    /// What was sent, or will be, oldest first: one for each message and endpoint. Only the last
    /// 10,000 that are delivered or failed are known.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.environment.lock().webhooks.deliveries().cloned().collect()
    }

    /// Makes a message due again, to all endpoints that it was for: the same id and body, with a
    /// new timestamp, and all attempts anew. Says whether the message is known.
    pub fn redeliver(&self, message_id: &str) -> bool {
        let now = self.environment.now();
        self.environment.lock().webhooks.redeliver(message_id, now)
    }
}
