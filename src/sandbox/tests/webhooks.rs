use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use serde_json::json as value;
use time::OffsetDateTime;
use tower::service_fn;

use super::*;
use crate::http_client::ServiceClient;
use crate::sandbox::{Delivery, DeliveryState, WebhookEndpoint};

const URL: &str = "https://app.test/webhooks";

/// An application that records its requests.
#[derive(Clone, Debug)]
pub(super) struct Inbox {
    endpoint: WebhookEndpoint,
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
    status: Arc<Mutex<StatusCode>>,
}

impl Inbox {
    /// The sandbox's first endpoint.
    pub(super) fn of(sandbox: &Sandbox) -> Self {
        let endpoint = sandbox.webhooks().add_endpoint(URL);
        let (requests, status) = (Arc::default(), Arc::new(Mutex::new(StatusCode::CREATED)));
        let inbox = Self { endpoint, requests, status };
        // Not the endpoint's handle: the client would keep the sandbox alive.
        let (requests, status) = (Arc::clone(&inbox.requests), Arc::clone(&inbox.status));
        let service = service_fn(move |request: Request<Bytes>| {
            requests.lock().unwrap().push(request);
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = *status.lock().unwrap();
            async { Ok::<_, Infallible>(response) }
        });
        sandbox.webhooks().set_client(ServiceClient::new(service));
        inbox
    }

    fn response_with(&self, status: StatusCode) {
        *self.status.lock().unwrap() = status;
    }

    fn requests(&self) -> Vec<Request<Bytes>> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn events(&self) -> Vec<Value> {
        let requests = self.requests();
        requests.iter().map(|request| serde_json::from_slice(request.body()).unwrap()).collect()
    }
}

fn header_of<'a>(request: &'a Request<Bytes>, name: &str) -> &'a str {
    request.headers()[name].to_str().unwrap()
}

/// The expected entry of `webhook-signature` for a secret.
fn signature(request: &Request<Bytes>, secret: &str) -> String {
    let key = STANDARD.decode(secret.split_once('_').unwrap().1).unwrap();
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
    for name in ["webhook-id", "webhook-timestamp"] {
        context.update(header_of(request, name).as_bytes());
        context.update(b".");
    }
    context.update(request.body());
    format!("v1,{}", STANDARD.encode(context.sign()))
}

fn only(sandbox: &Sandbox) -> Delivery {
    let [delivery] = sandbox.webhooks().deliveries().try_into().unwrap();
    delivery
}

#[tokio::test]
async fn a_message_is_signed_and_contains_the_event() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    let data = value!({ "id": "org_1", "display_name": "Zoë's" });
    let id = sandbox.webhooks().emit("organization.created", data.clone());
    assert_eq!(sandbox.webhooks().deliver_due().await, 1);
    assert_eq!(sandbox.webhooks().deliver_due().await, 0);
    let [request] = inbox.requests().try_into().unwrap();
    assert_eq!((request.method(), request.uri().to_string()), (&http::Method::POST, URL.into()));
    assert_eq!(header_of(&request, "content-type"), "application/json");
    assert_eq!(header_of(&request, "webhook-id"), id);
    assert!(id.starts_with("msg_"));
    assert_eq!(header_of(&request, "webhook-timestamp"), "1760000000");
    let secret = inbox.endpoint.secret();
    assert!(secret.expose().starts_with("whsec_"));
    assert_eq!(header_of(&request, "webhook-signature"), signature(&request, secret.expose()));
    let event = &inbox.events()[0];
    assert_eq!((&event["data"], &event["organization_id"]), (&data, &"org_1".into()));
    assert_eq!(
        (&event["object"], &event["type"]),
        (&"Organization".into(), &"organization.created".into())
    );
    let delivery = only(&sandbox);
    assert_eq!((delivery.message_id, delivery.body), (id, request.body().clone()));
    assert_eq!(delivery.state, DeliveryState::Delivered);
    assert_eq!(delivery.endpoint_id, inbox.endpoint.id());
    assert_eq!(delivery.attempts[0].status, Some(StatusCode::CREATED));
}

