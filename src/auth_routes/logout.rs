use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::answer::{AuthFailure, redirect};
use super::route::{Route, route_service};
use crate::session::Peeked;
use crate::telemetry;

/// Ends a session: `GET` or `POST /logout`. Made by [`Sessions::logout`](crate::Sessions::logout).
///
/// Takes the cookies away and sends the browser to the environment, which ends its own session and
/// sends the browser back. Works while the environment is down, and for a session that has expired.
/// A request that a page of another site caused is refused.
#[derive(Clone, Debug)]
pub struct Logout(Route);

impl Logout {
    pub(super) async fn answer(&self, request: Request<()>) -> Response<Bytes> {
        match self.end(&request).await {
            Ok(response) => response,
            Err(failure) => self.0.refuse(failure, &request, None, []),
        }
    }

    async fn end(&self, request: &Request<()>) -> Result<Response<Bytes>, AuthFailure> {
        if request.method() != Method::GET && request.method() != Method::POST {
            return Err(AuthFailure::MethodNotAllowed { allow: "GET, POST" });
        }
        if self.0.sessions.is_cross_site(request.headers()) {
            return Err(AuthFailure::CrossSite);
        }
        let sessions = &self.0.sessions;
        let peeked = sessions.peek(request.headers()).await;
        if let Some(peeked) = &peeked
            && let Err(error) = sessions.end(peeked).await
        {
            // Ended in this process and in this browser all the same.
            telemetry::internal_error("logout", &error);
        }
        let session = peeked.as_ref().and_then(Peeked::session);
        let target = match session {
            // The environment knows nothing of it.
            Some(session) if session.is_local() => sessions.post_logout_redirect_uri().clone(),
            _ => sessions.scalekit().logout_url(&sessions.logout_request(session)),
        };
        let clear = sessions.cookies().clear_session(request.headers());
        // L10: after a POST, the browser must come with a GET.
        Ok(redirect(StatusCode::SEE_OTHER, target.as_str(), clear))
    }
}

route_service!(Logout);
