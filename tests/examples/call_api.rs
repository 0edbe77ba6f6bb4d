//! `call_api`: a session with claims of the app, and calls with its token.

use http::StatusCode;
use serde_json::Value;

use crate::visitor::Visitor;
use crate::watched::{JANE, Watched};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_called_with_the_token_of_the_user() {
    let app = Watched::start("call_api", &[]).await;
    let me = app.address("/api/me");
    app.log_in("/login").await;
    let response = app.visitor.get(&me).await;
    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    let jane = app.sandbox.users().get(JANE).unwrap();
    assert_eq!((&body["email"], &body["plan"]), (&JANE.into(), &"team".into()), "{body}");
    assert_eq!(body["report"]["reader"], jane.id, "{body}");
    assert!(body["token_expires_at"].as_i64().is_some(), "{body}");

    let nobody = Visitor::new(app.secrets.clone());
    assert!(nobody.get(&me).await.status().is_redirection());
    let reports = app.visitor.get(&app.address("/reports")).await;
    assert_eq!(reports.status(), StatusCode::UNAUTHORIZED, "a session is no token");
    app.assert_discreet(&["login_completed"], 10).await;
}
