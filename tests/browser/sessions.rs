//! Pages and cookies of a logged-in user.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::Request;
use time::{Duration, OffsetDateTime};
use tower_scalekit::Sandbox;
use tower_scalekit::http_client::{HttpClient as _, ReqwestClient};
use tower_scalekit::sandbox::{DeliveryState, TokenKind};

use crate::app::{App, Environment};
use crate::browser::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_access_token_is_refreshed_once_transparently() {
    let Some(browser) = Browser::open().await else { return };
    let sandbox = Sandbox::new();
    let login = AtomicBool::new(true);
    sandbox.tokens().edit(TokenKind::AccessToken, move |token| {
        if login.swap(false, Ordering::SeqCst) {
            let soon = OffsetDateTime::now_utc() + Duration::seconds(2);
            token.claims.insert("exp".to_owned(), soon.unix_timestamp().into());
        }
    });
    let environment = Environment::serve(sandbox).await;
    let refreshes = || environment.sandbox.requests().refreshes();
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    let expired_at = OffsetDateTime::now_utc() + Duration::seconds(2);

    // Meanwhile the user opens another page.
    let dashboard = browser.tab().await;
    let other = browser.new_tab().await;
    while OffsetDateTime::now_utc() < expired_at {
        browser.go(environment.server.environment_url()).await;
    }
    browser.switch_to(&dashboard).await;
    for response in browser.fetch("/api/me", 6).await {
        assert_eq!(response["status"], 200, "{response}");
        assert_eq!(response["body"]["email"], "jane@acme.test");
    }
    assert_eq!(refreshes(), 1, "six requests at once");
    for _ in 0..2 {
        browser.reload().await;
        browser.arrives_at(&app.address("/dashboard")).await;
        browser.shows(&["Hello, Jane"]).await;
    }
    browser.switch_to(&other).await;
    browser.go(&app.address("/dashboard")).await;
    browser.shows(&["Hello, Jane"]).await;
    assert_eq!(refreshes(), 1, "the new session is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_environment_ended_requires_a_login_at_its_refresh() {
    let Some(browser) = Browser::open().await else { return };
    let sandbox =
        Sandbox::builder().access_token_lifetime(std::time::Duration::from_secs(2)).build();
    let environment = Environment::serve(sandbox).await;
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    assert_eq!(environment.sandbox.users().revoke_sessions("jane@acme.test"), 1);
    let expired_at = OffsetDateTime::now_utc() + Duration::seconds(2);
    while OffsetDateTime::now_utc() < expired_at {
        browser.reload().await;
    }
    browser.sees_login_page().await;
    browser.pick("john@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.shows(&["Hello, John"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_removed_from_the_directory_is_logged_out() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with_webhooks(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;

    remove_jane(&environment).await;
    browser.reload().await;
    browser.sees_login_page().await;
}

/// Removes Jane from her directory, which ends her sessions of the app and of the environment.
async fn remove_jane(environment: &Environment) {
    let sandbox = &environment.sandbox;
    let acme = sandbox.organizations().list().remove(0);
    let users = sandbox.directories().users(&sandbox.directories().first_id(&acme.id).unwrap());
    let jane = users.iter().find(|user| user.email == "jane@acme.test").unwrap();
    assert!(sandbox.directories().remove_user(&jane.id));
    assert_eq!(sandbox.webhooks().deliver_due().await, 1);
    assert_eq!(sandbox.webhooks().deliveries()[0].state, DeliveryState::Delivered);
    // Otherwise the environment would log the user in again without a prompt.
    assert_eq!(sandbox.users().revoke_sessions("jane@acme.test"), 1);
}

/// Chromium keeps a page with `no-store` unless a cookie changes. Here none does: the session is
/// ended by the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_the_browser_has_kept_is_requested_again_after_its_session_has_ended() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with_webhooks(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    let note = "addEventListener('pageshow', (event) => sessionStorage.restored = event.persisted)";
    browser.evaluate(note).await;
    browser.follow_made_up_link(&app.address("/")).await;
    browser.arrives_at(&app.address("/")).await;

    remove_jane(&environment).await;
    browser.back().await;
    browser.sees_login_page().await;
    browser.go(&app.address("/")).await;
    assert_eq!(browser.evaluate("sessionStorage.restored").await, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_json_and_navigations_the_login_page() {
    let Some(browser) = Browser::open().await else { return };
    let app = App::alone();
    browser.go(&app.address("/")).await;
    let response = browser.fetch("/api/me", 1).await.remove(0);
    assert_eq!(response["status"], 401);
    assert_eq!(response["redirected"], false);
    assert_eq!(response["body"]["error"], "login_required");
    browser.arrives_at(&app.address("/")).await;
    browser.go(&app.address("/api/me")).await;
    browser.sees_login_page().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_have_the_documented_attributes() {
    let Some(browser) = Browser::open().await else { return };
    let app = App::alone();
    browser.go(&app.address("/dashboard")).await;
    browser.sees_login_page().await;
    let attempts = browser.cookies_named("saaskit_login_").await;
    assert_eq!(attempts.len(), 1, "one login is under way");

    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    // Cookies ignore ports: the sandbox's are included.
    let mut cookies = browser.cookies_named("").await;
    let recent = cookies.extract_if(.., |cookie| cookie.name().starts_with("saaskit_recent_"));
    assert_eq!(recent.count(), 1, "for a minute: where the login ended");
    let sessions: Vec<_> =
        cookies.iter().filter(|cookie| cookie.name() == "saaskit_session").collect();
    assert_eq!(sessions.len(), 1, "{cookies:?}");
    assert_eq!(cookies.iter().filter(|c| c.name().starts_with("saaskit_")).count(), 1);
    assert_eq!(cookies.len(), 2, "the environment's has another name: {cookies:?}");
    for cookie in cookies.iter().chain(&attempts) {
        assert_eq!(cookie.http_only(), Some(true), "{}", cookie.name());
        assert_eq!(cookie.path(), Some("/"), "{}", cookie.name());
        assert_eq!(cookie.secure(), Some(false), "{}: on http, Safari drops it", cookie.name());
        assert_eq!(cookie.same_site().map(|same| same.to_string()).as_deref(), Some("Lax"));
        assert!(cookie.to_string().len() <= 4096, "{}", cookie.name());
    }
    assert_eq!(browser.evaluate("document.cookie").await, "", "scripts see none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_for_admins_names_the_missing_permission() {
    let Some(browser) = Browser::open().await else { return };
    let app = App::alone();
    browser.go(&app.address("/api/admin")).await;
    browser.pick("john@acme.test").await;
    browser.arrives_at(&app.address("/api/admin")).await;
    assert_eq!(browser.status().await, 403);
    browser.shows(&["This page is not for you", "workspace_data:write"]).await;

    browser.go(&app.address("/dashboard")).await;
    browser.click("header form[action='/logout'] button").await;
    browser.arrives_at(&app.address("/")).await;
    browser.go(&app.address("/api/admin")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/api/admin")).await;
    assert_eq!(browser.status().await, 200);
    browser.shows(&["Jane Roe may write workspace data"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_route_serves_pages_scripts_and_api_clients() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    let url = app.address("/api/admin");
    let api = async |headers: &[(&'static str, &str)]| {
        let request = headers
            .iter()
            .fold(Request::get(&url), |request, (name, value)| request.header(*name, *value));
        ReqwestClient::new().unwrap().send(request.body(Bytes::new()).unwrap()).await.unwrap()
    };
    assert_eq!(api(&[]).await.headers()["www-authenticate"], "Bearer");

    browser.go(&url).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&url).await;
    browser.shows(&["Jane Roe may write workspace data"]).await;
    let response = browser.fetch("/api/admin", 1).await.remove(0);
    assert_eq!(response["body"]["message"], "Jane Roe may write workspace data");

    let bearer = |email| format!("Bearer {}", environment.sandbox.tokens().access_token(email));
    let cookie = browser.cookies_named("saaskit_session").await.remove(0);
    let cookie = format!("{}={}", cookie.name(), cookie.value());
    let response = api(&[("authorization", &bearer("jane@acme.test"))]).await;
    assert_eq!(response.status(), 200);
    assert!(String::from_utf8_lossy(response.body()).contains("usr_"));
    // The session beside a token is not tried.
    let john = [("authorization", &*bearer("john@acme.test")), ("cookie", &cookie)];
    assert_eq!(api(&john).await.status(), 403);
    assert_eq!(api(&[("authorization", "Bearer a.b.c"), ("cookie", &cookie)]).await.status(), 401);
    assert_eq!(api(&[("cookie", &cookie)]).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_requires_a_recent_login_requires_credentials_again() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = App::with(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    let response = browser.fetch("/settings", 1).await.remove(0);
    assert_eq!(response["status"], 401);
    assert_eq!(response["redirected"], false);
    assert_eq!(response["body"]["error"], "insufficient_user_authentication");

    // Jane is still logged in at the environment, which asks nevertheless.
    browser.go(&app.address("/settings")).await;
    browser.sees_login_page().await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/settings")).await;
    browser.shows(&["You logged in"]).await;
    browser.reload().await;
    browser.arrives_at(&app.address("/settings")).await;
    browser.go(&app.address("/dashboard")).await;
    browser.arrives_at(&app.address("/dashboard")).await;
}
