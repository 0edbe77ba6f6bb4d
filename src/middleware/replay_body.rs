use std::error::Error as StdError;
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::body_limits::{BodyLimits, HeldBody};

pin_project! {
    /// Body of a request that a layer reads: for the inner service, the same bytes from the start.
    pub struct ReplayBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Passthrough { #[pin] body: B },
        Buffered { body: BufferedBody<B> },
    }
}

/// A body that is buffered: the bytes that were read, and the rest.
struct BufferedBody<B> {
    /// Bytes that were read and not returned yet.
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    rest: Option<Pin<Box<B>>>,
    /// Set while the rest is pending.
    waiting: Option<Waiting>,
}

/// The time limits of an unfinished body, and its entry among the others.
struct Waiting {
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    held: Option<HeldBody>,
}

/// Returned when a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The body ended with an error.
    Broken,
    /// Its bytes were dropped, because unfinished bodies exceeded the memory bound.
    Evicted,
    /// The body, or its next byte, timed out.
    Late,
    /// The body exceeds the size limit.
    TooLarge,
}

// Manual impl: the bytes may be confidential.
impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}

impl<B> ReplayBody<B> {
    pub(crate) fn passthrough(body: B) -> Self {
        Self { kind: Kind::Passthrough { body } }
    }

    pub(crate) fn unread(body: B) -> Self {
        let body = BufferedBody {
            bytes: Bytes::new(),
            trailers: None,
            rest: Some(Box::pin(body)),
            waiting: None,
        };
        Self { kind: Kind::Buffered { body } }
    }
}

/// Reads a body within its limits.
pub(crate) async fn read_body<B>(body: B, limits: &BodyLimits) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut body = ReplayBody::unread(body);
    poll_fn(|cx| body.poll_buffer(cx, limits)).await
}

impl<B: Body<Data = Bytes>> ReplayBody<B> {
    /// Reads to the end, or until a limit is exceeded. A body that is too large still yields all of
    /// its bytes: those read so far, then the rest.
    pub(crate) fn poll_buffer(
        &mut self,
        cx: &mut Context<'_>,
        limits: &BodyLimits,
    ) -> Poll<Result<Bytes, BodyError>> {
        match &mut self.kind {
            Kind::Buffered { body } => body.poll_buffer(cx, limits),
            Kind::Passthrough { .. } => Poll::Ready(Err(BodyError::Broken)),
        }
    }
}

impl<B: Body<Data = Bytes>> BufferedBody<B> {
    fn poll_buffer(
        &mut self,
        cx: &mut Context<'_>,
        limits: &BodyLimits,
    ) -> Poll<Result<Bytes, BodyError>> {
        let held = self.waiting.as_ref().and_then(|waiting| waiting.held.as_ref());
        let mut bytes = match held.map(HeldBody::take) {
            None => Buffer::default(),
            Some(Some(bytes)) => Buffer::Joined(bytes),
            Some(None) => return Poll::Ready(Err(BodyError::Evicted)),
        };
        let before = bytes.len();
        let mut is_too_large = false;
        while let Some(rest) = &mut self.rest {
            // A body whose `Content-Length` is too large is not read further.
            let room = limits.max_size().checked_sub(bytes.len());
            is_too_large = room.is_none_or(|room| rest.size_hint().lower() > room as u64);
            if is_too_large {
                break;
            }
            match rest.as_mut().poll_frame(cx) {
                Poll::Ready(None) => self.rest = None,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(BodyError::Broken)),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() && !rest.is_end_stream() => {
                        // The timer is checked however many frames are ready at once.
                        cx.waker().wake_by_ref();
                        return self.poll_wait(cx, limits, bytes, before);
                    }
                    Ok(data) => bytes.push(data, limits.max_size()),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Poll::Pending => return self.poll_wait(cx, limits, bytes, before),
            }
        }
        self.waiting = None;
        self.bytes = bytes.into_bytes();
        Poll::Ready(if is_too_large { Err(BodyError::TooLarge) } else { Ok(self.bytes.clone()) })
    }

    /// Waits for the next byte within the time limits. Meanwhile the bytes count against the memory
    /// bound.
    fn poll_wait(
        &mut self,
        cx: &mut Context<'_>,
        limits: &BodyLimits,
        bytes: Buffer,
        before: usize,
    ) -> Poll<Result<Bytes, BodyError>> {
        let now = Instant::now();
        let waiting = self.waiting.get_or_insert_with(|| Waiting::new(now, limits));
        if bytes.len() > before {
            waiting.timer.as_mut().reset((now + limits.idle_timeout).min(waiting.deadline));
        }
        if waiting.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(BodyError::Late));
        }
        if bytes.len() > 0 {
            waiting.held = Some(limits.hold(waiting.held.take(), bytes.into_vec(), cx.waker()));
        }
        Poll::Pending
    }
}

