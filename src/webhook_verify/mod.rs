//! Lets signed webhooks through, in the very bytes that were signed, and each of them once.
//!
//! For each request ([Standard Webhooks], which Scalekit's webhooks follow):
//!
//! 1. Its three headers are judged before anything of its body is read: each there once, the
//!    timestamp in digits and at most five minutes off.
//! 2. The body is read within its [limits](crate::middleware::BodyLimits), and every signature of the list
//!    compared with what each secret makes of it, in constant time. Signatures of other versions,
//!    and what is none, are skipped.
//! 3. The kind is that of the body: what has a `trigger_point` on its top level is an interceptor's
//!    request, everything else a webhook. A signature does not cover the names of the headers, so
//!    with one secret for both, one captured there could otherwise be replayed here. What is signed
//!    but not of Scalekit's passes as a webhook, for handlers that take the bytes.
//! 4. With a shared store ([`WebhookVerify::deduplicate`]) a message that was handled is handled as
//!    it was, without being handled again; one that is being handled gets 503. A handler that
//!    responds with anything but 2xx, panics or is cut off leaves the message to be sent again.
//! 5. The inner service gets the same bytes, and in the request's extensions what they say: a
//!    [`WebhookEvent`](crate::webhook::WebhookEvent), or of an interceptor an
//!    [`InterceptorRequest`](crate::webhook::interceptor::InterceptorRequest); an
//!    [`EventError`](crate::webhook::EventError) where they are neither, as other senders' are.
//!
//! A request that is rejected gets 400 (too large: 413; too slow: 503 with `Retry-After`) and is told
//! nothing about why. What is worth knowing is in the response's extensions and in the metrics.
//!
//! Do not put a layer that decompresses, or that reads bodies, around this one.
//!
//! # Concurrency limits
//!
//! The inner service is ready before the body of a request is read. A service that reserves capacity
//! when it becomes ready, such as tower's `ConcurrencyLimit` or `Buffer`, holds that capacity while the
//! body arrives, also for a sender that has signed nothing. Let such a service become ready when it is
//! called: `service_fn(move |request| limited.clone().oneshot(request))`. The routes of axum do so: a
//! limit that an axum router has from a `.layer(..)` of its own, before this layer, counts verified
//! requests only. Outside of this layer a limit counts every request, with its body.
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
//! let store = MemoryStore::new(Clock::system()); // one that all replicas share
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
pub(crate) mod payload;
mod pending;
pub(crate) mod rejection;
mod secret;
mod service;
mod signature;

pub use self::layer::WebhookVerify;
pub use self::rejection::WebhookRejection;
pub use self::secret::WebhookSecret;
pub use self::service::WebhookVerifyService;
pub use self::signature::{WebhookError, verify, verify_interceptor};
