//! Revocations of a login that is not a session yet: they apply to it from the position that was read
//! before it was verified.

use super::Sessions;
use super::cookie::record::SessionRecord;
use crate::revocation::RecordedPosition;
use crate::shared_store::StoreError;

impl Sessions {
    /// Returns the current revocation position. Read before a login is verified at the environment, so
    /// that revocations during the verification apply to it.
    ///
    /// # Errors
    /// Returned when the store has been unavailable since this process started: other replicas would
    /// end the session at once if its user was ever revoked.
    pub(crate) async fn revocation_position(&self) -> Result<RecordedPosition, StoreError> {
        self.inner.revocations.position().await
    }

    /// Whether a login, whose session has not begun yet, has been revoked.
    pub(super) async fn is_login_revoked(&self, record: &SessionRecord) -> bool {
        self.inner.revocations.read_if_due().await;
        record.principal().is_none_or(|principal| {
            self.inner.revocations.is_revoked(&record.revocable(&principal))
        })
    }
}
