use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Extensions, HeaderMap, Request, Response, StatusCode, Uri};
use tower_service::Service;

use super::api_keys::{ApiKeyVerifier, KeyCheck, or_unavailable};
use super::credentials::Credentials;
use super::layer::AcceptedDpop;
use super::rejection::set_nonce;
use super::{RequireToken, TokenRejection};
use crate::challenge::Challenge;
use crate::dpop::{DpopError, PendingUse, Proof, ProofRejected, ProofUse, RequestHead};
use crate::middleware::principal::{Anonymous, strip_principal};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{
    DecidingLayer, Decision, Evaluation, OnResponse, ResponseFuture,
};
use crate::revocation::Revocations;
use crate::shared_store::StoreError;
use crate::token::{Confirmation, KeySetFetch, Principal, TokenCheck, TokenError};
use crate::util::cache_control::no_store_or_vary_on_authorization;
use crate::util::diagnosis::CheckError as _;
use crate::util::single_flight::Flight;

/// The service of [`RequireToken`].
#[derive(Clone, Debug)]
pub struct RequireTokenService<S> {
    pub(super) inner: S,
    pub(super) layer: RequireToken,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireTokenService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, RequireToken>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let evaluation = self.layer.authenticate(&mut request);
        ResponseFuture::evaluated(&self.layer, evaluation, request, &mut self.inner)
    }
}

impl<B> DecidingLayer<B> for RequireToken {
    type Pending = PendingToken;
    type OnResponse = TokenHeaders;

