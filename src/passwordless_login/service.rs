//! What the services have in common.

use std::error::Error as StdError;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;

use super::PasswordlessLogin;
use super::attempt::MailAttempt;
use super::form::Fields;
use super::rejection::{PasswordlessLoginError, PasswordlessRejection};
use crate::util::return_to::{ReturnTo, with_return_to};

impl PasswordlessLogin {
    /// What a form of the app's own pages, or a script of theirs, has sent.
    pub(super) async fn fields<B>(
        &self,
        request: &Request<()>,
        body: B,
    ) -> Result<Fields, PasswordlessLoginError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        if request.method() != Method::POST {
            return Err(PasswordlessLoginError::MethodNotAllowed { allow: "POST" });
        }
        // Anyone else's form would log the person in as a stranger (login CSRF).
        if self.0.sessions.is_cross_site(request.headers()) {
            return Err(PasswordlessLoginError::CrossSite);
        }
        Fields::read(request.headers(), body, self.0.sessions.body_limits()).await
    }

    /// The response to a request that failed, in an attempt or outside of any.
    pub(super) fn reject(
        &self,
        failure: PasswordlessLoginError,
        request: &Request<()>,
        attempt: Option<&MailAttempt>,
    ) -> Response<Bytes> {
        let retry_url = match attempt {
            Some(attempt) if failure.allows_retry() => self.code_page(attempt),
            attempt => self.start_page(attempt.map(|attempt| &attempt.return_to)),
        };
        let ended = attempt.filter(|_| failure.ends_attempt());
        let end = ended.and_then(|attempt| self.0.sessions.end_attempt(attempt));
        let rejection = PasswordlessRejection::new(failure, request.headers(), retry_url);
        self.0.renderer.render(rejection.set_cookies(end), request)
    }

    /// The response to a request that failed, and where the person can go on.
    pub(super) fn reject_with_link(
        &self,
        failure: PasswordlessLoginError,
        retry_url: String,
        request: &Request<()>,
    ) -> Response<Bytes> {
        let rejection = PasswordlessRejection::new(failure, request.headers(), retry_url);
        self.0.renderer.render(rejection, request)
    }

    pub(super) fn start_page(&self, return_to: Option<&ReturnTo>) -> String {
        with_return_to(&self.0.pages.start, return_to)
    }

    pub(super) fn code_page(&self, attempt: &MailAttempt) -> String {
        format!("{}?attempt={}", self.0.pages.code, attempt.id)
    }
}

/// Makes a tower service over requests with any body around a [`PasswordlessLogin`], whose work is
/// `async fn answer(&self, &Request<()>, body) -> Response<Bytes>`.
macro_rules! passwordless_service {
    ($service:ident) => {
        impl<B> tower_service::Service<http::Request<B>> for $service
        where
            B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
            B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        {
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
                let service = self.clone();
                crate::auth_routes::RouteFuture::new(async move {
                    let (parts, body) = request.into_parts();
                    let request = http::Request::from_parts(parts, ());
                    service.response(&request, body).await
                })
            }
        }
    };
}

pub(super) use passwordless_service;
