use std::error::Error as StdError;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body::Body;

use super::LoginError;
use super::route::LoginRouteState;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::replay_body::read_body;
use crate::middleware::route::route;
use crate::session::LogoutError;
use crate::token::TokenError;
use crate::util::cache_control::set_no_store;
use crate::util::query::QueryParam;
use crate::util::telemetry;

/// Receives logouts at the environment: `POST /auth/backchannel-logout` with a `logout_token`
/// ([OpenID Connect Back-Channel Logout 1.0](https://openid.net/specs/openid-connect-backchannel-1_0.html)).
/// Returned by [`Sessions::backchannel_logout`](crate::Sessions::backchannel_logout).
///
/// Ends the session in the token's `sid`, on every replica within two seconds; without a `sid`, all
/// sessions of the user. Each token is accepted once. Responds with 200, with 400 for an invalid
/// token, or with 503 when it cannot be verified or published to the other replicas.
#[derive(Clone, Debug)]
#[must_use]
pub struct BackchannelLogout {
    pub(super) state: LoginRouteState,
}

impl BackchannelLogout {
    async fn respond<B>(&self, request: &Request<()>, body: B) -> Response<Bytes>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        if let Err(error) = self.end(request, body).await {
            return self.state.reject(error, request, None, []);
        }
        let mut response = Response::new(Bytes::new());
        set_no_store(response.headers_mut());
        response
    }

    async fn end<B>(&self, request: &Request<()>, body: B) -> Result<(), LoginError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        LoginError::require_method(request.method(), "POST")?;
        if !is_form(request.headers()) {
            return Err(LoginError::InvalidRequest);
        }
        let body = read_body(body, self.state.sessions.body_limits()).await?;
        let token =
            QueryParam::find(&body, "logout_token").single().ok_or(LoginError::InvalidRequest)?;
        self.state.sessions.log_out_by_token(&token).await.map_err(|error| match error {
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

route!(BackchannelLogout.state reads body of servers);
on_rejection!(BackchannelLogout, RouteRejection<LoginError>, state.renderer);

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok()?.split(';').next())
        .is_some_and(|essence| {
            essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
}
