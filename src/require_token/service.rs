use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response, StatusCode};
use tower_service::Service;

use super::credentials::Credentials;
use super::{RequireToken, TokenRejection};
use crate::challenge::Challenge;
use crate::middleware::identity::{Anonymous, strip_identity};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{
    Decision, Evaluation, Middleware, OnResponse, ResponseFuture,
};
use crate::revocation::Revocations;
use crate::token::{Principal, TokenCheck, TokenError};
use crate::util::cache_control::no_store_or_vary_on_authorization;
use crate::util::diagnosis::CheckError as _;
use crate::util::single_flight::Flight;

/// The service of [`RequireToken`].
#[derive(Clone, Debug)]
pub struct RequireTokenService<S> {
    pub(super) inner: S,
    pub(super) config: RequireToken,
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
        let evaluation = self.config.authenticate(&mut request);
        ResponseFuture::evaluated(&self.config, evaluation, request, &mut self.inner)
    }
}

impl<B> Middleware<B> for RequireToken {
    type Pending = Waiting;
    type OnResponse = CacheHeaders;

    fn poll_decision(
        &self,
        waiting: &mut Waiting,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<CacheHeaders>> {
        loop {
            let evaluation = match waiting {
                Waiting::Key(fetch) => {
                    let fetched = ready!(Pin::new(fetch).poll(cx));
                    let verified = match Credentials::of(request.headers()) {
                        Credentials::Bearer(token) => {
                            self.verifier.verify_after_fetch(token, fetched)
                        }
                        _ => Err(TokenError::Malformed),
                    };
                    self.evaluate(verified, request)
                }
                Waiting::Revocations(read, principal) => {
                    ready!(Pin::new(read).poll(cx));
                    let checked = self.check_verified(principal.clone());
                    Evaluation::Decided(self.decide(checked, request))
                }
            };
            match evaluation {
                Evaluation::Decided(decision) => return Poll::Ready(decision),
                Evaluation::Pending(next) => *waiting = next,
            }
        }
    }
}

/// What a request waits for.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// The fetch of the token's key.
    Key(Flight<bool>),
    /// The read of the revocations, for a verified token.
    Revocations(Flight<()>, Principal),
}

/// Sets `Cache-Control: no-store`, or `Vary: Authorization` if the handler has set `Cache-Control`.
#[derive(Debug)]
pub(crate) struct CacheHeaders;

impl OnResponse for CacheHeaders {
    fn poll_response(
        &mut self,
        _: &mut Context<'_>,
        _: StatusCode,
        headers: &mut HeaderMap,
    ) -> Poll<()> {
        no_store_or_vary_on_authorization(headers);
        Poll::Ready(())
    }
}

impl RequireToken {
    /// Whether the request presents a bearer token, well-formed or not. Credentials of another
    /// scheme count as none (RFC 6750, section 3.1: "an unsupported authentication method").
    pub(crate) fn is_presented(headers: &HeaderMap) -> bool {
        !matches!(Credentials::of(headers), Credentials::Absent | Credentials::OtherScheme)
    }

    /// Evaluates a request by its bearer token.
    pub(crate) fn authenticate<B>(
        &self,
        request: &mut Request<B>,
    ) -> Evaluation<Waiting, CacheHeaders> {
        strip_identity(request.extensions_mut());
        match Credentials::of(request.headers()) {
            Credentials::Bearer(token) => match self.verifier.verify_now(token) {
                TokenCheck::Done(verified) => self.evaluate(verified, request),
                TokenCheck::Pending(fetch) => Evaluation::Pending(Waiting::Key(fetch)),
            },
            Credentials::Absent | Credentials::OtherScheme if self.optional => {
                let anonymous = Anonymous::Token(Arc::clone(&self.challenge));
                request.extensions_mut().insert(anonymous);
                Evaluation::Decided(Decision::Forward(CacheHeaders))
            }
            other => Evaluation::Decided(self.reject(self.rejection_of(&other), request)),
        }
    }

