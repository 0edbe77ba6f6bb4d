//! The active sessions of a user: listing them, and revoking one from another session.
//!
//! Sessions with tokens are listed and revoked through the environment's API, local ones from the
//! [index](super::user_index) of their user.

use std::cmp::Reverse;

use futures::TryStreamExt as _;
use futures::future::try_join_all;
use serde::Serialize;
use time::OffsetDateTime;

use super::{Session, SessionHandle, Sessions};
use crate::api::ApiError;
use crate::api::sessions::SessionDetails;
use crate::model::wire::timestamp;
use crate::model::{SessionDevice, SessionStatus};
use crate::shared_store::StoreError;

/// One of the sessions of a user. Returned by [`Sessions::active_sessions`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ActiveSession {
    /// Id of the session: the environment's (`ses_…`), or this crate's own for a local session.
    /// Pass it to [`Sessions::revoke_active_session`].
    pub id: String,
    /// When the user logged in (UTC).
    #[serde(serialize_with = "timestamp::serialize")]
    pub began_at: Option<OffsetDateTime>,
    /// When the session was last used (UTC), if known.
    #[serde(serialize_with = "timestamp::serialize")]
    pub last_active_at: Option<OffsetDateTime>,
    /// Where the user logged in, if known.
    pub device: Option<SessionDevice>,
    /// Whether it is the session of the current request.
    pub is_current: bool,
}

impl Sessions {
    /// Lists the sessions of this session's user, newest first.
    ///
    /// ```
    /// # #[cfg(feature = "sandbox")] {
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower::{Service, ServiceExt};
    /// # use tower_scalekit::{RequireSession, Sandbox, Session, SessionSecret, Sessions};
    /// # let sandbox = Sandbox::new();
    /// # let sessions = Sessions::builder(sandbox.scalekit())
    /// #     .secret(SessionSecret::generate()?)
    /// #     .redirect_uri("https://app.example.com/auth/callback")
    /// #     .build()?;
    /// # for _ in 0..2 {
    /// #     let _ = sandbox.session_cookie(&sessions, "jane@acme.test").await;
    /// # }
    /// # let cookie = sandbox.session_cookie(&sessions, "jane@acme.test").await;
    /// # let inner = tower::service_fn(|request: http::Request<String>| async move {
    /// #     let session = Session::from_extensions(request.extensions());
    /// #     let mut response = http::Response::new(String::new());
    /// #     response.extensions_mut().insert(session);
    /// #     Ok::<_, std::convert::Infallible>(response)
    /// # });
    /// # let request = http::Request::get("/").header("cookie", cookie).body(String::new())?;
    /// # let layer = RequireSession::new(&sessions);
    /// # let response = tower_layer::Layer::layer(&layer, inner).oneshot(request).await?;
    /// # let session = response.extensions().get::<Option<Session>>().cloned().flatten().unwrap();
    /// // In a handler that takes a `Session`; the user is logged in three times.
    /// let mine = sessions.active_sessions(&session).await?;
    /// assert_eq!(mine.len(), 3);
    /// for other in mine.iter().filter(|one| !one.is_current) {
    ///     sessions.revoke_active_session(&session, &other.id).await?;
    /// }
    /// assert_eq!(sessions.active_sessions(&session).await?.len(), 1);
    /// # Ok(())
    /// # }
    /// # main().unwrap();
    /// # }
    /// ```
    ///
    /// Local sessions that are [in a cookie](super::LocalSession::in_cookie) are not listed.
    ///
    /// # Errors
    /// Returned when the environment's API fails, or the shared store for a local session.
    pub async fn active_sessions(
        &self,
        session: &Session,
    ) -> Result<Vec<ActiveSession>, ActiveSessionsError> {
        if session.is_local() {
            return self.active_local_sessions(session).await;
        }
        let mut active: Vec<ActiveSession> = self
            .scalekit()
            .api()
            .sessions()
            .list_for_user(session.principal().subject())
            .status(SessionStatus::Active)
            .stream()
            .map_ok(|one: SessionDetails| ActiveSession {
                is_current: session.principal().session_id() == Some(&*one.session_id),
                id: one.session_id,
                began_at: one.created_at,
                last_active_at: one.last_active_at,
                device: one.device,
            })
            .try_collect()
            .await?;
        active.sort_by_key(|one| Reverse(one.began_at));
        Ok(active)
    }

    /// Revokes one of the sessions of this session's user, by an id that
    /// [`active_sessions`](Self::active_sessions) returned. The session ends at the environment,
    /// and on every replica within two seconds. Continues when the client disconnects.
    ///
    /// # Errors
    /// [`ActiveSessionsError::NotFound`] for a session of another user. Other variants are returned
    /// when the environment's API or the shared store fails.
    pub async fn revoke_active_session(
        &self,
        session: &Session,
        id: &str,
    ) -> Result<(), ActiveSessionsError> {
        if session.is_local() {
            return self.revoke_local_session(session, id).await;
        }
        let (sessions, session, id) = (self.clone(), session.clone(), id.to_owned());
        self.tasks()
            .spawn("session end", async move {
                sessions.revoke_environment_session(&session, &id).await
            })
            .await
            .unwrap_or_else(|panic| Err(StoreError::Unavailable(panic.into()).into()))
    }

    async fn revoke_environment_session(
        &self,
        session: &Session,
        id: &str,
    ) -> Result<(), ActiveSessionsError> {
        let api = self.scalekit().api().sessions();
        let found = api.get(id).await.map_err(|error| match error {
            ApiError::NotFound(_) | ApiError::InvalidRequest(_) => ActiveSessionsError::NotFound,
            error => ActiveSessionsError::Api(error),
        })?;
        if found.user_id.as_deref() != Some(session.principal().subject()) {
            return Err(ActiveSessionsError::NotFound);
        }
        api.revoke(id).await?;
        Ok(self.revoke_session(id).await?)
    }

    async fn active_local_sessions(
        &self,
        session: &Session,
    ) -> Result<Vec<ActiveSession>, ActiveSessionsError> {
        let now = self.now();
        let all = self.indexed(session).await?;
        Ok(try_join_all(all.iter().rev().map(|one| self.read_stored(&one.id)))
            .await?
            .into_iter()
            .flatten()
            .map(|there| there.record)
            .filter(|record| record.is_local() && !record.is_past_limits(self.inner.lifetimes, now))
            .filter_map(|record| record.into_session(self))
            .filter(|one| !self.inner.revocations.is_revoked(one.revocable()))
            .map(|one| ActiveSession {
                id: one.record().id().to_owned(),
                began_at: Some(one.record().began_at()),
                last_active_at: None,
                device: None,
                is_current: one.record().id() == session.record().id(),
            })
            .collect())
    }

    async fn revoke_local_session(
        &self,
        session: &Session,
        id: &str,
    ) -> Result<(), ActiveSessionsError> {
        if !self.indexed(session).await?.iter().any(|mine| *mine.id == *id) {
            return Err(ActiveSessionsError::NotFound);
        }
        Ok(self.end(&SessionHandle::stored(id)).await?)
    }
}

/// Returned when a user's sessions could not be listed or revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActiveSessionsError {
    /// The environment's API returned an error or did not respond.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The session does not exist, or belongs to another user.
    #[error("the user has no such session")]
    NotFound,
    /// The shared store is unavailable.
    #[error(transparent)]
    Store(#[from] StoreError),
}
