//! Changes of connections, and their events.

use serde_json::{Map, Value, json};

use crate::sandbox::respond::members;
use crate::sandbox::state::State;
use crate::sandbox::state::connections::SandboxConnection;

impl State {
    /// Returns whether that was a change, if the connection exists.
    pub(crate) fn set_connection_enabled(&mut self, id: &str, enabled: bool) -> Option<bool> {
        let connection = self.connections.get_mut(id)?;
        if connection.enabled == enabled {
            return Some(false);
        }
        connection.enabled = enabled;
        let mut data = event_data(connection);
        data.insert("enabled".to_owned(), enabled.into());
        data.insert("status".to_owned(), "COMPLETED".into());
        let event = match enabled {
            true => "organization.sso_enabled",
            false => "organization.sso_disabled",
        };
        self.webhooks.emit(event, data.into(), self.now);
        Some(true)
    }

    /// Returns whether the connection existed.
    pub(crate) fn delete_connection(&mut self, id: &str) -> bool {
        let Some(connection) = self.connections.get(id) else { return false };
        let data = event_data(connection);
        self.connections.all.retain(|known| known.id != id);
        self.webhooks.emit("organization.sso_deleted", data.into(), self.now);
        true
    }
}

fn event_data(connection: &SandboxConnection) -> Map<String, Value> {
    members(json!({
        "id": connection.id,
        "organization_id": connection.organization_id,
        "connection_type": connection.connection_type,
        "provider": connection.provider,
    }))
}
