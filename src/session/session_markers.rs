//! Markers in the shared store of sessions that have begun, to determine whether a revocation
//! matches any.

use bytes::Bytes;
use futures::future::{join, join_all, try_join_all};

use super::{Session, Sessions};
use crate::revocation::RevocationTarget;
use crate::shared_store::{Change, KeyNamespace, StoreError, StoreKey};
use crate::util::telemetry;

/// Value of a marker.
const BEGUN: Bytes = Bytes::from_static(b"begun");

/// How often an index update is retried after a concurrent change by another login of the user.
const MAX_TRIES: usize = 16;

impl Sessions {
    /// Stores the markers of a session that has begun.
    pub(super) async fn add_markers(&self, session: &Session) {
        let (marked, ()) = join(self.try_add_markers(session), self.link_user(session)).await;
        // A revocation works without the marker.
        if let Err(error) = marked {
            telemetry::internal_error("session_marker", &error);
        }
    }

    /// Stores in the background the markers of a session whose refresh has changed them, such as the
    /// one of the user's organization or e-mail address.
    pub(super) fn update_changed_markers(&self, before: &Session, after: &Session) {
        if before.revocable().marker_ids().eq(after.revocable().marker_ids()) {
            return;
        }
        let (sessions, session) = (self.clone(), after.clone());
        self.tasks().detach("markers of a session", async move {
            sessions.add_markers(&session).await;
        });
    }

    async fn try_add_markers(&self, session: &Session) -> Result<(), StoreError> {
        // Other sessions have the same markers, and may last longer than this one.
        let ttl = self.longest_lifetime();
        let stored = join_all(
            session
                .revocable()
                .marker_ids()
                .map(async |id| self.store().put(&self.marker_key(&id), BEGUN, ttl).await),
        )
        .await;
        // Those that were stored are found, even if others were not.
        stored.into_iter().collect::<Result<(), _>>()?;
        match session.revocable().environment_session_marker() {
            Some(id) => self.trim_markers(session.login_subject(), id).await,
            None => Ok(()),
        }
    }

    /// Removes the oldest markers of environment sessions of a user who has begun too many. All
    /// other markers stay the same, however often the user logs in.
    async fn trim_markers(&self, user: &str, newest: String) -> Result<(), StoreError> {
        let key = self.marker_key(&format!("environment sessions of {user}"));
        let removed = self
            .store()
            .update(&key, self.longest_lifetime(), MAX_TRIES, |seen| {
                let text = String::from_utf8_lossy(seen.unwrap_or_default());
                let mut ids: Vec<&str> =
                    text.split(' ').filter(|id| !id.is_empty() && *id != newest).collect();
                ids.push(&newest);
                let removed: Vec<StoreKey> = ids
                    .drain(..ids.len().saturating_sub(self.inner.max_sessions_per_user))
                    .map(|id| self.marker_key(id))
                    .collect();
                Ok::<_, StoreError>(Change::Set(ids.join(" ").into(), removed))
            })
            .await?;
        // After too many tries, the next login of the user removes the excess.
        try_join_all(removed.iter().flatten().map(|key| self.store().remove_if(key, BEGUN)))
            .await?;
        Ok(())
    }

    /// Whether a session that this revocation applies to has begun and may still be valid.
    pub(super) async fn has_marker(
        &self,
        revoked: RevocationTarget<'_>,
    ) -> Result<bool, StoreError> {
        Ok(self.store().get(&self.marker_key(&revoked.marker_id())).await?.is_some())
    }

