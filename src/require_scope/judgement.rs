use http::Request;

use super::ScopeRejection;
use super::requirement::Requirement;
use crate::challenge::ChallengeContext;
use crate::require_session::LoginRequired;
use crate::session::{Cookie, NoPrincipal};
use crate::telemetry;
use crate::token::Principal;

/// Whether the request's principal has what is required. What it has is noted for layers further
/// in, whose refusal names it too.
pub(super) fn judge<B>(
    requirement: &Requirement,
    request: &mut Request<B>,
) -> Result<(), ScopeRejection> {
    let Some(principal) = request.extensions().get::<Principal>().cloned() else {
        return match NoPrincipal::of(request)? {
            NoPrincipal::Preflight => Ok(()),
            NoPrincipal::Anonymous(sessions) => {
                let login = LoginRequired::of(request, sessions, Cookie::Kept);
                Err(ScopeRejection::LoginRequired(login))
            }
        };
    };
    let missing = requirement.missing(&principal);
    let context = request.extensions_mut().get_mut::<ChallengeContext>();
    if missing.is_empty() {
        if let Some(context) = context {
            context.require(requirement.met_with(&principal));
        }
        return Ok(());
    }
    let challenge = context.map(|context| context.step_up(requirement.to_ask_for()));
    let description = requirement.describe(&missing);
    Err(ScopeRejection::Insufficient { missing, description, challenge })
}

impl NoPrincipal {
    /// Why there is no principal; without a layer that has looked for one nothing is allowed.
    pub(super) fn of<B>(request: &Request<B>) -> Result<&Self, ScopeRejection> {
        request.extensions().get().ok_or_else(|| {
            telemetry::layer_missing("RequireScope", "RequireSession or RequireToken");
            ScopeRejection::Misconfigured
        })
    }
}

/// A requirement that nobody can meet: the log says why.
pub(super) fn unusable(error: &(dyn std::error::Error + 'static)) -> ScopeRejection {
    telemetry::internal_error("require_scope", error);
    ScopeRejection::Misconfigured
}
