//! The callback of a login.
//!
//! A callback may be requested again. The attempt's cookie is removed by the first response, so a
//! later request (Back, a restored tab) finds no attempt: `RecentLogin` then has the page to
//! redirect to. Concurrent requests (a double click, a second tab) still have the cookie: on one
//! replica `SharedResults` shares the login, also for ten seconds after it; on another replica the
//! claim in the shared store fails, and the request waits for the first one.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::LoginError;
use super::attempt::{LoginAttempt, LoginTrigger};
use super::route::Route;
use crate::middleware::RouteRejection;
use crate::middleware::rejection::on_rejection;
use crate::middleware::route::route;
use crate::middleware::route_rejection::{RouteState as _, redirect};
use crate::oauth::{IdTokenHint, SsoError};
use crate::revocation::RecordedPosition;
use crate::session::{
    Authentication, BeginLoginError, NewTokens, OtherRequest, RecentLogin, Session, SessionCookies,
    SessionRecord, SessionUnavailable, Sessions, SwitchError, UnconfirmedIdentity,
    UnconfirmedLogin, VerifiedIdentity,
};
use crate::token::{Grant, TokenError};
use crate::util::diagnosis::{CheckError as _, Shown};
use crate::util::query::QueryParam;
use crate::util::request_dedup::Key;
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
/// Two requests with the same callback complete one login. A callback whose attempt is unknown or
/// was used redirects a browser with a valid session to the page of that login, or to `/`.
#[derive(Clone, Debug)]
#[must_use]
pub struct Callback(pub(super) Route);

