use std::future::Future as _;
#[cfg(feature = "axum-core")]
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use tower_service::Service;

use super::api_keys::{ApiKeyCheck, or_unavailable};
use super::authorization::AuthorizationHeader;
use super::checks::{MaybeProof, check_binding};
use super::rejection::set_nonce;
use super::{RequireToken, TokenRejection};
use crate::dpop::PendingUse;
use crate::middleware::principal::{Anonymous, strip_principal};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{
    DecidingLayer, Decision, Evaluation, OnResponse, ResponseFuture,
};
use crate::revocation::Revocations;
use crate::token::{KeySetFetch, Principal, TokenCheck, TokenError};
use crate::util::cache_control::no_store_or_vary_on_authorization;
use crate::util::request_head::RequestHead;
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
        let evaluation = self.layer.evaluate(&mut request);
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
        let checked = ready!(self.poll_check(pending, cx, (&*request).into()));
        Poll::Ready(self.forward_or_reject(checked, request))
    }
}

/// A credential that is accepted.
struct AcceptedCredential {
    principal: Principal,
    proof: MaybeProof,
}

/// Result of the checks of a credential.
enum CredentialCheck {
    Done(Result<AcceptedCredential, TokenRejection>),
    Pending(PendingToken),
}

/// What a request waits for.
pub(crate) enum PendingToken {
    /// The validation of an API key.
    ApiKey(Flight<Result<Principal, TokenError>>),
    /// The fetch of the key set.
    KeySet(KeySetFetch, MaybeProof),
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
    fn authorization<'h>(&self, headers: &'h HeaderMap) -> AuthorizationHeader<'h> {
        AuthorizationHeader::of(headers, self.settings.dpop.is_some())
    }

    /// Whether the request presents a token, well-formed or not. Credentials of another scheme count as
    /// none (RFC 6750, section 3.1: "an unsupported authentication method").
    pub(crate) fn is_presented(&self, headers: &HeaderMap) -> bool {
        !matches!(
            self.authorization(headers),
            AuthorizationHeader::Absent | AuthorizationHeader::OtherScheme
        )
    }

    /// Evaluates a request by its token.
    pub(crate) fn evaluate<B>(
        &self,
        request: &mut Request<B>,
    ) -> Evaluation<PendingToken, TokenHeaders> {
        strip_principal(request.extensions_mut());
        if self.settings.optional && !self.is_presented(request.headers()) {
            let anonymous = Anonymous::Token(self.challenge_for(None, (&*request).into()));
            request.extensions_mut().insert(anonymous);
            return Evaluation::Decided(Decision::Forward(TokenHeaders::default()));
        }
        match self.check((&*request).into()) {
            CredentialCheck::Done(checked) => {
                Evaluation::Decided(self.forward_or_reject(checked, request))
            }
            CredentialCheck::Pending(pending) => Evaluation::Pending(pending),
        }
    }

    /// Checks the credential of a request: first the signatures and claims of the proof and the token.
    fn check(&self, request: RequestHead<'_>) -> CredentialCheck {
        let header = self.authorization(request.headers);
        if let AuthorizationHeader::Bearer(key) = header
            && let Some(verifier) = self.api_key_verifier(key)
        {
            return match verifier.check(key) {
                ApiKeyCheck::Done(validated) => self.after_validation(validated),
                ApiKeyCheck::NeedsValidation(validation) => {
                    CredentialCheck::Pending(PendingToken::ApiKey(validation))
                }
            };
        }
        match self.token_and_proof(&header, request) {
            Ok((token, proof)) => {
                let verified = self.settings.verifier.verify_now(token);
                self.after_verification(verified, proof, request.extensions)
            }
            Err(rejection) => CredentialCheck::Done(Err(rejection)),
        }
    }

    /// Continues the checks of a credential that waited.
    fn poll_check(
        &self,
        pending: &mut PendingToken,
        cx: &mut Context<'_>,
        request: RequestHead<'_>,
    ) -> Poll<Result<AcceptedCredential, TokenRejection>> {
        loop {
            let check = match pending {
                PendingToken::ApiKey(validation) => {
                    let validated = ready!(Pin::new(validation).poll(cx));
                    self.after_validation(or_unavailable(validated))
                }
                PendingToken::KeySet(fetch, proof) => {
                    let fetched = ready!(Pin::new(fetch).poll(cx));
                    let verified = match self.authorization(request.headers) {
                        AuthorizationHeader::Bearer(token) | AuthorizationHeader::Dpop(token) => {
                            self.settings.verifier.verify_after_fetch(token, fetched)
                        }
                        _ => TokenCheck::Done(Err(TokenError::Malformed)),
                    };
                    self.after_verification(verified, proof.take(), request.extensions)
                }
                PendingToken::Revocations(read, principal, proof) => {
                    ready!(Pin::new(read).poll(cx));
                    self.after_revocations(principal.clone(), proof.take(), request.extensions)
                }
                PendingToken::Use(write, principal, proof) => {
                    let written = ready!(write.as_mut().poll(cx));
                    let (principal, proof) = (principal.clone(), proof.take());
                    let used = self.require_first_use(written);
                    CredentialCheck::Done(used.map(|()| AcceptedCredential { principal, proof }))
                }
            };
            match check {
                CredentialCheck::Done(checked) => return Poll::Ready(checked),
                CredentialCheck::Pending(next) => *pending = next,
            }
        }
    }

    /// Continues with an API key, once the environment has validated it. Keys are never bound, and not
    /// revoked by users or sessions.
    fn after_validation(&self, validated: Result<Principal, TokenError>) -> CredentialCheck {
        CredentialCheck::Done(
            validated.map_err(|error| self.token_rejection(error, None)).and_then(|principal| {
                self.check_step_up(&principal, None)?;
                Ok(AcceptedCredential { principal, proof: None })
            }),
        )
    }

    /// Continues with a token whose signature and claims are verified, or waits for a fetch of the keys.
    fn after_verification(
        &self,
        check: TokenCheck<Principal>,
        proof: MaybeProof,
        extensions: &Extensions,
    ) -> CredentialCheck {
        let verified = match check {
            TokenCheck::Done(verified) => verified,
            TokenCheck::NeedsFetch(fetch) => {
                return CredentialCheck::Pending(PendingToken::KeySet(fetch, proof));
            }
        };
        match verified.and_then(|principal| check_binding(principal, proof.as_deref())) {
            Ok(principal) => {
                match self.settings.revocations.as_ref().and_then(Revocations::pending_read) {
                    Some(read) => {
                        CredentialCheck::Pending(PendingToken::Revocations(read, principal, proof))
                    }
                    None => self.after_revocations(principal, proof, extensions),
                }
            }
            Err(error) => CredentialCheck::Done(Err(self.token_rejection(error, proof.as_deref()))),
        }
    }

    /// Continues with a verified token, once the revocations are read.
    fn after_revocations(
        &self,
        principal: Principal,
        proof: MaybeProof,
        extensions: &Extensions,
    ) -> CredentialCheck {
        let used = self
            .check_revocations(&principal, proof.as_deref())
            .and_then(|()| self.check_step_up(&principal, proof.as_deref()))
            .and_then(|()| self.use_proof(&principal, proof.as_deref(), extensions));
        match used {
            Ok(Some(write)) => CredentialCheck::Pending(PendingToken::Use(write, principal, proof)),
            Ok(None) => CredentialCheck::Done(Ok(AcceptedCredential { principal, proof })),
            Err(rejection) => CredentialCheck::Done(Err(rejection)),
        }
    }

    /// Forwards a request whose credential is accepted, with its principal and challenge, and marks its
    /// proof as used. Responds to another one with the rejection.
    fn forward_or_reject<B>(
        &self,
        checked: Result<AcceptedCredential, TokenRejection>,
        request: &mut Request<B>,
    ) -> Decision<TokenHeaders> {
        match checked {
            Ok(AcceptedCredential { principal, proof }) => {
                let challenge = self.challenge_for(proof.as_deref(), (&*request).into());
                let extensions = request.extensions_mut();
                extensions.insert(principal.with_challenge(challenge));
                self.mark_used(extensions, proof.as_deref());
                let next_nonce = proof.and_then(|proof| proof.next_nonce);
                Decision::Forward(TokenHeaders { next_nonce })
            }
            Err(rejection) => {
                let rejection = self.rejection_at_host(rejection, (&*request).into());
                Decision::Respond(self.settings.renderer.render(rejection, request))
            }
        }
    }

    /// The check of an extractor, without the layer.
    #[cfg(feature = "axum-core")]
    pub(crate) async fn verify(
        &self,
        parts: &mut http::request::Parts,
    ) -> Result<Principal, Response<bytes::Bytes>> {
        let checked = match self.check((&*parts).into()) {
            CredentialCheck::Done(checked) => checked,
            CredentialCheck::Pending(mut pending) => {
                poll_fn(|cx| self.poll_check(&mut pending, cx, (&*parts).into())).await
            }
        };
        match checked {
            Ok(AcceptedCredential { principal, proof }) => {
                self.mark_used(&mut parts.extensions, proof.as_deref());
                Ok(principal)
            }
            Err(rejection) => {
                let rejection = self.rejection_at_host(rejection, (&*parts).into());
                let renderer = &self.settings.renderer;
                Err(renderer.render_for(rejection, &parts.method, &parts.uri, &parts.headers))
            }
        }
    }
}
