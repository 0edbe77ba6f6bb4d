use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use url::form_urlencoded;

use super::answer::{AuthFailure, redirect};
use super::attempt::Attempt;
use super::route::{Route, route_service};
use crate::oauth::{OAuthError, is_error_code};
use crate::return_to::{ReturnTo, with_return_to};
use crate::session::{BeginError, NewSession, SessionCookies};
use crate::telemetry;
use crate::token::{Flow, TokenError};

/// What logins come back to: `GET` path of the redirect URI. Made by
/// [`Sessions::callback`](crate::Sessions::callback).
///
/// Begins a session only if the callback answers an attempt of this very browser, the code is
/// accepted, and access token and ID token are verified. Ends the attempt in any case, unless the
/// environment does not answer; leaves a live session alone when it refuses.
#[derive(Clone, Debug)]
pub struct Callback(Route);

impl Callback {
    pub(super) async fn answer(&self, request: Request<()>) -> Response<Bytes> {
        let sessions = &self.0.sessions;
        let (state, outcome) = Returned::read(&request);
        let (attempt, end_attempt) = match &state {
            Some(state) => {
                let now = sessions.scalekit().clock().now();
                Attempt::find(sessions, request.headers(), state, now)
            }
            None => (None, None),
        };
        let completed = match (outcome, &attempt) {
            (Ok(returned), Some(attempt)) => {
                self.complete(returned, attempt, request.headers()).await
            }
            (Ok(_), None) => Err(AuthFailure::AttemptUnknown),
            (Err(failure), _) => Err(failure),
        };
        let return_to = attempt.as_ref().map(|attempt| &attempt.return_to);
        match completed {
            Ok(cookies) => {
                telemetry::login_completed();
                let target = return_to.map_or("/", ReturnTo::as_str);
                redirect(StatusCode::SEE_OTHER, target, cookies.into_iter().chain(end_attempt))
            }
            // L13: a login that must not ask the person anything becomes, once, one that may.
            Err(failure)
                if failure.wants_interaction()
                    && attempt.as_ref().is_some_and(|attempt| attempt.silent) =>
            {
                let login = with_return_to(sessions.login_path(), return_to);
                redirect(StatusCode::SEE_OTHER, &login, end_attempt)
            }
            Err(failure) => {
                let end_attempt = end_attempt.filter(|_| failure.ends_attempt());
                self.0.refuse_login(failure, &request, return_to, end_attempt)
            }
        }
    }

    /// Trades the code for a session: the `Set-Cookie` values that give it to the browser.
    async fn complete(
        &self,
        returned: Returned,
        attempt: &Attempt,
        headers: &HeaderMap,
    ) -> Result<Vec<HeaderValue>, AuthFailure> {
        let sessions = &self.0.sessions;
        let scalekit = sessions.scalekit();
        // L5: an answer of another issuer was mixed up with ours (RFC 9207).
        if returned.issuer.is_some_and(|issuer| issuer != scalekit.environment_url()) {
            return Err(AuthFailure::OtherIssuer);
        }
        let code = returned.outcome.map_err(|code| AuthFailure::EnvironmentRefused { code })?;
        // A code works once: it is not spent for tokens that could not be verified.
        scalekit.keys().ready().await.map_err(|_| AuthFailure::Unavailable)?;
        let tokens = scalekit
            .exchange_code(&code, sessions.redirect_uri(), Some(&attempt.verifier()))
            .await
            .map_err(|error| Self::code_refused(&error))?;
        let nonce = attempt.nonce();
        let flow = Flow::Login { nonce: nonce.expose() };
        let principal = sessions.verify(&tokens, flow).await.map_err(Self::token_refused)?;
        let id_token = tokens.id_token.ok_or(TokenError::Malformed).map_err(Self::token_refused)?;
        let new = NewSession::Tokens { principal, id_token, refresh_token: tokens.refresh_token };
        let begun = sessions.begin_with_tokens(new, headers).await;
        begun.map(SessionCookies::into_values).map_err(|error| {
            telemetry::internal_error("login", &error);
            match error {
                BeginError::Store(_) => AuthFailure::Interrupted,
                _ => AuthFailure::Misconfigured,
            }
        })
    }

    fn code_refused(error: &OAuthError) -> AuthFailure {
        if let OAuthError::InvalidGrant = error {
            return AuthFailure::CodeRefused;
        }
        telemetry::internal_error("code_exchange", error);
        match error {
            OAuthError::Unavailable(_) => AuthFailure::Unavailable,
            _ => AuthFailure::Misconfigured,
        }
    }

    fn token_refused(error: TokenError) -> AuthFailure {
        match error {
            TokenError::KeysUnavailable => AuthFailure::Interrupted,
            error => AuthFailure::TokenRefused { error },
        }
    }
}

route_service!(Callback);

/// What the environment sends back in the callback's address.
struct Returned {
    issuer: Option<String>,
    /// The code, or an error's code if it has one.
    outcome: Result<String, Option<String>>,
}

impl Returned {
    /// The `state` (of several the first), and what came with it: an address that is not in order
    /// ends its attempt too.
    fn read(request: &Request<()>) -> (Option<String>, Result<Self, AuthFailure>) {
        if request.method() != Method::GET {
            return (None, Err(AuthFailure::MethodNotAllowed { allow: "GET" }));
        }
        let query = request.uri().query().unwrap_or_default();
        let parameters = ["code", "state", "iss", "error"].map(|name| {
            let values =
                form_urlencoded::parse(query.as_bytes()).filter(|(found, _)| found == name);
            values.map(|(_, value)| value.into_owned()).collect::<Vec<_>>()
        });
        // L4: of two values nobody knows which one is meant.
        let unambiguous = parameters.iter().all(|values| values.len() < 2);
        let [code, state, issuer, error] = parameters.map(|values| values.into_iter().next());
        let returned = if unambiguous {
            Self::judge(state.is_some(), code, issuer, error)
        } else {
            Err(AuthFailure::MalformedRequest)
        };
        (state, returned)
    }

    fn judge(
        has_state: bool,
        code: Option<String>,
        issuer: Option<String>,
        error: Option<String>,
    ) -> Result<Self, AuthFailure> {
        let outcome = match (code, error) {
            (Some(code), None) if !code.is_empty() => Ok(code),
            (None, Some(error)) => Err(Some(error).filter(|error| is_error_code(error))),
            _ => return Err(AuthFailure::MalformedRequest),
        };
        match (has_state, outcome) {
            (true, outcome) => Ok(Self { issuer, outcome }),
            // Some errors come without: there is no attempt to end, and nothing to begin.
            (false, Err(code)) => Err(AuthFailure::EnvironmentRefused { code }),
            (false, Ok(_)) => Err(AuthFailure::MalformedRequest),
        }
    }
}