impl Callback {
    /// Completes a login for an app with its own sessions. The login is verified as for a session
    /// of this crate, but no session begins and no hook is called. `request` is the callback's. All
    /// tokens except the ID token are dropped, so omit `offline_access` from the
    /// [`scopes`](crate::session::SessionsBuilder::scopes).
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
        if let Some(response) = self.0.reject_speculative(&request) {
            return Err(CallbackRejection(Box::new(response)));
        }
        let callback = CallbackRequest::of(&request, &self.0.sessions);
        let identified = match callback.ready() {
            Ok((authorization, attempt)) => self.verify(authorization, attempt).await,
            Err(failure) => Err(failure),
        };
        match identified {
            Ok(login) => {
                telemetry::login_completed();
                let CallbackRequest { attempt, attempt_removal, .. } = callback;
                Ok(CompletedLogin {
                    identity: login.identity,
                    id_token_hint: login.tokens.id_token.into(),
                    return_to: attempt.map_or_else(
                        || self.0.sessions.start_page().clone(),
                        |attempt| attempt.return_to,
                    ),
                    cookies: SessionCookies::new(attempt_removal),
                })
            }
            Err(failure) => {
                Err(CallbackRejection(Box::new(self.reject(failure, &request, callback))))
            }
        }
    }

    pub(super) async fn respond(&self, request: Request<()>) -> Response<Bytes> {
        let headers = request.headers();
        let callback = CallbackRequest::of(&request, &self.0.sessions);
        let completed = match callback.ready() {
            Ok((authorization, attempt)) => {
                self.complete_once(authorization, attempt, headers).await
            }
            Err(failure) => Err(failure),
        };
        match completed {
            Ok((target, cookies)) => {
                let cookies = cookies.into_values().into_iter().chain(callback.attempt_removal);
                redirect(StatusCode::SEE_OTHER, &target, cookies)
            }
            Err(LoginError::StateMismatch) => {
                match self.await_session(callback.attempt.as_ref(), headers).await {
                    Ok(()) => {
                        let page = callback.page.as_ref().unwrap_or(self.0.sessions.start_page());
                        redirect(StatusCode::SEE_OTHER, page.as_str(), callback.attempt_removal)
                    }
                    Err(failure) => self.reject(failure, &request, callback),
                }
            }
            Err(failure) => self.reject(failure, &request, callback),
        }
    }

    /// Succeeds if the browser has a valid session, or gets one from a concurrent request on another
    /// replica, for which it waits. Its callback was used before: the user went back, clicked twice
    /// or restored a tab.
    async fn await_session(
        &self,
        attempt: Option<&LoginAttempt>,
        headers: &HeaderMap,
    ) -> Result<(), LoginError> {
        let sessions = &self.0.sessions;
        if let Ok(Some(_)) = sessions.valid_session(headers).await {
            return Ok(());
        }
        let attempt = attempt.ok_or(LoginError::StateMismatch)?;
        match attempt.single_use(sessions).wait_until_completed().await {
            OtherRequest::CompletedMeanwhile => Ok(()),
            OtherRequest::Pending => Err(LoginError::InProgress),
            // A login that was completed before is not concurrent.
            OtherRequest::CompletedBefore | OtherRequest::Failed => Err(LoginError::StateMismatch),
        }
    }

    fn reject(
        &self,
        failure: LoginError,
        request: &Request<()>,
        callback: CallbackRequest,
    ) -> Response<Bytes> {
        let CallbackRequest { attempt, attempt_removal, page, .. } = callback;
        if failure == LoginError::StateMismatch {
            let found = match (&attempt, &attempt_removal) {
                (Some(_), _) => "a login that another request has completed",
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
        let return_to = page.as_ref();
        let is_prompt_none =
            attempt.as_ref().is_some_and(|attempt| attempt.trigger == LoginTrigger::PromptNone);
        // After `login_required` and its like, a login without interaction is started once more
        // with interaction (OpenID Connect Core, section 3.1.2.6).
        if is_prompt_none && failure.wants_interaction() {
            let login = self.0.sessions.with_return_to(self.0.sessions.login_path(), return_to);
            return redirect(StatusCode::SEE_OTHER, &login, attempt_removal);
        }
        let attempt_removal = attempt_removal.filter(|_| failure.ends_attempt());
        self.0.reject_login(failure, request, return_to, attempt_removal)
    }

    /// Completes a login, or shares the result of a request that does or has just done so. It
    /// continues when the client disconnects: a second click aborts the first request in the browser
    /// only.
    async fn complete_once(
        &self,
        authorization: &AuthorizationResponse,
        attempt: &LoginAttempt,
        headers: &HeaderMap,
    ) -> Result<(String, SessionCookies), LoginError> {
        let key = authorization.dedup_key(attempt);
        let (callback, headers) = (self.clone(), headers.clone());
        let (authorization, attempt) = (authorization.clone(), attempt.clone());
        let work = || async move { callback.complete(&authorization, &attempt, &headers).await };
        self.0.sessions.logins().run(key, work).await
    }

    /// Exchanges the code for a session, or asks for confirmation first if it would replace another
    /// user's. Returns the redirect target and the `Set-Cookie` values.
    async fn complete(
        &self,
        authorization: &AuthorizationResponse,
        attempt: &LoginAttempt,
        headers: &HeaderMap,
    ) -> Result<(String, SessionCookies), LoginError> {
        let sessions = &self.0.sessions;
        // Before the exchange: a code works once, and is wasted if the browser's session cannot be
        // loaded.
        let current = match &authorization.code {
            Ok(_) => sessions
                .valid_session(headers)
                .await
                .map_err(|SessionUnavailable| LoginError::Unavailable)?,
            Err(_) => None,
        };
        let record = match self.kept_login(authorization, attempt).await {
            Some(record) => record,
            None => {
                let login = self.verify(authorization, attempt).await?;
                let authentication = Authentication::of_login(
                    login.identity.auth_time(),
                    attempt.trigger == LoginTrigger::PromptLogin,
                    sessions.scalekit().clock().now(),
                );
                let record = sessions
                    .token_record(login.tokens, login.position, authentication, headers)
                    .await;
                match record {
                    Ok(record) => record,
                    Err(error) => {
                        attempt.single_use(sessions).finish(false).await;
                        return Err(BeginLoginError::from(error).into());
                    }
                }
            }
        };
        let begun = self.begin(record.clone(), current, attempt, headers).await;
        if let Err(LoginError::LoginHookUnavailable) = begun {
            let name = authorization.dedup_key(attempt).to_text();
            let kept = attempt.single_use(sessions).store_login(&name, &record).await;
            // Without the login, whose code is spent, there is nothing to retry.
            return begun.map_err(|error| if kept { error } else { LoginError::Interrupted });
        }
        attempt.single_use(sessions).finish(begun.is_ok()).await;
        begun
    }

    /// Returns the login that is kept since the app's hook was unavailable.
    async fn kept_login(
        &self,
        authorization: &AuthorizationResponse,
        attempt: &LoginAttempt,
    ) -> Option<SessionRecord> {
        let sessions = &self.0.sessions;
        if !sessions.has_login_hook() {
            return None;
        }
        let name = authorization.dedup_key(attempt).to_text();
        attempt.single_use(sessions).take_login(&name).await
    }

    /// Begins the session of a verified login, or asks for confirmation first.
    async fn begin(
        &self,
        record: SessionRecord,
        current: Option<Session>,
        attempt: &LoginAttempt,
        headers: &HeaderMap,
    ) -> Result<(String, SessionCookies), LoginError> {
        let sessions = &self.0.sessions;
        if current.is_some_and(|current| Some(current.login_subject()) != record.login_subject()) {
            let login = UnconfirmedLogin {
                identity: UnconfirmedIdentity::Tokens(Box::new(record)),
                return_to: attempt.return_to.clone(),
            };
            let asked = sessions
                .ask_to_switch(&login, sessions.switch_account_path(), headers)
                .await
                .map_err(|error| match error {
                    // The code is spent.
                    SwitchError::Unavailable => LoginError::Interrupted,
                    error => error.into(),
                });
            return asked.map(|(page, cookies)| (page, SessionCookies::new(cookies)));
        }
        let environment_session = record.environment_session();
        let cookies = sessions.create_from_login(record, headers).await?;
        let expired = sessions.drop_expired_logins(headers, environment_session);
        telemetry::login_completed();
        let page = &attempt.return_to;
        let recent = RecentLogin::cookies(sessions, attempt, page, headers);
        let cookies =
            SessionCookies::new(cookies.into_values().into_iter().chain(recent).chain(expired));
        Ok((page.as_str().to_owned(), cookies))
    }

    /// Exchanges the code for tokens, and verifies them.
    async fn verify(
        &self,
        authorization: &AuthorizationResponse,
        attempt: &LoginAttempt,
    ) -> Result<ExchangedLogin, LoginError> {
        let sessions = &self.0.sessions;
        let scalekit = sessions.scalekit();
        // A response of another issuer indicates a mix-up attack (RFC 9207).
        let issuer = authorization.issuer.as_deref();
        let is_expected = issuer
            .map_or(!sessions.requires_issuer(), |issuer| issuer == scalekit.environment_url());
        if !is_expected {
            let found = Shown(issuer.unwrap_or("none"));
            let expected = Shown(scalekit.environment_url());
            return Err(LoginError::IssuerMismatch.failed("iss", expected, found));
        }
        let code = authorization
            .code
            .as_ref()
            .map_err(|error| LoginError::AuthorizationFailed { error: error.clone() })?;
        // A code works once: it is not spent for tokens that could not be verified.
        scalekit.remote_keys().ready().await.map_err(|_| LoginError::Unavailable)?;
        // First: the environment may issue tokens that are revoked before they arrive here.
        let position = sessions.revocation_position().await;
        let position = position.map_err(|_| LoginError::Unavailable)?;
        // A second exchange would make the environment revoke the tokens of the first (RFC 6749,
        // section 4.1.2).
        if !attempt.single_use(sessions).claim().await {
            return Err(LoginError::StateMismatch);
        }
        let exchanged = self.exchange(code, attempt, position).await;
        if exchanged.as_ref().is_err_and(LoginError::ends_attempt) {
            attempt.single_use(sessions).finish(false).await;
        }
        exchanged
    }

    /// Exchanges the code of an attempt that this request has claimed.
    async fn exchange(
        &self,
        code: &str,
        attempt: &LoginAttempt,
        position: RecordedPosition,
    ) -> Result<ExchangedLogin, LoginError> {
        let sessions = &self.0.sessions;
        let scalekit = sessions.scalekit();
        let verifier = attempt.verifier();
        let redirect_uri =
            attempt.origin(sessions).ok_or(LoginError::StateMismatch)?.redirect_uri();
        let exchange = scalekit.exchange_code(code, redirect_uri.as_str(), Some(&verifier));
        let tokens = match exchange.await {
            Ok(tokens) => tokens,
            Err(error) => {
                let failure = LoginError::from(error);
                if !failure.ends_attempt() {
                    attempt.single_use(sessions).release().await;
                }
                return Err(failure);
            }
        };
        let nonce = attempt.nonce();
        let grant = Grant::AuthorizationCode { nonce: nonce.expose() };
        let verified = tokens.verify_for(scalekit, grant).await.map_err(Self::token_rejected)?;
        let missing = || {
            let (expected, found) = ("an ID token (scope openid)", "an access token only");
            Self::token_rejected(TokenError::Malformed.failed("id_token", expected, found))
        };
        let id_token = tokens.id_token.ok_or_else(missing)?;
        let id_claims = verified.id_token.ok_or_else(missing)?.into_verified_claims();
        let identity = VerifiedIdentity::new(id_claims, position);
        let tokens = NewTokens {
            principal: verified.principal,
            id_token,
            refresh_token: tokens.refresh_token,
            access_token: sessions.retained(&tokens.access_token).cloned(),
        };
        Ok(ExchangedLogin { identity, tokens, position })
    }

    fn token_rejected(error: TokenError) -> LoginError {
        match error {
            TokenError::KeysUnavailable => LoginError::Interrupted,
            error => LoginError::InvalidToken { error },
        }
    }
}

route!(Callback);
on_rejection!(Callback, RouteRejection<LoginError>, 0.renderer);

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

/// A login whose tokens were verified.
struct ExchangedLogin {
    identity: VerifiedIdentity,
    tokens: NewTokens,
    /// Position of the revocation counter before the exchange: later revocations apply to this
    /// login.
    position: RecordedPosition,
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
        let headers = request.headers();
        let (attempt, attempt_removal) = LoginAttempt::find(sessions, request, &state);
        let page = attempt
            .as_ref()
            .map(|attempt| attempt.return_to.clone())
            .or_else(|| RecentLogin::page(sessions, headers, &state));
        Self { attempt, page, attempt_removal, authorization }
    }

    /// Returns the values that the login needs.
    fn ready(&self) -> Result<(&AuthorizationResponse, &LoginAttempt), LoginError> {
        let authorization = self.authorization.as_ref().map_err(LoginError::clone)?;
        Ok((authorization, self.attempt.as_ref().ok_or(LoginError::StateMismatch)?))
    }
}

