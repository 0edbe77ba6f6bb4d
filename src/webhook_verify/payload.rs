use bytes::Bytes;
use http::Extensions;

use super::signature::Kind;
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

impl WebhookEvent {
    /// Parses the event of a request that has passed [`WebhookVerify`](crate::WebhookVerify), for
    /// services that are not axum handlers. `None` without the layer.
    ///
    /// # Errors
    /// When the signed body is not an event of Scalekit, as with other senders.
    #[must_use]
    pub fn from_extensions(extensions: &Extensions) -> Option<Result<Self, EventError>> {
        body_of(extensions, Kind::Webhook).cloned().map(Self::parse_bytes)
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
        body_of(extensions, Kind::Interceptor).map(|body| Self::parse(body))
    }
}
