//! An app at several hosts, each with a redirect URI: a login, an e-mail, a connected account and a
//! logout end at the host where they began.

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::json;
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::{
    ConnectAccount, ForwardAuth, IdpInitiatedRedirect, PasswordlessLogin, RequireSession,
};

use crate::idp_initiated::login_token_with;
use crate::support::{
    Browser, CALLBACK, JANE, JOHN, NAVIGATION, ORIGIN, Reading as _, World, parameter, request,
    send, set_cookies,
};

const FIRST: &str = "app.example.com";
const SECOND: &str = "app.example.org";
const SECOND_ORIGIN: &str = "https://app.example.org";
const SECOND_CALLBACK: &str = "https://app.example.org/auth/callback";

/// An app at two hosts, in a proxy's view of an environment with both.
fn world() -> World {
    world_with(|sessions| sessions)
}

fn world_with(change: impl FnOnce(SessionsBuilder) -> SessionsBuilder) -> World {
    World::with(
        |sandbox| {
            sandbox
                .redirect_uri(SECOND_CALLBACK)
                .post_logout_redirect_uri("https://app.example.org/auth/logout/callback")
        },
        |sessions| change(sessions.additional_redirect_uri(SECOND_CALLBACK)),
    )
}

async fn browse(browser: &mut Browser, host: &str, url: &str) -> Response<Bytes> {
    let headers = [&NAVIGATION[..], &[("host", host)]].concat();
    browser.send(Method::GET, url.strip_prefix(SECOND_ORIGIN).unwrap_or(url), &headers).await
}

/// Logs in at a host, and returns the callback's response.
async fn log_in(world: &World, browser: &mut Browser, host: &str, email: &str) -> Response<Bytes> {
    let started = browse(browser, host, "/login?return_to=/me").await;
    let callback = world.sandbox.log_in(started.location(), email).unwrap();
    assert!(callback.starts_with(&format!("https://{host}/auth/callback?")), "{callback}");
    browse(browser, host, &callback).await
}

