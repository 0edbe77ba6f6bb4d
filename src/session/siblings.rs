//! Detects several `Sessions` of a process that replace each other's cookie: none would open what
//! the other has sealed, so that every login would start another one.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Inner, Sessions};
use crate::util::telemetry;

/// All `Sessions` of this process.
static BUILT: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

impl Sessions {
    /// Logs if other `Sessions` have the same cookie, and another secret or context.
    pub(super) fn check_siblings(&self) {
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        built.retain(|other| other.strong_count() > 0);
        if built.iter().filter_map(Weak::upgrade).any(|other| self.conflicts_with(&other)) {
            telemetry::cookie_of_several_sessions(self.cookie_name());
        }
        built.push(Arc::downgrade(&self.inner));
    }

    fn conflicts_with(&self, other: &Inner) -> bool {
        self.cookie_name() == other.cookies.session_name()
            && self.origins().iter().any(|own| {
                other.paths.origins.iter().any(|origin| origin.host_name() == own.host_name())
            })
            && !self.sealing_keys().has_common_key(&other.keys)
    }
}
