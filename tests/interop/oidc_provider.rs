//! The example app, unchanged, with the npm package oidc-provider: an independent implementation of
//! OpenID Connect.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::process::Command;

use super::support::{App, Browser, Page, Program, installed};

const CLIENT_ID: &str = "skc_1234567890";
const CLIENT_SECRET: &str = "only-for-tests-only-for-tests-only-for-tests";
const JANE: &str = "jane@acme.test";
const ACCESS_TOKEN_SECONDS: u64 = 4;

/// The provider and the app, registered with each other.
struct World {
    provider: Program,
    issuer: String,
    app: App,
}

impl World {
    async fn start() -> Option<Self> {
        let folder = installed("node_modules/oidc-provider")?;
        let mut command = Command::new("node");
        // A script passed as text resolves packages from the working directory.
        command.args(["--input-type=module", "--eval", include_str!("oidc_provider.mjs")]);
        let mut provider = Program::start(command.current_dir(folder))?;
        let issuer = provider.response().await["issuer"].as_str().unwrap().to_owned();
        let app = App::start(&[
            ("SCALEKIT_ENVIRONMENT_URL", &issuer),
            ("SCALEKIT_CLIENT_ID", CLIENT_ID),
            ("SCALEKIT_CLIENT_SECRET", CLIENT_SECRET),
        ])
        .await?;
        let client = json!({
            "accessTokenSeconds": ACCESS_TOKEN_SECONDS,
            "backchannel_logout_uri": format!("{}/auth/backchannel-logout", app.address),
            // Adds the session's ID to ID tokens, like Scalekit.
            "backchannel_logout_session_required": true,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": [format!("{}/auth/callback", app.address)],
            "post_logout_redirect_uris": [format!("{}/auth/logout/callback", app.address)],
            "token_endpoint_auth_method": "client_secret_post",
        });
        assert_eq!(provider.ask(&client).await["ready"], true);
        Some(Self { provider, issuer, app })
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.app.address)
    }

    /// The provider's events so far.
    async fn events(&mut self, name: &str) -> Vec<Value> {
        let events = self.provider.ask(&json!({})).await;
        events.as_array().unwrap().iter().filter(|event| event["event"] == name).cloned().collect()
    }

    async fn refreshes(&mut self) -> Vec<Value> {
        let mut granted = self.events("granted").await;
        granted.retain(|event| event["grant"] == "refresh_token");
        granted
    }

    /// Logs in through a protected page.
    async fn log_in(&self, browser: &Browser) {
        let login_page = browser.open(&self.at("/dashboard")).await;
        assert!(login_page.url.as_str().starts_with(&self.issuer), "{login_page:?}");
        let dashboard = browser.submit(&login_page, &[("email", JANE)]).await;
        assert_eq!(dashboard.status, 200, "{dashboard:?}");
        assert_eq!(dashboard.url.as_str(), self.at("/dashboard"));
    }

    /// Repeats eight concurrent requests with the same cookies until one of them has refreshed the
    /// session. Returns its new expiry.
    async fn use_until_refreshed(&self, browser: &Browser) -> Value {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10 * ACCESS_TOKEN_SECONDS) {
            for response in self.eight_at_once(browser).await {
                if response.headers.contains_key("set-cookie") {
                    return response.json()["expires_at"].take();
                }
            }
        }
        panic!("the session was not refreshed");
    }

    async fn eight_at_once(&self, browser: &Browser) -> Vec<Page> {
        let me = self.at("/api/me");
        let responses = join_all((0..8).map(|_| browser.get(&me))).await;
        assert!(responses.iter().all(|response| response.status == 200), "{responses:?}");
        responses
    }
}

#[tokio::test]
async fn a_login_accepts_the_tokens_of_another_implementation() {
    let Some(mut world) = World::start().await else { return };
    let browser = Browser::new();
    world.log_in(&browser).await;

    let granted = world.events("granted").await;
    let [tokens] = granted.as_slice() else { panic!("{granted:?}") };
    let (header, claims) = parts(&tokens["access_token"]);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("RS256"), &json!("at+jwt")));
    let about_jane = json!({ "iss": world.issuer, "sub": "usr_jane", "client_id": CLIENT_ID });
    assert!(contains(&claims, &about_jane), "{claims}");
    assert!(claims["aud"].is_string() && claims["exp"].is_u64(), "{claims}");
    let (header, claims) = parts(&tokens["id_token"]);
    assert_eq!((&header["alg"], header.get("typ")), (&json!("RS256"), None));
    let about_jane = json!({ "iss": world.issuer, "sub": "usr_jane", "aud": CLIENT_ID });
    assert!(contains(&claims, &about_jane), "{claims}");
    for name in ["at_hash", "nonce", "sid"] {
        assert!(claims[name].is_string(), "{name}: {claims}");
    }

    let me = browser.get(&world.at("/api/me")).await.json();
    let expected = json!({
        "subject": "usr_jane", "email": JANE, "organization_id": "org_acme",
        "session_id": claims["sid"], "client_id": CLIENT_ID,
        "roles": ["admin"], "permissions": ["workspace_data:write"],
    });
    assert!(contains(&me, &expected), "{me}");
    assert_eq!(browser.get(&world.at("/api/admin")).await.status, 200);
}

