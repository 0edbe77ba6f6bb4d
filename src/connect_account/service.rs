use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Response;

use crate::body::ResponseBody;

/// Makes a tower service over requests with any body of a type around a
/// [`ConnectAccount`](super::ConnectAccount), whose work is
/// `async fn answer(&self, Request<()>) -> Response<Bytes>`.
macro_rules! connect_service {
    ($service:ident) => {
        impl<B> tower_service::Service<http::Request<B>> for $service {
            type Response = http::Response<crate::body::ResponseBody>;
            type Error = std::convert::Infallible;
            type Future = super::ConnectFuture;

            fn poll_ready(
                &mut self,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<B>) -> super::ConnectFuture {
                let (service, request) = (self.clone(), request.map(|_| ()));
                super::ConnectFuture::new(async move { service.answer(request).await })
            }
        }
    };
}

pub(super) use connect_service;

/// Response future of the services in this module.
///
/// They have network work to do; one allocation does not matter there.
pub struct ConnectFuture(BoxFuture<'static, Response<Bytes>>);

impl ConnectFuture {
    pub(super) fn new(work: impl Future<Output = Response<Bytes>> + Send + 'static) -> Self {
        Self(Box::pin(work))
    }
}

impl Future for ConnectFuture {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(|response| Ok(response.map(ResponseBody::own)))
    }
}

impl fmt::Debug for ConnectFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectFuture").finish_non_exhaustive()
    }
}