#[tokio::test]
async fn a_failing_message_is_sent_six_times_at_growing_intervals() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    let id = sandbox.webhooks().emit("user.login", value!({}));
    let rejections = [500, 302, 404, 410, 429, 503];
    let pauses = [0, 5, 30, 120, 300, 900];
    let mut elapsed = 0;
    for (pause, status) in pauses.into_iter().zip(rejections) {
        inbox.response_with(StatusCode::from_u16(status).unwrap());
        if pause > 0 {
            sandbox.clock().advance(Duration::from_secs(pause - 1));
            assert_eq!(sandbox.webhooks().deliver_due().await, 0);
            sandbox.clock().advance(Duration::from_secs(1));
        }
        assert_eq!(sandbox.webhooks().deliver_due().await, 1, "after {pause} s");
        elapsed += pause;
        let request = inbox.requests().pop().unwrap();
        assert_eq!(header_of(&request, "webhook-id"), id);
        let timestamp = (1_760_000_000 + elapsed).to_string();
        assert_eq!(header_of(&request, "webhook-timestamp"), timestamp);
        let secret = inbox.endpoint.secret();
        assert_eq!(header_of(&request, "webhook-signature"), signature(&request, secret.expose()));
    }
    let delivery = only(&sandbox);
    assert_eq!(delivery.state, DeliveryState::Failed);
    let statuses = delivery.attempts.iter().map(|attempt| attempt.status.unwrap().as_u16());
    assert_eq!(statuses.collect::<Vec<_>>(), rejections);
    sandbox.clock().advance(Duration::from_secs(86_400));
    assert_eq!(sandbox.webhooks().deliver_due().await, 0);
    let bodies = inbox.requests();
    assert!(bodies.iter().all(|request| request.body() == bodies[0].body()));
}

#[tokio::test]
async fn a_pending_message_does_not_delay_others() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    inbox.response_with(StatusCode::SERVICE_UNAVAILABLE);
    let first = sandbox.webhooks().emit("user.login", value!({}));
    sandbox.webhooks().deliver_due().await;
    inbox.response_with(StatusCode::NO_CONTENT);
    let second = sandbox.webhooks().emit("user.logout", value!({}));
    assert_eq!(sandbox.webhooks().deliver_due().await, 1);
    sandbox.clock().advance(Duration::from_secs(5));
    let third = sandbox.webhooks().emit("user.login", value!({}));
    assert_eq!(sandbox.webhooks().deliver_due().await, 2);
    let ids: Vec<_> =
        inbox.requests().iter().map(|sent| header_of(sent, "webhook-id").to_owned()).collect();
    assert_eq!(ids, [first.clone(), second, first, third]);
}

#[tokio::test]
async fn a_redelivery_has_the_same_id_and_body_and_a_new_timestamp() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    let id = sandbox.webhooks().emit("user.login", value!({}));
    sandbox.webhooks().deliver_due().await;
    sandbox.clock().advance(Duration::from_secs(3600));
    assert!(sandbox.webhooks().redeliver(&id));
    assert!(!sandbox.webhooks().redeliver("msg_1"));
    inbox.response_with(StatusCode::BAD_GATEWAY);
    assert_eq!(sandbox.webhooks().deliver_due().await, 1);
    inbox.response_with(StatusCode::OK);
    sandbox.clock().advance(Duration::from_secs(5));
    assert_eq!(sandbox.webhooks().deliver_due().await, 1, "with a new series of attempts");
    let requests = inbox.requests();
    for (request, timestamp) in requests.iter().zip(["1760000000", "1760003600", "1760003605"]) {
        assert_eq!(header_of(request, "webhook-id"), id);
        assert_eq!(header_of(request, "webhook-timestamp"), timestamp);
        assert_eq!(request.body(), requests[0].body());
        let expected = signature(request, inbox.endpoint.secret().expose());
        assert_eq!(header_of(request, "webhook-signature"), expected);
    }
    assert_eq!(
        (only(&sandbox).attempts.len(), only(&sandbox).state),
        (3, DeliveryState::Delivered)
    );
}

