use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::credentials::Credentials;
use super::{RequireToken, ResponseFuture, TokenRejection};
use crate::body::ResponseBody;
use crate::challenge::{Challenge, ChallengeContext};
use crate::origin::is_preflight;
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
        request.extensions_mut().remove::<Principal>();
        request.extensions_mut().remove::<ChallengeContext>();
        if is_preflight(&request) {
            return ResponseFuture::inner(self.inner.call(request));
        }
        let attempt = match Credentials::of(request.headers()) {
            Credentials::Bearer(token) => self.config.verifier.attempt(token),
            Credentials::Unreadable => Attempt::Done(Err(TokenError::Malformed)),
            Credentials::None => {
                let challenge = Challenge::clone(&self.config.challenge);
                let reason = TokenRejection::NoToken { challenge };
                return ResponseFuture::rejected(self.config.reject(reason, request));
            }
            Credentials::Several => {
                let challenge = Challenge::clone(&self.config.challenge);
                let reason = TokenRejection::InvalidRequest { challenge };
                return ResponseFuture::rejected(self.config.reject(reason, request));
            }
        };
        match attempt {
            Attempt::Done(verified) => match self.config.admit(verified, request) {
                Ok(request) => ResponseFuture::inner(self.inner.call(request)),
                Err(response) => ResponseFuture::rejected(response),
            },
            Attempt::Wait(fetch) => {
                // The clone takes the place of the service that was made ready for this request:
                // https://docs.rs/tower-service/latest/tower_service/trait.Service.html
                let clone = self.inner.clone();
                let inner = mem::replace(&mut self.inner, clone);
                ResponseFuture::fetching(inner, self.config.clone(), request, fetch)
            }
        }
    }
}

impl RequireToken {
    /// Verifies the token of a request after the fetch that the first attempt asked for.
    pub(super) fn verify_again<B>(
        &self,
        request: &Request<B>,
        fetched: Option<bool>,
    ) -> Result<Principal, TokenError> {
        match Credentials::of(request.headers()) {
            Credentials::Bearer(token) => self.verifier.attempt_again(token, fetched),
            _ => Err(TokenError::Malformed),
        }
    }

    /// The request as the inner service gets it, or the answer.
    pub(super) fn admit<B>(
        &self,
        verified: Result<Principal, TokenError>,
        mut request: Request<B>,
    ) -> Result<Request<B>, Response<Bytes>> {
        match verified {
            Ok(principal) => {
                let extensions = request.extensions_mut();
                extensions.insert(principal);
                extensions.insert(ChallengeContext(Arc::clone(&self.challenge)));
                Ok(request)
            }
            Err(TokenError::KeysUnavailable) => {
                Err(self.reject(TokenRejection::KeysUnavailable, request))
            }
            Err(error) => {
                let challenge = Challenge::clone(&self.challenge);
                Err(self.reject(TokenRejection::InvalidToken { error, challenge }, request))
            }
        }
    }

    fn reject<B>(&self, reason: TokenRejection, request: Request<B>) -> Response<Bytes> {
        self.renderer.render(reason, request.into())
    }
}