    fn poll_decision(
        &self,
        pending: &mut PendingToken,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<TokenHeaders>> {
        loop {
            let evaluation = match pending {
                PendingToken::Key(fetch, proof) => {
                    let fetched = ready!(Pin::new(fetch).poll(cx));
                    let proof = proof.take();
                    let check = match self.credentials(request.headers()) {
                        Credentials::Bearer(token) | Credentials::Dpop(token) => {
                            self.settings.verifier.verify_after_fetch(token, fetched)
                        }
                        _ => TokenCheck::Done(Err(TokenError::Malformed)),
                    };
                    self.after_check(check, proof, request)
                }
                PendingToken::ApiKey(validation) => {
                    let result = or_unavailable(ready!(Pin::new(validation).poll(cx)));
                    Evaluation::Decided(self.forward_or_reject(
                        self.check_key(result),
                        None,
                        request,
                    ))
                }
                PendingToken::Revocations(read, principal, proof) => {
                    ready!(Pin::new(read).poll(cx));
                    let (principal, proof) = (principal.clone(), proof.take());
                    self.after_revocations(principal, proof, request)
                }
                PendingToken::Use(write, principal, proof) => {
                    let written = ready!(write.as_mut().poll(cx));
                    let (principal, proof) = (principal.clone(), proof.take());
                    let used = self.require_first_use(written).map(|()| principal);
                    Evaluation::Decided(self.forward_or_reject(used, proof, request))
                }
            };
            match evaluation {
                Evaluation::Decided(decision) => return Poll::Ready(decision),
                Evaluation::Pending(next) => *pending = next,
            }
        }
    }
}

/// The verified proof of a request whose token has the scheme `DPoP`.
type MaybeProof = Option<Box<Proof>>;

/// What a request waits for.
pub(crate) enum PendingToken {
    /// The validation of an API key.
    ApiKey(Flight<Result<Principal, TokenError>>),
    /// The fetch of the token's key.
    Key(KeySetFetch, MaybeProof),
    /// The read of the revocations, for a verified token.
    Revocations(Flight<()>, Principal, MaybeProof),
    /// Whether the proof of an accepted token was used before.
    Use(PendingUse, Principal, MaybeProof),
}

/// Sets `Cache-Control: no-store`, or `Vary: Authorization` if the handler has set `Cache-Control`; and
/// the nonce for the next proof.
#[derive(Debug, Default)]
pub(crate) struct TokenHeaders {
    next_nonce: Option<Arc<str>>,
}

impl OnResponse for TokenHeaders {
    fn poll_response(
        &mut self,
        _: &mut Context<'_>,
        _: StatusCode,
        headers: &mut HeaderMap,
    ) -> Poll<()> {
        no_store_or_vary_on_authorization(headers);
        if let Some(nonce) = self.next_nonce.take() {
            set_nonce(headers, &nonce);
        }
        Poll::Ready(())
    }
}

impl RequireToken {
    fn credentials<'h>(&self, headers: &'h HeaderMap) -> Credentials<'h> {
        Credentials::of(headers, self.settings.dpop.is_some())
    }

    /// Whether the request presents a token, well-formed or not. Credentials of another scheme count as
    /// none (RFC 6750, section 3.1: "an unsupported authentication method").
    pub(crate) fn is_presented(&self, headers: &HeaderMap) -> bool {
        !matches!(self.credentials(headers), Credentials::Absent | Credentials::OtherScheme)
    }

    /// Evaluates a request by its token.
    pub(crate) fn authenticate<B>(
        &self,
        request: &mut Request<B>,
    ) -> Evaluation<PendingToken, TokenHeaders> {
        strip_principal(request.extensions_mut());
        let credentials = self.credentials(request.headers());
        if self.settings.optional
            && matches!(credentials, Credentials::Absent | Credentials::OtherScheme)
        {
            let anonymous = Anonymous::Token(self.challenge_for(None, request));
            request.extensions_mut().insert(anonymous);
            return Evaluation::Decided(Decision::Forward(TokenHeaders::default()));
        }
        if let Credentials::Bearer(key) = credentials
            && let Some(verifier) = self.key_verifier(key)
        {
            return match verifier.check(key) {
                KeyCheck::Done(result) => Evaluation::Decided(self.forward_or_reject(
                    self.check_key(result),
                    None,
                    request,
                )),
                KeyCheck::NeedsValidation(validation) => {
                    Evaluation::Pending(PendingToken::ApiKey(validation))
                }
            };
        }
        let proven = RequestHead {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        };
        match self.token_and_proof(&credentials, proven) {
            Ok((token, proof)) => {
                self.after_check(self.settings.verifier.verify_now(token), proof, request)
            }
            Err(rejection) => Evaluation::Decided(self.reject(rejection, request)),
        }
    }

    /// The token of the request, and its verified proof if it has the scheme `DPoP`.
    fn token_and_proof<'h>(
        &self,
        credentials: &Credentials<'h>,
        request: RequestHead<'_>,
    ) -> Result<(&'h [u8], MaybeProof), TokenRejection> {
        match (credentials, &self.settings.dpop) {
            (Credentials::Bearer(_), Some(dpop)) if dpop.proofs.is_required() => {
                let error = TokenError::SenderConstrained.logged(
                    "Authorization",
                    "Authorization: DPoP TOKEN",
                    "Bearer",
                );
                Err(self.token_rejection(error, None))
            }
            (Credentials::Bearer(token), _) => Ok((token, None)),
            (Credentials::Dpop(token), Some(dpop)) => {
                match dpop.proofs.verify(request, token, self.settings.verifier.clock()) {
                    Ok(proof) => Ok((token, Some(Box::new(proof)))),
                    Err(ProofRejected::Invalid(error)) => Err(invalid_proof(error, dpop)),
                    Err(ProofRejected::UseNonce(nonce)) => {
                        let challenge = Challenge::clone(&dpop.challenge);
                        Err(TokenRejection::UseDpopNonce { nonce, challenge })
                    }
                }
            }
            (other, _) => Err(self.credentials_rejection(other)),
        }
    }

    /// Continues with the result of the verification, or waits for a fetch.
    fn after_check<B>(
        &self,
        check: TokenCheck<Principal>,
        proof: MaybeProof,
        request: &mut Request<B>,
    ) -> Evaluation<PendingToken, TokenHeaders> {
        let verified = match check {
            TokenCheck::Done(verified) => verified,
            TokenCheck::NeedsFetch(fetch) => {
                return Evaluation::Pending(PendingToken::Key(fetch, proof));
            }
        };
        match verified.and_then(|principal| check_binding(principal, proof.as_deref())) {
            Ok(principal) => {
                if let Some(read) =
                    self.settings.revocations.as_ref().and_then(Revocations::pending_read)
                {
                    return Evaluation::Pending(PendingToken::Revocations(read, principal, proof));
                }
                self.after_revocations(principal, proof, request)
            }
            Err(error) => {
                let rejection = self.token_rejection(error, proof.as_deref());
                Evaluation::Decided(self.reject(rejection, request))
            }
        }
    }

    /// Continues with a verified token, once the revocations are read.
    fn after_revocations<B>(
        &self,
        principal: Principal,
        proof: MaybeProof,
        request: &mut Request<B>,
    ) -> Evaluation<PendingToken, TokenHeaders> {
        let used = self.check_principal(principal, proof.as_deref()).and_then(|principal| {
            let pending = self.use_proof(&principal, proof.as_deref(), request.extensions())?;
            Ok((principal, pending))
        });
        match used {
            Ok((principal, Some(write))) => {
                Evaluation::Pending(PendingToken::Use(write, principal, proof))
            }
            Ok((principal, None)) => {
                Evaluation::Decided(self.forward_or_reject(Ok(principal), proof, request))
            }
            Err(rejection) => Evaluation::Decided(self.reject(rejection, request)),
        }
    }

    /// The verifier of a credential that is an API key, if keys are accepted. Keys are never bound.
    fn key_verifier(&self, credential: &[u8]) -> Option<&ApiKeyVerifier> {
        let must_be_bound =
            self.settings.dpop.as_ref().is_some_and(|dpop| dpop.proofs.is_required());
        self.settings
            .api_keys
            .as_ref()
            .filter(|_| !must_be_bound && ApiKeyVerifier::is_key(credential))
    }

    /// Rejects an API key that is not valid, or does not satisfy what is required beside it.
    fn check_key(&self, key: Result<Principal, TokenError>) -> Result<Principal, TokenRejection> {
        key.map_err(|error| self.token_rejection(error, None))
            .and_then(|principal| self.check_step_up(principal, None))
    }

    /// Rejects a verified token that is revoked, by the revocations that this replica has read, or
    /// whose user has not authenticated as required.
    fn check_principal(
        &self,
        principal: Principal,
        proof: Option<&Proof>,
    ) -> Result<Principal, TokenRejection> {
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
            _ => self.check_step_up(principal, proof),
        }
    }

    fn check_step_up(
        &self,
        principal: Principal,
        proof: Option<&Proof>,
    ) -> Result<Principal, TokenRejection> {
        if self
            .settings
            .step_up
            .is_met(principal.verified_claims(), || self.settings.verifier.clock().now())
        {
            return Ok(principal);
        }
        let challenge = self.settings.step_up.challenge(self.challenge(proof));
        Err(TokenRejection::InsufficientUserAuthentication { challenge })
    }

    /// Uses the proof of an accepted token. Returns the query of the shared store, if there is one.
    fn use_proof(
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
    fn require_first_use(&self, written: Result<bool, StoreError>) -> Result<(), TokenRejection> {
        match (written, &self.settings.dpop) {
            (Ok(true), _) => Ok(()),
            (Ok(false), Some(dpop)) => Err(replayed(dpop)),
            _ => Err(TokenRejection::ReplayCheckUnavailable),
        }
    }

    /// Forwards an accepted request, with its principal and challenge, and marks its proof as used.
    fn forward_or_reject<B>(
        &self,
        checked: Result<Principal, TokenRejection>,
        proof: MaybeProof,
        request: &mut Request<B>,
    ) -> Decision<TokenHeaders> {
        match checked {
            Ok(principal) => {
                let challenge = self.challenge_for(proof.as_deref(), request);
                let extensions = request.extensions_mut();
                extensions.insert(principal.with_challenge(challenge));
                if let (Some(proof), Some(dpop)) = (&proof, &self.settings.dpop) {
                    dpop.proofs.mark_used(extensions, proof);
                }
                let next_nonce = proof.and_then(|proof| proof.next_nonce);
                Decision::Forward(TokenHeaders { next_nonce })
            }
            Err(rejection) => self.reject(rejection, request),
        }
    }

    fn reject<B>(&self, rejection: TokenRejection, request: &Request<B>) -> Decision<TokenHeaders> {
        let rejection = self.rejection_at_host(rejection, request.uri(), request.headers());
        Decision::Respond(self.settings.renderer.render(rejection, request))
    }

    fn rejection_at_host(
        &self,
        mut rejection: TokenRejection,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> TokenRejection {
        if let Some(challenge) = rejection.challenge_mut()
            && let Some(other) = self.at_host(challenge, uri, headers)
        {
            *challenge = other;
        }
        rejection
    }

    /// The challenge for a request whose host is that of an additional URL of the resource.
    fn at_host(&self, challenge: &Challenge, uri: &Uri, headers: &HeaderMap) -> Option<Challenge> {
        let url = self.settings.resource.as_ref()?.additional_metadata_url(uri, headers)?;
        Some(challenge.clone().resource_metadata(Arc::clone(url)))
    }

    /// Rejection of an invalid token.
    fn token_rejection(&self, error: TokenError, proof: Option<&Proof>) -> TokenRejection {
        match error {
            TokenError::KeysUnavailable => TokenRejection::KeysUnavailable,
            TokenError::ValidationUnavailable => TokenRejection::ValidationUnavailable,
            error => TokenRejection::InvalidToken { error, challenge: self.challenge(proof) },
        }
    }

    /// Rejection of credentials that are not a token.
    fn credentials_rejection(&self, credentials: &Credentials<'_>) -> TokenRejection {
        let challenge = self.challenge(None);
        match credentials {
            Credentials::Absent => TokenRejection::MissingToken { challenge },
            Credentials::OtherScheme => TokenRejection::MissingToken { challenge }.logged(
                "Authorization",
                "Authorization: Bearer TOKEN",
                "another scheme, or a token without a scheme",
            ),
            Credentials::Repeated => TokenRejection::InvalidRequest { challenge }.logged(
                "Authorization",
                "one header",
                "several",
            ),
            Credentials::Bearer(_) | Credentials::Dpop(_) | Credentials::Malformed { .. } => {
                let (expected, found) = ("Authorization: Bearer TOKEN", "no token");
                let error = TokenError::Malformed.logged("Authorization", expected, found);
                let challenge = match (credentials, &self.settings.dpop) {
                    (Credentials::Malformed { is_dpop: true }, Some(dpop)) => {
                        Challenge::clone(&dpop.challenge)
                    }
                    _ => challenge,
                };
                TokenRejection::InvalidToken { error, challenge }
            }
        }
    }

    /// The challenge for the scheme and the host of a request.
    fn challenge_for<B>(&self, proof: Option<&Proof>, request: &Request<B>) -> Arc<Challenge> {
        let shared = self.shared_challenge(proof);
        self.at_host(shared, request.uri(), request.headers())
            .map_or_else(|| Arc::clone(shared), Arc::new)
    }

    /// The challenge for the scheme of a request.
    fn shared_challenge(&self, proof: Option<&Proof>) -> &Arc<Challenge> {
        match (proof, &self.settings.dpop) {
            (Some(_), Some(dpop)) => &dpop.challenge,
            _ => &self.settings.challenge,
        }
    }

    fn challenge(&self, proof: Option<&Proof>) -> Challenge {
        if let Some(resource) = &self.settings.resource {
            resource.report_missing_metadata();
        }
        Challenge::clone(self.shared_challenge(proof))
    }

    #[cfg(feature = "axum-core")]
    async fn verify_parts(
        &self,
        parts: &mut http::request::Parts,
    ) -> Result<Principal, TokenRejection> {
        let credentials = self.credentials(&parts.headers);
        if let Credentials::Bearer(key) = credentials
            && let Some(verifier) = self.key_verifier(key)
        {
            let result = match verifier.check(key) {
                KeyCheck::Done(result) => result,
                KeyCheck::NeedsValidation(validation) => or_unavailable(validation.await),
            };
            return self.check_key(result);
        }
        let proven = RequestHead {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        };
        let (token, proof) = self.token_and_proof(&credentials, proven)?;
        let proof = proof.as_deref();
        let principal = self
            .settings
            .verifier
            .verify_bytes(token)
            .await
            .and_then(|principal| check_binding(principal, proof))
            .map_err(|error| self.token_rejection(error, proof))?;
        if let Some(revocations) = &self.settings.revocations {
            revocations.read_if_due().await;
        }
        let principal = self.check_principal(principal, proof)?;
        if let Some(write) = self.use_proof(&principal, proof, &parts.extensions)? {
            self.require_first_use(write.await)?;
        }
        if let (Some(proof), Some(dpop)) = (proof, &self.settings.dpop) {
            dpop.proofs.mark_used(&mut parts.extensions, proof);
        }
        Ok(principal)
    }

    /// The check of an extractor, without the layer.
    #[cfg(feature = "axum-core")]
    pub(crate) async fn verify(
        &self,
        parts: &mut http::request::Parts,
    ) -> Result<Principal, Response<bytes::Bytes>> {
        self.verify_parts(parts).await.map_err(|rejection| {
            let rejection = self.rejection_at_host(rejection, &parts.uri, &parts.headers);
            self.settings.renderer.render_for(rejection, &parts.method, &parts.uri, &parts.headers)
        })
    }
}

/// Requires that a token is bound to the key of the proof, or to none if there is no proof.
fn check_binding(principal: Principal, proof: Option<&Proof>) -> Result<Principal, TokenError> {
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

fn replayed(dpop: &AcceptedDpop) -> TokenRejection {
    let error = DpopError::Replayed.logged("jti", "a proof for this request alone", "a used one");
    invalid_proof(error, dpop)
}

fn invalid_proof(error: DpopError, dpop: &AcceptedDpop) -> TokenRejection {
    let challenge = Challenge::clone(&dpop.challenge);
    TokenRejection::InvalidDpopProof { error, challenge }
}
