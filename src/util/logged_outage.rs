//! Errors whose cause has a log line of its own.

use std::error::Error;

/// The source of the errors of an outage that was logged.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct LoggedOutage(pub(crate) Box<dyn Error + Send + Sync>);

impl LoggedOutage {
    /// Whether an error has such a source.
    pub(crate) fn is_cause_of(mut error: &(dyn Error + 'static)) -> bool {
        loop {
            if error.is::<Self>() {
                return true;
            }
            match error.source() {
                Some(source) => error = source,
                None => return false,
            }
        }
    }
}
