use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::future::BodyRead;
use super::operation::{Operation, decline_http2_upgrade, has_no_operation, is_readable};
use super::{RequireMcpScope, ResponseFuture};
use crate::middleware::replay_body::ReplayBody;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, Guarded};
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
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        decline_http2_upgrade(&mut request);
        let Some(decision) = self.config.decide_unread(&mut request) else {
            let wait = BodyRead::new(&self.config);
            let request = request.map(ReplayBody::to_be_read);
            return Guarded::waiting(wait, request, &mut self.inner).into();
        };
        Guarded::decided(decision, request.map(ReplayBody::untouched), &mut self.inner).into()
    }
}

impl RequireMcpScope {
    /// Decides where the body is not needed: headers may deny early, and only a body that has ended
    /// may stay unread.
    fn decide_unread<B: Body>(&self, request: &mut Request<B>) -> Option<Decision<()>> {
        let operation = if has_no_operation(request) && request.body().is_end_stream() {
            Some(Operation::Nothing)
        } else if is_readable(request) {
            Operation::of_headers(request.headers()).filter(Operation::is_whole)
        } else {
            Some(Operation::Unclear)
        };
        let authorized = match &operation {
            Some(operation) => self.evaluate(operation, request),
            None => principal(request).map(drop),
        };
        match (authorized, operation) {
            (Err(reason), _) => Some(Decision::Reject(self.renderer.render(reason, request))),
            (Ok(()), Some(Operation::Nothing | Operation::Unclear)) => Some(Decision::Forward(())),
            (Ok(()), Some(Operation::Call { .. }) | None) => None,
        }
    }

    /// Whether the principal has what the operation requires. Each operation requires a principal.
    pub(super) fn evaluate<B>(
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
