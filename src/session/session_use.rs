//! What the use of a session changes: the shared store, and the cookie in the response.

use http::HeaderValue;
use time::OffsetDateTime;

use super::cookie::record::SessionTooLarge;
use super::refresh::RefreshEntry;
use super::{Session, Sessions, SetCookieReason, UsableSession};
use crate::shared_store::StoreError;
use crate::util::telemetry;

impl Sessions {
    /// Records in the background that a session is in use, and that the browser has its newest
    /// cookie.
    pub(crate) fn record_use(&self, used: &UsableSession) {
        let UsableSession { session, has_due_store_write: true, .. } = used else { return };
        let (record, now) = (session.record(), self.now());
        if record.generation() > 0 && session.mark_presented() {
            self.record_presented(session);
        }
        if record.is_stored() && record.is_due_for_touch(self.inner.lifetimes, now) {
            self.touch_stored(session, now);
        }
    }

    /// Records the use of a session by a request that is rejected because the session cannot be
    /// refreshed. Returns the `Set-Cookie` values that extend its idle limit.
    pub(crate) async fn record_rejected_use(&self, used: &UsableSession) -> Vec<HeaderValue> {
        self.record_use(used);
        self.newest_set_cookies(used).await
    }

    /// Returns the `Set-Cookie` values for the response to a request whose session has changed. They
    /// contain the newest session, and are empty if the session has ended meanwhile.
    pub(crate) async fn newest_set_cookies(&self, used: &UsableSession) -> Vec<HeaderValue> {
        let UsableSession { session, sent, set_cookie_reason: Some(reason), .. } = used else {
            return Vec::new();
        };
        self.inner.revocations.read_if_due().await;
        if self.is_revoked(session) {
            return Vec::new();
        }
        let now = self.now();
        let newest = self.newest_cookie(session, *reason, now).await.unwrap_or_else(|error| {
            telemetry::internal_error("session_at_response", &error);
            // The refresh token of the old cookie is spent, or its idle limit is near.
            self.cookie_of(session, *reason, now)
        });
        let Some(newest) = newest else { return Vec::new() };
        self.cookies().set_session(&newest, session.record().remaining(now), *sent).unwrap_or_else(
            || {
                // The browser keeps its cookie; the session ends with it.
                telemetry::internal_error("session_at_response", &SessionTooLarge);
                Vec::new()
            },
        )
    }

    /// Returns the cookie of the newest session, which may be that of this request. Returns `None` if
    /// the browser has a newer one, or the session has ended.
    async fn newest_cookie(
        &self,
        session: &Session,
        reason: SetCookieReason,
        now: OffsetDateTime,
    ) -> Result<Option<String>, StoreError> {
        let (id, generation) = (session.record().id(), session.record().generation());
        let entry = self.read_refresh_entry(id).await?;
        if entry == Some(RefreshEntry::Ended) {
            return Ok(None);
        }
        Ok(match entry.and_then(RefreshEntry::newest_verified) {
            Some(last) if last.generation > generation => self
                .open_sealed_record(id, &last.session)
                .filter(|newest| !newest.is_past_limits(self.inner.lifetimes, now))
                .and_then(|newest| self.seal(&newest.touch(self.inner.lifetimes, now)).ok()),
            None if self.has_reached_newer(id, generation).await? => None,
            _ => self.cookie_of(session, reason, now),
        })
    }

    /// Returns the cookie of a request's session. If it cannot be resealed, the session stays valid
    /// under its old cookie.
    fn cookie_of(
        &self,
        session: &Session,
        reason: SetCookieReason,
        now: OffsetDateTime,
    ) -> Option<String> {
        match reason {
            SetCookieReason::Refreshed => session.cookie().map(str::to_owned),
            SetCookieReason::Resealed => {
                self.seal(&session.record().touch(self.inner.lifetimes, now)).ok()
            }
        }
    }
}
