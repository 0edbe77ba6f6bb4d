//! The checks of a credential, other than those of the signature and the claims of a token.

use http::Extensions;

use super::api_keys::ApiKeyVerifier;
use super::authorization::AuthorizationHeader;
use super::challenges::{invalid_proof, replayed};
use super::{RequireToken, TokenRejection};
use crate::challenge::Challenge;
use crate::dpop::{PendingUse, Proof, ProofRejected, ProofUse};
use crate::shared_store::StoreError;
use crate::token::{Confirmation, Principal, TokenError};
use crate::util::diagnosis::CheckError as _;
use crate::util::request_head::RequestHead;

/// The verified proof of a request whose token has the scheme `DPoP`.
pub(super) type MaybeProof = Option<Box<Proof>>;

impl RequireToken {
    /// The verifier of a credential that is an API key, if keys are accepted. Keys are never bound.
    pub(super) fn api_key_verifier(&self, credential: &[u8]) -> Option<&ApiKeyVerifier> {
        let must_be_bound =
            self.settings.dpop.as_ref().is_some_and(|dpop| dpop.proofs.is_required());
        self.settings
            .api_keys
            .as_ref()
            .filter(|_| !must_be_bound && ApiKeyVerifier::is_key(credential))
    }

    /// The token of the request, and its verified proof if it has the scheme `DPoP`.
    pub(super) fn token_and_proof<'h>(
        &self,
        header: &AuthorizationHeader<'h>,
        request: RequestHead<'_>,
    ) -> Result<(&'h [u8], MaybeProof), TokenRejection> {
        match (header, &self.settings.dpop) {
            (AuthorizationHeader::Bearer(_), Some(dpop)) if dpop.proofs.is_required() => {
                let error = TokenError::SenderConstrained.logged(
                    "Authorization",
                    "Authorization: DPoP TOKEN",
                    "Bearer",
                );
                Err(self.token_rejection(error, None))
            }
            (AuthorizationHeader::Bearer(token), _) => Ok((token, None)),
            (AuthorizationHeader::Dpop(token), Some(dpop)) => {
                match dpop.proofs.verify(request, token, self.settings.verifier.clock()) {
                    Ok(proof) => Ok((token, Some(Box::new(proof)))),
                    Err(ProofRejected::Invalid(error)) => Err(invalid_proof(error, dpop)),
                    Err(ProofRejected::UseNonce(nonce)) => {
                        let challenge = Challenge::clone(&dpop.challenge);
                        Err(TokenRejection::UseDpopNonce { nonce, challenge })
                    }
                }
            }
            (other, _) => Err(self.header_rejection(other)),
        }
    }

    /// Rejects a token that is revoked, by the revocations that this replica has read.
    pub(super) fn check_revocations(
        &self,
        principal: &Principal,
        proof: Option<&Proof>,
    ) -> Result<(), TokenRejection> {
        match &self.settings.revocations {
            Some(revocations) if revocations.rejects_requests() => {
                Err(TokenRejection::RevocationsStale)
            }
            Some(revocations) if revocations.is_token_revoked(principal.revocable()) => {
                let found =
                    "a token whose user, session or organization was revoked after it was issued";
                let error =
                    TokenError::Revoked.logged("revocation", "a token that is valid", found);
                Err(self.token_rejection(error, proof))
            }
            _ => Ok(()),
        }
    }

    /// Rejects a credential whose user has not authenticated as required.
    pub(super) fn check_step_up(
        &self,
        principal: &Principal,
        proof: Option<&Proof>,
    ) -> Result<(), TokenRejection> {
        let requirement = &self.settings.step_up;
        let clock = self.settings.verifier.clock();
        if requirement.is_met(principal.verified_claims(), || clock.now()) {
            return Ok(());
        }
        let challenge = requirement.challenge(self.challenge(proof));
        Err(TokenRejection::InsufficientUserAuthentication { challenge })
    }

    /// Uses the proof of an accepted token. Returns the write to the shared store that decides, if
    /// there is one.
    pub(super) fn use_proof(
        &self,
        principal: &Principal,
        proof: Option<&Proof>,
        extensions: &Extensions,
    ) -> Result<Option<PendingUse>, TokenRejection> {
        let (Some(proof), Some(dpop)) = (proof, &self.settings.dpop) else { return Ok(None) };
        let clock = self.settings.verifier.clock();
        match dpop.proofs.use_once(proof, principal.subject(), extensions, clock) {
            ProofUse::First => Ok(None),
            ProofUse::Pending(write) => Ok(Some(write)),
            ProofUse::Replayed => Err(replayed(dpop)),
            ProofUse::Full => Err(TokenRejection::ReplayCheckUnavailable),
        }
    }

    /// Rejects a proof that another replica has accepted.
    pub(super) fn require_first_use(
        &self,
        written: Result<bool, StoreError>,
    ) -> Result<(), TokenRejection> {
        match (written, &self.settings.dpop) {
            (Ok(true), _) => Ok(()),
            (Ok(false), Some(dpop)) => Err(replayed(dpop)),
            _ => Err(TokenRejection::ReplayCheckUnavailable),
        }
    }

    /// Marks a request whose proof was used, for layers and extractors further in.
    pub(super) fn mark_used(&self, extensions: &mut Extensions, proof: Option<&Proof>) {
        if let (Some(proof), Some(dpop)) = (proof, &self.settings.dpop) {
            dpop.proofs.mark_used(extensions, proof);
        }
    }
}

/// Requires that a token is bound to the key of the proof, or to none if there is no proof.
pub(super) fn check_binding(
    principal: Principal,
    proof: Option<&Proof>,
) -> Result<Principal, TokenError> {
    let (expected, found) = match (principal.confirmation(), proof) {
        (Confirmation::None, None) => return Ok(principal),
        (Confirmation::Jkt(key), Some(proof)) if proof.has_thumbprint(key) => return Ok(principal),
        (Confirmation::None, Some(_)) => ("the key of the proof", "no key: it is a bearer token"),
        (Confirmation::Jkt(_), Some(_)) => ("the key of the proof", "another key"),
        (Confirmation::Jkt(_), None) => ("a bearer token", "a key: see RequireToken::dpop"),
        (Confirmation::Unsupported, _) => ("`jkt` alone", "another confirmation"),
    };
    Err(TokenError::SenderConstrained.logged("cnf", expected, found))
}
