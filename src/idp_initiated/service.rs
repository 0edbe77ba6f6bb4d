use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::IdpInitiatedRedirect;
use super::query::RequestKind;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::response_future::{Decision, ResponseFuture};

/// The service of [`IdpInitiatedRedirect`].
#[derive(Clone, Debug)]
pub struct IdpInitiatedRedirectService<S> {
    pub(super) inner: S,
    pub(super) layer: IdpInitiatedRedirect,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for IdpInitiatedRedirectService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let kind = RequestKind::of(&request, self.layer.sessions());
        if !matches!(kind, RequestKind::Other)
            && let Some(response) = self.layer.reject_speculative(&request)
        {
            return ResponseFuture::decided(Decision::Respond(response), request, &mut self.inner);
        }
        match kind {
            RequestKind::Other => {
                ResponseFuture::decided(Decision::Forward(()), request, &mut self.inner)
            }
            RequestKind::IdpInitiatedLogin(token) => {
                let (layer, request) = (self.layer.clone(), request.map(drop));
                ResponseFuture::responding(async move { layer.response(&token, &request).await })
            }
            RequestKind::Invalid(error) => {
                let (parts, body) = request.into_parts();
                let head = Request::from_parts(parts, ());
                let response = Decision::Respond(self.layer.reject(error, &head));
                ResponseFuture::decided(response, head.map(|()| body), &mut self.inner)
            }
        }
    }
}
