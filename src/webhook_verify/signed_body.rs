use bytes::Bytes;
use http::Extensions;
#[cfg(feature = "axum-core")]
use tokio::runtime::Handle;

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

/// A larger body can take more than a millisecond.
#[cfg(feature = "axum-core")]
const MAX_PARSED_INLINE: usize = 256 * 1024;

/// Parses the body of a request by `parse`. A large one does not block the executor: it is parsed on
/// a thread for blocking work.
#[cfg(feature = "axum-core")]
pub(crate) async fn parsed<T: Send + 'static>(
    extensions: &Extensions,
    parse: fn(&Extensions) -> Option<Result<T, EventError>>,
) -> Option<Result<T, EventError>> {
    let body = extensions.get::<SignedBody>()?;
    if body.bytes.len() <= MAX_PARSED_INLINE {
        return parse(extensions);
    }
    let Ok(runtime) = Handle::try_current() else { return parse(extensions) };
    let mut only_body = Extensions::new();
    only_body.insert(body.clone());
    runtime
        .spawn_blocking(move || parse(&only_body))
        .await
        // The task fails only if the runtime shuts down, or by a panic.
        .unwrap_or_else(|_| parse(extensions))
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

#[cfg(all(test, feature = "axum-core"))]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn request(bytes: usize) -> Extensions {
        let filler = "x".repeat(bytes);
        let body = format!(r#"{{"id":"evt_1","type":"t","data":{{"a":"{filler}"}}}}"#);
        let mut extensions = Extensions::new();
        extensions.insert(SignedBody { kind: Kind::Webhook, bytes: body.into() });
        extensions
    }

    #[test]
    fn a_large_event_is_parsed_off_the_executor() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // Until this ends, no other blocking work begins.
            let (release, released) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || released.recv().is_ok());
            let (small, large) = (request(100), request(MAX_PARSED_INLINE));
            let parse = WebhookEvent::from_extensions;
            assert!(parsed(&small, parse).now_or_never().flatten().unwrap().is_ok());
            let mut event = Box::pin(parsed(&large, parse));
            assert!(event.as_mut().now_or_never().is_none());
            release.send(()).unwrap();
            let event = event.await.unwrap().unwrap();
            assert_eq!(event.id(), "evt_1");
            assert!(busy.await.unwrap());
        });
        // Without a runtime.
        let large = request(MAX_PARSED_INLINE);
        let event = parsed(&large, WebhookEvent::from_extensions);
        assert!(event.now_or_never().flatten().unwrap().is_ok());
    }
}
