use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use time::OffsetDateTime;

use super::origins::AppOrigin;
use super::refresh::entry::{RefreshEntry, TOMBSTONE_TTL};
use super::store::REPLICATION_LAG;
use super::stored_value::MAX_CLOCK_ERROR;
use super::{Session, SessionHandle, Sessions};
use crate::oauth::LogoutRequest;
use crate::revocation::{RevocationTarget, Revocations};
use crate::shared_store::{KeyNamespace, StoreError};
use crate::token::{LogoutExpectations, TokenError};
use crate::util::telemetry;

/// How long the end of a session is kept in the revocation log if its record is gone from the
/// shared store. Longer than replicas use their cached copies (`store::MAX_AGE`), which they refresh
/// for the rest of the session if they may do so during an outage.
const STORED_END_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How often a revocation is published again while the store fails.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);

/// How many revocations wait to be checked.
pub(super) const MAX_CHECKED_REVOCATIONS: usize = 10_000;

/// Marks a logout token that was processed.
const SEEN: Bytes = Bytes::from_static(b"seen");

impl Sessions {
    /// Ends a session by its ID at the environment (`ses_…`), on every replica within two seconds.
    ///
    /// It ends in this app only. Revoke it at the environment too
    /// ([`SessionsApi::revoke`](crate::api::sessions::SessionsApi::revoke)): a user whose session
    /// there is active logs in again without interaction. Without a
    /// [shared store](crate::session::SessionsBuilder::shared_store), revocations do not survive a
    /// restart; the session then ends when the environment rejects its refresh. While the shared
    /// store is unavailable, replicas use the revocations they know.
    ///
    /// # Errors
    /// Returned when the shared store fails: the session is ended in this process only.
    pub async fn revoke_session(&self, session_id: &str) -> Result<(), StoreError> {
        self.revoke(RevocationTarget::EnvironmentSession(session_id)).await
    }

    /// Ends all sessions of a user that began before now, on every replica within two seconds. The
    /// user is identified by their ID (`usr_…`), the app's own ID, or, for a login by e-mail, the
    /// address. See [`revoke_session`](Self::revoke_session).
    ///
    /// # Errors
    /// Returned when the shared store fails: the sessions are ended in this process only.
    pub async fn revoke_user(&self, user_id: &str) -> Result<(), StoreError> {
        self.revoke_with_users(&[RevocationTarget::User(user_id)]).await.map(drop)
    }

    /// Ends all sessions in an organization (`org_…`) that began before now, on every replica
    /// within two seconds. See [`revoke_session`](Self::revoke_session).
    ///
    /// # Errors
    /// Returned when the shared store fails: the sessions are ended in this process only.
    pub async fn revoke_organization(&self, organization_id: &str) -> Result<(), StoreError> {
        self.revoke(RevocationTarget::Organization(organization_id)).await
    }

    /// Ends all sessions that began before now of users with this e-mail address in the
    /// organization (`org_…`). Without an organization, it ends the sessions with this address that
    /// have no organization, such as those of logins by e-mail. Addresses are compared trimmed and
    /// without case. See [`revoke_session`](Self::revoke_session).
    ///
    /// An address alone does not identify sessions in an organization, because any customer's
    /// directory may contain any address. Users who have had such a session within 400 days are revoked
    /// with all their sessions and bearer tokens in the organization, or without one.
    ///
    /// # Errors
    /// Returned when the shared store fails: the sessions are ended in this process only, bearer tokens
    /// without an address perhaps not at all.
    pub async fn revoke_email(
        &self,
        email: &str,
        organization_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let target = RevocationTarget::email_in(organization_id, email);
        self.revoke_with_users(&[target]).await.map(drop)
    }

