use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// Body of a request that was looked into: the same bytes, from the start.
    pub struct ReplayBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Untouched { #[pin] body: B },
        Read { read: Read<B> },
    }
}

struct Read<B> {
    /// What was read and not handed on yet.
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    rest: Option<Pin<Box<B>>>,
}

/// How far the reading got.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(crate) enum Filled {
    /// To the end.
    Whole(Bytes),
    /// The body is larger than the limit.
    Larger,
    /// It broke off.
    Broken,
}

// By hand: the bytes are the sender's business.
impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}

impl<B> ReplayBody<B> {
    pub(crate) fn untouched(body: B) -> Self {
        Self { kind: Kind::Untouched { body } }
    }

    pub(crate) fn to_be_read(body: B) -> Self {
        let read = Read { bytes: Bytes::new(), trailers: None, rest: Some(Box::pin(body)) };
        Self { kind: Kind::Read { read } }
    }
}

impl<B: Body<Data = Bytes>> ReplayBody<B> {
    /// Reads on until the end, or until there is more than `limit`; what was read stays.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Filled> {
        let Kind::Read { read } = &mut self.kind else { return Poll::Ready(Filled::Broken) };
        while let Some(rest) = &mut read.rest {
            if read.bytes.len() > limit {
                return Poll::Ready(Filled::Larger);
            }
            match ready!(rest.as_mut().poll_frame(cx)) {
                None => read.rest = None,
                Some(Err(_)) => return Poll::Ready(Filled::Broken),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if read.bytes.is_empty() => read.bytes = data,
                    Ok(data) => {
                        let mut joined = BytesMut::from(std::mem::take(&mut read.bytes));
                        joined.extend_from_slice(&data);
                        read.bytes = joined.freeze();
                    }
                    Err(frame) => read.trailers = frame.into_trailers().ok(),
                },
            }
        }
        Poll::Ready(if read.bytes.len() > limit {
            Filled::Larger
        } else {
            Filled::Whole(read.bytes.clone())
        })
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let read = match self.project().kind.project() {
            KindProjection::Untouched { body } => return body.poll_frame(cx),
            KindProjection::Read { read } => read,
        };
        if !read.bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut read.bytes)))));
        }
        match &mut read.rest {
            Some(rest) => rest.as_mut().poll_frame(cx),
            None => Poll::Ready(read.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Untouched { body } => body.is_end_stream(),
            Kind::Read { read } => {
                read.bytes.is_empty()
                    && read.trailers.is_none()
                    && read.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let (read, rest) = match &self.kind {
            Kind::Untouched { body } => return body.size_hint(),
            Kind::Read { read } => (read.bytes.len() as u64, &read.rest),
        };
        let rest = rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(read.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(read.saturating_add(upper));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::Waker;

    use http::HeaderValue;
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    fn frames(
        chunks: &[&'static str],
    ) -> StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>>> {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", HeaderValue::from_static("yes"));
        let chunks: VecDeque<_> =
            chunks.iter().map(|chunk| Frame::data(Bytes::from(*chunk))).collect();
        let all = chunks.into_iter().chain([Frame::trailers(trailers)]);
        StreamBody::new(futures::stream::iter(all.map(Ok)))
    }

    #[tokio::test]
    async fn what_was_read_is_handed_on_with_the_rest_and_the_trailers() {
        for (limit, filled) in [
            (6, Filled::Whole(Bytes::from("abcdef"))),
            (5, Filled::Larger),
            (3, Filled::Larger),
            (0, Filled::Larger),
        ] {
            let mut body = ReplayBody::to_be_read(frames(&["ab", "cd", "ef"]));
            let mut cx = Context::from_waker(Waker::noop());
            assert_eq!(body.poll_fill(&mut cx, limit), Poll::Ready(filled), "{limit}");
            assert!(!body.is_end_stream());
            let collected = body.collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["x-end"], "yes");
            assert_eq!(collected.to_bytes(), "abcdef");
        }
        let untouched = ReplayBody::untouched(Full::new(Bytes::from("abc")));
        assert_eq!(untouched.size_hint().exact(), Some(3));
        assert_eq!(untouched.collect().await.unwrap().to_bytes(), "abc");
    }
}
