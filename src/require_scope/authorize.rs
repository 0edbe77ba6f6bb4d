use http::Request;

use super::ScopeRejection;
use super::requirement::Requirement;
use crate::challenge::{Challenge, ChallengeContext};
use crate::middleware::principal::{self, Anonymous, NoPrincipal};
use crate::token::Principal;
use crate::util::request_target::matched_path;
use crate::util::telemetry;

/// Whether the request's principal meets the requirement. Granted scopes are recorded for the
/// rejections of inner layers.
pub(super) fn evaluate<B>(
    requirement: &Requirement,
    request: &mut Request<B>,
) -> Result<(), ScopeRejection> {
    let principal = principal(request)?;
    let missing = requirement.missing(principal);
    if missing.is_empty() {
        let granted = requirement.granted_scopes(principal);
        if let Some(context) = challenge_context(request) {
            context.require(granted);
        }
        return Ok(());
    }
    Err(ScopeRejection::Insufficient {
        description: requirement.describe(&missing),
        missing,
        challenge: challenge_context(request)
            .map(|context| context.insufficient_scope(requirement.challenge_scopes())),
    })
}

fn challenge_context<B>(request: &mut Request<B>) -> Option<&mut ChallengeContext> {
    request.extensions_mut().get_mut().and_then(Principal::challenge_context)
}

/// The principal that an authentication layer has verified. Without one, the request is rejected.
pub(super) fn principal<B>(request: &Request<B>) -> Result<&Principal, ScopeRejection> {
    principal::find(request.extensions()).map_err(|reason| match reason {
        NoPrincipal::Anonymous(Anonymous::Login(login)) => {
            ScopeRejection::LoginRequired(login.clone())
        }
        NoPrincipal::Anonymous(Anonymous::Token(challenge)) => {
            ScopeRejection::MissingToken { challenge: Challenge::clone(challenge) }
        }
        NoPrincipal::MissingLayer => {
            telemetry::layer_missing(
                "RequireScope",
                "RequireSession, RequireToken or RequireAuth",
                matched_path(request.extensions()),
            );
            ScopeRejection::Misconfigured
        }
    })
}

/// Logs a requirement that cannot be met.
pub(super) fn unusable(error: &(dyn std::error::Error + 'static)) -> ScopeRejection {
    telemetry::internal_error("require_scope", error);
    ScopeRejection::Misconfigured
}
