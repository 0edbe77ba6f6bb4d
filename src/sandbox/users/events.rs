//! Events of users.

use serde_json::json;

use super::details::common;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::users::SandboxUser;

impl State {
    /// Emits an event of the user's membership of the first organization.
    pub(crate) fn emit_membership(&mut self, event_type: &str, member: &SandboxUser) {
        let organization = self.users.organization(&member.organization_id);
        let data = json!({
            "organization": without_nulls(json!({
                "id": member.organization_id,
                "display_name": member.organization_name,
                "external_id": organization.and_then(|known| known.external_id.as_deref()),
            })),
            "user": common(self, member),
        });
        self.webhooks.emit(event_type, data, self.now);
    }
}
