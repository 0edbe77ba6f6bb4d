use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::RequireMcpScope;
use super::message::MessageReader;
use super::operation::{Operation, decline_http2_upgrade, has_no_operation, is_readable};
use crate::middleware::replay_body::{BodyError, ReplayBody};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, Middleware, ResponseFuture};
use crate::require_scope::ScopeRejection;
use crate::require_scope::authorize::{evaluate, principal, unusable};

/// The service of [`RequireMcpScope`].
#[derive(Clone, Debug)]
pub struct RequireMcpScopeService<S> {
    pub(super) inner: S,
    pub(super) config: RequireMcpScope,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireMcpScopeService<S>
where
    S: Service<Request<ReplayBody<ReqBody>>, Response = Response<ResBody>> + Clone,
    ReqBody: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReplayBody<ReqBody>, RequireMcpScope>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        decline_http2_upgrade(&mut request);
        let Some(decision) = self.config.decide_unread(&mut request) else {
            let request = request.map(ReplayBody::buffered);
            return ResponseFuture::pending(&self.config, None, request, &mut self.inner);
        };
        ResponseFuture::decided(decision, request.map(ReplayBody::passthrough), &mut self.inner)
    }
}

impl<B: Body<Data = Bytes>> Middleware<ReplayBody<B>> for RequireMcpScope {
    /// The body, once it has been read, and how far it has been parsed.
    type Pending = Option<(Bytes, MessageReader)>;
    type OnResponse = ();

    fn poll_decision(
        &self,
        read: &mut Self::Pending,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Decision<()>> {
        let authorized = match ready!(self.poll_operation(read, cx, request)) {
            Ok(operation) => self.evaluate(&operation, request),
            Err(BodyError::TooLarge) => self.evaluate(&Operation::Unclear, request),
            Err(BodyError::Broken) => Err(ScopeRejection::FailedToBufferBody),
            Err(BodyError::Evicted) => Err(ScopeRejection::Overloaded),
            Err(BodyError::Late) => Err(ScopeRejection::RequestTimeout),
        };
        Poll::Ready(match authorized {
            Ok(()) => Decision::Forward(()),
            Err(rejection) => Decision::Respond(self.renderer.render(rejection, request)),
        })
    }
}

impl RequireMcpScope {
    fn poll_operation<B: Body<Data = Bytes>>(
        &self,
        read: &mut Option<(Bytes, MessageReader)>,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Result<Operation, BodyError>> {
        let (body, reader) = match read {
            Some(read) => read,
            None => match ready!(request.body_mut().poll_buffer(cx, &self.limits)) {
                Ok(body) => read.insert((body, MessageReader::default())),
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        if body.is_empty() && has_no_operation(request) {
            return Poll::Ready(Ok(Operation::Nothing));
        }
        let Poll::Ready(operation) = reader.poll_read(body) else {
            // Other tasks of the thread run between the parts.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        Poll::Ready(
            Ok(operation.unless_contradicted_by(Operation::from_headers(request.headers()))),
        )
    }

    /// Decides without the body if possible: headers may cause an early rejection, and only an
    /// empty body may stay unread.
    fn decide_unread<B: Body>(&self, request: &mut Request<B>) -> Option<Decision<()>> {
        let operation = if has_no_operation(request) && request.body().is_end_stream() {
            Some(Operation::Nothing)
        } else if is_readable(request) {
            Operation::from_headers(request.headers()).filter(Operation::has_required_name)
        } else {
            Some(Operation::Unclear)
        };
        let authorized = match &operation {
            Some(operation) => self.evaluate(operation, request),
            None => principal(request).map(drop),
        };
        match (authorized, operation) {
            (Err(reason), _) => Some(Decision::Respond(self.renderer.render(reason, request))),
            (Ok(()), Some(Operation::Nothing | Operation::Unclear)) => Some(Decision::Forward(())),
            (Ok(()), Some(Operation::Call { .. }) | None) => None,
        }
    }

    /// Whether the principal meets the operation's requirement. Every operation requires a
    /// principal.
    fn evaluate<B>(
        &self,
        operation: &Operation,
        request: &mut Request<B>,
    ) -> Result<(), ScopeRejection> {
        match self.requirement(operation).map_err(|error| unusable(error))? {
            Some(requirement) => evaluate(&requirement, request),
            None => principal(request).map(drop),
        }
    }
}
