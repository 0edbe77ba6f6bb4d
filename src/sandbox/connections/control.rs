//! Controls of connections.

use std::sync::Arc;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::connections::SandboxConnection;

/// Connections. Returned by [`Sandbox::connections`](crate::sandbox::Sandbox::connections).
#[derive(Clone, Copy, Debug)]
pub struct Connections<'s> {
    pub(crate) environment: &'s Arc<Environment>,
}

impl Connections<'_> {
    /// All connections.
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let acme = sandbox.connections().list().remove(0);
    /// assert!(acme.enabled && acme.domains == ["acme.test"]);
    /// assert!(sandbox.connections().set_enabled(&acme.id, false));
    /// assert!(!sandbox.connections().get(&acme.id).unwrap().enabled);
    /// ```
    #[must_use]
    pub fn list(&self) -> Vec<SandboxConnection> {
        self.environment.lock().connections.all.clone()
    }

    /// The connection with this id (`conn_…`).
    #[must_use]
    pub fn get(&self, id: &str) -> Option<SandboxConnection> {
        self.environment.lock().connections.get(id).cloned()
    }

    /// Enables or disables a connection, and returns whether it exists. A change is an event.
    pub fn set_enabled(&self, connection_id: &str, enabled: bool) -> bool {
        self.environment.lock().set_connection_enabled(connection_id, enabled).is_some()
    }
}
