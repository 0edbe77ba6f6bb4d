use crate::error::{ConfigError, ConfigProblem};
use crate::session::Sessions;

#[derive(Debug)]
pub(super) struct Paths {
    pub(super) send: String,
    pub(super) resend: String,
    pub(super) verify: String,
    pub(super) switch: String,
}

/// The app's own pages.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) start: String,
    pub(super) code: String,
}

impl Paths {
    pub(super) fn below(prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/');
        Self {
            send: format!("{prefix}/send"),
            resend: format!("{prefix}/resend"),
            verify: format!("{prefix}/verify"),
            switch: format!("{prefix}/switch"),
        }
    }

    pub(super) fn all(&self) -> [&str; 4] {
        [&self.send, &self.resend, &self.verify, &self.switch]
    }

    /// Checks that each route has its own path: the later one would never be reached.
    pub(super) fn check(&self, sessions: &Sessions) -> Result<(), ConfigError> {
        let taken = sessions.route_paths();
        if self.all().iter().any(|path| taken.contains(path)) {
            let reason = "must be a plain path such as /passwordless, of no other route";
            return Err(ConfigProblem::invalid("path", reason).into());
        }
        Ok(())
    }
}
