use http::Extensions;

use super::signature::Kind;
use crate::webhook::interceptor::InterceptorRequest;
use crate::webhook::{EventError, WebhookEvent};

/// The parsed content of a signed body.
pub(super) enum SignedPayload {
    Event(WebhookEvent),
    Interceptor(Box<InterceptorRequest>),
    /// Signed, but not Scalekit's: handlers may parse the bytes themselves.
    Unrecognized(EventError),
}

impl SignedPayload {
    pub(super) fn read(kind: Kind, body: &[u8]) -> Self {
        let payload = match kind {
            Kind::Webhook => WebhookEvent::parse(body).map(Self::Event),
            Kind::Interceptor => {
                InterceptorRequest::parse(body).map(|request| Self::Interceptor(Box::new(request)))
            }
        };
        payload.unwrap_or_else(Self::Unrecognized)
    }

    pub(super) fn insert(self, extensions: &mut Extensions) {
        match self {
            Self::Event(event) => drop(extensions.insert(event)),
            Self::Interceptor(request) => drop(extensions.insert(*request)),
            Self::Unrecognized(error) => drop(extensions.insert(error)),
        }
    }
}
