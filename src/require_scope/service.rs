use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::requirement::Requirement;
use super::{RequireScope, ResponseFuture, ScopeRejection};
use crate::body::ResponseBody;
use crate::challenge::{Challenge, ChallengeContext, ScopeToken};
use crate::guard::{Decision, Guarded};
use crate::origin::is_preflight;
use crate::telemetry;
use crate::token::Principal;

/// The service of [`RequireScope`].
#[derive(Clone, Debug)]
pub struct RequireScopeService<S> {
    pub(super) inner: S,
    pub(super) config: RequireScope,
}

/// Scopes that the layers passed so far required: the operation needs them too.
#[derive(Clone, Debug, Default)]
struct OperationScopes(Vec<ScopeToken>);

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
        let judged = if is_preflight(&request) { Ok(()) } else { self.config.judge(&mut request) };
        let decision = match judged {
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
        let extensions = request.extensions_mut();
        let Some(principal) = extensions.get::<Principal>() else {
            telemetry::layer_missing("RequireScope", "RequireSession or RequireToken");
            return Err(ScopeRejection::Misconfigured);
        };
        let missing = requirement.missing(principal);
        if missing.is_empty() {
            let met_with = requirement.met_with(principal);
            if !met_with.is_empty() {
                extensions.get_or_insert_default::<OperationScopes>().0.extend(met_with);
            }
            return Ok(());
        }
        let challenge = extensions
            .get::<ChallengeContext>()
            .map(|ChallengeContext(context)| step_up(context, extensions.get(), requirement));
        let description = requirement.describe(&missing);
        Err(ScopeRejection::Insufficient { missing, description, challenge })
    }
}

/// A challenge that names all scopes of the operation, those already granted among them.
fn step_up(
    context: &Challenge,
    passed: Option<&OperationScopes>,
    requirement: &Requirement,
) -> Challenge {
    let mut scopes: Vec<ScopeToken> = Vec::new();
    for scope in passed.map(|passed| &passed.0).into_iter().flatten().chain(requirement.scopes()) {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    context.clone().scope(scopes)
}
