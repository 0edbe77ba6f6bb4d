//! Common parts of the services.

use std::error::Error as StdError;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;

use super::PasswordlessLogin;
use super::attempt::EmailAttempt;
use super::form::Fields;
use super::rejection::PasswordlessLoginError;
use crate::middleware::RouteRejection;
use crate::util::return_to::ReturnTo;

impl PasswordlessLogin {
    /// Reads the fields, and finds the attempt that they name, or else the newest of this browser.
    pub(super) async fn fields_of_attempt<B>(
        &self,
        request: &Request<()>,
        body: B,
    ) -> Result<(Fields, Option<EmailAttempt>), PasswordlessLoginError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let fields = self.fields(request, body).await?;
        let attempt = EmailAttempt::find(self.sessions(), request.headers(), fields.get("attempt"));
        Ok((fields, attempt))
    }

    /// Reads the fields that a form or script of the app has sent.
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
        // A form of another origin could log the user in to an attacker's account (login CSRF).
        if self.sessions().is_cross_origin(request) {
            return Err(PasswordlessLoginError::CrossSite);
        }
        Fields::read(request.headers(), body, self.sessions().body_limits()).await
    }

    /// Returns the response to a request that failed, with or without an attempt.
    pub(super) fn reject(
        &self,
        failure: PasswordlessLoginError,
        request: &Request<()>,
        attempt: Option<&EmailAttempt>,
    ) -> Response<Bytes> {
        let retry_url = match attempt {
            Some(attempt) if failure.allows_retry() => self.code_page(attempt),
            attempt => self.start_page(attempt.map(|attempt| &attempt.return_to)),
        };
        let end = attempt
            .filter(|_| failure.ends_attempt())
            .and_then(|attempt| self.sessions().short_lived_removal(attempt));
        let rejection = RouteRejection::new(failure, retry_url, request.headers()).set_cookies(end);
        self.inner.renderer.render(rejection, request)
    }

    /// Returns the response to a request that failed, with a link to retry.
    pub(super) fn reject_with_link(
        &self,
        failure: PasswordlessLoginError,
        retry_url: String,
        request: &Request<()>,
    ) -> Response<Bytes> {
        let rejection = RouteRejection::new(failure, retry_url, request.headers());
        self.inner.renderer.render(rejection, request)
    }

    pub(super) fn start_page(&self, return_to: Option<&ReturnTo>) -> String {
        self.sessions().with_return_to(&self.inner.pages.start, return_to)
    }

    pub(super) fn code_page(&self, attempt: &EmailAttempt) -> String {
        format!("{}?attempt={}", self.inner.pages.code, attempt.id)
    }
}
