//! Revocations of a login that is not a session yet: they apply to it from the position that was read
//! before it was verified.

use super::cookie::record::SessionRecord;
use super::{BeginSessionError, Sessions};
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

    /// Returns an error if a session that has not begun yet was revoked since its login was verified.
    pub(super) async fn reject_revoked(
        &self,
        record: &SessionRecord,
    ) -> Result<(), BeginSessionError> {
        self.inner.revocations.read_if_due().await;
        match record.principal() {
            Some(principal)
                if !self.inner.revocations.is_revoked(&record.revocable(&principal)) =>
            {
                Ok(())
            }
            _ => Err(BeginSessionError::Revoked),
        }
    }
}