    fn evaluate<B>(
        &self,
        verified: Result<Principal, TokenError>,
        request: &mut Request<B>,
    ) -> Evaluation<Waiting, CacheHeaders> {
        let checked = match verified {
            Ok(principal) => {
                if let Some(read) = self.revocations.as_ref().and_then(Revocations::pending_read) {
                    return Evaluation::Pending(Waiting::Revocations(read, principal));
                }
                self.check_verified(principal)
            }
            Err(error) => Err(self.rejection(error)),
        };
        Evaluation::Decided(self.decide(checked, request))
    }

    /// Whether a verified token is revoked, by the revocations that this replica knows, and whether
    /// its user has authenticated as required.
    fn check_verified(&self, principal: Principal) -> Result<Principal, TokenRejection> {
        match &self.revocations {
            Some(revocations) if revocations.rejects_requests() => {
                Err(TokenRejection::RevocationsStale)
            }
            Some(revocations) if revocations.is_token_revoked(principal.revocable()) => {
                let found = "a user, session or organization that was revoked later";
                let error =
                    TokenError::Revoked.failed("revocation", "a token that is valid", found);
                Err(self.rejection(error))
            }
            _ if !self
                .authentication
                .is_met(principal.verified_claims(), || self.verifier.now()) =>
            {
                let challenge = self.authentication.challenge(self.challenge());
                Err(TokenRejection::InsufficientUserAuthentication { challenge })
            }
            _ => Ok(principal),
        }
    }

    fn decide<B>(
        &self,
        checked: Result<Principal, TokenRejection>,
        request: &mut Request<B>,
    ) -> Decision<CacheHeaders> {
        match checked {
            Ok(principal) => {
                request.extensions_mut().insert(principal.with_challenge(&self.challenge));
                Decision::Forward(CacheHeaders)
            }
            Err(rejection) => self.reject(rejection, request),
        }
    }

    fn reject<B>(&self, reason: TokenRejection, request: &Request<B>) -> Decision<CacheHeaders> {
        Decision::Respond(self.renderer.render(reason, request))
    }

    /// Rejection of an invalid token.
    fn rejection(&self, error: TokenError) -> TokenRejection {
        match error {
            TokenError::KeysUnavailable => TokenRejection::KeysUnavailable,
            error => TokenRejection::InvalidToken { error, challenge: self.challenge() },
        }
    }

    /// Rejection of credentials that are not a bearer token.
    fn rejection_of(&self, credentials: &Credentials<'_>) -> TokenRejection {
        match credentials {
            Credentials::Absent => TokenRejection::MissingToken { challenge: self.challenge() },
            Credentials::OtherScheme => {
                TokenRejection::MissingToken { challenge: self.challenge() }.failed(
                    "Authorization",
                    "Authorization: Bearer TOKEN",
                    "another scheme, or a token without a scheme",
                )
            }
            Credentials::Repeated => TokenRejection::InvalidRequest { challenge: self.challenge() }
                .failed("Authorization", "one header", "several"),
            Credentials::Bearer(_) | Credentials::Malformed => {
                let (expected, found) = ("Authorization: Bearer TOKEN", "no token");
                self.rejection(TokenError::Malformed.failed("Authorization", expected, found))
            }
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::clone(&self.challenge)
    }

    #[cfg(feature = "axum-core")]
    async fn verify_token(&self, token: &[u8]) -> Result<Principal, TokenRejection> {
        let principal =
            self.verifier.verify_bytes(token).await.map_err(|error| self.rejection(error))?;
        if let Some(revocations) = &self.revocations {
            revocations.read_if_stale().await;
        }
        self.check_verified(principal)
    }

    /// The check of an extractor, without the layer.
    #[cfg(feature = "axum-core")]
    pub(crate) async fn verify(
        &self,
        parts: &http::request::Parts,
    ) -> Result<Principal, Response<bytes::Bytes>> {
        let reason = match Credentials::of(&parts.headers) {
            Credentials::Bearer(token) => match self.verify_token(token).await {
                Ok(principal) => return Ok(principal),
                Err(rejection) => rejection,
            },
            other => self.rejection_of(&other),
        };
        Err(self.renderer.render_for(reason, &parts.method, &parts.uri, &parts.headers))
    }
}
