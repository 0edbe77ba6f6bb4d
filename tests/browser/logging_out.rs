//! Logout from the application and from the environment.

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use axum::routing::get;
use tokio::net::TcpListener;
use tower_scalekit::{RequireSession, Sandbox, Session, SessionSecret, Sessions};

use crate::app::{App, Environment};
use crate::browser::Browser;

/// An app behind a proxy that removes the `Sec-Fetch` headers.
async fn serve_without_fetch_metadata(sandbox: &Sandbox) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sessions = Sessions::builder(sandbox.scalekit())
        .secret(SessionSecret::generate().unwrap())
        .redirect_uri(format!("{url}/auth/callback"))
        .build()
        .unwrap();
    let app = Router::new()
        .route("/", get(|| async { "start page" }))
        .route("/me", get(|session: Session| async move { session.user().email.clone() }))
        .route_layer(RequireSession::new(&sessions).optional())
        .merge(sessions.routes())
        .layer(map_request(|mut request: Request| async {
            for name in ["sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user"] {
                request.headers_mut().remove(name);
            }
            request
        }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_is_confirmed_ends_both_sessions() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = serve_without_fetch_metadata(&environment.sandbox).await;
    browser.go(&format!("{app}/login?return_to=/me")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&format!("{app}/me")).await;

    browser.go(&format!("{app}/logout")).await;
    browser.shows(&["Log out?"]).await;
    browser.click("form[action='/logout'] button").await;
    browser.arrives_at(&format!("{app}/")).await;
    browser.shows(&["start page"]).await;
    assert_eq!(browser.cookies_named("scalekit_session").await.len(), 0);
    assert_eq!(environment.sandbox.users().revoke_sessions("jane@acme.test"), 0, "none was alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_both_sessions_and_returns_to_the_start_page() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;

    browser.click("main form[action='/logout'] button").await;
    browser.arrives_at(&app.address("/")).await;
    browser.shows(&["Log in", "Sign up"]).await;
    assert_eq!(browser.cookies_named("saaskit_").await.len(), 0);
    browser.go(&app.address("/dashboard")).await;
    browser.sees_login_page().await;
    assert_eq!(environment.sandbox.users().revoke_sessions("jane@acme.test"), 0, "none was alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn back_after_a_logout_leads_to_the_login() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.click("main form[action='/logout'] button").await;
    browser.arrives_at(&app.address("/")).await;
    browser.back().await;
    browser.sees_login_page().await;
}

/// Restores the page as a browser does that has kept it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_page_is_hidden_and_requested_again() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    environment.sandbox.users().revoke_sessions("jane@acme.test");
    for cookie in browser.cookies_named("saaskit_").await {
        browser.forget(cookie.name()).await;
    }
    let restored = "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })) \
                    && document.documentElement.hidden";
    assert_eq!(browser.evaluate(restored).await, true);
    browser.sees_login_page().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_the_environment_alone_needs_no_second_login() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;

    browser.forget("saaskit_session").await;
    browser.go(&app.address("/dashboard")).await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.shows(&["Hello, Jane"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_another_site_does_not_log_out() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;

    // Another host name is another site, even on the same server.
    let elsewhere = environment.server.environment_url().replace("127.0.0.1", "localhost");
    browser.go(&elsewhere).await;
    browser.follow_made_up_link(&app.address("/logout")).await;
    browser.shows(&["This request was not sent by a page of this app"]).await;
    assert_eq!(browser.status().await, 403);
    browser.go(&app.address("/dashboard")).await;
    browser.shows(&["Hello, Jane"]).await;
}
