use axum::{Router, extract::State, http::StatusCode, routing::post};
use tower_scalekit::session::Deprovisioning;
use tower_scalekit::shared_store::SharedStore;
use tower_scalekit::webhook::{EventPayload, WebhookEvent};
use tower_scalekit::webhook_verify::WebhookSecret;
use tower_scalekit::{Sessions, WebhookVerify};

pub(crate) fn webhooks<S>(
    secret: WebhookSecret,
    sessions: &Sessions,
    store: impl SharedStore,
) -> Router<S> {
    Router::new()
        .route("/webhooks/scalekit", post(provision))
        .route_layer(WebhookVerify::new(secret).deduplicate(store))
        .with_state(Deprovisioning::new(sessions))
}

async fn provision(
    State(deprovisioning): State<Deprovisioning>,
    event: WebhookEvent,
) -> StatusCode {
    if deprovisioning.apply(&event).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE; // the sender retries
    }
    if let EventPayload::DirectoryUserCreated(user) = event.payload() {
        println!("{:?} joined {:?}", user.email, event.organization_id());
    }
    StatusCode::NO_CONTENT
}
