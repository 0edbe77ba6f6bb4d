use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::credentials::Credentials;
use super::future::{KeyFetch, TokenMark};
use super::{RequireToken, ResponseFuture, TokenRejection};
use crate::body::ResponseBody;
use crate::challenge::{Challenge, ChallengeContext};
use crate::guard::{Decision, Guarded};
use crate::origin::is_preflight;
use crate::session::{NoPrincipal, forget_identity};
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
        forget_identity(request.extensions_mut());
        if is_preflight(&request) {
            request.extensions_mut().insert(NoPrincipal::Preflight);
            let decision = Decision::Admit(TokenMark::Preflight);
            return Guarded::decided(decision, request, &mut self.inner).into();
        }
        let decision = match Credentials::of(request.headers()) {
            Credentials::Bearer(token) => match config.verifier.attempt(token) {
                Attempt::Done(verified) => config.decide(verified, &mut request),
                Attempt::Wait(fetch) => {
                    let wait = KeyFetch { config: config.clone(), fetch };
                    return Guarded::waiting(wait, request, &mut self.inner).into();
                }
            },
            Credentials::Unreadable => config.decide(Err(TokenError::Malformed), &mut request),
            Credentials::None => {
                config.refuse(|challenge| TokenRejection::NoToken { challenge }, &request)
            }
            Credentials::Several => {
                config.refuse(|challenge| TokenRejection::InvalidRequest { challenge }, &request)
            }
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
                Decision::Admit(TokenMark::Authenticated)
            }
            Err(TokenError::KeysUnavailable) => {
                self.refuse(|_| TokenRejection::KeysUnavailable, request)
            }
            Err(error) => {
                self.refuse(|challenge| TokenRejection::InvalidToken { error, challenge }, request)
            }
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

    fn refuse<B>(
        &self,
        reason: impl FnOnce(Challenge) -> TokenRejection,
        request: &Request<B>,
    ) -> Decision<TokenMark> {
        let reason = reason(Challenge::clone(&self.challenge));
        Decision::Refuse(self.renderer.render(reason, request))
    }
}
