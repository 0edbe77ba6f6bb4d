use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response, StatusCode, header};
use tower_service::Service;

use super::RequireAuth;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{
    DecidingLayer, Decision, Evaluation, OnResponse, ResponseFuture,
};
use crate::require_session::SessionHeaders;
use crate::require_token::{PendingToken, TokenHeaders};
use crate::session::{LoadedSession, PendingSession, SessionLoad};
use crate::util::cache_control::{no_store_or_vary_on_authorization, vary_on_cookie};
use crate::util::fetch_metadata::{is_speculative, wants_html};

/// The service of [`RequireAuth`].
#[derive(Clone, Debug)]
pub struct RequireAuthService<S> {
    pub(super) inner: S,
    pub(super) layer: RequireAuth,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireAuthService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, RequireAuth>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let evaluation = self.layer.evaluate(&mut request);
        ResponseFuture::evaluated(&self.layer, evaluation, request, &mut self.inner)
    }
}

impl RequireAuth {
    /// Evaluates a request by the first credential that it presents, and by no other.
    fn evaluate<B>(&self, request: &mut Request<B>) -> Evaluation<PendingAuth, CredentialHeaders> {
        if self.token.is_presented(request.headers()) {
            return of_token(self.token.evaluate(request));
        }
        match self.session.sessions().load(request.headers()) {
            // Without any credential, a browser gets the login and any other client the challenge.
            SessionLoad::Done(LoadedSession::Missing)
                if !wants_html(request.headers()) && !is_speculative(request) =>
            {
                of_token(self.token.evaluate(request))
            }
            load => match self.session.evaluate(load, request) {
                Evaluation::Decided(decision) => {
                    Evaluation::Decided(decision.map(CredentialHeaders::Session))
                }
                Evaluation::Pending(pending) => Evaluation::Pending(PendingAuth::Session(pending)),
            },
        }
    }
}

fn of_token(
    evaluation: Evaluation<PendingToken, TokenHeaders>,
) -> Evaluation<PendingAuth, CredentialHeaders> {
    match evaluation {
        Evaluation::Decided(decision) => {
            Evaluation::Decided(decision.map(CredentialHeaders::Token))
        }
        Evaluation::Pending(pending) => Evaluation::Pending(PendingAuth::Token(pending)),
    }
}

/// What a request waits for, by its credential.
pub(crate) enum PendingAuth {
    Session(PendingSession),
    Token(PendingToken),
}

impl<B> DecidingLayer<B> for RequireAuth {
    type Pending = PendingAuth;
    type OnResponse = CredentialHeaders;

    fn poll_decision(
        &self,
        pending: &mut PendingAuth,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Decision<CredentialHeaders>> {
        Poll::Ready(match pending {
            PendingAuth::Session(pending) => {
                ready!(self.session.poll_decision(pending, cx, request))
                    .map(CredentialHeaders::Session)
            }
            PendingAuth::Token(pending) => {
                ready!(self.token.poll_decision(pending, cx, request)).map(CredentialHeaders::Token)
            }
        })
    }
}

/// Completes the response as the layer of the credential does. A response that the handler lets
/// caches store is then limited to requests with both the same token and the same cookie, because
/// either selects the identity.
pub(crate) enum CredentialHeaders {
    Session(SessionHeaders),
    Token(TokenHeaders),
}

impl OnResponse for CredentialHeaders {
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Poll<()> {
        let is_cacheable = headers.contains_key(header::CACHE_CONTROL);
        match self {
            Self::Session(response) => ready!(response.poll_response(cx, status, headers)),
            Self::Token(response) => ready!(response.poll_response(cx, status, headers)),
        }
        if is_cacheable {
            no_store_or_vary_on_authorization(headers);
            vary_on_cookie(headers);
        }
        Poll::Ready(())
    }
}
