use http::Request;

use super::ScopeRejection;
use super::requirement::Requirement;
use crate::challenge::Challenge;
use crate::middleware::identity::{self, Anonymous, NoPrincipal};
use crate::token::Principal;
use crate::util::fetch_metadata::matched_path;
use crate::util::telemetry;

/// Whether the request's principal meets the requirement. Granted scopes are recorded for the
/// rejections of inner layers.
pub(super) fn evaluate<B>(
    requirement: &Requirement,
    request: &mut Request<B>,
) -> Result<(), ScopeRejection> {
    let principal = principal(request)?;
    let missing = requirement.missing(principal);
    let granted =
        if missing.is_empty() { requirement.granted_scopes(principal) } else { Vec::new() };
    let context = request.extensions_mut().get_mut().and_then(Principal::challenge_context);
    if missing.is_empty() {
        if let Some(context) = context {
            context.require(granted);
        }
        return Ok(());
    }
    let challenge = context.map(|context| context.step_up(requirement.challenge_scopes()));
    let description = requirement.describe(&missing);
    Err(ScopeRejection::Insufficient { missing, description, challenge })
}

/// The principal that an authentication layer has verified. Without one, the request is rejected.
pub(super) fn principal<B>(request: &Request<B>) -> Result<&Principal, ScopeRejection> {
    identity::principal(request.extensions()).map_err(|reason| match reason {
        NoPrincipal::Anonymous(Anonymous::Login(login)) => {
            ScopeRejection::LoginRequired(login.clone())
        }
        NoPrincipal::Anonymous(Anonymous::Token(challenge)) => {
            ScopeRejection::MissingToken { challenge: Challenge::clone(challenge) }
        }
        NoPrincipal::MissingLayer => {
            let layers = "RequireSession, RequireToken or RequireAuth";
            let route = matched_path(request.extensions());
            telemetry::layer_missing("RequireScope", layers, route);
            ScopeRejection::Misconfigured
        }
    })
}

/// Logs a requirement that cannot be met.
pub(super) fn unusable(error: &(dyn std::error::Error + 'static)) -> ScopeRejection {
    telemetry::internal_error("require_scope", error);
    ScopeRejection::Misconfigured
}