#[tokio::test]
async fn rotated_refresh_tokens_are_never_used_twice() {
    let Some(mut world) = World::start().await else { return };
    let browser = Browser::new();
    world.log_in(&browser).await;

    // Requests during and after the refresh share its result.
    let late = browser.twin();
    assert!(late.has("saaskit_session"));
    let ends = world.use_until_refreshed(&browser).await;
    for response in world.eight_at_once(&late).await {
        assert_eq!(response.json()["expires_at"], ends);
    }
    assert_eq!(world.refreshes().await.len(), 1);
    let refresh = world.at("/auth/refresh");
    for response in join_all((0..8).map(|_| browser.post(&refresh, &[]))).await {
        assert_eq!(response.status, 200, "{response:?}");
    }
    assert_eq!(world.refreshes().await.len(), 2);
    world.use_until_refreshed(&browser).await;
    assert_eq!(world.refreshes().await.len(), 3);
    assert_eq!(world.events("refused").await, [] as [Value; 0]);

    // The provider would detect reuse: it ends a session whose spent refresh token is sent again.
    let spent = world.events("granted").await[0]["refresh_token"].clone();
    let replayed = [
        ("grant_type", "refresh_token"),
        ("refresh_token", spent.as_str().unwrap()),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
    ];
    let rejected = Browser::new().post(&format!("{}/oauth/token", world.issuer), &replayed).await;
    assert_eq!(rejected.status, 400, "{rejected:?}");
    assert_eq!(world.events("refused").await[0]["detail"], "refresh token already used");
    // The app also ends it, at the next refresh.
    let started = Instant::now();
    let mut was_unavailable = false;
    let ended = loop {
        let response = browser.get(&world.at("/api/me")).await;
        match response.status.as_u16() {
            200 => {}
            503 => was_unavailable = true,
            _ => break response,
        }
        assert!(started.elapsed() < Duration::from_secs(10 * ACCESS_TOKEN_SECONDS));
    };
    // Cookies of a session that has ended meanwhile are kept.
    assert!(was_unavailable || !browser.has("saaskit_session"), "{ended:?}");
    assert_eq!(browser.get(&world.at("/api/me")).await.status, 302);
}

#[tokio::test]
async fn logging_out_ends_the_session_at_the_provider() {
    let Some(mut world) = World::start().await else { return };
    let browser = Browser::new();
    world.log_in(&browser).await;

    let question = browser.follow(browser.post(&world.at("/logout"), &[]).await).await;
    assert_eq!(question.url.path(), "/oidc/logout");
    assert_eq!(question.status, 200, "{question:?}");
    let home = browser.submit(&question, &[("logout", "yes")]).await;
    assert_eq!((home.status.as_u16(), home.url.as_str()), (200, &*world.at("/")));
    assert_eq!(world.events("signed out").await.len(), 1);

    let login_page = browser.open(&world.at("/dashboard")).await;
    assert!(login_page.url.path().starts_with("/interaction/"), "{login_page:?}");
}

#[tokio::test]
async fn logging_out_at_the_provider_ends_the_session_here() {
    let Some(mut world) = World::start().await else { return };
    let browser = Browser::new();
    world.log_in(&browser).await;
    let other = Browser::new();
    world.log_in(&other).await;

    // The provider notifies the app (OpenID Connect Back-Channel Logout).
    let question = browser.open(&format!("{}/oidc/logout", world.issuer)).await;
    assert_eq!(question.status, 200, "{question:?}");
    browser.submit(&question, &[("logout", "yes")]).await;
    assert_eq!(world.events("application not notified").await, [] as [Value; 0]);
    assert_eq!(world.events("application notified").await.len(), 1);

    assert!(browser.has("saaskit_session"), "the browser still has its cookie");
    assert_eq!(browser.get(&world.at("/api/me")).await.status, 302);
    assert_eq!(other.get(&world.at("/api/me")).await.status, 200, "another session goes on");
    // A new login with a new session is accepted.
    world.log_in(&browser).await;
}

fn parts(token: &Value) -> (Value, Value) {
    let mut parts = token.as_str().unwrap().split('.').map(|part| {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default())
            .unwrap_or_default()
    });
    (parts.next().unwrap(), parts.next().unwrap())
}

fn contains(object: &Value, expected: &Value) -> bool {
    expected.as_object().unwrap().iter().all(|(name, value)| object[name] == *value)
}