/// The query parameters of the callback (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Clone)]
struct AuthorizationResponse {
    issuer: Option<String>,
    /// The code, or the error: `None` if that is not a valid error code.
    code: Result<String, Option<SsoError>>,
}

impl AuthorizationResponse {
    /// Returns the `state` (the first one, if repeated), and the rest of the query. An invalid
    /// query ends its attempt too.
    fn read(request: &Request<()>) -> (Option<String>, Result<Self, LoginError>) {
        if request.method() != Method::GET {
            return (None, Err(LoginError::MethodNotAllowed { allow: "GET" }));
        }
        let query = request.uri().query().unwrap_or_default();
        let parameters =
            ["code", "state", "iss", "error"].map(|name| QueryParam::find(query, name));
        let is_repeated = parameters.iter().any(|parameter| parameter.is_repeated);
        let [code, state, issuer, error] = parameters.map(|parameter| parameter.first);
        let authorization = if is_repeated {
            let expected = "code, state, iss and error at most once";
            Err(LoginError::InvalidRequest.failed("query", expected, "one of them repeatedly"))
        } else {
            Self::evaluate(state.is_some(), code, issuer, error)
        };
        (state, authorization)
    }

    /// Two requests with this key complete one login.
    fn dedup_key(&self, attempt: &LoginAttempt) -> Key {
        let code = self.code.as_deref().unwrap_or_default();
        attempt.dedup_key(code, self.issuer.as_deref().unwrap_or_default())
    }

    fn evaluate(
        has_state: bool,
        code: Option<String>,
        issuer: Option<String>,
        error: Option<String>,
    ) -> Result<Self, LoginError> {
        let code = match (code, error) {
            (Some(code), None) if !code.is_empty() => Ok(code),
            (None, Some(error)) => Err(SsoError::parse(&error)),
            (Some(_), Some(_)) => return Err(invalid_query("both")),
            _ => return Err(invalid_query("none")),
        };
        match (has_state, code) {
            (true, code) => Ok(Self { issuer, code }),
            // Some errors have no `state`: there is no attempt to end, and nothing to begin.
            (false, Err(error)) => Err(LoginError::AuthorizationFailed { error }),
            (false, Ok(_)) => {
                let found = "none: the login was not started by this app";
                Err(LoginError::InvalidRequest.failed("state", "that of the login", found))
            }
        }
    }
}

fn invalid_query(found: &str) -> LoginError {
    LoginError::InvalidRequest.failed("query", "a code or an error", found)
}
