//! `/api/me`: the request's principal and the e-mail address of its user, as JSON.

use axum::Json;
use serde::Serialize;
use tower_scalekit::Session;
use tower_scalekit::token::Principal;

#[derive(Serialize)]
pub struct Me {
    #[serde(flatten)]
    principal: Principal,
    #[serde(skip_serializing_if = "String::is_empty")]
    email: String,
}

pub async fn me(session: Session) -> Json<Me> {
    Json(Me { principal: session.principal().clone(), email: session.user().email.clone() })
}
