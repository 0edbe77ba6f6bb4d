//! `POST /deliveries`: sends a message again, or an event to try an endpoint with.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::json;

use crate::sandbox::pages;
use crate::sandbox::respond::{redirect, timestamp};
use crate::sandbox::state::State;

const REJECTED: &str = "Nothing was sent";

impl State {
    /// The first organization was updated; nothing of it has changed.
    fn emit_test_event(&mut self) {
        if let Some(first) = self.users.organizations.first() {
            let data = json!({
                "id": first.id,
                "display_name": first.display_name,
                "external_id": first.external_id,
                "region_code": "US",
                "update_time": timestamp(self.now),
            });
            self.webhooks.emit("organization.updated", data, self.now);
        }
    }
}

pub(crate) fn submit(state: &mut State, request: &Request<Bytes>) -> Response<Bytes> {
    pages::handle_form(request, REJECTED, |form| {
        if form.get("event").is_some() {
            state.emit_test_event();
        } else if !state.webhooks.redeliver(form.get("message_id").unwrap_or_default(), state.now) {
            return pages::problem(StatusCode::NOT_FOUND, REJECTED, "The message does not exist.");
        }
        redirect(StatusCode::SEE_OTHER, "/deliveries")
    })
}
