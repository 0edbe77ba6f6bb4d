//! Public types with secrets: a webhook's key and body, a response of the API, a stored session.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tower::{Layer as _, service_fn};
use tower_scalekit::api::ApiError;
use tower_scalekit::api::auth_requests::{LoginRequest, LoginUser};
use tower_scalekit::clock::Clock;
use tower_scalekit::http_client::ServiceClient;
use tower_scalekit::oauth::OAuthError;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::secret::SecretString;
use tower_scalekit::shared_store::{
    KeyNamespace, LogCursor, MemoryStore, SharedStore as _, StoreScope,
};
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::webhook_verify::WebhookSecret;
use tower_scalekit::{Sandbox, WebhookVerify};

use super::noted::Secrets;
use crate::support::{JANE, World, request};

const SECRET: &str = "a-secret-of-somebody-0123456789";

fn secrets() -> Secrets {
    let secrets = Secrets::default();
    secrets.add(SECRET);
    secrets
}

#[tokio::test]
async fn debug_of_webhook_types_contains_no_secret() {
    let (secrets, sandbox) = (secrets(), Sandbox::new());
    let endpoint = sandbox.webhooks().add_endpoint("https://app.test/webhook");
    let key = endpoint.secret();
    secrets.add(key.expose());
    secrets.add(key.expose().trim_start_matches("whsec_"));
    secrets.assert_debug(&endpoint);
    let verified = WebhookSecret::new(key.expose()).unwrap();
    secrets.assert_debug(&verified);
    let layer = WebhookVerify::new(verified).deduplicate(MemoryStore::new(Clock::system()));
    secrets.assert_debug(&layer);

    // In transit: the sender's record, the request, pending futures, and the handler's values.
    let client = service_fn(move |_: Request<Bytes>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
    });
    let client = ServiceClient::new(client);
    secrets.assert_debug(&client);
    sandbox.webhooks().set_client(client);
    let txt = json!({ "id": "dom_1", "domain": "acme.test", "txt_record_secret": SECRET });
    sandbox.webhooks().emit("organization.domain_created", txt);
    sandbox.webhooks().deliver_due().await;
    let delivery = sandbox.webhooks().deliveries().remove(0);
    assert!(String::from_utf8_lossy(&delivery.body).contains(SECRET));
    secrets.assert_debug(&delivery);
    secrets.assert_debug(&sandbox);
    let event = WebhookEvent::parse(&delivery.body).unwrap();
    secrets.assert_debug(&event);
    secrets.assert_debug(event.payload());
    let handler = service_fn(|_: Request<_>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
    });
    let mut sent = request(Method::POST, "/webhook", &[("webhook-signature", SECRET)]);
    *sent.body_mut() = Body::from(delivery.body.clone());
    secrets.assert_debug(&tower::Service::call(&mut layer.layer(handler), sent));
    let rejected = WebhookSecret::new(SECRET).unwrap_err();
    secrets.assert_error(&rejected);
}

#[tokio::test]
async fn debug_of_api_calls_and_their_errors_contains_no_secret() {
    let (secrets, sandbox) = (secrets(), Sandbox::new());
    let client_secret = sandbox.client_secret().expose().to_owned();
    secrets.add(&client_secret);
    let api = sandbox.scalekit().api();
    let asked = api
        .request(Method::POST, "/api/v1/things")
        .query("token", SECRET)
        .json(&json!({ "password": SECRET }));
    secrets.assert_debug(&asked);
    secrets.assert_debug(&api.organizations().list().external_id(SECRET));
    let query = format!("login_request_id=lri_1&state={SECRET}");
    secrets.assert_debug(&LoginRequest::from_query(&query).unwrap());
    let mut user = LoginUser::new("usr_1", JANE);
    user.phone_number = Some(SECRET.to_owned());
    secrets.assert_debug(&user);

    // An environment that repeats what it receives.
    let token = sandbox.tokens().access_token(JANE);
    secrets.add(&token);
    for status in [400, 401, 403, 404, 409, 429, 500] {
        let said = format!("{client_secret} and {token} and \"Bearer {token}\"");
        let body = json!({ "message": said, "error_code": token, "code": client_secret });
        let response = Response::builder().status(status).body(Bytes::from(body.to_string()));
        sandbox.faults().add(Endpoint::Api, Fault::Response(response.unwrap()));
        let error = api.auth_requests().set_user("conn_1", "lri_1", &user).await.unwrap_err();
        secrets.assert_error(&error);
        sandbox.faults().clear(Endpoint::Api);
    }
    for body in [json!({ "error": client_secret }), json!({ "error": token })] {
        let response = Response::builder()
            .status(StatusCode::BAD_REQUEST)
            .body(Bytes::from(body.to_string()))
            .unwrap();
        sandbox.faults().add(Endpoint::Token, Fault::Response(response));
        let scalekit = sandbox.scalekit();
        let error: ApiError = scalekit.api().sessions().get("ses_1").await.unwrap_err();
        secrets.assert_error(&error);
        let error: OAuthError = scalekit.client_credentials(&[]).await.unwrap_err();
        secrets.assert_error(&error);
        sandbox.faults().clear(Endpoint::Token);
    }
    let wrapped = SecretString::from(SECRET);
    secrets.assert_debug(&wrapped);
}

#[tokio::test]
async fn debug_of_a_store_contains_no_stored_session() {
    let secrets = secrets();
    let store = Arc::new(MemoryStore::new(Clock::system()));
    let key = StoreScope::new(["app"]).key(KeyNamespace::Session, SECRET);
    secrets.assert_debug(&key);
    let day = std::time::Duration::from_secs(86_400);
    store.put(&key, Bytes::from(SECRET), day).await.unwrap();
    secrets.assert_debug(&store);
    store.append(&key, Bytes::from(SECRET), day).await.unwrap();
    secrets.assert_debug(&store.read_since(&key, LogCursor::default()).await.unwrap());
    let held = Arc::clone(&store);
    let world =
        World::with(|sandbox| sandbox, |sessions| sessions.shared_store(held).store_backed());
    let browser = world.logged_in(JANE).await;
    for name in browser.names() {
        secrets.add(browser.cookie(name).unwrap());
    }
    secrets.assert_debug(&store);
    secrets.assert_debug(&world.sessions);
}
