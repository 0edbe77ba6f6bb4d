use std::fmt;
use std::time::Duration;

use super::{Revocations, Staleness};
use crate::clock::Clock;
use crate::shared_store::{StoreScope, TimedStore};

/// The longest that a session can last whose settings are not known here: 400 days, and a day for
/// clocks.
const LONGEST_SESSION: Duration = Duration::from_secs(401 * 24 * 60 * 60);

/// Identifies the sessions of an app among all others in a store. Those without a name are
/// distinguished by whether there is a login hook.
pub(crate) fn owner<'a>(
    environment_url: &'a str,
    client_id: &'a str,
    name: Option<&'a str>,
    has_login_hook: bool,
) -> [&'a str; 4] {
    let [kind, name] = match (name, has_login_hook) {
        (Some(name), _) => ["named", name],
        (None, true) => ["unnamed", "login hook"],
        (None, false) => ["unnamed", "tokens"],
    };
    [environment_url, client_id, kind, name]
}

/// The scope of what an owner has in a store.
pub(crate) fn scope(owner: [&str; 4]) -> StoreScope {
    StoreScope::new(["sessions"].into_iter().chain(owner))
}

/// The scope of the revocations of an app. A service without sessions does not know whether the app has
/// a login hook, and would read an empty log.
pub(crate) fn revocation_scope(
    environment_url: &str,
    client_id: &str,
    name: Option<&str>,
) -> StoreScope {
    scope(owner(environment_url, client_id, name, false))
}

/// Builds the [`Revocations`] of an app whose [`Sessions`](crate::Sessions) are in other processes.
/// Created by [`Scalekit::revocations`](crate::Scalekit::revocations).
#[must_use = "revocations are read once they are built"]
pub struct RevocationsBuilder {
    environment_url: String,
    client_id: String,
    clock: Clock,
    store: TimedStore,
    sessions_name: Option<String>,
    staleness: Staleness,
}

impl RevocationsBuilder {
    pub(crate) fn new(
        environment_url: &str,
        client_id: &str,
        clock: Clock,
        store: TimedStore,
    ) -> Self {
        Self {
            environment_url: environment_url.to_owned(),
            client_id: client_id.to_owned(),
            clock,
            store,
            sessions_name: None,
            staleness: Staleness::default(),
        }
    }

    /// Sets the client ID of the app that revokes. Default: that of the environment's connection. With
    /// another client ID or [name](Self::sessions_name) than the app's, the log is another one, which
    /// is empty.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// Sets the [name](crate::session::SessionsBuilder::name) of the sessions of the app that revokes.
    /// Default: none.
    pub fn sessions_name(mut self, name: impl Into<String>) -> Self {
        self.sessions_name = Some(name.into());
        self
    }

    /// Sets for how long this replica may fail to read revocations before they count as stale, which
    /// it reports with the log line `revocations_stale` and the gauge
    /// `tower_scalekit_revocations_stale`. Default: 60 s.
    ///
    /// If the log has revocations that this replica has not read yet, requests are rejected (503) in
    /// any case.
    pub fn max_revocation_staleness(mut self, duration: Duration) -> Self {
        self.staleness.after = duration;
        self
    }

    /// Rejects requests (503) while revocations are stale, and until they were read once. Default:
    /// requests are authorized by the revocations that this replica knows.
    pub fn reject_on_stale_revocations(mut self) -> Self {
        self.staleness.rejects = true;
        self
    }

    /// Creates the revocations. They are read with the first request.
    #[must_use]
    pub fn build(self) -> Revocations {
        let Self { environment_url, client_id, clock, store, sessions_name, staleness } = self;
        let scope = revocation_scope(&environment_url, &client_id, sessions_name.as_deref());
        Revocations::new(store, &scope, clock, true, staleness, LONGEST_SESSION)
    }
}

impl fmt::Debug for RevocationsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationsBuilder")
            .field("environment_url", &self.environment_url)
            .field("client_id", &self.client_id)
            .field("sessions_name", &self.sessions_name)
            .finish_non_exhaustive()
    }
}
