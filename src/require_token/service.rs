use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response, StatusCode};
use tower_service::Service;

use super::credentials::Credentials;
use super::{RequireToken, TokenRejection};
use crate::challenge::Challenge;
use crate::middleware::identity::strip_identity;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, Middleware, OnResponse, ResponseFuture};
use crate::token::{Principal, TokenCheck, TokenError};
use crate::util::cache_control::no_store_or_vary_on_authorization;
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
        let config = &self.config;
        strip_identity(request.extensions_mut());
        let decision = match Credentials::of(request.headers()) {
            Credentials::Bearer(token) => match config.verifier.verify_now(token) {
                TokenCheck::Done(verified) => config.decide(verified, &mut request),
                TokenCheck::Pending(fetch) => {
                    return ResponseFuture::pending(config, fetch, request, &mut self.inner);
                }
            },
            other => config.reject(config.rejection_of(&other), &request),
        };
        ResponseFuture::decided(decision, request, &mut self.inner)
    }
}

impl<B> Middleware<B> for RequireToken {
    /// The fetch of the token's key.
    type Pending = Flight<bool>;
    type OnResponse = CacheHeaders;

    fn poll_decision(
        &self,
        fetch: &mut Flight<bool>,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<CacheHeaders>> {
        let fetched = ready!(Pin::new(fetch).poll(cx));
        let verified = match Credentials::of(request.headers()) {
            Credentials::Bearer(token) => self.verifier.verify_after_fetch(token, fetched),
            _ => Err(TokenError::Malformed),
        };
        Poll::Ready(self.decide(verified, request))
    }
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
    fn decide<B>(
        &self,
        verified: Result<Principal, TokenError>,
        request: &mut Request<B>,
    ) -> Decision<CacheHeaders> {
        match verified {
            Ok(principal) => {
                let principal = principal.with_challenge(&self.challenge);
                request.extensions_mut().insert(principal);
                Decision::Forward(CacheHeaders)
            }
            Err(error) => self.reject(self.rejection(error), request),
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
            Credentials::Repeated => TokenRejection::InvalidRequest { challenge: self.challenge() },
            Credentials::Bearer(_) | Credentials::Malformed => {
                self.rejection(TokenError::Malformed)
            }
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::clone(&self.challenge)
    }

    /// The check of an extractor, without the layer.
    #[cfg(feature = "axum-core")]
    pub(crate) async fn verify(
        &self,
        parts: &http::request::Parts,
    ) -> Result<Principal, Response<bytes::Bytes>> {
        let reason = match Credentials::of(&parts.headers) {
            Credentials::Bearer(token) => match self.verifier.verify(token).await {
                Ok(principal) => return Ok(principal),
                Err(error) => self.rejection(error),
            },
            other => self.rejection_of(&other),
        };
        Err(self.renderer.render_for(reason, &parts.method, &parts.uri, &parts.headers))
    }
}
