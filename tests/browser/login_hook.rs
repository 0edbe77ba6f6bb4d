//! Apps with a login hook, and with tokens for calls in the user's name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt as _};
use tower_scalekit::sandbox::Endpoint;
use tower_scalekit::session::{LoginDecision, LoginHookError, SessionsBuilder, VerifiedLogin};
use tower_scalekit::{
    AddAccessToken, Principal, RequireSession, RequireToken, Sandbox, Session, SessionSecret,
    Sessions,
};

use crate::app::Environment;
use crate::browser::Browser;

const JANE: &str = "jane@acme.test";
const JOHN: &str = "john@acme.test";

/// Serves an app with these sessions, and returns its URL.
async fn serve<F>(sandbox: &Sandbox, routes: Router, change: F) -> String
where
    F: FnOnce(SessionsBuilder) -> SessionsBuilder,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    sandbox.register_redirect_uri(&format!("{url}/auth/callback"));
    let sessions = Sessions::builder(sandbox.scalekit())
        .secret(SessionSecret::generate().unwrap())
        .redirect_uri(format!("{url}/auth/callback"));
    let sessions = change(sessions).build().unwrap();
    let app = routes.route_layer(RequireSession::new(&sessions)).merge(sessions.routes());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn greeting() -> Router {
    let page = async |session: Session| {
        format!("Hello {}, plan {}", session.user().email, session.app_claims()["plan"])
    };
    Router::new().route("/", get(page))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_completes_a_login_whose_hook_was_unavailable() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let is_up = Arc::new(AtomicBool::new(false));
    let database = Arc::clone(&is_up);
    let url = serve(&environment.sandbox, greeting(), |sessions| {
        sessions.on_login(move |_| {
            std::future::ready(match database.load(Ordering::SeqCst) {
                true => Ok(LoginDecision::accept().app_claim("plan", "pro")),
                false => Err(LoginHookError::unavailable("the database is away")),
            })
        })
    });
    let url = url.await;
    browser.go(&url).await;
    browser.pick(JANE).await;
    browser.shows(&["The login cannot be completed at the moment. Reload this page"]).await;
    assert_eq!(browser.status().await, 503);
    is_up.store(true, Ordering::SeqCst);
    browser.reload().await;
    browser.arrives_at(&format!("{url}/")).await;
    browser.shows(&["Hello jane@acme.test, plan \"pro\""]).await;
    assert_eq!(environment.sandbox.requests().count(Endpoint::Token), 1, "a code works once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_user_logs_in_with_another_account() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let url = serve(&environment.sandbox, greeting(), |sessions| {
        sessions.on_login(|login: VerifiedLogin| {
            std::future::ready(match login.identity().user().email.as_str() {
                JANE => Err(LoginHookError::Denied),
                _ => Ok(LoginDecision::accept().app_claim("plan", "free")),
            })
        })
    });
    let url = url.await;
    browser.go(&url).await;
    browser.pick(JANE).await;
    browser.shows(&["This account is not allowed to use the app"]).await;
    assert_eq!(browser.status().await, 403);
    browser.click_link("Log in again").await;
    // Jane's session at the environment goes on, and is not used.
    browser.pick(JOHN).await;
    browser.arrives_at(&format!("{url}/")).await;
    browser.shows(&["Hello john@acme.test, plan \"free\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_calls_another_api_in_the_users_name() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let sandbox = &environment.sandbox;
    let api = Router::new()
        .route("/today", get(async |principal: Principal| principal.permissions().join(" ")))
        .route_layer(RequireToken::for_audience(&sandbox.scalekit(), sandbox.client_id()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, api).await });

    let client = ServiceBuilder::new()
        .layer(AddAccessToken::new([&origin]).unwrap())
        .service(Client::builder(TokioExecutor::new()).build_http());
    let report = async move |session: Session| -> Response {
        let mut request = Request::get(format!("{origin}/today")).body(Body::empty()).unwrap();
        request.extensions_mut().insert(session);
        match client.clone().oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    };
    let routes = Router::new().route("/", get(report));
    let mut sizes = Vec::new();
    for retains in [true, false] {
        let url = serve(sandbox, routes.clone(), |sessions| match retains {
            true => sessions.retain_access_token(),
            false => sessions,
        });
        let url = url.await;
        browser.forget_everything().await;
        browser.go(&url).await;
        browser.pick(JANE).await;
        browser.arrives_at(&format!("{url}/")).await;
        browser
            .shows(&[if retains { "workspace_data:write" } else { "retain_access_token" }])
            .await;
        let cookies = browser.cookies_named("scalekit_session").await;
        sizes.push(cookies.iter().map(|cookie| cookie.value().len()).sum::<usize>());
    }
    println!("session cookie with and without access token: {sizes:?} bytes");
    assert!((300..700).contains(&(sizes[0] - sizes[1])), "{sizes:?}");
}
