use http::Extensions;

use super::signature::Kind;
use crate::webhook::interceptor::InterceptorRequest;
use crate::webhook::{EventError, WebhookEvent};

/// What a signed body says, for the handler.
pub(super) enum Told {
    Event(WebhookEvent),
    Question(Box<InterceptorRequest>),
    /// Signed, but not of Scalekit's: whoever takes the bytes may know what it is.
    Neither(EventError),
}

impl Told {
    pub(super) fn read(kind: Kind, body: &[u8]) -> Self {
        let told = match kind {
            Kind::Webhook => WebhookEvent::parse(body).map(Self::Event),
            Kind::Interceptor => {
                InterceptorRequest::parse(body).map(|question| Self::Question(Box::new(question)))
            }
        };
        told.unwrap_or_else(Self::Neither)
    }

    pub(super) fn insert(self, extensions: &mut Extensions) {
        match self {
            Self::Event(event) => drop(extensions.insert(event)),
            Self::Question(question) => drop(extensions.insert(*question)),
            Self::Neither(error) => drop(extensions.insert(error)),
        }
    }
}