#[tokio::test]
async fn a_new_secret_signs_at_once_and_the_old_one_for_its_grace_period() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    let sent = async || {
        sandbox.webhooks().emit("user.login", value!({}));
        sandbox.webhooks().deliver_due().await;
        inbox.requests().pop().unwrap()
    };
    let first = inbox.endpoint.secret();
    let second = inbox.endpoint.rotate_secret(Duration::ZERO);
    assert_ne!(first, second);
    assert_eq!(inbox.endpoint.secret(), second);
    let request = sent().await;
    assert_eq!(header_of(&request, "webhook-signature"), signature(&request, second.expose()));

    let third = inbox.endpoint.rotate_secret(Duration::from_secs(60));
    sandbox.clock().advance(Duration::from_secs(59));
    let request = sent().await;
    let both = [&third, &second].map(|secret| signature(&request, secret.expose())).join(" ");
    assert_eq!(header_of(&request, "webhook-signature"), both);
    sandbox.clock().advance(Duration::from_secs(1));
    let request = sent().await;
    assert_eq!(header_of(&request, "webhook-signature"), signature(&request, third.expose()));
}

#[tokio::test]
async fn each_endpoint_gets_the_message_with_a_signature_of_its_own() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    let other = sandbox.webhooks().add_endpoint("https://other.test/");
    let broken = sandbox.webhooks().add_endpoint("not a url");
    let id = sandbox.webhooks().emit("user.login", value!({}));
    assert_eq!(sandbox.webhooks().deliver_due().await, 3);
    let [first, second] = inbox.requests().try_into().unwrap();
    assert_eq!(second.uri(), "https://other.test/");
    assert_eq!(header_of(&second, "webhook-id"), header_of(&first, "webhook-id"));
    assert_eq!(
        header_of(&second, "webhook-signature"),
        signature(&second, other.secret().expose())
    );
    let failed = sandbox.webhooks().deliveries().pop().unwrap();
    assert_eq!((failed.message_id, failed.endpoint_id.as_str()), (id.clone(), broken.id()));
    assert!(failed.attempts[0].error.as_deref().is_some_and(|error| error.contains("uri")));
    broken.remove();
    assert_eq!((sandbox.webhooks().deliveries().len(), broken.secret().expose()), (2, ""));
    sandbox.webhooks().redeliver(&id);
    assert_eq!(sandbox.webhooks().deliver_due().await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_responds_delays_no_other_message_or_endpoint() {
    let sandbox = at_fixed_time();
    sandbox.webhooks().set_client(ServiceClient::new(service_fn(
        |request: Request<Bytes>| async move {
            if request.uri().host() == Some("slow.test") {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        },
    )));
    let slow = sandbox.webhooks().add_endpoint("https://slow.test/");
    sandbox.webhooks().add_endpoint(URL);
    for _ in 0..2 {
        sandbox.webhooks().emit("user.login", value!({}));
    }
    let start = tokio::time::Instant::now();
    assert_eq!(sandbox.webhooks().deliver_due().await, 4);
    assert_eq!(start.elapsed().as_secs(), 20, "two attempts in turn, of ten seconds each");
    for delivery in sandbox.webhooks().deliveries() {
        let in_vain = delivery.endpoint_id == slow.id();
        assert_eq!(delivery.attempts[0].error.is_some(), in_vain);
        assert_eq!(delivery.state == DeliveryState::Delivered, !in_vain);
    }
}

#[tokio::test]
async fn concurrent_calls_send_nothing_twice() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    for _ in 0..20 {
        sandbox.webhooks().emit("user.login", value!({}));
    }
    let sent = futures::future::join_all((0..4).map(|_| sandbox.webhooks().deliver_due())).await;
    assert_eq!((sent.iter().sum::<usize>(), inbox.requests().len()), (20, 20));
}

#[tokio::test]
async fn messages_wait_for_a_client() {
    let sandbox = at_fixed_time();
    sandbox.webhooks().emit("user.login", value!({}));
    assert!(sandbox.webhooks().deliveries().is_empty(), "there is no endpoint");
    let _endpoint = sandbox.webhooks().add_endpoint(URL);
    sandbox.webhooks().emit("user.login", value!({}));
    assert_eq!(sandbox.webhooks().deliver_due().await, 0);
    let due = OffsetDateTime::from_unix_timestamp(1_760_000_000).unwrap();
    assert_eq!(only(&sandbox).state, DeliveryState::Pending { due });
}

#[tokio::test(start_paused = true)]
async fn delivery_in_the_background_ends_with_the_sandbox() {
    let sandbox = at_fixed_time();
    let Inbox { requests, .. } = Inbox::of(&sandbox);
    sandbox.webhooks().start_delivery();
    sandbox.webhooks().start_delivery();
    sandbox.webhooks().emit("user.login", value!({}));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(requests.lock().unwrap().len(), 1);
    let environment = Arc::downgrade(&sandbox.environment);
    drop(sandbox);
    assert!(environment.upgrade().is_none());
    let metrics = tokio::runtime::Handle::current().metrics();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(metrics.num_alive_tasks(), 0);
}

#[tokio::test]
async fn the_page_shows_deliveries_and_sends_one_again() {
    let sandbox = at_fixed_time();
    let url = format!("{}/deliveries", sandbox.environment_url());
    let empty = get(&sandbox, &url, "").await;
    assert!(text(&empty).contains("has not set an HTTP client"));
    let inbox = Inbox::of(&sandbox);
    inbox.response_with(StatusCode::BAD_GATEWAY);
    let id = sandbox.webhooks().emit("user.login", value!({ "name": "<script>" }));
    sandbox.webhooks().deliver_due().await;
    let page = get(&sandbox, &url, "").await;
    let secret = inbox.endpoint.secret();
    let shown =
        [URL, secret.expose(), &id, "user.login", "502 Bad Gateway", "2025-10-09T08:53:25Z"];
    for shown in shown {
        assert!(text(&page).contains(shown), "{shown}");
    }
    assert!(!text(&page).contains("<script>"));
    assert!(text(&get(&sandbox, &sandbox.environment_url(), "").await).contains("\"/deliveries\""));

    inbox.response_with(StatusCode::OK);
    let post_field = async |site: &'static str, field: (&str, &str)| {
        let request = Request::post(&url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site)
            .body(Bytes::from(encoded(&[field])))
            .unwrap();
        sandbox.client().send(request).await.unwrap()
    };
    let post = async |site, id: &str| post_field(site, ("message_id", id)).await;
    assert_eq!(post("cross-site", &id).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(post("same-origin", "msg_1").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(sandbox.webhooks().deliver_due().await, 0);
    let response = post("same-origin", &id).await;
    assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, "/deliveries"));
    assert_eq!(sandbox.webhooks().deliver_due().await, 1);
    assert!(text(&get(&sandbox, &url, "").await).contains("Delivered"));

    // An event to try an endpoint with.
    let event = ("event", "organization.updated");
    assert_eq!(post_field("cross-site", event).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(post_field("same-origin", event).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(sandbox.webhooks().deliver_due().await, 1);
    let body = sandbox.webhooks().deliveries().last().unwrap().body.clone();
    let event = crate::webhook::WebhookEvent::parse(&body).unwrap();
    assert_eq!(event.event_type(), "organization.updated");
}
