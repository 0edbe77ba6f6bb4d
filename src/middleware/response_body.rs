use std::fmt;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Empty, Full};
use pin_project_lite::pin_project;

pin_project! {
    /// Body of a layer's response: the inner service's body, untouched and unbuffered, or the body
    /// of a rejection. [`RequireMcpScope`](crate::require_scope::mcp::RequireMcpScope) may filter
    /// it.
    ///
    /// Wraps any `B: Body<Data = Bytes>`: axum's, `Full`, `BoxBody`, hyper's `Incoming`, tonic's.
    /// Routes without an inner service (login, callback, logout) have `Empty` as `B`.
    pub struct ResponseBody<B = Empty<Bytes>> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Own { #[pin] body: Full<Bytes> },
        Filtered { #[pin] body: B, filter: Option<Box<dyn BodyFilter>> },
    }
}

/// How a layer changes the body of a response.
pub(crate) enum BodyChange {
    None,
    Filter(Box<dyn BodyFilter>),
    Replace(Bytes),
}

/// Changes the bytes of a body.
pub(crate) trait BodyFilter: Send + Sync {
    /// Adds the bytes that replace `data` to `filtered`. `Break` ends the body after them.
    fn push(&mut self, data: &[u8], filtered: &mut Vec<u8>) -> ControlFlow<()>;

    /// Adds the bytes at the end of the body.
    fn finish(&mut self, filtered: &mut Vec<u8>);
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    pub(crate) fn own(bytes: Bytes) -> Self {
        Self { kind: Kind::Own { body: Full::new(bytes) } }
    }

    pub(crate) fn changed(body: B, change: BodyChange) -> Self {
        match change {
            BodyChange::None => Self::inner(body),
            BodyChange::Filter(filter) => {
                Self { kind: Kind::Filtered { body, filter: Some(filter) } }
            }
            BodyChange::Replace(bytes) => Self::own(bytes),
        }
    }
}

// Manual impl: filters have none.
impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, body): (_, &dyn fmt::Debug) = match &self.kind {
            Kind::Inner { body } => ("Inner", body),
            Kind::Own { body } => ("Own", body),
            Kind::Filtered { body, .. } => ("Filtered", body),
        };
        f.debug_struct("ResponseBody").field(name, body).finish()
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(cx),
            KindProjection::Own { body } => body.poll_frame(cx).map_err(|never| match never {}),
            KindProjection::Filtered { body, filter } => poll_filtered(body, filter, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { body } => body.is_end_stream(),
            Kind::Filtered { filter, .. } => filter.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { body } => body.size_hint(),
            Kind::Filtered { .. } => SizeHint::default(),
        }
    }
}

/// The next bytes of a filtered body, without its trailers. `filter` is removed at the end.
fn poll_filtered<B: Body<Data = Bytes>>(
    mut body: Pin<&mut B>,
    filter: &mut Option<Box<dyn BodyFilter>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
    let mut filtered = Vec::new();
    while let Some(changes) = filter {
        match ready!(body.as_mut().poll_frame(cx)) {
            None => {
                changes.finish(&mut filtered);
                *filter = None;
            }
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                if changes.push(&data, &mut filtered).is_break() {
                    *filter = None;
                }
            }
            Some(Err(error)) => {
                *filter = None;
                return Poll::Ready(Some(Err(error)));
            }
        }
        if !filtered.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(filtered.into()))));
        }
    }
    Poll::Ready(None)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn carries_the_inner_body_or_own_bytes() {
        let inner = ResponseBody::inner(Full::new(Bytes::from("inner")));
        assert_eq!(inner.size_hint().exact(), Some(5));
        assert_eq!(inner.collect().await.unwrap().to_bytes(), "inner");
        let own: ResponseBody = ResponseBody::own(Bytes::from("own"));
        assert!(!own.is_end_stream());
        assert_eq!(own.collect().await.unwrap().to_bytes(), "own");
        assert!(ResponseBody::<Empty<Bytes>>::default().is_end_stream());
    }
}
