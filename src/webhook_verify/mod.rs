//! Verifies signed webhooks, passes on the exact bytes that were signed, and deduplicates them.
//!
//! For each request ([Standard Webhooks], which Scalekit's webhooks follow):
//!
//! 1. Its three headers are validated before its body is read: each appears once, and the timestamp
//!    is in digits and at most five minutes off.
//! 2. The body is read within its [limits](crate::middleware::BodyLimits), and every signature of
//!    the list is compared with that of each secret, in constant time. Malformed signatures and
//!    those of other versions are skipped.
//! 3. The body decides the kind: a body with a `trigger_point` on its top level is an interceptor
//!    request, every other body a webhook. The signature does not cover the names of the headers,
//!    so with one secret for both, a request captured at one endpoint could otherwise be replayed
//!    at the other. A signed body that is not Scalekit's passes as a webhook, for handlers that
//!    read the bytes.
//! 4. With a shared store ([`WebhookVerify::deduplicate`]), a message that was completed gets the
//!    same status without being handled again, and a message in progress gets 503. If a handler
//!    responds with anything but 2xx, panics or is cancelled, the sender's next delivery is
//!    handled.
//! 5. The inner service gets the same bytes. Its handlers extract a
//!    [`WebhookEvent`](crate::webhook::WebhookEvent) or an
//!    [`InterceptorRequest`](crate::webhook::interceptor::InterceptorRequest); other services call
//!    [`WebhookEvent::from_extensions`](crate::webhook::WebhookEvent::from_extensions). The body is
//!    parsed then: handlers that take the bytes do not pay for it.
//!
//! A rejected request gets 400 (too large: 413; too slow: 503 with `Retry-After`). The response
//! does not disclose the reason, which is in the response's extensions and in the metrics.
//!
//! Do not put a layer that decompresses or reads bodies around this one.
//!
//! # Concurrency limits
//!
//! The inner service is ready before the body of a request is read. A service that reserves
//! capacity when it becomes ready, such as tower's `ConcurrencyLimit` or `Buffer`, holds that
//! capacity while the body arrives, also for unverified senders. Let such a service become ready
//! when it is called: `service_fn(move |request| limited.clone().oneshot(request))`. The routes of
//! axum do so: a limit that an axum router has from a `.layer(..)` of its own, before this layer,
//! counts verified requests only. Outside of this layer a limit counts every request, with its
//! body.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, body::Body, routing::post};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_scalekit::clock::Clock;
//! use tower_scalekit::shared_store::MemoryStore;
//! use tower_scalekit::WebhookVerify;
//! use tower_scalekit::webhook::WebhookEvent;
//! use tower_scalekit::webhook_verify::WebhookSecret;
//!
//! let secret = WebhookSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
//! let store = MemoryStore::new(Clock::system()); // use one that all replicas share
//! let app: Router = Router::new()
//!     .route("/webhook", post(|event: WebhookEvent| async move { event.id().to_owned() }))
//!     .route_layer(WebhookVerify::new(secret).deduplicate(store));
//!
//! let forged = Request::post("/webhook").body(Body::from("{}"))?;
//! assert_eq!(app.oneshot(forged).await?.status(), StatusCode::BAD_REQUEST);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

pub(crate) mod dedup;
mod layer;
mod pending;
pub(crate) mod rejection;
mod secret;
mod service;
mod signature;
pub(crate) mod signed_body;

pub use self::layer::WebhookVerify;
pub use self::rejection::WebhookRejection;
pub use self::secret::WebhookSecret;
pub use self::service::WebhookVerifyService;
pub use self::signature::{WebhookError, verify, verify_interceptor};
