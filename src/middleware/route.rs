//! Routes: tower services that respond to every request themselves.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Response;

use super::response_body::ResponseBody;

/// Implements `Service` for a route over requests with any body, through its `async fn
/// respond(&self, Request<()>) -> Response<Bytes>`; or, for a route that `reads body`, through its
/// `async fn respond(&self, &Request<()>, body) -> Response<Bytes>`.
///
/// The field is the route's [`RouteState`](super::route_rejection::RouteState), which rejects
/// speculative requests; not those `of servers`, which make none.
macro_rules! route {
    ($route:ident.$state:tt) => {
        $crate::middleware::route::route!(
            impl[B] $route.$state,
            $crate::middleware::route_rejection::RouteState::reject_speculative,
            |route, request| {
                let request = request.map(|_| ());
                async move { route.respond(request).await }
            }
        );
    };
    ($route:ident.$state:tt reads body) => {
        $crate::middleware::route::route!(
            body $route.$state,
            $crate::middleware::route_rejection::RouteState::reject_speculative
        );
    };
    ($route:ident.$state:tt reads body of servers) => {
        $crate::middleware::route::route!(body $route.$state, |_, _| None);
    };
    (body $route:ident.$state:tt, $reject:expr) => {
        $crate::middleware::route::route!(
            impl[
                B: http_body::Body<
                        Data = bytes::Bytes,
                        Error: Into<Box<dyn std::error::Error + Send + Sync>>,
                    > + Send
                    + 'static
            ] $route.$state,
            $reject,
            |route, request| {
                async move {
                    let (parts, body) = request.into_parts();
                    route.respond(&http::Request::from_parts(parts, ()), body).await
                }
            }
        );
    };
    (
        impl[$($body:tt)*] $route:ident.$state:tt,
        $reject:expr,
        |$this:ident, $request:ident| $work:block
    ) => {
        impl<$($body)*> tower_service::Service<http::Request<B>> for $route {
            type Response = http::Response<$crate::middleware::ResponseBody>;
            type Error = std::convert::Infallible;
            type Future = $crate::middleware::RouteFuture;

            fn poll_ready(
                &mut self,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, $request: http::Request<B>) -> Self::Future {
                if let Some(response) = ($reject)(&self.$state, &$request) {
                    return $crate::middleware::RouteFuture::new(std::future::ready(response));
                }
                let $this = self.clone();
                $crate::middleware::RouteFuture::new($work)
            }
        }
    };
}

pub(crate) use route;

/// Response future of routes.
///
/// Most of them wait for the network, so one allocation is negligible.
pub struct RouteFuture(BoxFuture<'static, Response<Bytes>>);

impl RouteFuture {
    pub(crate) fn new(work: impl Future<Output = Response<Bytes>> + Send + 'static) -> Self {
        Self(Box::pin(work))
    }
}

impl Future for RouteFuture {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(|response| Ok(response.map(ResponseBody::own)))
    }
}

impl fmt::Debug for RouteFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteFuture").finish_non_exhaustive()
    }
}
