//! Changes of connections, and their events.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::sandbox::state::State;
use crate::sandbox::state::connections::SandboxConnection;

impl State {
    /// Returns whether that was a change, if the connection exists.
    pub(crate) fn set_connection_enabled(
        &mut self,
        id: &str,
        enabled: bool,
        now: OffsetDateTime,
    ) -> Option<bool> {
        let connection = self.connections.get_mut(id)?;
        let changed = connection.enabled != enabled;
        connection.enabled = enabled;
        if changed {
            let event = match enabled {
                true => "organization.sso_enabled",
                false => "organization.sso_disabled",
            };
            let mut data = event_data(connection);
            if let Some(data) = data.as_object_mut() {
                data.insert("enabled".to_owned(), json!(enabled));
                data.insert("status".to_owned(), json!("COMPLETED"));
            }
            self.webhooks.emit(event, data, now);
        }
        Some(changed)
    }

    /// Returns whether the connection existed.
    pub(crate) fn delete_connection(&mut self, id: &str, now: OffsetDateTime) -> bool {
        let Some(connection) = self.connections.get(id) else { return false };
        let data = event_data(connection);
        self.connections.0.retain(|known| known.id != id);
        self.webhooks.emit("organization.sso_deleted", data, now);
        true
    }
}

fn event_data(connection: &SandboxConnection) -> Value {
    json!({
        "id": connection.id,
        "organization_id": connection.organization_id,
        "connection_type": connection.connection_type,
        "provider": connection.provider,
    })
}
