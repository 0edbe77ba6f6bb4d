//! "My sessions": where a person is logged in, and ending it from afar.
//!
//! Of a session with tokens the environment knows, through its API; of local ones that are kept in
//! the shared store, a log there, one for each person.

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::try_join_all;
use time::OffsetDateTime;

use super::record::SessionRecord;
use super::{Peeked, Session, Sessions};
use crate::api::ApiError;
use crate::api::sessions::{SessionDetails, SessionDevice, SessionStatus};
use crate::shared_store::{LogCursor, Purpose, StoreError, StoreKey, in_time};

/// Of so many logins of a person the sessions are looked for.
const MAX_LISTED: usize = 100;

/// One of the sessions of a person. Made by [`Sessions::my_sessions`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MySession {
    /// What to end it by: the environment's id (`ses_…`), or our own of a local session.
    pub id: String,
    /// When the person logged in (UTC).
    pub began_at: Option<OffsetDateTime>,
    /// When they were last seen (UTC), as far as that is known.
    pub last_active_at: Option<OffsetDateTime>,
    /// Where they logged in, as far as that is known.
    pub device: Option<SessionDevice>,
    /// Whether it is the session that was asked with.
    pub is_current: bool,
}

impl Sessions {
    /// Where else the person behind this session is logged in; the newest first.
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
    /// #     let session = request.extensions().get::<Session>().cloned();
    /// #     let mut response = http::Response::new(String::new());
    /// #     response.extensions_mut().insert(session);
    /// #     Ok::<_, std::convert::Infallible>(response)
    /// # });
    /// # let request = http::Request::get("/").header("cookie", cookie).body(String::new())?;
    /// # let layer = RequireSession::new(&sessions);
    /// # let response = tower_layer::Layer::layer(&layer, inner).oneshot(request).await?;
    /// # let session = response.extensions().get::<Option<Session>>().cloned().flatten().unwrap();
    /// // In a handler that takes a `Session`; this person is logged in three times.
    /// let mine = sessions.my_sessions(&session).await?;
    /// assert_eq!(mine.len(), 3);
    /// for other in mine.iter().filter(|one| !one.is_current) {
    ///     sessions.end_my_session(&session, &other.id).await?;
    /// }
    /// assert_eq!(sessions.my_sessions(&session).await?.len(), 1);
    /// # Ok(())
    /// # }
    /// # main().unwrap();
    /// # }
    /// ```
    ///
    /// Of local sessions the newest hundred are told, and none that is
    /// [in a cookie](super::LocalSession::in_cookie).
    ///
    /// # Errors
    /// When the environment's API, or the shared store for a local session, does not tell.
    pub async fn my_sessions(&self, session: &Session) -> Result<Vec<MySession>, MySessionsError> {
        if session.is_local() {
            return self.my_local_sessions(session).await;
        }
        let api = self.0.scalekit.api().sessions();
        let active = api.list_for_user(session.principal().subject()).status(SessionStatus::Active);
        let current = session.principal().session_id();
        let mine = active.stream().try_filter_map(async |one: SessionDetails| {
            Ok(one.session_id.map(|id| MySession {
                is_current: current == Some(&*id),
                id,
                began_at: one.created_at,
                last_active_at: one.last_active_at,
                device: one.device,
            }))
        });
        let mut mine: Vec<MySession> = mine.try_collect().await?;
        mine.sort_by_key(|one| std::cmp::Reverse(one.began_at));
        Ok(mine)
    }

    /// Ends one of the sessions of the person behind this session, by the id that
    /// [`my_sessions`](Self::my_sessions) told: here on every replica within two seconds, and at
    /// the environment.
    ///
    /// # Errors
    /// [`MySessionsError::NotFound`] for a session of anybody else; and when the environment's API
    /// or the shared store does not take it.
    pub async fn end_my_session(&self, session: &Session, id: &str) -> Result<(), MySessionsError> {
        if session.is_local() {
            return self.end_my_local_session(session, id).await;
        }
        let api = self.0.scalekit.api().sessions();
        let not_found = |error| match error {
            ApiError::NotFound(_) | ApiError::InvalidRequest(_) => MySessionsError::NotFound,
            error => MySessionsError::Api(error),
        };
        let found = api.get(id).await.map_err(not_found)?;
        if found.user_id.as_deref() != Some(session.principal().subject()) {
            return Err(MySessionsError::NotFound);
        }
        api.revoke(id).await?;
        Ok(self.revoke_session(id).await?)
    }

    /// Notes a session in the person's log, to be found again.
    pub(super) async fn index(
        &self,
        record: &SessionRecord,
        user_id: &str,
    ) -> Result<(), StoreError> {
        let left = record.remaining(self.0.scalekit.clock().now()).try_into().unwrap_or_default();
        let id = Bytes::copy_from_slice(record.id().as_bytes());
        in_time(self.0.store.append(&self.index_key(user_id), id, left)).await
    }

    async fn my_local_sessions(
        &self,
        session: &Session,
    ) -> Result<Vec<MySession>, MySessionsError> {
        let now = self.0.scalekit.clock().now();
        let ids = self.indexed(session).await?;
        let records = ids.iter().rev().take(MAX_LISTED).map(|id| self.read_stored(id));
        let living = try_join_all(records).await?.into_iter().flatten().map(|there| there.record);
        let living = living.filter(|record| !record.is_over(self.0.lifetimes, now));
        let mine = living.map(|record| MySession {
            id: record.id().to_owned(),
            began_at: Some(record.began_at()),
            last_active_at: None,
            device: None,
            is_current: record.id() == session.record().id(),
        });
        Ok(mine.collect())
    }

    async fn end_my_local_session(
        &self,
        session: &Session,
        id: &str,
    ) -> Result<(), MySessionsError> {
        if !self.indexed(session).await?.iter().any(|mine| mine == id) {
            return Err(MySessionsError::NotFound);
        }
        Ok(self.end(&Peeked::Stored(id.into())).await?)
    }

    /// The ids in the person's log, the oldest first.
    async fn indexed(&self, session: &Session) -> Result<Vec<String>, StoreError> {
        let key = self.index_key(session.principal().subject());
        let (mut ids, mut cursor) = (Vec::new(), LogCursor::start());
        loop {
            let page = in_time(self.0.store.read_since(&key, cursor)).await?;
            if page.entries.is_empty() {
                return Ok(ids);
            }
            ids.extend(page.entries.iter().map(|id| String::from_utf8_lossy(id).into_owned()));
            cursor = page.next;
        }
    }

    /// Ids of sessions have no space in them.
    fn index_key(&self, user_id: &str) -> StoreKey {
        self.store_key(Purpose::Session, &format!("sessions of {user_id}"))
    }
}

/// A person's sessions could not be told or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MySessionsError {
    /// The environment's API says no or nothing.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It is no session of this person.
    #[error("no such session of this person")]
    NotFound,
    /// The shared store says nothing.
    #[error(transparent)]
    Store(#[from] StoreError),
}
