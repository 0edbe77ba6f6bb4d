//! Pages that Chromium prefetches before the user follows a link.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower_scalekit::Sandbox;

use crate::app::{App, Environment};
use crate::browser::Browser;
use crate::processes::PATIENCE;

const LOGIN: &str = "/login?return_to=/dashboard";

fn app(environment: &Environment) -> App {
    let settings = [("BIND", "127.0.0.1:0"), ("RUST_LOG", "tower_scalekit=debug")];
    App::example("saaskit", environment, &settings)
}

fn rejected(app: &App) -> usize {
    app.program.errors().matches("speculative_request").count()
}

/// Lets the page prefetch another one, and waits until the app has rejected that.
async fn prefetch(browser: &Browser, app: &App, path: &str) {
    let before = rejected(app);
    let script = "(path => {
        const link = document.createElement('link');
        link.rel = 'prefetch';
        link.href = path;
        document.head.append(link);
    })";
    browser.evaluate(&format!("{script}('{path}')")).await;
    let is_rejected = async {
        while rejected(app) == before {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, is_rejected).await.is_ok(), "{path} was not prefetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefetched_logout_does_not_log_out() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = app(&environment);
    browser.go(&app.address("/dashboard")).await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    prefetch(&browser, &app, "/logout").await;
    browser.go(&app.address("/dashboard")).await;
    browser.shows(&["Hello, Jane"]).await;

    prefetch(&browser, &app, "/logout").await;
    browser.follow_made_up_link("/logout").await;
    browser.arrives_at(&app.address("/")).await;
    browser.shows(&["Log in", "Sign up"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefetched_login_starts_when_the_user_follows_the_link() {
    let Some(browser) = Browser::open().await else { return };
    let environment = Environment::serve(Sandbox::new()).await;
    let app = app(&environment);
    for path in [LOGIN, "/dashboard"] {
        browser.go(&app.address("/")).await;
        prefetch(&browser, &app, path).await;
        assert_eq!(browser.cookies_named("").await.len(), 0, "{path}");
    }
    browser.click_link("Log in").await;
    browser.pick("jane@acme.test").await;
    browser.arrives_at(&app.address("/dashboard")).await;
    browser.shows(&["Hello, Jane"]).await;
}
