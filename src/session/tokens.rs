//! The tokens of a session, for calls in the user's name.

use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode};
use time::OffsetDateTime;

use super::{LoadedSession, RefreshTrigger, SentCookies, Session, Sessions, UsableSession};
use crate::middleware::rejection::{json_response, misconfigured_response, unavailable_response};
use crate::secret::SecretString;
use crate::util::telemetry;

/// A valid access token of a session. Returned by [`Session::access_token`].
#[derive(Clone)]
pub struct AccessToken {
    token: SecretString,
    expires_at: OffsetDateTime,
}

impl AccessToken {
    /// Returns the token, for the header `Authorization: Bearer …`.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.token.expose()
    }

    /// Returns when it expires (UTC).
    #[must_use]
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Returned when a session has no valid token. In axum handlers it is a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionTokenError {
    /// The session has ended: it was logged out or revoked, has reached a limit, or the environment
    /// rejects its refresh token. Responds with 401.
    #[error("the session has ended")]
    Ended,
    /// The app created the session itself, without tokens. Responds with 500.
    #[error("the session was created by the app and has no tokens")]
    NoTokens,
    /// Access tokens are not retained. Responds with 500.
    #[error("access tokens are not retained: set SessionsBuilder::retain_access_token")]
    NotRetained,
    /// The token has expired, and the environment or the shared store is unavailable. Responds with
    /// 503 and `Retry-After`.
    #[error("the token has expired and cannot be refreshed at the moment")]
    Unavailable,
}

impl SessionTokenError {
    /// Returns the default response.
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        match self {
            Self::Ended => {
                json_response(StatusCode::UNAUTHORIZED, "invalid_session", "Log in first")
            }
            Self::NoTokens | Self::NotRetained => {
                telemetry::internal_error("session_token", &self);
                misconfigured_response()
            }
            Self::Unavailable => unavailable_response(
                "The session cannot be refreshed at the moment. Try again later",
            ),
        }
    }
}

impl Session {
    /// Returns an access token that is valid now, for calls in the user's name. If it is about to
    /// expire, it is refreshed first: once for all concurrent requests and calls of the session, on
    /// all replicas. A clone of the session can be moved to a task that outlives the request; in a
    /// cookie, that of an older refresh is known for the
    /// [retention](super::SessionsBuilder::refresh_retention) of its result.
    ///
    /// Requires [`SessionsBuilder::retain_access_token`](super::SessionsBuilder::retain_access_token).
    /// To send it, see [`AddAccessToken`](crate::AddAccessToken).
    ///
    /// After a refresh, roles and permissions of the *next* request are those of the new token:
    /// [`principal`](Self::principal) does not change.
    ///
    /// ```
    /// use http::{Request, header};
    /// use tower_scalekit::Session;
    /// use tower_scalekit::session::SessionTokenError;
    ///
    /// async fn reports(session: &Session) -> Result<Request<()>, SessionTokenError> {
    ///     let token = session.access_token().await?;
    ///     let request = Request::get("https://api.example.com/reports")
    ///         .header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
    ///     // …
    /// #   Ok(request.body(()).unwrap())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`SessionTokenError`]. While the environment is unavailable, a token that has not expired
    /// is returned.
    pub async fn access_token(&self) -> Result<AccessToken, SessionTokenError> {
        if self.is_local() {
            return Err(SessionTokenError::NoTokens);
        }
        let sessions = self.sessions().ok_or(SessionTokenError::Unavailable)?;
        if !sessions.inner.retain_access_token {
            return Err(SessionTokenError::NotRetained);
        }
        let newest = sessions.newest(self, true).await?;
        // Without it, a replica that does not retain tokens has refreshed the session.
        let token = newest.record().access_token().ok_or(SessionTokenError::Unavailable)?;
        Ok(AccessToken { token, expires_at: newest.principal().expires_at() })
    }

    /// Returns the newest ID token of the session, for services that accept it as proof of the
    /// user's identity. A session whose access token is about to expire is refreshed first. An
    /// environment need not issue an ID token with each refresh: check `exp` if that matters.
    ///
    /// It is retained in any case, for the logout. A local session that began with a login has the
    /// ID token of that login.
    ///
    /// # Errors
    /// See [`SessionTokenError`].
    pub async fn id_token(&self) -> Result<SecretString, SessionTokenError> {
        self.sessions()
            .ok_or(SessionTokenError::Unavailable)?
            .newest(self, false)
            .await?
            .record()
            .id_token()
            .ok_or(SessionTokenError::NoTokens)
    }
}

impl Sessions {
    /// Returns the access token if it is to be retained.
    pub(crate) fn retained<'t>(&self, token: &'t SecretString) -> Option<&'t SecretString> {
        self.inner.retain_access_token.then_some(token)
    }

    /// Returns the newest state of a session that may have been held for long, refreshed if that is
    /// due, or if it lacks a token that is needed.
    async fn newest(
        &self,
        session: &Session,
        needs_access_token: bool,
    ) -> Result<Session, SessionTokenError> {
        let loaded = match self.reload(session).await {
            LoadedSession::RefreshDue(due) => self.refresh_session(due, RefreshTrigger::Due).await,
            // It began before tokens were retained.
            LoadedSession::Active(UsableSession { session, .. })
                if needs_access_token
                    && !session.record().has_access_token()
                    && session.is_refreshable() =>
            {
                let request = UsableSession::unchanged(session, SentCookies::default());
                self.refresh_session(request, RefreshTrigger::Requested).await
            }
            loaded => loaded,
        };
        match loaded {
            LoadedSession::Active(request) => Ok(request.session),
            LoadedSession::Missing
            | LoadedSession::Invalid { .. }
            | LoadedSession::RefreshDue(_) => Err(SessionTokenError::Ended),
            LoadedSession::Unavailable { .. } => Err(SessionTokenError::Unavailable),
        }
    }
}
