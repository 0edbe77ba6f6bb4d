//! `/api/me`: the request's principal as JSON, without absent members.

use axum::Json;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tower_scalekit::Session;

pub async fn me(session: Session) -> Json<Value> {
    let (user, principal) = (session.user(), session.principal());
    let mut me = json!({
        "subject": principal.subject(),
        "email": Some(&user.email).filter(|email| !email.is_empty()),
        "organization_id": principal.organization_id(),
        "session_id": principal.session_id(),
        "client_id": principal.client_id(),
        "roles": principal.roles(),
        "permissions": principal.permissions(),
        "scopes": principal.scopes(),
        "expires_at": principal.expires_at().format(&Rfc3339).ok(),
    });
    if let Some(members) = me.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    Json(me)
}
