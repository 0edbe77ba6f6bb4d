//! The rejections of a request, with the challenge for its scheme and its host.

use std::sync::Arc;

use super::authorization::AuthorizationHeader;
use super::layer::AcceptedDpop;
use super::{RequireToken, TokenRejection};
use crate::challenge::Challenge;
use crate::dpop::{DpopError, Proof};
use crate::token::TokenError;
use crate::util::diagnosis::CheckError as _;
use crate::util::request_head::RequestHead;

impl RequireToken {
    /// Rejection of an invalid token.
    pub(super) fn token_rejection(
        &self,
        error: TokenError,
        proof: Option<&Proof>,
    ) -> TokenRejection {
        match error {
            TokenError::KeysUnavailable => TokenRejection::KeysUnavailable,
            TokenError::ValidationUnavailable => TokenRejection::ValidationUnavailable,
            error => TokenRejection::InvalidToken { error, challenge: self.challenge(proof) },
        }
    }

    /// Rejection of a header that has no token.
    pub(super) fn header_rejection(&self, header: &AuthorizationHeader<'_>) -> TokenRejection {
        let challenge = self.challenge(None);
        match header {
            AuthorizationHeader::Absent => TokenRejection::MissingToken { challenge },
            AuthorizationHeader::OtherScheme => TokenRejection::MissingToken { challenge }.logged(
                "Authorization",
                "Authorization: Bearer TOKEN",
                "another scheme, or a token without a scheme",
            ),
            AuthorizationHeader::Repeated => TokenRejection::InvalidRequest { challenge }.logged(
                "Authorization",
                "one header",
                "several",
            ),
            AuthorizationHeader::Bearer(_)
            | AuthorizationHeader::Dpop(_)
            | AuthorizationHeader::Malformed { .. } => {
                let (expected, found) = ("Authorization: Bearer TOKEN", "no token");
                let error = TokenError::Malformed.logged("Authorization", expected, found);
                let challenge = match (header, &self.settings.dpop) {
                    (AuthorizationHeader::Malformed { is_dpop: true }, Some(dpop)) => {
                        Challenge::clone(&dpop.challenge)
                    }
                    _ => challenge,
                };
                TokenRejection::InvalidToken { error, challenge }
            }
        }
    }

    /// The rejection with the challenge for the host of the request.
    pub(super) fn rejection_at_host(
        &self,
        mut rejection: TokenRejection,
        request: RequestHead<'_>,
    ) -> TokenRejection {
        if let Some(challenge) = rejection.challenge_mut()
            && let Some(other) = self.at_host(challenge, request)
        {
            *challenge = other;
        }
        rejection
    }

    /// The challenge for the scheme and the host of a request.
    pub(super) fn challenge_for(
        &self,
        proof: Option<&Proof>,
        request: RequestHead<'_>,
    ) -> Arc<Challenge> {
        let shared = self.shared_challenge(proof);
        self.at_host(shared, request).map_or_else(|| Arc::clone(shared), Arc::new)
    }

    /// The challenge for the scheme of a request that is rejected.
    pub(super) fn challenge(&self, proof: Option<&Proof>) -> Challenge {
        if let Some(resource) = &self.settings.resource {
            resource.report_missing_metadata();
        }
        Challenge::clone(self.shared_challenge(proof))
    }

    fn shared_challenge(&self, proof: Option<&Proof>) -> &Arc<Challenge> {
        match (proof, &self.settings.dpop) {
            (Some(_), Some(dpop)) => &dpop.challenge,
            _ => &self.settings.challenge,
        }
    }

    /// The challenge for a request whose host is that of an additional URL of the resource.
    fn at_host(&self, challenge: &Challenge, request: RequestHead<'_>) -> Option<Challenge> {
        let resource = self.settings.resource.as_ref()?;
        let url = resource.additional_metadata_url(request.uri, request.headers)?;
        Some(challenge.clone().resource_metadata(Arc::clone(url)))
    }
}

pub(super) fn replayed(dpop: &AcceptedDpop) -> TokenRejection {
    let error = DpopError::Replayed.logged("jti", "a proof for this request alone", "a used one");
    invalid_proof(error, dpop)
}

pub(super) fn invalid_proof(error: DpopError, dpop: &AcceptedDpop) -> TokenRejection {
    let challenge = Challenge::clone(&dpop.challenge);
    TokenRejection::InvalidDpopProof { error, challenge }
}