    fn marker_key(&self, id: &str) -> StoreKey {
        self.store_key(KeyNamespace::SessionMarker, id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use time::OffsetDateTime;

    use super::*;
    use crate::clock::ManualClock;
    use crate::revocation::MAX_WITH_POSITION;
    use crate::session::fixtures::{builder, builder_at, create};
    use crate::session::{LoadedSession, LocalSession, User};

    /// Returns the request headers of a session that begins now.
    async fn begin(sessions: &Sessions, environment_session: &str) -> HeaderMap {
        begin_in(sessions, environment_session, "org_1").await
    }

    async fn begin_in(sessions: &Sessions, session_id: &str, organization: &str) -> HeaderMap {
        let user = User { id: "usr_1".to_owned(), ..User::default() };
        let local = LocalSession::new(user).session_id(session_id).organization_id(organization);
        create(sessions, local.in_cookie()).await
    }

    #[tokio::test]
    async fn the_oldest_markers_of_one_user_are_removed() {
        let sessions = builder().max_sessions_per_user(3).build().unwrap();
        for number in [0, 1, 2, 3, 1, 4] {
            begin(&sessions, &format!("ses_{number}")).await;
        }
        for (number, has_begun) in [(0, false), (1, true), (2, false), (3, true), (4, true)] {
            let id = format!("ses_{number}");
            let found =
                sessions.has_marker(RevocationTarget::EnvironmentSession(&id)).await.unwrap();
            assert_eq!(found, has_begun, "{id}");
        }
        assert!(sessions.has_marker(RevocationTarget::User("usr_1")).await.unwrap());
    }

    #[tokio::test]
    async fn a_refresh_that_changes_the_organization_is_recorded() {
        let [sessions, elsewhere] = [(); 2].map(|()| builder().build().unwrap());
        let mut both = Vec::new();
        for (sessions, organization) in [(&sessions, "org_1"), (&elsewhere, "org_2")] {
            let headers = begin_in(sessions, "ses_1", organization).await;
            let LoadedSession::Active(active) = sessions.load(&headers).wait().await else {
                panic!("{organization}")
            };
            both.push(active.session);
        }
        let has_marker =
            async |id| sessions.has_marker(RevocationTarget::Organization(id)).await.unwrap();
        assert!(has_marker("org_1").await && !has_marker("org_2").await);
        sessions.update_changed_markers(&both[0], &both[0]);
        sessions.update_changed_markers(&both[0], &both[1]);
        sessions.shutdown(Duration::from_secs(1)).await.unwrap();
        assert!(has_marker("org_1").await && has_marker("org_2").await);
    }

    #[tokio::test]
    async fn a_short_session_shortens_no_marker_of_another() {
        let time = ManualClock::at(OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000));
        let sessions = builder_at(&time).build().unwrap();
        begin(&sessions, "ses_1").await;
        let user = User { id: "usr_1".to_owned(), ..User::default() };
        let minute = Duration::from_secs(60);
        let short = LocalSession::new(user).organization_id("org_1").lifetime(minute);
        drop(sessions.create(short, &HeaderMap::new()).await.unwrap());
        time.advance(2 * minute);
        for revoked in [RevocationTarget::User("usr_1"), RevocationTarget::Organization("org_1")] {
            assert!(sessions.has_marker(revoked).await.unwrap(), "{revoked:?}");
        }
    }

    #[tokio::test]
    async fn at_capacity_a_logout_ends_a_session_that_has_no_marker() {
        let sessions = builder().max_sessions_per_user(1).build().unwrap();
        let jane = begin(&sessions, "ses_jane").await;
        begin(&sessions, "ses_newer").await;
        let logout = RevocationTarget::EnvironmentSession("ses_jane");
        assert!(!sessions.has_marker(logout).await.unwrap());
        let revocations = &sessions.inner.revocations;
        let (at, day) = (sessions.now(), Duration::from_secs(24 * 60 * 60));
        for number in 0..MAX_WITH_POSITION {
            let id = format!("ses_{number}");
            let revoked = RevocationTarget::EnvironmentSession(&id);
            revocations.record(revoked, Some(0), day);
        }
        assert!(matches!(sessions.load(&jane).wait().await, LoadedSession::Active(_)));
        sessions.revoke_ended_at(at, logout).await.unwrap();
        assert!(matches!(sessions.load(&jane).wait().await, LoadedSession::Invalid { .. }));
    }
}
