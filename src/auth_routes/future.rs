use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Response;

use crate::body::ResponseBody;

/// Response future of the services in this module.
pub struct RouteFuture(Kind);

enum Kind {
    Ready(Option<Response<Bytes>>),
    /// A callback or a refresh has network work to do; one allocation does not matter there.
    Working(BoxFuture<'static, Response<Bytes>>),
}

impl RouteFuture {
    pub(super) fn ready(response: Response<Bytes>) -> Self {
        Self(Kind::Ready(Some(response)))
    }

    pub(super) fn working(work: impl Future<Output = Response<Bytes>> + Send + 'static) -> Self {
        Self(Kind::Working(Box::pin(work)))
    }
}

impl Future for RouteFuture {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match &mut self.0 {
            Kind::Ready(response) => response.take().map_or(Poll::Pending, Poll::Ready),
            Kind::Working(work) => work.as_mut().poll(cx),
        };
        response.map(|response| Ok(response.map(ResponseBody::own)))
    }
}

impl fmt::Debug for RouteFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteFuture").finish_non_exhaustive()
    }
}

/// A tower service over requests with any body, whose work is `fn respond(&self, Request<()>)`.
macro_rules! route_service {
    ($service:ty) => {
        impl<B> tower_service::Service<http::Request<B>> for $service {
            type Response = http::Response<crate::body::ResponseBody>;
            type Error = std::convert::Infallible;
            type Future = super::RouteFuture;

            fn poll_ready(
                &mut self,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<B>) -> super::RouteFuture {
                self.respond(request.map(|_| ()))
            }
        }
    };
}

pub(super) use route_service;
