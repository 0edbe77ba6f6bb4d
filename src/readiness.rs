//! Whether this process can serve requests, for the readiness probe of an orchestrator or load
//! balancer.
//!
//! A probe does what a request does: it loads what has not been loaded yet, and waits for it half a
//! second at most. Otherwise it returns at once. At most once a second it causes one read of the shared
//! store, and every five minutes one request for the keys, both in the background.
//!
//! A process is ready once it has the keys and has read the revocations. It stays ready while the
//! environment or the shared store is unavailable, because valid sessions and known tokens are still
//! accepted, and a probe that fails would take away all replicas at once. The fields of [`Readiness`]
//! show such an outage.
//!
//! ```
//! # #[cfg(all(feature = "sandbox", feature = "axum"))] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::http::StatusCode;
//! use axum::{Json, Router, routing::get};
//! use tower_scalekit::readiness::Readiness;
//! # use tower_scalekit::{Sandbox, SessionSecret, Sessions};
//! # let sessions = Sessions::builder(Sandbox::new().scalekit())
//! #     .secret(SessionSecret::generate()?)
//! #     .redirect_uri("https://app.example.com/auth/callback")
//! #     .build()?;
//!
//! async fn ready(sessions: Sessions) -> (StatusCode, Json<Readiness>) {
//!     let readiness = sessions.readiness().await;
//!     let status = match readiness.is_ready() {
//!         true => StatusCode::OK,
//!         false => StatusCode::SERVICE_UNAVAILABLE,
//!     };
//!     (status, Json(readiness))
//! }
//!
//! # let of_probe = sessions.clone();
//! let app: Router = Router::new().route("/health/ready", get(move || ready(sessions)));
//! # drop(app);
//! # let (status, Json(readiness)) = ready(of_probe).await;
//! # assert_eq!(status, StatusCode::OK);
//! # let json = serde_json::to_value(readiness)?;
//! # assert_eq!(json["ready"], true);
//! # assert_eq!(json["keys"], serde_json::json!({ "ok": true, "age_seconds": 0 }));
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

use std::future::Future;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Kubernetes waits a second for a probe, unless set.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Whether this process can serve requests, and the state of what it depends on. Serialized as
/// `{"ready":true,"keys":{"ok":true,"age_seconds":12}}`, without what does not apply.
///
/// Returned by [`Sessions::readiness`](crate::Sessions::readiness),
/// [`TokenVerifier::readiness`](crate::token::TokenVerifier::readiness) and
/// [`Revocations::readiness`](crate::revocation::Revocations::readiness).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Readiness {
    #[serde(rename = "ready")]
    is_ready: bool,
    /// The keys that verify tokens. Fetched in the last 24 hours, or else not `is_ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<ReadinessCheck>,
    /// The shared store. Not `is_ok` from the first failed operation until a second after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_store: Option<ReadinessCheck>,
    /// The revocations of other replicas. Not `is_ok` if they were never read, or are stale: see
    /// [`max_revocation_staleness`](crate::session::SessionsBuilder::max_revocation_staleness).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocations: Option<ReadinessCheck>,
}

impl Readiness {
    pub(crate) fn new(is_ready: bool) -> Self {
        Self { is_ready, keys: None, shared_store: None, revocations: None }
    }

    /// Whether the process has the keys and the revocations that it needs to accept valid requests.
    /// An outage after that makes it not ready only if it rejects all requests: after a day without
    /// keys, or with [`reject_on_stale_revocations`].
    ///
    /// [`reject_on_stale_revocations`]: crate::session::SessionsBuilder::reject_on_stale_revocations
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Adds the state of the keys.
    pub(crate) fn with_keys(self, keys: ReadinessCheck) -> Self {
        Self { is_ready: self.is_ready && keys.is_ok, keys: Some(keys), ..self }
    }
}

/// The state of one dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReadinessCheck {
    /// Whether it is as it should be.
    #[serde(rename = "ok")]
    pub is_ok: bool,
    /// The time since keys were fetched, an operation of the store succeeded, or revocations were read
    /// to their end. `None` if that has never happened. In seconds, if serialized.
    #[serde(rename = "age_seconds", serialize_with = "whole_seconds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Duration>,
}

fn whole_seconds<S: Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    age.map(|age| age.as_secs()).serialize(serializer)
}

/// Waits for what a probe loads, for the time that it has.
pub(crate) async fn wait(loading: impl Future<Output: Send>) {
    drop(tokio::time::timeout(MAX_WAIT, loading).await);
}
