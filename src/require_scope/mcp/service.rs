use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Body;
use tower_service::Service;

use super::RequireMcpScope;
use super::grammar::Unreadable;
use super::headers::{allow_batches, check};
use super::lists::ListFilter;
use super::message::{Message, MessageReader, RequestId};
use super::operation::{Operation, decline_http2_upgrade, has_no_operation, may_become_a_tunnel};
use super::rejection::{IDENTITY, McpError, McpRejection};
use crate::middleware::replay_body::{BodyError, ReplayBody};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{DecidingLayer, Decision, ResponseFuture};
use crate::require_scope::ScopeRejection;
use crate::require_scope::authorize::{principal, unusable};

/// The service of [`RequireMcpScope`].
#[derive(Clone, Debug)]
pub struct RequireMcpScopeService<S> {
    pub(super) inner: S,
    pub(super) layer: RequireMcpScope,
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
        let Some(decision) = self.layer.decide_unread(&mut request) else {
            let request = request.map(ReplayBody::unread);
            return ResponseFuture::pending(&self.layer, None, request, &mut self.inner);
        };
        ResponseFuture::decided(decision, request.map(ReplayBody::passthrough), &mut self.inner)
    }
}

/// Filters the lists of the response.
type OnResponse = Option<Box<ListFilter>>;

impl<B: Body<Data = Bytes>> DecidingLayer<ReplayBody<B>> for RequireMcpScope {
    /// The body, once it has been read, and how far it has been parsed.
    type Pending = Option<(Bytes, MessageReader)>;
    type OnResponse = OnResponse;

    fn poll_decision(
        &self,
        read: &mut Self::Pending,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Decision<OnResponse>> {
        let message = ready!(self.poll_message(read, cx, request));
        let body = read.as_ref().map(|(body, _)| &**body).unwrap_or_default();
        let (error, id) = match message {
            Ok(message) => match self.authorize(&message, body, request) {
                Ok(on_response) => return Poll::Ready(Decision::Forward(on_response)),
                Err(reason) => (reason.into(), message.id),
            },
            Err(rejected) => rejected,
        };
        Poll::Ready(self.reject(error, id.and_then(|id| id.json(body)), request))
    }
}

/// A message that is rejected, and the ID of its request.
type Rejected = (McpError, Option<RequestId>);

impl RequireMcpScope {
    fn poll_message<B: Body<Data = Bytes>>(
        &self,
        read: &mut Option<(Bytes, MessageReader)>,
        cx: &mut Context<'_>,
        request: &mut Request<ReplayBody<B>>,
    ) -> Poll<Result<Message, Rejected>> {
        let (body, reader) = match read {
            Some(read) => read,
            None => match ready!(request.body_mut().poll_buffer(cx, &self.limits)) {
                Ok(body) => read.insert((body, MessageReader::default())),
                Err(error) => return Poll::Ready(Err((error.into(), None))),
            },
        };
        if body.is_empty() && has_no_operation(request) {
            return Poll::Ready(Ok(Message { operation: Operation::Nothing, id: None }));
        }
        let Poll::Ready(message) = reader.poll_read(body) else {
            // Other tasks of the thread run between the parts.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let message = match message {
            Ok(message) => message,
            Err(Unreadable::Batch) if allow_batches(request.headers()) => {
                Message { operation: Operation::Any, id: None }
            }
            Err(Unreadable::Batch) => return Poll::Ready(Err((McpError::Batch, None))),
            Err(Unreadable::Malformed) => return Poll::Ready(Err((McpError::ParseError, None))),
            Err(Unreadable::Ambiguous) => {
                return Poll::Ready(Err((McpError::AmbiguousMessage, reader.request_id(body))));
            }
        };
        Poll::Ready(match check(request.headers(), &message) {
            Ok(()) => Ok(message),
            Err(mismatch) => Err((mismatch.into(), message.id)),
        })
    }

    /// Decides without the body if possible: there is none, or nothing that this layer could read.
    fn decide_unread<B: Body>(&self, request: &mut Request<B>) -> Option<Decision<OnResponse>> {
        let operation = if may_become_a_tunnel(request) {
            Operation::Any
        } else if has_no_operation(request) && request.body().is_end_stream() {
            Operation::Nothing
        } else {
            let error = match principal(request) {
                Err(reason) => reason.into(),
                Ok(_) if request.headers().contains_key(header::CONTENT_ENCODING) => {
                    McpError::UnsupportedContentEncoding
                }
                Ok(_) => return None,
            };
            return Some(self.reject(error, None, request));
        };
        Some(match self.authorize(&Message { operation, id: None }, &[], request) {
            Ok(on_response) => Decision::Forward(on_response),
            Err(reason) => self.reject(reason.into(), None, request),
        })
    }

    /// Whether the principal may use the operation. Every operation requires a principal.
    fn authorize<B>(
        &self,
        message: &Message,
        body: &[u8],
        request: &mut Request<B>,
    ) -> Result<OnResponse, ScopeRejection> {
        let rules = self.rules().map_err(|error| unusable(error))?;
        if let Some(rule) = rules.rule(&message.operation) {
            rule.evaluate(request)?;
        }
        let principal = principal(request)?;
        let is_get = request.method() == Method::GET;
        let filter = match &message.operation {
            _ if !self.filters_lists => None,
            // The principal may use everything.
            Operation::Any => None,
            // Only a response to the server, or the end of a session.
            Operation::Nothing if !is_get => None,
            Operation::Call { method, .. } if !is_get => {
                let id = message.id.and_then(|id| id.json(body));
                Some(ListFilter::new(Some(method), id, rules, principal))
            }
            // Whatever its body says: servers ignore that.
            Operation::Call { .. } | Operation::Nothing => {
                Some(ListFilter::new(None, None, rules, principal))
            }
        };
        if filter.is_some() {
            // No layer inside may compress the response, which could not be filtered then.
            request.headers_mut().insert(header::ACCEPT_ENCODING, IDENTITY);
        }
        Ok(filter.map(Box::new))
    }

    fn reject<B>(
        &self,
        error: McpError,
        request_id: Option<Box<str>>,
        request: &Request<B>,
    ) -> Decision<OnResponse> {
        Decision::Respond(self.renderer.render(McpRejection::new(error, request_id), request))
    }
}

impl From<BodyError> for McpError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken => Self::FailedToBufferBody,
            BodyError::Evicted => Self::Overloaded,
            BodyError::Late => Self::RequestTimeout,
            BodyError::TooLarge => Self::PayloadTooLarge,
        }
    }
}
