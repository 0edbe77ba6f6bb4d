use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::future::BodyRead;
use super::operation::{Operation, is_plain};
use super::{RequireMcpScope, ResponseFuture};
use crate::body::ResponseBody;
use crate::guard::{Decision, Guarded};
use crate::replay_body::ReplayBody;
use crate::require_scope::ScopeRejection;
use crate::require_scope::judgement::{judge, unusable};
use crate::session::NoPrincipal;
use crate::token::Principal;

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

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let config = &self.config;
        let preflight = match request.extensions().get::<Principal>() {
            Some(_) => false,
            None => match NoPrincipal::of(&request) {
                Ok(nobody) => matches!(nobody, NoPrincipal::Preflight),
                Err(reason) => {
                    let refusal = Decision::Refuse(config.renderer.render(reason, &request));
                    let request = request.map(ReplayBody::untouched);
                    return Guarded::decided(refusal, request, &mut self.inner).into();
                }
            },
        };
        // Without an operation there is nothing to look for in the body.
        if preflight || matches!(*request.method(), Method::DELETE | Method::GET | Method::HEAD) {
            let request = request.map(ReplayBody::untouched);
            return Guarded::decided(Decision::Admit(()), request, &mut self.inner).into();
        }
        let said = Operation::of_headers(request.headers());
        let mut request = request.map(ReplayBody::to_be_read);
        // The headers may refuse before anything is read, and only that.
        let early = if is_plain(request.headers()) { said } else { Some(Operation::Unclear) };
        if let Some(early) = early.as_ref().filter(|early| early.is_whole())
            && let Err(reason) = config.judge(early, &mut request)
        {
            let refusal = Decision::Refuse(config.renderer.render(reason, &request));
            return Guarded::decided(refusal, request, &mut self.inner).into();
        }
        if let Some(Operation::Unclear) = early {
            return Guarded::decided(Decision::Admit(()), request, &mut self.inner).into();
        }
        let wait = BodyRead { config: self.config.clone() };
        Guarded::waiting(wait, request, &mut self.inner).into()
    }
}

impl RequireMcpScope {
    pub(super) fn judge<B>(
        &self,
        operation: &Operation,
        request: &mut Request<B>,
    ) -> Result<(), ScopeRejection> {
        let requirement = self.requirement(operation).map_err(|error| unusable(error))?;
        requirement.map_or(Ok(()), |requirement| judge(&requirement, request))
    }
}