    /// Returns the revocations of these sessions, for
    /// [`RequireToken::reject_revoked`](crate::RequireToken::reject_revoked).
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        self.inner.revocations.clone()
    }

    pub(super) async fn revoke(&self, revoked: RevocationTarget<'_>) -> Result<(), StoreError> {
        self.revoke_all(&[revoked], None).await
    }

    /// Ends sessions that ended at the environment at `ended_at`, which is compared with when the
    /// environment issued the tokens of a login, by the same clock, so that later logins are
    /// unaffected even if the event arrives late or twice.
    pub(super) async fn revoke_ended_at(
        &self,
        ended_at: OffsetDateTime,
        revoked: RevocationTarget<'_>,
    ) -> Result<(), StoreError> {
        self.revoke_all(&[revoked], Some(ended_at.unix_timestamp())).await
    }

    /// Ends sessions in this process, and publishes it. Continues when the client disconnects.
    pub(super) async fn revoke_all(
        &self,
        revoked: &[RevocationTarget<'_>],
        issued_until: Option<i64>,
    ) -> Result<(), StoreError> {
        if revoked.is_empty() {
            return Ok(());
        }
        let retention = retention(self.longest_lifetime());
        let recorded: Vec<_> = revoked
            .iter()
            .filter_map(|one| self.inner.revocations.record(*one, issued_until, retention))
            .collect();
        let sessions = self.clone();
        self.tasks()
            .spawn("revocation", async move {
                let published = sessions.inner.revocations.publish(&recorded).await;
                sessions.check_later(None);
                sessions.retry_publishing(published)
            })
            .await
            .unwrap_or_else(|panic| Err(StoreError::Unavailable(panic.into())))
    }

    /// Retries publishing in the background if the store failed, until it succeeds or the revocations
    /// have expired: until then, other replicas accept the sessions, and without requests nothing else
    /// publishes them. Then they are checked like others: the check that began with the revocation may
    /// have ended during the outage.
    fn retry_publishing(&self, published: Result<(), StoreError>) -> Result<(), StoreError> {
        if published.is_err() {
            let sessions = self.clone();
            self.inner.late_revocations.start((), || async move {
                let revocations = sessions.revocations();
                sessions
                    .tasks()
                    .repeat_every(PUBLISH_INTERVAL, move || {
                        let revocations = revocations.clone();
                        async move { revocations.publish_again().await }
                    })
                    .await;
                sessions.check_later(None);
            });
        }
        published
    }

    /// Checks that the log has a revocation when all followers of the store should have it, or at
    /// shutdown: a failover may have lost it, and without requests the log is not read. Also ends the
    /// stored session again: unlike a revocation, a lost end of it is not detected.
    fn check_later(&self, stored: Option<Arc<str>>) {
        if !self.inner.revocations.has_peers() {
            return;
        }
        // Beyond the limit, a failover may lose revocations of the last moment.
        let Ok(permit) = Arc::clone(&self.inner.revocation_checks).try_acquire_owned() else {
            return;
        };
        let (sessions, tasks) = (self.clone(), self.tasks().clone());
        let appended_until = self.clock().monotonic();
        self.tasks().detach("check of a revocation", async move {
            tasks.pause(REPLICATION_LAG).await;
            tasks
                .repeat(move || {
                    let (sessions, stored) = (sessions.clone(), stored.clone());
                    async move {
                        let has_ended = match stored {
                            Some(id) => ignore_full_store(sessions.end_stored(&id).await).is_ok(),
                            None => true,
                        };
                        sessions.inner.revocations.check_log(appended_until).await && has_ended
                    }
                })
                .await;
            drop(permit);
        });
    }

    /// Returns the longest lifetime of a session, whatever happens to the wall clock.
    pub(super) fn longest_lifetime(&self) -> Duration {
        self.inner.lifetimes.absolute.unsigned_abs()
    }

    /// Ends the session of a request, and returns it. Continues when the client disconnects.
    pub(crate) async fn end_session_of(&self, headers: &HeaderMap) -> Option<SessionHandle> {
        let (sessions, headers) = (self.clone(), headers.clone());
        let ended = self.tasks().spawn("session end", async move {
            let handle = sessions.session_handle(&headers).await?;
            if let Err(error) = sessions.end_now(&handle).await {
                // The session has ended in this process and in this browser.
                telemetry::internal_error("logout", &error);
            }
            Some(handle)
        });
        ended.await.ok().flatten()
    }

    /// Ends one session permanently: a refresh in progress, a late response or a copy of the cookie
    /// cannot restore it. Continues when the client disconnects.
    pub(crate) async fn end(&self, handle: &SessionHandle) -> Result<(), StoreError> {
        let (sessions, handle) = (self.clone(), handle.clone());
        self.tasks()
            .spawn("session end", async move { sessions.end_now(&handle).await })
            .await
            .unwrap_or_else(|panic| Err(StoreError::Unavailable(panic.into())))
    }

    pub(super) async fn end_now(&self, handle: &SessionHandle) -> Result<(), StoreError> {
        let SessionHandle { id, session } = handle;
        let mut retention = retention(
            session
                .as_ref()
                .map_or_else(|| self.longest_lifetime(), |session| session.record().lifetime()),
        );
        let is_stored = session.as_ref().is_none_or(|session| session.record().is_stored());
        // Ending a session again does not fill the log.
        let is_new = !self.inner.revocations.is_record_id_revoked(id);
        if is_stored {
            match self.end_stored(id).await {
                Ok(()) if self.inner.refresh_during_outages => {}
                Ok(()) => retention = retention.min(STORED_END_LIFETIME),
                Err(error) => telemetry::internal_error("session_end", &error),
            }
        }
        let revoked = RevocationTarget::Record(id);
        let recorded = self.inner.revocations.record(revoked, None, retention);
        let published =
            self.retry_publishing(self.inner.revocations.publish(recorded.as_slice()).await);
        if is_new {
            self.check_later(is_stored.then(|| Arc::clone(id)));
        }
        let (key, ended) = (self.refresh_entry_key(id), RefreshEntry::Ended.encode());
        ignore_full_store(self.store().put(&key, ended, TOMBSTONE_TTL).await).and(published)
    }

    /// Ends the sessions that a logout token names. Each token is accepted once.
    pub(crate) async fn log_out_by_token(&self, token: &str) -> Result<(), LogoutError> {
        let (scalekit, now) = (self.scalekit(), self.now());
        let logged_out = LogoutExpectations {
            issuer: scalekit.environment_url(),
            client_id: scalekit.client_id(),
        }
        .verify(token, scalekit.remote_keys(), now)
        .await?;
        let key = self.store_key(KeyNamespace::LogoutToken, &logged_out.token_id);
        let seen = self.store().get(&key).await;
        if matches!(seen, Ok(Some(_))) {
            return Err(LogoutError::Replayed);
        }
        let revoked = match (&logged_out.session_id, &logged_out.subject) {
            (Some(session_id), _) => RevocationTarget::EnvironmentSession(session_id),
            (None, Some(subject)) => RevocationTarget::User(subject),
            (None, None) => return Ok(()),
        };
        // Without the store too: a token that was seen before ends nothing more, and the sender may not
        // repeat this one.
        let ended = self.revoke_ended_at(logged_out.issued_at, revoked).await;
        seen.and(ended)?;
        // Last, so that a failed logout is processed when the token is sent again.
        let ttl = (logged_out.expires_at - now).try_into().unwrap_or_default();
        ignore_full_store(self.store().put(&key, SEEN, ttl).await)?;
        telemetry::logout_token_accepted();
        Ok(())
    }

    /// Builds the environment's logout request for a session, which returns to this origin.
    pub(crate) fn logout_request(
        &self,
        session: Option<&Session>,
        state: &str,
        origin: &AppOrigin,
    ) -> LogoutRequest {
        let request = LogoutRequest::new()
            .post_logout_redirect_uri(origin.url(self.logout_callback_path()))
            .state(state);
        match session.and_then(|session| session.record().id_token()) {
            Some(id_token) => request.id_token_hint(id_token),
            None => request,
        }
    }
}

/// Returns how long the end of a session is retained. A session that began while the wall clock was
/// ahead lives longer by the error, once the clock is corrected.
pub(super) fn retention(lifetime: Duration) -> Duration {
    lifetime.saturating_add(MAX_CLOCK_ERROR)
}

/// A full store does not prevent a logout: the revocation alone ends the session on all replicas.
fn ignore_full_store(ended: Result<(), StoreError>) -> Result<(), StoreError> {
    match ended {
        Err(error @ StoreError::Full { .. }) => {
            telemetry::internal_error("session_end", &error);
            Ok(())
        }
        ended => ended,
    }
}

/// Returned when a logout token ended nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogoutError {
    #[error("the logout token was used before")]
    Replayed,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Token(#[from] TokenError),
}