#[tokio::test]
async fn a_login_ends_at_the_host_where_it_began() {
    let world = world();
    for (host, redirect_uri) in [(FIRST, CALLBACK), (SECOND, SECOND_CALLBACK)] {
        // Each host has cookies of its own.
        let mut browser = world.browser();
        let page = browse(&mut browser, host, "/me?tab=7").await;
        assert_eq!(page.location(), "/login?return_to=%2Fme%3Ftab%3D7", "{host}");
        let started = browse(&mut browser, host, page.location()).await;
        assert_eq!(parameter(started.location(), "redirect_uri").as_deref(), Some(redirect_uri));
        let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
        let done = browse(&mut browser, host, &callback).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me?tab=7"));
        assert_eq!(browse(&mut browser, host, done.location()).await.json()["email"], JANE);
        assert!(browser.names().iter().all(|name| name.starts_with("__Host-")), "{host}");
        // The environment redirects a logout to that host, too.
        let own = [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-site", "same-origin"), ("host", host)];
        let out = browser.send(Method::POST, "/logout", &own).await;
        let returned = parameter(out.location(), "post_logout_redirect_uri").unwrap();
        assert_eq!(returned, format!("https://{host}/auth/logout/callback"));
        let state = parameter(out.location(), "state").unwrap();
        let callback = format!("{returned}?state={state}");
        let page = browse(&mut browser, host, &callback).await;
        assert_eq!(page.location(), format!("https://{host}/"));
    }
}

#[tokio::test]
async fn a_login_cannot_be_completed_at_another_host_of_the_app() {
    let world = world();
    // Cookies of one host are sent to all of its ports, and a client sends whatever it likes.
    for (began, other) in [(FIRST, SECOND), (SECOND, FIRST)] {
        let mut browser = world.browser();
        let started = browse(&mut browser, began, "/login").await;
        let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
        let target = callback.strip_prefix(&format!("https://{began}")).unwrap();
        let rejected = browse(&mut browser.clone(), other, target).await;
        assert_eq!(rejected.status(), StatusCode::BAD_REQUEST, "{other}");
        let removed = set_cookies(rejected.headers());
        assert!(!removed.is_empty(), "{other}");
        assert!(removed.iter().all(|line| line.contains("Max-Age=0")), "{removed:?}");
        // The code was not spent, and the attempt not used.
        let done = browse(&mut browser, began, target).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
    }
    // A browser with a session there needs none.
    let mut browser = world.browser();
    log_in(&world, &mut browser, SECOND, JANE).await;
    let started = browse(&mut browser, FIRST, "/login?return_to=/me").await;
    let callback = world.sandbox.log_in(started.location(), JOHN).unwrap();
    let target = callback.strip_prefix(ORIGIN).unwrap();
    let kept = browse(&mut browser, SECOND, target).await;
    assert_eq!((kept.status(), kept.location()), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(browse(&mut browser, SECOND, "/me").await.json()["email"], JANE);
    // A browser without the cookie.
    let mut browser = world.browser();
    let started = browse(&mut browser, SECOND, "/login").await;
    let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
    let rejected = browse(&mut world.browser(), SECOND, &callback).await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
    // A replica whose settings lack that host.
    let without = crate::support::app(&world.replica(|sessions| sessions));
    let rejected = browse(&mut browser.at(&without), SECOND, &callback).await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
    // A proxy that does not forward the host of the callback.
    let done = browse(&mut browser, "upstream:8080", &callback).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
}

#[tokio::test]
async fn the_host_of_a_request_selects_among_the_registered_ones_only() {
    let world = world();
    let first = [
        "evil.test",
        "app.example.org.evil.test",
        "app.example.org:8443",
        "app.example.org.",
        "user@app.example.org",
        "app.example.org@evil.test",
        "app.example.org, evil.test",
        "app.example.org/x",
        "",
    ];
    let mark = "scalekit_host_redirect=1";
    for host in first {
        // As after the one redirect to the first host.
        let mut browser = world.browser();
        let started = browse(&mut browser, host, &format!("/login?{mark}")).await;
        let found = parameter(started.location(), "redirect_uri");
        assert_eq!(found.as_deref(), Some(CALLBACK), "{host}");
    }
    let two = [&NAVIGATION[..], &[("host", SECOND), ("host", "evil.test")]].concat();
    let forwarded = [&NAVIGATION[..], &[("host", FIRST), ("x-forwarded-host", SECOND)]].concat();
    for headers in [two, forwarded] {
        let started = send(&world.app, request(Method::GET, "/login", &headers)).await;
        let found = parameter(started.location(), "redirect_uri");
        assert_eq!(found.as_deref(), Some(CALLBACK), "{headers:?}");
    }
    for host in [SECOND, "APP.example.org", "app.example.org:443"] {
        let mut browser = world.browser();
        let started = browse(&mut browser, host, "/login").await;
        let found = parameter(started.location(), "redirect_uri");
        assert_eq!(found.as_deref(), Some(SECOND_CALLBACK), "{host}");
    }
    // HTTP/2 has the host in the URI, which precedes the header.
    let target = format!("{SECOND_ORIGIN}/login");
    let headers = [&NAVIGATION[..], &[("host", "evil.test")]].concat();
    let started = send(&world.app, request(Method::GET, &target, &headers)).await;
    let found = parameter(started.location(), "redirect_uri");
    assert_eq!(found.as_deref(), Some(SECOND_CALLBACK));
    // All other hosts are redirected to the first.
    let mut browser = world.browser();
    let redirected = browse(&mut browser, "www.example.org", "/me").await;
    assert_eq!(redirected.location(), format!("{ORIGIN}/me?{mark}"));
}

#[tokio::test]
async fn a_proxy_that_asks_for_authentication_names_the_browsers_host() {
    let world = world();
    let service = ForwardAuth::traefik().service(RequireSession::new(&world.sessions));
    let app = Router::new().route_service("/verify", service);
    let elsewhere = format!("{ORIGIN}/a?scalekit_host_redirect=1");
    for (host, location) in [
        (SECOND, "/login?return_to=%2Fa"),
        (FIRST, "/login?return_to=%2Fa"),
        ("evil.test", &elsewhere),
    ] {
        let forwarded = [
            ("host", "127.0.0.1:3000"),
            ("x-forwarded-host", host),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-uri", "/a"),
        ];
        let headers = [&NAVIGATION[..], &forwarded].concat();
        let response = send(&app, request(Method::GET, "/verify", &headers)).await;
        assert_eq!(response.location(), location, "{host}");
    }
}

#[tokio::test]
async fn users_log_in_at_each_host_separately() {
    let world = world();
    let (mut at_first, mut at_second) = (world.browser(), world.browser());
    log_in(&world, &mut at_first, FIRST, JANE).await;
    log_in(&world, &mut at_second, SECOND, JOHN).await;
    assert_eq!(browse(&mut at_first, FIRST, "/me").await.json()["email"], JANE);
    assert_eq!(browse(&mut at_second, SECOND, "/me").await.json()["email"], JOHN);
    // Another user at the second host is asked about that host.
    let asked = log_in(&world, &mut at_second, SECOND, JANE).await;
    let page = browse(&mut at_second, SECOND, asked.location()).await;
    assert!(page.text().contains(SECOND) && !page.text().contains(FIRST), "{}", page.text());
    // They are sessions of one app: a revocation ends all of a user.
    let subject = browse(&mut at_first, FIRST, "/me").await.json()["sub"].clone();
    world.sessions.revoke_user(subject.as_str().unwrap()).await.unwrap();
    let ended = browse(&mut at_first, FIRST, "/me").await;
    assert_eq!(ended.location(), "/login?return_to=%2Fme");
}

#[tokio::test]
async fn pages_of_each_host_are_another_site_to_the_others() {
    let world = world();
    let mut browser = world.browser();
    log_in(&world, &mut browser, SECOND, JANE).await;
    for (headers, expected) in [
        (&[("origin", SECOND_ORIGIN)][..], StatusCode::OK),
        (&[("origin", ORIGIN)], StatusCode::FORBIDDEN),
        (&[("origin", ORIGIN), ("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
        (&[("referer", "https://app.example.com/a")], StatusCode::FORBIDDEN),
        (&[("referer", "https://app.example.org/a")], StatusCode::OK),
        (&[("sec-fetch-site", "same-origin")], StatusCode::OK),
        (&[("origin", "https://evil.test")], StatusCode::FORBIDDEN),
        (&[("origin", "http://app.example.org")], StatusCode::FORBIDDEN),
        (&[("origin", "https://app.example.org:8443")], StatusCode::FORBIDDEN),
        (&[("origin", "null"), ("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
    ] {
        let all = [headers, &[("host", SECOND)]].concat();
        let response = browser.clone().send(Method::POST, "/me", &all).await;
        assert_eq!(response.status(), expected, "{headers:?}");
    }
    let trusting = world.replica(|sessions| {
        sessions.additional_redirect_uri(SECOND_CALLBACK).trusted_origin(ORIGIN)
    });
    let mut at_replica = browser.at(&crate::support::app(&trusting));
    let headers = [("origin", ORIGIN), ("sec-fetch-site", "cross-site"), ("host", SECOND)];
    assert_eq!(at_replica.send(Method::POST, "/me", &headers).await.status(), StatusCode::OK);
    // The routes have the same rule.
    for (origin, expected) in
        [(SECOND_ORIGIN, StatusCode::SEE_OTHER), (ORIGIN, StatusCode::FORBIDDEN)]
    {
        let headers = [("origin", origin), ("host", SECOND)];
        let response = browser.clone().send(Method::POST, "/logout", &headers).await;
        assert_eq!(response.status(), expected, "{origin}");
    }
}

#[tokio::test]
async fn an_idp_initiated_login_ends_at_the_host_where_it_arrived() {
    let world = world();
    let app = world.app.clone().layer(IdpInitiatedRedirect::new(&world.sessions));
    for (host, relay_state, page) in [
        (SECOND, "https://app.example.org/me?tab=2", "/me?tab=2"),
        (FIRST, "https://app.example.com/me?tab=2", "/me?tab=2"),
        (SECOND, "https://app.example.com/me?tab=2", "/"),
        (SECOND, "/me?tab=2", "/me?tab=2"),
    ] {
        let mut browser = world.browser().at(&app);
        let changes = json!({"relay_state": relay_state, "jti": format!("{host} {relay_state}")});
        let token = login_token_with(&world.sandbox, changes);
        let launch = format!("/login?idp_initiated_login={token}");
        let started = browse(&mut browser, host, &launch).await;
        let found = parameter(started.location(), "redirect_uri");
        assert_eq!(found, Some(format!("https://{host}/auth/callback")), "{}", started.text());
        let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
        let done = browse(&mut browser, host, &callback).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, page), "{host}");
    }
}

#[tokio::test]
async fn pages_to_return_to_are_at_the_host_of_the_login() {
    let world = world();
    for (host, target, page) in [
        (SECOND, format!("{SECOND_ORIGIN}/me"), "/me"),
        (FIRST, format!("{ORIGIN}/me"), "/me"),
        (SECOND, format!("{ORIGIN}/me"), "/"),
        (FIRST, format!("{SECOND_ORIGIN}/me"), "/"),
        (SECOND, "https://evil.test/me".to_owned(), "/"),
    ] {
        let mut browser = world.browser();
        let target: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let login = format!("/login?target_link_uri={target}");
        let started = browse(&mut browser, host, &login).await;
        let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
        let done = browse(&mut browser, host, &callback).await;
        assert_eq!(done.location(), page, "{host} {target}");
    }
    let referer = format!("{SECOND_ORIGIN}/me?a=1");
    let form = [NAVIGATION[0], NAVIGATION[1], ("referer", &*referer)];
    for (host, login) in [(SECOND, "/login?return_to=%2Fme%3Fa%3D1"), (FIRST, "/login")] {
        let headers = [&form[..], &[("host", host)]].concat();
        let response = send(&world.app, request(Method::POST, "/me", &headers)).await;
        assert!(response.text().contains(&format!("href=\"{login}\"")), "{}", response.text());
    }
}

#[tokio::test]
async fn emails_and_consents_return_to_the_host_where_they_began() {
    let world = world();
    let connect = ConnectAccount::builder(&world.sessions, "gmail").build().unwrap();
    let passwordless = PasswordlessLogin::builder(&world.sessions).build().unwrap();
    let app = world.app.clone().merge(connect.routes()).merge(passwordless.routes());
    for (host, form) in [(FIRST, "email=ada%40acme.test"), (SECOND, "email=eva%40acme.test")] {
        let origin = format!("https://{host}");
        let headers = [
            NAVIGATION[0],
            NAVIGATION[1],
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", host),
            ("origin", &*origin),
        ];
        let mut browser = world.browser().at(&app);
        let mut request = browser.request(Method::POST, "/passwordless/send", &headers);
        *request.body_mut() = Body::from(form);
        let sent = send(&app, request).await;
        assert_eq!(sent.status(), StatusCode::SEE_OTHER, "{}", sent.text());
        browser.store_cookies(&sent);
        let mail = world.sandbox.mail().outbox().remove(0);
        let link = mail.link.unwrap();
        assert!(link.starts_with(&format!("{origin}/passwordless/verify/")), "{link}");
        let done = browse(&mut browser, host, link.strip_prefix(&origin).unwrap()).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/"));

        let page = browse(&mut browser, host, "/connect/gmail").await;
        assert!(page.text().contains(&format!("logged in to {host}")), "{}", page.text());
        let begun = browser.send(Method::POST, "/connect/gmail", &headers).await;
        assert_eq!(begun.status(), StatusCode::SEE_OTHER, "{}", begun.text());
        let returned = world.sandbox.consent(begun.location()).unwrap();
        assert!(returned.starts_with(&format!("{origin}/connect/gmail/verify?")), "{returned}");
        let done = browse(&mut browser, host, returned.strip_prefix(&origin).unwrap()).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
        world.advance(61);
    }
}

#[tokio::test]
async fn sessions_of_the_first_redirect_uri_stay_when_a_host_is_added() {
    let before = World::new();
    let mut browser = before.logged_in(JANE).await;
    let after = before.replica(|sessions| sessions.additional_redirect_uri(SECOND_CALLBACK));
    let page = browse(&mut browser.at(&crate::support::app(&after)), FIRST, "/me").await;
    assert_eq!(page.json()["email"], JANE);
    // So do logins that are in progress.
    let started = browse(&mut browser, FIRST, "/login").await;
    let callback = before.sandbox.log_in(started.location(), JANE).unwrap();
    let done = browse(&mut browser.at(&crate::support::app(&after)), FIRST, &callback).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_logged_out_page_elsewhere_is_the_same_for_all_hosts() {
    let world = world_with(|sessions| {
        sessions
            .post_logout_redirect_uri("https://app.example.com/bye")
            .logged_out_page("https://www.example.com/?bye")
    });
    let mut browser = world.browser();
    log_in(&world, &mut browser, SECOND, JANE).await;
    let own = [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-site", "same-origin"), ("host", SECOND)];
    let out = browser.send(Method::POST, "/logout", &own).await;
    let returned = parameter(out.location(), "post_logout_redirect_uri").unwrap();
    assert_eq!(returned, format!("{SECOND_ORIGIN}/bye"));
    let state = parameter(out.location(), "state").unwrap();
    let page = browse(&mut browser, SECOND, &format!("/bye?state={state}")).await;
    assert_eq!(page.location(), "https://www.example.com/?bye");
}

#[test]
fn redirect_uris_that_cannot_work_together_are_reported() {
    let world = World::new();
    let error = |uris: &[&str]| {
        let builder = tower_scalekit::Sessions::builder(world.sandbox.scalekit())
            .secret(crate::support::secret(1))
            .redirect_uri(CALLBACK);
        let builder = uris.iter().fold(builder, |all, uri| all.additional_redirect_uri(*uri));
        builder.build().err().map(|error| error.to_string())
    };
    assert_eq!(error(&[SECOND_CALLBACK, "https://app.example.org:8443/auth/callback"]), None);
    for (uri, reason) in [
        ("https://app.example.org/callback", "must have the path of the redirect URI"),
        ("http://localhost:3000/auth/callback", "must have the scheme of the redirect URI"),
        (CALLBACK, "is at the host of another redirect URI"),
        ("http://app.example.org/auth/callback", "must be https (http only on loopback)"),
        ("https://app.example.org/auth/callback?a=b", "must not have a query or fragment"),
    ] {
        assert_eq!(error(&[uri]), Some(format!("additional_redirect_uri: {reason}")), "{uri}");
    }
    let twice = error(&[SECOND_CALLBACK, SECOND_CALLBACK, "x"]).unwrap();
    assert_eq!(twice.matches("additional_redirect_uri: ").count(), 2, "{twice}");
    let uris: Vec<_> = world
        .replica(|sessions| sessions.additional_redirect_uri(SECOND_CALLBACK))
        .redirect_uris()
        .map(str::to_owned)
        .collect();
    assert_eq!(uris, [CALLBACK, SECOND_CALLBACK]);
}
