use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::credentials::Credentials;
use super::future::{KeyFetch, TokenMark};
use super::{RequireToken, ResponseFuture, TokenRejection};
use crate::challenge::{Challenge, ChallengeContext};
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, Guarded};
use crate::session::strip_identity;
use crate::token::{Attempt, Principal, TokenError};

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
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let config = &self.config;
        strip_identity(request.extensions_mut());
        let decision = match Credentials::of(request.headers()) {
            Credentials::Bearer(token) => match config.verifier.attempt(token) {
                Attempt::Done(verified) => config.decide(verified, &mut request),
                Attempt::Wait(fetch) => {
                    let wait = KeyFetch { config: config.clone(), fetch };
                    return Guarded::waiting(wait, request, &mut self.inner).into();
                }
            },
            other => config.reject(config.rejection_of(&other), &request),
        };
        Guarded::decided(decision, request, &mut self.inner).into()
    }
}

impl RequireToken {
    fn decide<B>(
        &self,
        verified: Result<Principal, TokenError>,
        request: &mut Request<B>,
    ) -> Decision<TokenMark> {
        match verified {
            Ok(principal) => {
                let extensions = request.extensions_mut();
                extensions.insert(principal);
                extensions.insert(ChallengeContext::of(&self.challenge));
                Decision::Forward(TokenMark)
            }
            Err(error) => self.reject(self.rejection(error), request),
        }
    }

    /// Decides on a request after the fetch of keys that it waited for.
    pub(super) fn decide_again<B>(
        &self,
        fetched: Option<bool>,
        request: &mut Request<B>,
    ) -> Decision<TokenMark> {
        let verified = match Credentials::of(request.headers()) {
            Credentials::Bearer(token) => self.verifier.attempt_again(token, fetched),
            _ => Err(TokenError::Malformed),
        };
        self.decide(verified, request)
    }

    fn reject<B>(&self, reason: TokenRejection, request: &Request<B>) -> Decision<TokenMark> {
        Decision::Reject(self.renderer.render(reason, request))
    }

    /// Why a token is rejected.
    fn rejection(&self, error: TokenError) -> TokenRejection {
        match error {
            TokenError::KeysUnavailable => TokenRejection::KeysUnavailable,
            error => TokenRejection::InvalidToken { error, challenge: self.challenge() },
        }
    }

    /// Why credentials that are no bearer token are rejected.
    fn rejection_of(&self, credentials: &Credentials<'_>) -> TokenRejection {
        match credentials {
            Credentials::None => TokenRejection::MissingToken { challenge: self.challenge() },
            Credentials::Several => TokenRejection::InvalidRequest { challenge: self.challenge() },
            Credentials::Bearer(_) | Credentials::Unreadable => {
                self.rejection(TokenError::Malformed)
            }
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::clone(&self.challenge)
    }

    /// What an extractor does in place of the layer.
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
