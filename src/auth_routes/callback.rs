//! The callback of a login.
//!
//! A callback may be requested again. The attempt's cookie is removed by the first response, so a
//! later request (Back, a restored tab) finds no attempt: `RecentLogin` then has the page to
//! redirect to. Concurrent requests (a double click, a retry of a proxy) still have the cookie, also
//! if that response was lost: on one replica `SharedResults` shares the login, also for ten seconds
//! after it; on another replica the claim in the shared store fails, and the request waits for the
//! first one and gets its result, which is stored for as long.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};

use super::LoginError;
use super::authorization_response::AuthorizationResponse;
use super::completion::ReturnedLogin;
use super::login_attempt::{LoginAttempt, LoginTrigger};
use super::route::LoginRouteState;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::middleware::route_rejection::RouteState as _;
use crate::middleware::route_response::redirect;
use crate::oauth::IdTokenHint;
use crate::session::{LoginOutcome, RecentLogin, SessionCookies, Sessions, VerifiedIdentity};
use crate::util::return_to::ReturnTo;
use crate::util::telemetry;

/// Completes logins: `GET` path of the redirect URI. Returned by
/// [`Sessions::callback`](crate::Sessions::callback).
///
/// A session begins only if the callback belongs to an attempt of this browser, the code is
/// accepted, and access token and ID token are verified. The session has the login's tokens, unless
/// the hook of [`SessionsBuilder::on_login`](crate::session::SessionsBuilder::on_login) decides
/// otherwise.
/// If the request has a session of another user, that session stays, and the browser is redirected
/// to [`SwitchAccount`](super::SwitchAccount). The attempt ends in any case, unless the environment,
/// the shared store or the hook is unavailable, or another replica is still completing the login. A
/// rejection does not affect a valid session.
///
/// Two requests with the same callback complete one login, on all replicas: within ten seconds, both
/// responses have the cookies of its session, unless that has ended. A callback whose attempt is
/// unknown or was used redirects a browser with a valid session to the page of that login, or to `/`.
#[derive(Clone, Debug)]
#[must_use]
pub struct Callback {
    pub(super) state: LoginRouteState,
}

impl Callback {
    /// Completes a login for an app with its own sessions. The login is verified as for a session
    /// of this crate, but no session begins and no hook is called. `request` is the callback's. All
    /// tokens except the ID token are dropped, so omit `offline_access` from the
    /// [`scopes`](crate::session::SessionsBuilder::scopes).
    ///
    /// A second click within ten seconds returns the same login again, on all replicas.
    ///
    /// If this browser has a session of another user in the app, ask the user before you replace
    /// it: a link on another site may have started the login.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use http::{Request, Response, StatusCode};
    /// # use tower_scalekit::auth_routes::LoginError;
    /// # use tower_scalekit::{Sandbox, SessionSecret, Sessions};
    /// # let sessions = Sessions::builder(Sandbox::new().scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .scopes(["openid", "profile", "email"])
    /// #     .build()?;
    /// # let request = Request::get("/auth/callback?code=c&state=s").body(())?;
    /// let (request, _) = request.into_parts();
    /// let response = match sessions.callback().identify(&request).await {
    ///     Ok(login) => {
    ///         // Begin your session of login.identity here, and keep login.id_token_hint with it.
    ///         let mut response = Response::builder()
    ///             .status(StatusCode::SEE_OTHER)
    ///             .header("location", login.return_to.as_str())
    ///             .body(bytes::Bytes::new())?;
    ///         login.cookies.set(response.headers_mut());
    ///         response
    ///     }
    ///     Err(rejection) => {
    ///         // This browser has not started a login.
    ///         assert_eq!(rejection.error(), Some(&LoginError::StateMismatch));
    ///         rejection.into_response()
    ///     }
    /// };
    /// assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    /// # Ok(())
    /// # }
    /// # main().unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returned when the login failed or needs another step; contains the response to send.
    pub async fn identify(
        &self,
        request: &http::request::Parts,
    ) -> Result<CompletedLogin, CallbackRejection> {
        let request = Request::from_parts(request.clone(), ());
        if let Some(response) = self.state.reject_speculative(&request) {
            return Err(CallbackRejection(Box::new(response)));
        }
        let callback = CallbackRequest::of(&request, &self.state.sessions);
        let identified = match callback.login(&self.state.sessions) {
            Ok(login) => login.identify_once().await,
            Err(error) => Err(error),
        };
        match identified {
            Ok((identity, id_token_hint)) => Ok(CompletedLogin {
                identity,
                id_token_hint,
                return_to: callback
                    .page
                    .unwrap_or_else(|| self.state.sessions.start_page().clone()),
                cookies: SessionCookies::new(callback.attempt_removal),
            }),
            Err(error) => Err(CallbackRejection(Box::new(self.reject(error, &request, callback)))),
        }
    }

    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        let (sessions, headers) = (&self.state.sessions, request.headers());
        let callback = CallbackRequest::of(&request, sessions);
        let completed = match callback.login(sessions) {
            Ok(login) => login.complete_once(headers).await,
            Err(error) => Err(error),
        };
        let outcome = match completed {
            // The callback was used before: the user went back, clicked twice or restored a tab.
            Err(LoginError::StateMismatch)
                if matches!(sessions.valid_session(headers).await, Ok(Some(_))) =>
            {
                LoginOutcome::elsewhere()
            }
            Ok(outcome) => outcome,
            Err(error) => return self.reject(error, &request, callback),
        };
        let target = match &outcome.confirmation {
            Some(confirmation) => confirmation,
            None => callback.page.as_ref().unwrap_or(sessions.start_page()).as_str(),
        };
        let cookies = outcome.cookies.into_values().into_iter().chain(callback.attempt_removal);
        redirect(StatusCode::SEE_OTHER, target, cookies)
    }

    fn reject(
        &self,
        error: LoginError,
        request: &Request<()>,
        callback: CallbackRequest,
    ) -> Response<Bytes> {
        let CallbackRequest { attempt, attempt_removal, page, .. } = callback;
        if error == LoginError::StateMismatch {
            let found = match (&attempt, &attempt_removal) {
                (Some(_), _) => {
                    "a login that another request has used, or that was revoked meanwhile"
                }
                (None, Some(_)) => {
                    "one that has expired, or was sealed with another secret or for another sandbox, \
                     or began at another host of the app"
                }
                (None, None) => {
                    "none: the browser has no such cookie, because the login started on another \
                     host or scheme than the redirect URI's, in another browser, or was completed"
                }
            };
            let expected = "the cookie of the login with this `state`";
            telemetry::check_failed("state_mismatch", "state", &expected, &found);
        }
        // After `login_required` and its like, a login without interaction is started once more
        // with interaction (OpenID Connect Core, section 3.1.2.6).
        if attempt.is_some_and(|attempt| attempt.trigger == LoginTrigger::PromptNone)
            && error.wants_interaction()
        {
            let login = self.state.sessions.login_target(page.as_ref(), false);
            return redirect(StatusCode::SEE_OTHER, &login, attempt_removal);
        }
        let attempt_removal = attempt_removal.filter(|_| error.ends_attempt());
        self.state.reject_login(error, request, page.as_ref(), attempt_removal)
    }
}

