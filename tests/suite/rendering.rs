//! Refusals rendered by the user: `.on_rejection` of every layer and route.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use tower_scalekit::auth_routes::AuthRejection;
use tower_scalekit::require_scope::ScopeRejection;
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::require_token::TokenRejection;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::{Rejected, RequireScope, RequireSession, RequireToken};

use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, Reading as _, World, request, send, set_cookies,
};

/// Our words in the default answer, whose status and headers stay.
fn own_words<R>(rejected: Rejected<'_, R>) -> Response<Bytes> {
    let words = format!("{} {} is not for you", rejected.method(), rejected.uri().path());
    let mut response = rejected.into_response();
    *response.body_mut() = words.into();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[tokio::test]
async fn the_layers_refusals_can_be_rendered_and_keep_their_reason_and_headers() {
    let world = World::new();
    let ok = || get(|| async {});
    let token = RequireToken::for_audience(&world.sandbox.scalekit(), "somebody").unwrap();
    let app = Router::new()
        .route("/admin", ok())
        .layer(RequireScope::all_roles(["admin"]).on_rejection(own_words))
        .route("/session", ok())
        .layer(RequireSession::new(&world.sessions).on_rejection(own_words))
        .merge(Router::new().route("/token", ok()).layer(token.on_rejection(own_words)));

    let answer = Browser::new(&app, &world.sandbox).open("/session?x").await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.location(), "/login?return_to=%2Fsession%3Fx");
    assert_eq!(answer.text(), "GET /session is not for you");
    assert!(matches!(answer.extensions().get(), Some(SessionRejection::NoSession(_))));
    answer.assert_private();

    let mut john = world.logged_in(JOHN).await.at(&app);
    let answer = john.fetch("/admin").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(answer.text(), "GET /admin is not for you");
    assert!(matches!(answer.extensions().get(), Some(ScopeRejection::Insufficient { .. })));

    let answer = send(&app, request(Method::DELETE, "/token", &[])).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(answer.text(), "DELETE /token is not for you");
    assert!(matches!(answer.extensions().get(), Some(TokenRejection::NoToken { .. })));

    // A session that cannot be renewed is rendered after the wait.
    world.advance(301);
    world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
    let answer = john.fetch("/session").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.text(), "GET /session is not for you");
}

#[tokio::test]
async fn the_routes_refusals_can_be_rendered_and_keep_their_reason_and_headers() {
    let world = World::new();
    let sessions = &world.sessions;
    let app = Router::new()
        .route_service("/login", sessions.login().on_rejection(own_words))
        .route_service("/auth/callback", sessions.callback().on_rejection(own_words))
        .route_service("/auth/refresh", sessions.refresh().on_rejection(own_words))
        .route_service("/logout", sessions.logout().on_rejection(own_words));
    let cross_site = [("sec-fetch-site", "cross-site")];
    for (method, target, headers, status) in [
        (Method::GET, "/login?error=x", &NAVIGATION[..], StatusCode::BAD_REQUEST),
        (Method::GET, "/auth/callback?code=1&state=2", &NAVIGATION, StatusCode::BAD_REQUEST),
        (Method::POST, "/auth/refresh", &FETCH, StatusCode::UNAUTHORIZED),
        (Method::POST, "/logout", &cross_site, StatusCode::FORBIDDEN),
    ] {
        let mut browser = Browser::new(&app, &world.sandbox);
        browser.plant(sessions.cookie_name(), "damaged");
        let answer = browser.send(method.clone(), target, headers).await;
        let path = target.split('?').next().unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.text(), format!("{method} {path} is not for you"));
        assert!(answer.extensions().get::<AuthRejection>().is_some());
        assert_eq!(set_cookies(answer.headers()), [""; 0]);
        answer.assert_private();
    }
}

#[tokio::test]
async fn a_renderer_sees_why_and_may_answer_anything() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let render = {
        let seen = Arc::clone(&seen);
        move |rejected: Rejected<'_, SessionRejection>| {
            let why = match rejected.reason() {
                SessionRejection::NoSession(_) => "none",
                SessionRejection::SessionOver(_) => "over",
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
    browser.plant(world.sessions.cookie_name(), "damaged");
    let answer = browser.send(Method::GET, "/", &[("user-agent", "x")]).await;
    assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
    let answer = Browser::new(&app, &world.sandbox).fetch("/").await;
    assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(*seen.lock().unwrap(), [("over", true), ("none", false)]);
}
