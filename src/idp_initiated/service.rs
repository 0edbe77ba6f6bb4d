use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::query::Asked;
use super::{IdpInitiatedRedirect, ResponseFuture};
use crate::middleware::response_body::ResponseBody;

/// The service of [`IdpInitiatedRedirect`].
#[derive(Clone, Debug)]
pub struct IdpInitiatedRedirectService<S> {
    pub(super) inner: S,
    pub(super) config: IdpInitiatedRedirect,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for IdpInitiatedRedirectService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match Asked::by(&request, self.config.sessions()) {
            Asked::Nothing => ResponseFuture::inner(self.inner.call(request)),
            Asked::Launch(token) => {
                let (config, request) = (self.config.clone(), request.map(drop));
                ResponseFuture::own(async move { config.response(&token, &request).await })
            }
            Asked::Rejected(failure) => {
                let response = self.config.reject(failure, &request.map(drop));
                ResponseFuture::own(std::future::ready(response))
            }
        }
    }
}