route!(Callback.state);
on_rejection!(Callback, RouteRejection<LoginError>, state.renderer);

/// A completed login, for an app with its own sessions. Returned by [`Callback::identify`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompletedLogin {
    /// The user.
    pub identity: VerifiedIdentity,
    /// The ID token, for the [`logout_url`](crate::Scalekit::logout_url) when your session ends. If
    /// only your session ended, the next login would log the user in again without interaction.
    pub id_token_hint: IdTokenHint,
    /// The page that the login returns to.
    pub return_to: ReturnTo,
    /// Ends the attempt. Add them to the response, beside your own session's cookie.
    pub cookies: SessionCookies,
}

/// Rejection of [`Callback::identify`]. Contains the response to send; in axum it is a response.
#[derive(Clone)]
pub struct CallbackRejection(Box<Response<Bytes>>);

impl CallbackRejection {
    /// Returns the error; `None` if the login continues in another way, and the response redirects
    /// there.
    #[must_use]
    pub fn error(&self) -> Option<&LoginError> {
        self.0.extensions().get().map(RouteRejection::<LoginError>::error)
    }

    /// Returns the response. Its extensions contain the [`RouteRejection`], unless the login
    /// continues in another way.
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        *self.0
    }
}

// By hand: the response contains the attempt and the user's page.
impl fmt::Debug for CallbackRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackRejection").field("error", &self.error()).finish_non_exhaustive()
    }
}

/// The request of a callback, and its attempt.
struct CallbackRequest {
    attempt: Option<LoginAttempt>,
    /// The page that the login returns or has returned to, if known.
    page: Option<ReturnTo>,
    /// The `Set-Cookie` value that removes the attempt.
    attempt_removal: Option<HeaderValue>,
    authorization: Result<AuthorizationResponse, LoginError>,
}

impl CallbackRequest {
    fn of(request: &Request<()>, sessions: &Sessions) -> Self {
        let (state, authorization) = AuthorizationResponse::read(request);
        let Some(state) = state else {
            return Self { attempt: None, page: None, attempt_removal: None, authorization };
        };
        let (attempt, attempt_removal) = LoginAttempt::find(sessions, request, &state);
        let page = match &attempt {
            Some(attempt) => Some(attempt.return_to.clone()),
            None => RecentLogin::page(sessions, request.headers(), &state),
        };
        Self { attempt, page, attempt_removal, authorization }
    }

    /// Returns the login that the request can complete.
    fn login(&self, sessions: &Sessions) -> Result<ReturnedLogin, LoginError> {
        Ok(ReturnedLogin {
            sessions: sessions.clone(),
            authorization: self.authorization.clone()?,
            attempt: self.attempt.clone().ok_or(LoginError::StateMismatch)?,
        })
    }
}
