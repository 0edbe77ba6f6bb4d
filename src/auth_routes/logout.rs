use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::LoginError;
use super::logout_attempt::LogoutAttempt;
use super::route::LoginRouteState;
use crate::middleware::RouteRejection;
use crate::middleware::page;
use crate::middleware::page::escaped;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::middleware::route_response::redirect;
use crate::util::cache_control::{set_no_store, vary_on_cookie};
use crate::util::fetch_metadata::{Initiator, is_embedded, wants_html};
use crate::util::host_redirect::is_host_redirected;
use crate::util::telemetry;

/// Ends a session: `GET` or `POST /logout`. Returned by
/// [`Sessions::logout`](crate::Sessions::logout).
///
/// Removes the cookies and redirects the browser to the environment, which ends its own session and
/// redirects back to the [`LogoutCallback`](super::LogoutCallback). A local session that did not
/// begin with a Scalekit login ends here only. Works while the environment is unavailable, and for
/// an expired session. Rejects requests that a page of another origin caused, unless the app trusts
/// it, by `Sec-Fetch-Site`, `Origin` or `Referer`, and a `GET` for an image or a frame; a `GET`
/// without these headers shows a page with a button. A link or form at a host that is none of the
/// app's continues with that page at the first redirect URI's host.
#[derive(Clone, Debug)]
#[must_use]
pub struct Logout {
    pub(super) state: LoginRouteState,
}

impl Logout {
    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        match self.end(&request).await {
            Ok(response) => response,
            Err(error) => self.state.reject(error, &request, None, []),
        }
    }

    async fn end(&self, request: &Request<()>) -> Result<Response<Bytes>, LoginError> {
        LoginError::require_method(request.method(), "GET, POST")?;
        let sessions = &self.state.sessions;
        // The session is at the host of a redirect URI.
        let path = sessions.logout_path();
        if let Some(continues) = sessions
            .redirect_to_canonical_host(request, path)
            .or_else(|| sessions.form_at_canonical_host(request, path))
        {
            return Ok(continues);
        }
        match sessions.initiator(sessions.origin_of(request), request.headers()) {
            // An image in what a user of the app has written must not end the sessions of its readers.
            Initiator::Own if !is_embedded(request) => {}
            // Even old browsers send `Origin` or `Referer` with a form of the app.
            Initiator::Unknown if request.method() == Method::POST => {}
            Initiator::Unknown if wants_html(request.headers()) => return Ok(self.confirmation()),
            // To the browser, that redirect comes from another origin.
            Initiator::Other
                if request.method() == Method::GET
                    && is_host_redirected(request)
                    && wants_html(request.headers()) =>
            {
                return Ok(self.confirmation());
            }
            Initiator::Own | Initiator::Unknown | Initiator::Other => {
                return Err(LoginError::CrossSite);
            }
        }
        let handle = sessions.end_session_of(request.headers()).await;
        let mut cookies = sessions.session_removals(request.headers());
        cookies.extend(sessions.drop_expired_logins(request.headers(), None).await);
        let session = handle.and_then(|handle| handle.session);
        let origin = sessions.origin_of(request);
        // A local session that began without the environment has no session there.
        let is_only_here =
            session.as_ref().is_some_and(|session| session.is_local() && !session.has_id_token());
        let target = if is_only_here {
            sessions.logged_out_url(origin)
        } else {
            let attempt = LogoutAttempt::start(sessions.now()).map_err(|error| {
                telemetry::internal_error("logout", &error);
                LoginError::Misconfigured
            })?;
            cookies.extend(
                sessions.store_short_lived(&attempt, request.headers()).unwrap_or_default(),
            );
            let request = sessions.logout_request(session.as_ref(), attempt.state(), origin);
            sessions.scalekit().logout_url(&request).into()
        };
        // 303: after a `POST`, the browser must continue with `GET` (RFC 9110, section 15.4.4).
        Ok(redirect(StatusCode::SEE_OTHER, &target, cookies))
    }

    /// Returns the confirmation page, for browsers that do not send where a link is from.
    fn confirmation(&self) -> Response<Bytes> {
        let form = format!(
            "<form method=\"post\" action=\"{}\"><button>Log out</button></form>",
            escaped(self.state.sessions.logout_path())
        );
        let mut response = Response::new(Bytes::new());
        page::show(
            &mut response,
            page::page("", "Log out?", "Confirm that you want to log out", form),
        );
        set_no_store(response.headers_mut());
        vary_on_cookie(response.headers_mut());
        response
    }
}

route!(Logout.state);
on_rejection!(Logout, RouteRejection<LoginError>, state.renderer);
