//! Mistakes in the setup of an app, and what it responds or logs. The guide on troubleshooting has a
//! table of them.

use axum::Router;
use axum::routing::{get, post};
use http::{Method, StatusCode};
use tower_scalekit::clock::ManualClock;
use tower_scalekit::protected_resource::{
    ProtectedResource, ProtectedResourceMetadata, ResourceId,
};
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::sandbox::{LoginFailed, TokenFault};
use tower_scalekit::shared_store::MemoryStore;
use tower_scalekit::{
    MissingLayer, RequireScope, RequireSession, RequireToken, Sandbox, Scalekit, Session,
    SessionSecret, Sessions, WebhookVerify,
};

use crate::secrets::Captured;
use crate::support::{FETCH, JANE, NAVIGATION, Reading as _, World, request, secret, send};
use crate::webhooks::{secret as webhook_secret, signed};

const GUIDE: &str = include_str!("../../src/docs/how_to/troubleshooting.md");

/// The mistakes of the guide's table, and their messages.
fn table() -> impl Iterator<Item = (&'static str, &'static str)> {
    let (_, section) = GUIDE.split_once("# Frequent mistakes").unwrap();
    let section = section.split("\n# ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix("` |"));
    rows.map(|row| row.split_once(" | `").unwrap())
}

/// Asserts that a message is the one in the guide.
fn assert_explained(mistake: &str, message: &str) {
    let row = table().find(|(known, _)| *known == mistake);
    let (_, expected) = row.unwrap_or_else(|| panic!("{mistake} is not in the guide"));
    assert!(message.contains(expected), "{mistake}: {expected} is not in: {message}");
}

#[test]
fn every_mistake_of_the_guide_is_tested() {
    let tests = include_str!("mistakes.rs");
    assert!(table().count() >= 20);
    for (mistake, _) in table() {
        assert!(tests.contains(&format!("\"{mistake}\",")), "{mistake}");
    }
}

/// Responds to a request, and returns the log.
async fn log_of(app: &Router, request: http::Request<axum::body::Body>) -> (StatusCode, String) {
    let log = Captured::default();
    let _guard = log.subscribe();
    let status = send(app, request).await.status();
    (status, log.text())
}

#[tokio::test]
async fn layers_that_are_missing_or_in_the_wrong_order_are_named() {
    let world = World::new();
    let pages =
        Router::new().route("/", get(async |session: Session| session.user().email.clone()));
    let (status, log) = log_of(&pages, request(Method::GET, "/", &[])).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_explained("A handler extracts a `Session`, and the layer is missing", &log);

    let scoped = Router::new().route("/", get(async || "")).layer(RequireScope::all(["read"]));
    let (status, log) = log_of(&scoped, request(Method::GET, "/", &[])).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_explained("`RequireScope` without a layer that identifies the user", &log);

    // The one that is added last is the outermost.
    let token = RequireToken::for_audience(&world.sandbox.scalekit(), "https://api.example.com");
    let swapped = Router::new()
        .route("/items/{id}", get(async || ""))
        .route_layer(token.unwrap())
        .route_layer(RequireScope::all(["read"]));
    let nested = Router::new().nest("/api", swapped);
    let (status, log) = log_of(&nested, request(Method::GET, "/api/items/secret", &[])).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_explained("`RequireScope` is added after the layer that identifies the user", &log);
    assert!(log.contains(r#"route="/api/items/{id}""#) && !log.contains("secret"), "{log}");

    let preflight = [("origin", "https://a.test"), ("access-control-request-method", "GET")];
    let guarded = bearer(&world.sandbox);
    let (status, log) = log_of(&guarded, request(Method::OPTIONS, "/", &preflight)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_explained("The CORS layer is inside of the layer", &log);
}

#[test]
fn settings_say_what_is_expected() {
    let error = SessionSecret::new("short").unwrap_err().to_string();
    assert_explained("The session secret is too short", &error);
    let sandbox = Sandbox::new();
    let sessions = Sessions::builder(sandbox.scalekit()).secret(secret(1));
    let error = sessions.redirect_uri("http://app.example.com/auth/callback").build().unwrap_err();
    assert_explained("The redirect URI is `http` in production", &error.to_string());
    let scalekit = Scalekit::builder("https://acme.scalekit.dev/api", "skc_1", "s3cret");
    let error = scalekit.http_client(sandbox.client()).build().unwrap_err().to_string();
    assert_explained("The environment URL has a path", &error);
    let swapped = Scalekit::builder("https://acme.scalekit.dev", "test_s3cret", "skc_1");
    let error = swapped.http_client(sandbox.client()).build().unwrap_err().to_string();
    assert_explained("The client ID and the secret are swapped", &error);
    let error = sandbox.scalekit().token_verifier().build().unwrap_err().to_string();
    assert_explained("A verifier has no audience", &error);
}

#[tokio::test]
async fn a_redirect_uri_that_is_not_registered_is_named_by_the_environment() {
    let sandbox = Sandbox::builder().loopback_redirects(false).build();
    let sessions = Sessions::builder(sandbox.scalekit())
        .secret(secret(1))
        .redirect_uri("https://app.example.com/auth/callback")
        .build()
        .unwrap();
    let login = request(Method::GET, "/login", &NAVIGATION);
    let started = send(&sessions.routes(), login).await;
    let rejected: LoginFailed = sandbox.log_in(started.location(), JANE).unwrap_err();
    assert_explained("The redirect URI is not registered", &rejected.to_string());
}

#[tokio::test]
async fn a_login_that_starts_under_another_name_of_the_host_is_explained() {
    let world = World::new();
    let started = world.browser().start_login("/login").await;
    let callback = world.sandbox.log_in(&started, JANE).unwrap();
    // The cookie of the login belongs to the other host.
    let (status, log) =
        log_of(&world.app, world.browser().request(Method::GET, &callback, &NAVIGATION)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_explained(
        "The browser starts the login under another name of the host, or the login's cookie is lost",
        &log,
    );
}

#[tokio::test]
async fn a_session_secret_without_the_previous_one_is_named() {
    let world = World::new();
    let jane = world.logged_in(JANE).await;
    let replaced = crate::support::app(&world.replica(|sessions| sessions.secret(secret(9))));
    let (status, log) = log_of(&replaced, jane.request(Method::GET, "/me", &FETCH)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_explained("The session secret was replaced, without the previous one", &log);
}

#[tokio::test]
async fn a_wrong_client_secret_is_named() {
    let world = World::new();
    let (environment, id) = (world.sandbox.environment_url(), world.sandbox.client_id());
    let scalekit = Scalekit::builder(environment, id, "wrong")
        .http_client(world.sandbox.client())
        .clock(world.sandbox.clock().clock())
        .build()
        .unwrap();
    let sessions = Sessions::builder(scalekit)
        .secret(secret(1))
        .redirect_uri(world.sessions.redirect_uri())
        .build()
        .unwrap();
    let mut browser = world.browser().at(&crate::support::app(&sessions));
    let callback = world.sandbox.log_in(&browser.start_login("/login").await, JANE).unwrap();
    let request = browser.request(Method::GET, &callback, &NAVIGATION);
    let (status, log) = log_of(browser.app(), request).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_explained("The client secret is wrong, or of another environment", &log);
}

fn bearer(sandbox: &Sandbox) -> Router {
    let layer = RequireToken::for_audience(&sandbox.scalekit(), "https://api.example.com");
    Router::new().route("/", get(async || "in")).route_layer(layer.unwrap())
}

#[tokio::test]
async fn tokens_that_are_not_for_the_api_are_explained() {
    let world = World::new();
    let (sandbox, app) = (&world.sandbox, bearer(&world.sandbox));
    let tokens = sandbox.tokens();
    let mut other_api = tokens.access_token_draft(JANE);
    other_api.claims.insert("aud".into(), "https://other.example.com".into());
    let elsewhere = Sandbox::builder().environment_url("https://other.scalekit.test").build();
    let mut foreign = elsewhere.tokens().access_token_draft(JANE);
    TokenFault::UnknownKeyId.apply(&mut foreign);
    let bearer = |token: String| format!("Bearer {token}");
    for (mistake, authorization) in [
        ("The client sends the ID token", bearer(tokens.id_token(JANE, None))),
        ("The client sends a token of another environment", bearer(tokens.sign_draft(&foreign))),
        ("The token is for another API", bearer(tokens.sign_draft(&other_api))),
        ("The machine client was created without an audience", bearer(tokens.m2m_token(&[]))),
        ("The client sends the token without `Bearer`", tokens.access_token(JANE)),
    ] {
        let request = request(Method::GET, "/", &[("authorization", &authorization)]);
        let (status, log) = log_of(&app, request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{mistake}");
        assert_explained(mistake, &log);
    }
}

#[tokio::test]
async fn webhooks_that_do_not_verify_are_explained() {
    const NOW: i64 = 1_900_000_000;
    let now = time::OffsetDateTime::from_unix_timestamp(NOW).unwrap();
    let layer = WebhookVerify::new(webhook_secret(1)).clock(ManualClock::at(now).clock());
    let app = Router::new().route("/webhook", post(async || ())).route_layer(layer);
    let mut changed = signed("webhook", "msg_1", NOW, "{}", 1);
    *changed.body_mut() = "{ }".into();
    for (mistake, request) in [
        ("The secret is that of another webhook endpoint, or a layer changes the body", changed),
        (
            "The secret is that of another webhook endpoint, or a layer changes the body",
            signed("webhook", "msg_1", NOW, "{}", 2),
        ),
        ("The clock of the server is wrong", signed("webhook", "msg_1", NOW + 3600, "{}", 1)),
        (
            "Interceptor requests are sent to a webhook endpoint",
            signed("interceptor", "msg_1", NOW, "{}", 1),
        ),
    ] {
        let (status, log) = log_of(&app, request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{mistake}");
        assert_explained(mistake, &log);
    }
}

/// The layer is around the login, to which it redirects.
fn around_the_login(sessions: &Sessions, layer: RequireSession) -> Router {
    let pages = Router::new().route("/dashboard", get(async || "dashboard"));
    pages.merge(sessions.routes()).route_layer(layer)
}

#[tokio::test]
async fn a_login_behind_its_own_layer_is_500_instead_of_an_endless_redirect() {
    let world = World::new();
    let app = around_the_login(&world.sessions, RequireSession::new(&world.sessions));
    for path in [
        "/login",
        "/login?return_to=/dashboard",
        "/auth/callback?code=1&state=2",
        "/auth/switch-account",
        "/auth/logout/callback",
        "/auth/backchannel-logout",
    ] {
        for headers in [&NAVIGATION, &FETCH] {
            let response = send(&app, request(Method::GET, path, headers)).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
            let rejection = response.extensions().get::<SessionRejection>();
            assert!(matches!(rejection, Some(SessionRejection::AroundOwnLogin)), "{rejection:?}");
        }
    }
    let (_, log) = log_of(&app, request(Method::GET, "/login", &NAVIGATION)).await;
    assert_explained("`RequireSession` is around its own login", &log);
    let page = send(&app, request(Method::GET, "/dashboard", &NAVIGATION)).await;
    assert!(page.location().starts_with("/login?"), "{}", page.location());
}

#[tokio::test]
async fn an_optional_layer_around_the_login_works() {
    let world = World::new();
    let app = around_the_login(&world.sessions, RequireSession::new(&world.sessions).optional());
    let login = send(&app, request(Method::GET, "/login", &NAVIGATION)).await;
    assert!(login.location().contains("/oauth/authorize?"), "{}", login.location());
}

#[tokio::test]
async fn a_login_below_a_base_path_is_recognized_with_and_without_it() {
    let redirect_uri = "https://app.example.com/base/auth/callback";
    let world = World::with(
        |sandbox| sandbox.redirect_uri(redirect_uri),
        |sessions| sessions.redirect_uri(redirect_uri),
    );
    let inner = around_the_login(&world.sessions, RequireSession::new(&world.sessions));
    let nested = Router::new().nest("/base", inner.clone());
    for (app, path) in [(&nested, "/base/login"), (&inner, "/base/login"), (&inner, "/login")] {
        let response = send(app, request(Method::GET, path, &NAVIGATION)).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
}

#[tokio::test]
async fn a_login_without_routes_is_named_in_the_log_once() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    let sessions = world.replica(|sessions| sessions.cookie_name("forgotten"));
    let pages = Router::new()
        .route("/dashboard", get(async || "dashboard"))
        .route_layer(RequireSession::new(&sessions));
    let navigate = async || send(&pages, request(Method::GET, "/dashboard", &NAVIGATION)).await;
    assert!(navigate().await.location().starts_with("/login?"));
    navigate().await;
    let log = log.text();
    assert_eq!(log.matches("login_route_missing").count(), 1, "{log}");
    assert_explained("The routes are not merged: the login is 404", &log);
}

#[tokio::test]
async fn a_nested_login_that_is_not_below_its_redirect_uri_is_named_in_the_log_once() {
    let world = World::new();
    let app = |sessions: &Sessions| {
        let pages = Router::new()
            .route("/dashboard", get(async || "dashboard"))
            .route_layer(RequireSession::new(sessions));
        Router::new().nest("/app", pages.merge(sessions.routes()))
    };
    let visits = async |app: &Router, login: &str| {
        let log = Captured::default();
        let _guard = log.subscribe();
        for _ in 0..9 {
            let page = send(app, request(Method::GET, "/app/dashboard", &NAVIGATION)).await;
            assert!(page.location().starts_with(login), "{}", page.location());
            send(app, request(Method::GET, page.location(), &NAVIGATION)).await;
            world.advance(5);
        }
        log.text()
    };
    let log = visits(&app(&world.sessions), "/login?").await;
    assert_eq!(log.matches("login_route_unreached").count(), 1, "{log}");
    assert_explained("The routes are nested, and the redirect URI is not below that path", &log);

    // The redirect URI is below the path; or the routes are not nested.
    let redirect_uri = "https://app.example.com/app/auth/callback";
    let below = world.replica(|sessions| sessions.redirect_uri(redirect_uri));
    let log = visits(&app(&below), "/app/login?").await;
    assert!(!log.contains("login_route"), "{log}");
    let merged = world.replica(|sessions| sessions.cookie_name("merged"));
    let log = visits(&app(&merged).merge(merged.routes()), "/login?").await;
    assert!(!log.contains("login_route"), "{log}");
}

#[tokio::test]
async fn a_login_of_nested_pages_that_may_be_reached_is_not_reported() {
    let world = World::new();
    let pages = |sessions: &Sessions| {
        Router::new()
            .route("/dashboard", get(async || "dashboard"))
            .route_layer(RequireSession::new(sessions))
    };
    // None of the visitors follows the redirect.
    let visits = async |app: Router, path: &str, headers: &[(&str, &str)], seconds: u64| {
        let log = Captured::default();
        let _guard = log.subscribe();
        for _ in 0..9 {
            let page = send(&app, request(Method::GET, path, headers)).await;
            assert!(page.location().starts_with("/login?"), "{}", page.location());
            world.advance(seconds);
        }
        log.text()
    };
    let merged = |name: &str| {
        let sessions = world.replica(|sessions| sessions.cookie_name(name));
        Router::new().nest("/app", pages(&sessions)).merge(sessions.routes())
    };
    let page = "/app/dashboard";
    let log = visits(merged("monitor"), page, &[("accept", "text/html")], 5).await;
    assert!(!log.contains("login_route"), "{log}");
    let log = visits(merged("burst"), page, &NAVIGATION, 0).await;
    assert!(!log.contains("login_route"), "{log}");

    let store = MemoryStore::new(world.sandbox.clock().clock());
    let replica = world.replica(|sessions| sessions.cookie_name("replica").shared_store(store));
    let app = Router::new().nest("/app", pages(&replica)).merge(replica.routes());
    let log = visits(app, page, &NAVIGATION, 5).await;
    assert!(!log.contains("login_route"), "{log}");

    let own = world.replica(|sessions| sessions.cookie_name("own"));
    let app = Router::new()
        .nest("/app", pages(&own))
        .route("/login", get(async || "the app's own page"))
        .merge(own.routes_without_login());
    let log = visits(app, page, &NAVIGATION, 5).await;
    assert!(!log.contains("login_route"), "{log}");

    // A path of all tenants is no proposal.
    let tenants = world.replica(|sessions| sessions.cookie_name("tenants"));
    let app = Router::new().nest("/{tenant}", pages(&tenants).merge(tenants.routes()));
    let log = visits(app, "/acme/dashboard", &NAVIGATION, 5).await;
    assert_eq!(log.matches("login_route_unreached").count(), 1, "{log}");
    assert!(!log.contains("the redirect URI must be"), "{log}");
}

#[tokio::test]
async fn a_logout_alone_is_no_login() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    let sessions = world.replica(|sessions| sessions.cookie_name("logout"));
    let pages = Router::new()
        .route("/dashboard", get(async || "dashboard"))
        .route_layer(RequireSession::new(&sessions))
        .route_service("/logout", sessions.logout());
    send(&pages, request(Method::GET, "/dashboard", &NAVIGATION)).await;
    assert!(log.text().contains("login_route_missing"), "{}", log.text());
}

#[tokio::test]
async fn a_handler_may_respond_where_a_layer_is_missing() {
    async fn respond(session: Result<Session, MissingLayer>) -> Result<&'static str, MissingLayer> {
        session.map(|_| "").or(Ok("anonymous"))
    }
    let app = Router::new()
        .route("/fallback", get(respond))
        .route("/without-layer", get(async |_: Session| ""));
    let (status, log) = log_of(&app, request(Method::GET, "/fallback", &[])).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!log.contains("layer_missing"), "{log}");
    for level in ["ERROR", "DEBUG"] {
        let (status, log) = log_of(&app, request(Method::GET, "/without-layer", &[])).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        let line = log.lines().find(|line| line.contains("layer_missing")).unwrap();
        assert!(line.contains(level), "once a minute: {line}");
    }
}

#[tokio::test]
async fn metadata_without_routes_is_named_in_the_log_once() {
    let world = World::new();
    let resource = || {
        let id = ResourceId::new(world.sandbox.mcp().resource_id()).unwrap();
        let url = "https://mcp.example.com/mcp";
        ProtectedResource::builder(&world.sandbox.scalekit(), url, id).build().unwrap()
    };
    let rejections = async |resource: &ProtectedResource, app: Router| {
        let log = Captured::default();
        let _guard = log.subscribe();
        let app = Router::new()
            .route("/mcp", post(async || ()))
            .route_layer(RequireToken::for_resource(resource))
            .merge(app);
        for _ in 0..2 {
            let response = send(&app, request(Method::POST, "/mcp", &[])).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        }
        log.text()
    };
    let log = rejections(&resource(), Router::new()).await;
    assert_eq!(log.matches("metadata_route_missing").count(), 1, "{log}");
    assert_explained("The routes of the metadata are not merged: discovery is 404", &log);
    let merged = resource();
    let log = rejections(&merged, merged.routes()).await;
    assert!(!log.contains("metadata_route_missing"), "{log}");
    let layered = resource();
    let _layer = ProtectedResourceMetadata::new(&layered);
    let log = rejections(&layered, Router::new()).await;
    assert!(!log.contains("metadata_route_missing"), "{log}");
}

#[tokio::test]
async fn a_login_page_of_the_app_is_beside_the_other_routes() {
    let world = World::new();
    let sessions = world.replica(|sessions| sessions.login_path("/signin"));
    let app = Router::new()
        .route("/dashboard", get(async || "dashboard"))
        .route_layer(RequireSession::new(&sessions))
        .route("/signin", get(async || "a form"))
        .merge(sessions.routes_without_login());
    let page = send(&app, request(Method::GET, "/dashboard", &NAVIGATION)).await;
    assert!(page.location().starts_with("/signin?return_to="), "{}", page.location());
    assert_eq!(send(&app, request(Method::GET, "/signin", &[])).await.text(), "a form");
    for path in ["/auth/callback", "/auth/session", "/logout", "/auth/logout/callback"] {
        let response = send(&app, request(Method::GET, path, &NAVIGATION)).await;
        assert_ne!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn routes_and_pages_of_different_sessions_end_the_loop_of_logins() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    let other = world.replica(|sessions| sessions.secret(secret(9)));
    assert_explained("The layer and the routes have different `Sessions`", &log.text());
    let pages = Router::new()
        .route("/dashboard", get(async || "dashboard"))
        .route_layer(RequireSession::new(&other))
        .merge(world.sessions.routes());
    let mut browser = world.browser().at(&pages);
    let mut logins = 0;
    let rejected = loop {
        let login = browser.open("/dashboard").await.location().to_owned();
        // One chain of redirects, which has passed the environment.
        let chain = [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-site", "cross-site")];
        let started = browser.send(Method::GET, &login, &chain).await;
        if started.status() != StatusCode::FOUND {
            break started;
        }
        // The environment knows the user: no interaction.
        let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
        assert_eq!(browser.open(&callback).await.location(), "/dashboard");
        logins += 1;
    };
    assert_eq!((logins, rejected.status()), (3, StatusCode::BAD_REQUEST));
    let log = log.text();
    let line = log.lines().find(|line| line.contains("redirect_loop")).unwrap();
    assert!(line.contains("the layer around the page must have the same `Sessions`"), "{line}");
    assert!(log.contains("session_cookie_unopened"), "{log}");
    // The user may retry, and the message does not stay forever.
    browser.start_login("/login").await;
}

#[tokio::test]
async fn sessions_that_share_a_secret_or_have_their_own_cookies_are_no_mistake() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::with(|sandbox| sandbox, |sessions| sessions.cookie_name("shared"));
    let rotated = world.replica(|sessions| {
        sessions.cookie_name("shared").secret(secret(9)).previous_secret(secret(1))
    });
    let own = world.replica(|sessions| sessions.cookie_name("own").secret(secret(9)));
    assert!(!log.text().contains("cookie_of_several_sessions"), "{}", log.text());
    drop((rotated, own));
}

#[tokio::test]
async fn a_session_cookie_that_is_lost_right_after_a_login_is_explained() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    let name = world.sessions.cookie_name();
    let mut replaced = world.logged_in(JANE).await;
    replaced.put_cookie(name, "another app's");
    replaced.open("/login").await;
    let line = |part: &str| log.text().lines().any(|line| line.contains(part));
    assert!(
        line("found=one that no secret opens: another app, or other `Sessions`"),
        "{}",
        log.text()
    );
    let mut dropped = world.logged_in(JANE).await;
    dropped.remove_cookie(name);
    dropped.log_in(&world.sandbox, JANE).await;
    dropped.remove_cookie(name);
    dropped.open("/login").await;
    assert!(
        line("found=none, for the second time: the browser does not store it"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn an_idp_initiated_login_without_its_layer_is_named() {
    let world = World::new();
    let target = "/login?idp_initiated_login=ey.ey.sig";
    let (status, log) = log_of(&world.app, request(Method::GET, target, &NAVIGATION)).await;
    assert_eq!(status, StatusCode::FOUND);
    assert_explained("`IdpInitiatedRedirect` is missing", &log);
}
