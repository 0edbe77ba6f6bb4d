//! The environment's sessions of users: listing and revoking them.
//!
//! These are the environment's sessions (`ses_…`, the claim `sid`). Revoking one invalidates its
//! refresh tokens; the app's own cookies end at their next refresh.
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::TryStreamExt as _;
//! use tower_scalekit::model::SessionStatus;
//! # use tower_scalekit::Sandbox;
//!
//! # let sandbox = Sandbox::new();
//! # let _ = sandbox.tokens().access_token("john@acme.test");
//! # let john = sandbox.users().get("john@acme.test").ok_or("no john")?.id;
//! let sessions = sandbox.scalekit().api().sessions();
//! let active = sessions.list_for_user(&john).status(SessionStatus::Active).stream();
//! for session in active.try_collect::<Vec<_>>().await? {
//!     let id = session.session_id;
//!     let revoked = sessions.revoke(&id).await?;
//!     assert_eq!(revoked.status, Some(SessionStatus::Revoked));
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

mod details;

use http::Method;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::details::{AuthenticatedClient, SessionDetails};
use super::client::retry::Retries;
use super::{Api, ApiError, ApiRequest, ItemStream};
use crate::model::SessionStatus;
use crate::model::wire;

/// API for sessions. Returned by [`Api::sessions`].
#[derive(Clone, Debug)]
pub struct SessionsApi {
    api: Api,
}

impl SessionsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Returns a session by its ID (`ses_…`).
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getSession", "get_session"))]
    pub async fn get(&self, session_id: &str) -> Result<SessionDetails, ApiError> {
        self.api
            .request(Method::GET, "/api/v1/sessions/{session_id}")
            .path_parameter("session_id", session_id)
            .send()
            .await
    }

    /// Revokes a session.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("revokeSession", "revoke_session"))]
    pub async fn revoke(&self, session_id: &str) -> Result<SessionDetails, ApiError> {
        self.api
            .request(Method::POST, "/api/v1/sessions/{session_id}/revoke")
            .path_parameter("session_id", session_id)
            .retries(Retries::Unsent)
            .send_member("revoked_session")
            .await
    }

    /// Lists the sessions of a user (`usr_…`), including ended ones unless a
    /// [`status`](UserSessions::status) is set.
    #[doc(alias("getUserSessions", "get_user_sessions"))]
    pub fn list_for_user(&self, user_id: &str) -> UserSessions {
        UserSessions(
            self.api
                .request(Method::GET, "/api/v1/users/{user_id}/sessions")
                .path_parameter("user_id", user_id),
        )
    }

    /// Revokes all active sessions of a user.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the user does not exist; see [`ApiError`].
    #[doc(alias("revokeAllUserSessions", "revoke_all_user_sessions"))]
    pub async fn revoke_all_for_user(&self, user_id: &str) -> Result<RevokedSessions, ApiError> {
        self.api
            .request(Method::POST, "/api/v1/users/{user_id}/sessions/revoke")
            .path_parameter("user_id", user_id)
            .retries(Retries::Unsent)
            .send()
            .await
    }
}

/// A request for a list of a user's sessions. Returned by [`SessionsApi::list_for_user`].
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched until the stream is read"]
pub struct UserSessions(ApiRequest);

impl UserSessions {
    /// Filters by status. Can be called again, for several values.
    pub fn status(self, status: SessionStatus) -> Self {
        Self(self.0.query("filter.status", status.as_str()))
    }

    /// Filters by sessions that were created at this time or later.
    pub fn start_time(self, time: OffsetDateTime) -> Self {
        Self(self.0.query_time("filter.start_time", time))
    }

    /// Filters by sessions that were created at this time or earlier.
    pub fn end_time(self, time: OffsetDateTime) -> Self {
        Self(self.0.query_time("filter.end_time", time))
    }

    /// Sets the page size. Default: the environment's.
    pub fn page_size(self, size: u32) -> Self {
        Self(self.0.query("page_size", size.to_string()))
    }

    /// Streams the sessions, fetching pages as needed. Ends after an error.
    pub fn stream(self) -> ItemStream<SessionDetails> {
        ItemStream::new(self.0, "sessions")
    }
}

/// The sessions that a revocation ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RevokedSessions {
    /// The sessions.
    #[serde(rename = "revoked_sessions", deserialize_with = "wire::or_default")]
    pub sessions: Vec<SessionDetails>,
    /// Their number.
    #[serde(deserialize_with = "wire::count")]
    pub total_revoked: u64,
}
