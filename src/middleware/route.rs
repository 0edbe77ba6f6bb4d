use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response};

use super::rejection::{RejectionContext, Renderer};
use super::response_body::ResponseBody;
use crate::auth_routes::rejection::{AuthRejection, LoginError};
use crate::session::{RecentLogin, Sessions};
use crate::util::return_to::{ReturnTo, with_return_to};
use crate::util::telemetry;

/// What the services of this module have in common.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) sessions: Sessions,
    renderer: Renderer<AuthRejection>,
}

impl Route {
    pub(crate) fn new(sessions: &Sessions) -> Self {
        Self { sessions: sessions.clone(), renderer: Renderer::default() }
    }

    pub(crate) fn on_rejection<F>(&mut self, render: F)
    where
        F: Fn(RejectionContext<'_, AuthRejection>) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.renderer = Renderer::custom(render);
    }

    /// The response to a login that failed.
    pub(crate) fn reject_login(
        &self,
        failure: LoginError,
        request: &Request<()>,
        return_to: Option<&ReturnTo>,
        set_cookies: impl IntoIterator<Item = HeaderValue>,
    ) -> Response<Bytes> {
        telemetry::login_failed(failure.code(), failure.detail().as_deref());
        self.reject(failure, request, return_to, set_cookies)
    }

    /// The response to a request that failed, which also sets these cookies. A page leads to another
    /// login, and from there to where this one was to end.
    pub(crate) fn reject(
        &self,
        failure: LoginError,
        request: &Request<()>,
        return_to: Option<&ReturnTo>,
        set_cookies: impl IntoIterator<Item = HeaderValue>,
    ) -> Response<Bytes> {
        let login = with_return_to(self.sessions.login_path(), return_to);
        let recent = match failure {
            LoginError::SessionCookieLost { .. } => {
                RecentLogin::removals(&self.sessions, request.headers())
            }
            _ => Vec::new(),
        };
        let rejection = AuthRejection::new(failure, request.headers(), login);
        let rejection = rejection.set_cookies(set_cookies).set_cookies(recent);
        self.renderer.render(rejection, request)
    }
}

/// Makes an [`responding_service`] of a type around a [`Route`].
macro_rules! route_service {
    ($service:ident) => {
        impl $service {
            pub(crate) fn new(sessions: &crate::session::Sessions) -> Self {
                Self(crate::middleware::route::Route::new(sessions))
            }

            /// Renders rejections in your own way. The typed reason stands in the response's
            /// extensions in any case.
            #[must_use]
            pub fn on_rejection<F>(mut self, render: F) -> Self
            where
                F: Fn(
                        crate::middleware::rejection::RejectionContext<
                            '_,
                            crate::auth_routes::AuthRejection,
                        >,
                    ) -> http::Response<bytes::Bytes>
                    + Send
                    + Sync
                    + 'static,
            {
                self.0.on_rejection(render);
                self
            }
        }

        crate::auth_routes::responding_service!($service);
    };
}

/// Makes a tower service over requests with any body of a type that responses them all itself with
/// `async fn answer(&self, Request<()>) -> Response<Bytes>`.
macro_rules! responding_service {
    ($service:ident) => {
        impl<B> tower_service::Service<http::Request<B>> for $service {
            type Response = http::Response<crate::middleware::response_body::ResponseBody>;
            type Error = std::convert::Infallible;
            type Future = crate::auth_routes::RouteFuture;

            fn poll_ready(
                &mut self,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<B>) -> crate::auth_routes::RouteFuture {
                let (service, request) = (self.clone(), request.map(|_| ()));
                crate::auth_routes::RouteFuture::new(async move { service.response(request).await })
            }
        }
    };
}

pub(crate) use responding_service;
pub(crate) use route_service;

/// Response future of services that response every request themselves.
///
/// Most of them have network work to do; one allocation does not matter there.
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
