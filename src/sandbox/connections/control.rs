//! Controls of connections.

use crate::sandbox::Sandbox;
use crate::sandbox::state::connections::Connection;

impl Sandbox {
    /// All connections.
    ///
    /// ```
    /// use tower_scalekit::sandbox::Sandbox;
    ///
    /// let sandbox = Sandbox::new();
    /// let acme = sandbox.connections().remove(0);
    /// assert!(acme.enabled && acme.domains == ["acme.test"]);
    /// assert!(sandbox.set_connection_enabled(&acme.id, false));
    /// assert!(!sandbox.connection(&acme.id).unwrap().enabled);
    /// ```
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.environment.lock().connections.0.clone()
    }

    /// The connection with this id (`conn_…`).
    #[must_use]
    pub fn connection(&self, id: &str) -> Option<Connection> {
        self.environment.lock().connections.get(id).cloned()
    }

    /// Turns a connection on or off, and says whether there is such a one. A change is an event.
    pub fn set_connection_enabled(&self, connection_id: &str, enabled: bool) -> bool {
        let now = self.environment.now();
        self.environment.lock().set_connection_enabled(connection_id, enabled, now).is_some()
    }
}
