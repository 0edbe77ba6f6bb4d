use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::{RequireScope, ResponseFuture, ScopeRejection};
use crate::body::ResponseBody;
use crate::challenge::ChallengeContext;
use crate::guard::{Decision, Guarded};
use crate::require_session::LoginRequired;
use crate::session::NoPrincipal;
use crate::telemetry;
use crate::token::Principal;

/// The service of [`RequireScope`].
#[derive(Clone, Debug)]
pub struct RequireScopeService<S> {
    pub(super) inner: S,
    pub(super) config: RequireScope,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireScopeService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let decision = match self.config.judge(&mut request) {
            Ok(()) => Decision::Admit(()),
            Err(reason) => Decision::Refuse(self.config.renderer.render(reason, &request)),
        };
        Guarded::decided(decision, request, &mut self.inner).into()
    }
}

impl RequireScope {
    fn judge<B>(&self, request: &mut Request<B>) -> Result<(), ScopeRejection> {
        let requirement = self.requirement.as_ref().map_err(|error| {
            telemetry::internal_error("require_scope", error.as_ref());
            ScopeRejection::Misconfigured
        })?;
        let Some(principal) = request.extensions().get::<Principal>().cloned() else {
            return self.judge_nobody(request);
        };
        let extensions = request.extensions_mut();
        let missing = requirement.missing(&principal);
        let context = extensions.get_mut::<ChallengeContext>();
        if missing.is_empty() {
            if let Some(context) = context {
                context.require(requirement.met_with(&principal));
            }
            return Ok(());
        }
        let challenge = context.map(|context| context.step_up(requirement.scopes()));
        let description = requirement.describe(&missing);
        Err(ScopeRejection::Insufficient { missing, description, challenge })
    }

    /// Decides on a request that no layer further out has found a principal for.
    fn judge_nobody<B>(&self, request: &Request<B>) -> Result<(), ScopeRejection> {
        match request.extensions().get() {
            Some(NoPrincipal::Preflight) => Ok(()),
            Some(NoPrincipal::Anonymous(sessions)) => {
                Err(ScopeRejection::LoginRequired(LoginRequired::of(request, sessions)))
            }
            None => {
                telemetry::layer_missing("RequireScope", "RequireSession or RequireToken");
                Err(ScopeRejection::Misconfigured)
            }
        }
    }
}