impl Waiting {
    fn new(now: Instant, limits: &BodyLimits) -> Self {
        let deadline = now + limits.read_timeout;
        let timer = Box::pin(sleep_until(deadline.min(now + limits.idle_timeout)));
        Self { deadline, timer, held: None }
    }
}

/// The bytes read of a body. A single frame is kept as it is, several are joined.
enum Buffer {
    Frame(Bytes),
    Joined(Vec<u8>),
}

impl Buffer {
    fn len(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.len(),
            Self::Joined(bytes) => bytes.len(),
        }
    }

    /// Adds a frame. Capacity grows with the bytes that arrive, up to `max_bytes` if that is
    /// enough.
    fn push(&mut self, frame: Bytes, max_bytes: usize) {
        if self.len() == 0 {
            *self = Self::Frame(frame);
            return;
        }
        if frame.is_empty() {
            return;
        }
        let mut bytes = mem::take(self).into_vec();
        let len = bytes.len() + frame.len();
        if len > bytes.capacity() {
            let capacity = len.max(max_bytes.min(2 * bytes.capacity()));
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(&frame);
        *self = Self::Joined(bytes);
    }

    /// Copies a frame, which may keep its connection's buffer alive.
    fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Frame(frame) => frame.to_vec(),
            Self::Joined(bytes) => bytes,
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Frame(frame) => frame,
            Self::Joined(bytes) => bytes.into(),
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::Frame(Bytes::new())
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
        let buffered = match self.project().kind.project() {
            KindProjection::Passthrough { body } => return body.poll_frame(cx),
            KindProjection::Buffered { body } => body,
        };
        if !buffered.bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut buffered.bytes)))));
        }
        match &mut buffered.rest {
            Some(rest) => rest.as_mut().poll_frame(cx),
            None => {
                Poll::Ready(buffered.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passthrough { body } => body.is_end_stream(),
            Kind::Buffered { body } => {
                body.bytes.is_empty()
                    && body.trailers.is_none()
                    && body.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let (read, rest) = match &self.kind {
            Kind::Passthrough { body } => return body.size_hint(),
            Kind::Buffered { body } => (body.bytes.len() as u64, &body.rest),
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
    use std::sync::{Arc, Mutex};
    use std::task::{Wake, Waker, ready};

    use futures::StreamExt as _;
    use futures::channel::mpsc;
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
    async fn buffered_bytes_are_returned_with_the_rest_and_the_trailers() {
        for (max_bytes, filled) in [
            (6, Ok(Bytes::from("abcdef"))),
            (5, Err(BodyError::TooLarge)),
            (3, Err(BodyError::TooLarge)),
            (0, Err(BodyError::TooLarge)),
        ] {
            let mut body = ReplayBody::unread(frames(&["ab", "cd", "ef"]));
            let mut cx = Context::from_waker(Waker::noop());
            let limits = BodyLimits::new().max_bytes(max_bytes);
            assert_eq!(body.poll_buffer(&mut cx, &limits), Poll::Ready(filled), "{max_bytes}");
            assert!(!body.is_end_stream());
            let collected = body.collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["x-end"], "yes");
            assert_eq!(collected.to_bytes(), "abcdef");
        }
        let untouched = ReplayBody::passthrough(Full::new(Bytes::from("abc")));
        assert_eq!(untouched.size_hint().exact(), Some(3));
        assert_eq!(untouched.collect().await.unwrap().to_bytes(), "abc");
    }

    /// A body with a `Content-Length`, whose frames the test sends.
    struct Announced(u64, mpsc::UnboundedReceiver<Bytes>);

    impl Body for Announced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let frame = ready!(self.1.poll_next_unpin(cx));
            self.0 -= frame.as_ref().map_or(0, |data| data.len() as u64);
            Poll::Ready(frame.map(|data| Ok(Frame::data(data))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    fn announced(bytes: u64) -> (mpsc::UnboundedSender<Bytes>, ReplayBody<Announced>) {
        let (sender, frames) = mpsc::unbounded();
        (sender, ReplayBody::unread(Announced(bytes, frames)))
    }

    fn fill(
        body: &mut ReplayBody<Announced>,
        limits: &BodyLimits,
    ) -> Poll<Result<Bytes, BodyError>> {
        body.poll_buffer(&mut Context::from_waker(Waker::noop()), limits)
    }

    #[tokio::test]
    async fn memory_grows_with_what_arrives_and_is_freed_with_the_body() {
        let limits = BodyLimits::new().max_bytes(1000);
        let (sender, mut body) = announced(1000);
        assert!(fill(&mut body, &limits).is_pending());
        assert_eq!(limits.unfinished_bytes(), 0, "nothing has arrived");
        // A frame that keeps a large buffer of its connection alive is copied.
        sender.unbounded_send(Bytes::from(vec![b'x'; 100_000]).slice(..100)).unwrap();
        assert!(fill(&mut body, &limits).is_pending());
        assert_eq!(limits.unfinished_bytes(), 100);
        for arrived in 2..=9 {
            sender.unbounded_send(Bytes::from(vec![b'x'; 100])).unwrap();
            assert!(fill(&mut body, &limits).is_pending());
            let held = limits.unfinished_bytes();
            assert!((100 * arrived..=(200 * arrived).min(1000)).contains(&held), "{held}");
        }
        drop(body);
        assert_eq!(limits.unfinished_bytes(), 0);

        // A body that arrives in one piece is not counted and not copied.
        let (sender, mut body) = announced(3);
        let frame = Bytes::from("abc");
        sender.unbounded_send(frame.clone()).unwrap();
        drop(sender);
        let Poll::Ready(Ok(whole)) = fill(&mut body, &limits) else { panic!() };
        assert_eq!(whole.as_ptr(), frame.as_ptr());
    }

    #[tokio::test]
    async fn unfinished_bodies_never_hold_more_than_their_bound() {
        let limits = BodyLimits::new().max_bytes(1000).max_unfinished_bytes(5000);
        let mut bodies: Vec<_> = (0..300).map(|_| announced(1000)).collect();
        for _ in 0..3 {
            for (sender, body) in &mut bodies {
                sender.unbounded_send(Bytes::from(vec![b'x'; 300])).unwrap();
                let _ = fill(body, &limits);
                assert!(limits.unfinished_bytes() <= 5000);
            }
        }
        let evicted = bodies.iter_mut().filter_map(|(_, body)| match fill(body, &limits) {
            Poll::Ready(filled) => Some(filled),
            Poll::Pending => None,
        });
        let evicted: Vec<_> = evicted.collect();
        assert_eq!(evicted.len(), 295);
        assert!(evicted.iter().all(|filled| *filled == Err(BodyError::Evicted)));
        drop(bodies);
        assert_eq!(limits.unfinished_bytes(), 0);

        // With a bound below the size limit, one body is still accepted.
        let limits = limits.max_unfinished_bytes(10);
        let (sender, mut body) = announced(1000);
        sender.unbounded_send(Bytes::from(vec![b'x'; 999])).unwrap();
        assert!(fill(&mut body, &limits).is_pending());
        sender.unbounded_send(Bytes::from("x")).unwrap();
        drop(sender);
        assert!(matches!(fill(&mut body, &limits), Poll::Ready(Ok(whole)) if whole.len() == 1000));
    }

    /// A waker that owns another body.
    struct OwningWaker(#[expect(dead_code)] Mutex<ReplayBody<Announced>>);

    impl Wake for OwningWaker {
        fn wake(self: Arc<Self>) {}
    }

    #[tokio::test]
    async fn a_waker_that_drops_another_body_is_dropped_outside_of_the_lock() {
        let limits = BodyLimits::new();
        let unfinished = || {
            let (sender, body) = announced(10);
            sender.unbounded_send(Bytes::from("x")).unwrap();
            (sender, body)
        };
        let (_owned_sender, mut owned) = unfinished();
        assert!(fill(&mut owned, &limits).is_pending());
        let waker = Waker::from(Arc::new(OwningWaker(Mutex::new(owned))));
        let (sender, mut body) = unfinished();
        assert!(body.poll_buffer(&mut Context::from_waker(&waker), &limits).is_pending());
        drop((waker, sender));
        assert_eq!(limits.unfinished_bytes(), 2);
        drop(body);
        assert_eq!(limits.unfinished_bytes(), 0);
    }

    #[test]
    fn a_body_whose_announced_length_is_too_large_is_not_read() {
        let (sender, mut body) = announced(1001);
        sender.unbounded_send(Bytes::from("x")).unwrap();
        let limits = BodyLimits::new().max_bytes(1000);
        assert_eq!(fill(&mut body, &limits), Poll::Ready(Err(BodyError::TooLarge)));
        assert_eq!(sender.len(), 1);
    }
}
