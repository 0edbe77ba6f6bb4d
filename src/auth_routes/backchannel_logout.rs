use std::convert::Infallible;
use std::error::Error as StdError;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body::Body;
use tower_service::Service;

use super::RouteFuture;
use super::rejection::{AuthRejection, LoginError};
use crate::middleware::rejection::RejectionContext;
use crate::middleware::replay_body::read_body;
use crate::middleware::response_body::ResponseBody;
use crate::middleware::route::Route;
use crate::session::{LogoutError, Sessions};
use crate::token::TokenError;
use crate::util::cache_control::never_cache;
use crate::util::query::QueryParam;
use crate::util::telemetry;

/// Takes the word of the environment that a user has logged out there: `POST
/// /auth/backchannel-logout` with a `logout_token` (OpenID Connect Back-Channel Logout 1.0). Made by
/// [`Sessions::backchannel_logout`](crate::Sessions::backchannel_logout).
///
/// Ends the session that the token names, on every replica within two seconds; all sessions of the
/// person where it names none. Each token counts once. Answers 200, 400 for a token that is not
/// acceptable, 503 when it cannot be judged or told to the other replicas.
#[derive(Clone, Debug)]
pub struct BackchannelLogout(Route);

impl BackchannelLogout {
    pub(super) fn new(sessions: &Sessions) -> Self {
        Self(Route::new(sessions))
    }

    /// Renders rejections in your own way. The typed reason stands in the response's extensions in
    /// any case.
    #[must_use]
    pub fn on_rejection<F>(mut self, render: F) -> Self
    where
        F: Fn(RejectionContext<'_, AuthRejection>) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.0.on_rejection(render);
        self
    }

    async fn response<B>(&self, request: Request<B>) -> Response<Bytes>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        match self.end(&request, body).await {
            Ok(()) => {
                let mut response = Response::new(Bytes::new());
                never_cache(response.headers_mut());
                response
            }
            Err(failure) => self.0.reject(failure, &request, None, []),
        }
    }

    async fn end<B>(&self, request: &Request<()>, body: B) -> Result<(), LoginError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        if request.method() != Method::POST {
            return Err(LoginError::MethodNotAllowed { allow: "POST" });
        }
        if !is_form(request.headers()) {
            return Err(LoginError::InvalidRequest);
        }
        let body = read_body(body, self.0.sessions.body_limits()).await?;
        let token = QueryParam::of(&body, "logout_token").only();
        let token = token.ok_or(LoginError::InvalidRequest)?;
        self.0.sessions.log_out_by_token(&token).await.map_err(|error| match error {
            LogoutError::Replayed => {
                telemetry::logout_token_rejected("replayed", None);
                LoginError::InvalidLogoutToken
            }
            LogoutError::Store(error) => {
                telemetry::internal_error("backchannel_logout", &error);
                LoginError::Unavailable
            }
            LogoutError::Token(TokenError::KeysUnavailable) => LoginError::Unavailable,
            LogoutError::Token(error) => {
                telemetry::logout_token_rejected(error.name(), error.claim());
                LoginError::InvalidLogoutToken
            }
        })
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

impl<B> Service<Request<B>> for BackchannelLogout
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = RouteFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> RouteFuture {
        let service = self.clone();
        RouteFuture::new(async move { service.response(request).await })
    }
}
