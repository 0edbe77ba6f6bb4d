use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use serde::Serialize;

use super::LoginError;
use super::route::{LoginRouteState, RouteFailure};
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::session::{LoadedSession, RefreshTrigger, Session, Sessions, User};
use crate::util::cache_control::{set_no_store, vary_on_cookie};

/// Describes the session of a request, for scripts of a page: `GET /auth/session`. Returned by
/// [`Sessions::session_info`](crate::Sessions::session_info).
///
/// Responds with 401 when there is no session, and with 200 and JSON otherwise:
///
/// | member | content |
/// |---|---|
/// | `user` | the [`User`] |
/// | `organization_id`, `roles`, `permissions` | those of the newest access token |
/// | `access_token_expires_at` | when the access token expires; absent in local sessions |
/// | `expires_at` | when the session ends unless it is used before: [`Session::expires_at`] |
/// | `ends_at` | when the session ends in any case: [`Session::ends_at`] |
/// | `now` | the time at the server |
///
/// Times are Unix seconds by the server's clock, which `now` compares with that of the browser. A
/// request to this route does not count as use of the session, and does not refresh it: a page can
/// request it repeatedly. See [how to write a single-page app](crate::guides::single_page_apps).
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionInfo {
    pub(super) state: LoginRouteState,
}

impl SessionInfo {
    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.info(&request).await {
            Ok(response) => response,
            Err(RouteFailure { error, set_cookies }) => {
                self.state.reject(error, &request, None, set_cookies)
            }
        }
    }

    async fn info(&self, request: &Request<()>) -> Result<Response<Bytes>, RouteFailure> {
        LoginError::require_method(request.method(), "GET, HEAD")?;
        let (sessions, headers) = (&self.state.sessions, request.headers());
        let session = match sessions.load(headers).wait().await {
            // A newer cookie may have been used since. This exchanges no token.
            LoadedSession::RefreshDue(idle) if sessions.is_past_limits(&idle.session) => {
                let newest = sessions.refresh_session(idle, RefreshTrigger::LookUpOnly).await;
                self.state.require_session(newest, headers)?.session
            }
            loaded => self.state.require_session(loaded, headers)?.session,
        };
        Ok(info_response(sessions, &session))
    }
}

route!(SessionInfo.state);
on_rejection!(SessionInfo, RouteRejection<LoginError>, state.renderer);

#[derive(Serialize)]
struct Info<'s> {
    user: &'s User,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<&'s str>,
    roles: &'s [String],
    permissions: &'s [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_expires_at: Option<i64>,
    expires_at: i64,
    ends_at: i64,
    now: i64,
}

/// Returns the response that describes a session.
pub(super) fn info_response(sessions: &Sessions, session: &Session) -> Response<Bytes> {
    let principal = session.principal();
    let info = Info {
        user: session.user(),
        organization_id: principal.organization_id(),
        roles: principal.roles(),
        permissions: principal.permissions(),
        access_token_expires_at: (!session.is_local())
            .then(|| principal.expires_at().unix_timestamp()),
        expires_at: session.expires_at().unix_timestamp(),
        ends_at: session.ends_at().unix_timestamp(),
        now: sessions.now().unix_timestamp(),
    };
    let mut response = Response::new(serde_json::to_vec(&info).unwrap_or_default().into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set_no_store(headers);
    vary_on_cookie(headers);
    response
}
