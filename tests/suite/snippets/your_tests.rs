use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode, header};
use tower::ServiceExt;
use tower_scalekit::{RequireSession, Sandbox, Session, SessionSecret, Sessions};

#[tokio::test]
async fn a_page_requires_a_session() -> Result<(), Box<dyn std::error::Error>> {
    let sandbox = Sandbox::new();
    let sessions = Sessions::builder(sandbox.scalekit())
        .secret(SessionSecret::generate()?)
        .redirect_uri("https://app.example.com/auth/callback")
        .build()?;
    let app = Router::new()
        .route("/dashboard", get(|session: Session| async move { session.user().email.clone() }))
        .route_layer(RequireSession::new(&sessions));

    let cookie = sandbox.session_cookie(&sessions, "jane@acme.test").await;
    let request = Request::get("/dashboard").header(header::COOKIE, cookie).body(Body::empty())?;
    assert_eq!(app.oneshot(request).await?.status(), StatusCode::OK);
    Ok(())
}
