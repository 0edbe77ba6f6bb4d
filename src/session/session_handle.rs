//! The session of a request, for ending it.

use std::sync::Arc;

use http::HeaderMap;

use super::open_cookie::CookieContent;
use super::{Session, Sessions};

/// A session, whether or not it may still be used.
#[derive(Clone, Debug)]
pub(crate) struct SessionHandle {
    pub(super) id: Arc<str>,
    /// `None` if the shared store does not have it, or is unavailable.
    pub(crate) session: Option<Session>,
}

impl SessionHandle {
    /// A session in the shared store, by its ID.
    pub(super) fn stored(id: &str) -> Self {
        Self { id: id.into(), session: None }
    }
}

impl From<Session> for SessionHandle {
    fn from(session: Session) -> Self {
        Self { id: session.record().id().into(), session: Some(session) }
    }
}

impl Sessions {
    /// Reads the session of a request.
    pub(crate) async fn session_handle(&self, headers: &HeaderMap) -> Option<SessionHandle> {
        match self.open(&self.cookies().read(headers))?.content {
            CookieContent::Session(session) => Some(session.into()),
            CookieContent::Stored(reference) => Some(SessionHandle {
                session: self.load_from_store(&reference).await.ok().flatten(),
                id: reference.id,
            }),
            CookieContent::Unreadable => None,
        }
    }
}
