//! Customized rejections: `.on_rejection` of every layer and route.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::RejectionContext;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::require_scope::ScopeRejection;
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::require_token::TokenRejection;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::{RequireScope, RequireSession, RequireToken};

use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, Reading as _, World, request, send, set_cookies,
};

/// A custom body in the default response, whose status and headers are kept.
fn custom_response<R>(rejected: RejectionContext<'_, R>) -> Response<Bytes> {
    let text = format!("{} {} is not for you", rejected.method(), rejected.uri().path());
    let mut response = rejected.into_default_response();
    *response.body_mut() = text.into();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[tokio::test]
async fn rejections_of_layers_can_be_customized_and_keep_their_reason_and_headers() {
    let world = World::new();
    let ok = || get(|| async {});
    let token = RequireToken::for_audience(&world.sandbox.scalekit(), "api").unwrap();
    let app = Router::new()
        .route("/admin", ok())
        .layer(RequireScope::all_roles(["admin"]).on_rejection(custom_response))
        .route("/session", ok())
        .layer(RequireSession::new(&world.sessions).on_rejection(custom_response))
        .merge(Router::new().route("/token", ok()).layer(token.on_rejection(custom_response)));

    let response = Browser::new(&app, &world.sandbox).open("/session?x").await;
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(response.location(), "/login?return_to=%2Fsession%3Fx");
    assert_eq!(response.text(), "GET /session is not for you");
    assert!(matches!(response.extensions().get(), Some(SessionRejection::MissingSession(_))));
    response.assert_private();

    let mut john = world.logged_in(JOHN).await.at(&app);
    let response = john.fetch("/admin").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.text(), "GET /admin is not for you");
    assert!(matches!(response.extensions().get(), Some(ScopeRejection::Insufficient { .. })));

    let response = send(&app, request(Method::DELETE, "/token", &[])).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    assert_eq!(response.text(), "DELETE /token is not for you");
    assert!(matches!(response.extensions().get(), Some(TokenRejection::MissingToken { .. })));

    // A session that cannot be refreshed is rejected after the wait.
    world.advance(301);
    world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
    let response = john.fetch("/session").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.header("retry-after").is_some());
    assert_eq!(response.text(), "GET /session is not for you");
}

#[tokio::test]
async fn rejections_of_routes_can_be_customized_and_keep_their_reason_and_headers() {
    let world = World::new();
    let sessions = &world.sessions;
    let app = Router::new()
        .route_service("/login", sessions.login().on_rejection(custom_response))
        .route_service("/auth/callback", sessions.callback().on_rejection(custom_response))
        .route_service("/auth/refresh", sessions.refresh().on_rejection(custom_response))
        .route_service("/logout", sessions.logout().on_rejection(custom_response));
    let cross_site = [("sec-fetch-site", "cross-site")];
    for (method, target, headers, status) in [
        (Method::GET, "/login?error=x", &NAVIGATION[..], StatusCode::BAD_REQUEST),
        (Method::GET, "/auth/callback?code=1&state=2", &NAVIGATION, StatusCode::BAD_REQUEST),
        (Method::POST, "/auth/refresh", &FETCH, StatusCode::UNAUTHORIZED),
        (Method::POST, "/logout", &cross_site, StatusCode::FORBIDDEN),
    ] {
        let mut browser = Browser::new(&app, &world.sandbox);
        browser.put_cookie(sessions.cookie_name(), "damaged");
        let response = browser.send(method.clone(), target, headers).await;
        let path = target.split('?').next().unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.text(), format!("{method} {path} is not for you"));
        assert!(response.extensions().get::<RouteRejection<LoginError>>().is_some());
        assert_eq!(set_cookies(response.headers()), [""; 0]);
        response.assert_private();
    }
}

#[tokio::test]
async fn on_rejection_gets_the_reason_and_may_return_any_response() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let render = {
        let seen = Arc::clone(&seen);
        move |rejected: RejectionContext<'_, SessionRejection>| {
            let why = match rejected.rejection() {
                SessionRejection::MissingSession(_) => "none",
                SessionRejection::InvalidSession(_) => "over",
                _ => "other",
            };
            let agent = rejected.headers().get("user-agent").is_some();
            seen.lock().unwrap().push((why, agent));
            Response::builder().status(StatusCode::IM_A_TEAPOT).body(Bytes::new()).unwrap()
        }
    };
    let app = Router::new()
        .route("/", get(|| async {}))
        .layer(RequireSession::new(&world.sessions).on_rejection(render));
    let mut browser = world.logged_in(JANE).await.at(&app);
    assert_eq!(browser.fetch("/").await.status(), StatusCode::OK);
    browser.put_cookie(world.sessions.cookie_name(), "damaged");
    let response = browser.send(Method::GET, "/", &[("user-agent", "x")]).await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    let response = Browser::new(&app, &world.sandbox).fetch("/").await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(*seen.lock().unwrap(), [("over", true), ("none", false)]);
}
