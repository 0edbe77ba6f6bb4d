use bytes::Bytes;
use http::Extensions;

use super::signature::Kind;
use crate::util::telemetry;
use crate::webhook::interceptor::InterceptorRequest;
use crate::webhook::{EventError, WebhookEvent};

/// A verified body, in the request's extensions. It is parsed for handlers that extract its content,
/// so that those that take the bytes do not pay for it.
#[derive(Clone)]
pub(super) struct SignedBody {
    pub(super) kind: Kind,
    pub(super) bytes: Bytes,
}

fn body_of(extensions: &Extensions, kind: Kind) -> Option<&Bytes> {
    Some(&extensions.get::<SignedBody>().filter(|body| body.kind == kind)?.bytes)
}

/// Logs why a signed body was not parsed.
fn logged<T>(parsed: Result<T, EventError>, expected: &'static str) -> Result<T, EventError> {
    parsed.inspect_err(|error| telemetry::check_failed("malformed", "body", &expected, error))
}

impl WebhookEvent {
    /// Parses the event of a request that has passed [`WebhookVerify`](crate::WebhookVerify), for
    /// services that are not axum handlers. `None` without the layer.
    ///
    /// # Errors
    /// When the signed body is not an event of Scalekit, as with other senders.
    #[must_use]
    pub fn from_extensions(extensions: &Extensions) -> Option<Result<Self, EventError>> {
        let body = body_of(extensions, Kind::Webhook)?;
        Some(logged(Self::parse_bytes(body.clone()), "an event of Scalekit"))
    }
}

impl InterceptorRequest {
    /// Parses a request that has passed
    /// [`WebhookVerify::interceptor`](crate::WebhookVerify::interceptor), for services that are not
    /// axum handlers. `None` without the layer.
    ///
    /// # Errors
    /// When the signed body is not an interceptor request of Scalekit.
    #[must_use]
    pub fn from_extensions(extensions: &Extensions) -> Option<Result<Self, EventError>> {
        let body = body_of(extensions, Kind::Interceptor)?;
        Some(logged(Self::parse(body), "an interceptor request of Scalekit"))
    }
}
