//! Navigations that would start a login on another host than the redirect URI's are redirected
//! there first, once.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, RawQuery};
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer as _;
use tower_scalekit::sandbox::NewIdpInitiatedLogin;
use tower_scalekit::{
    ConnectAccount, IdpInitiatedRedirect, PasswordlessLogin, RequireScope, RequireSession, Session,
    Sessions,
};

use crate::secrets::Captured;
use crate::support::{
    Browser, FETCH, JANE, NAVIGATION, ORIGIN, Reading as _, World, app, parameter, request, send,
    set_cookies,
};

const MARK: &str = "scalekit_host_redirect=1";
const OTHER: &str = "www.example.com";
/// For a proxy that removes the mark.
const FIRST_REDIRECT: &str =
    "__Host-scalekit_host_redirect=1; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=10";

fn navigation<'a>(site: &'a str, host: &'a str) -> [(&'a str, &'a str); 4] {
    [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-site", site), ("host", host)]
}

/// Opens a page at this host as a browser does.
async fn open_at(app: &Router, host: &str, target: &str) -> Response<Bytes> {
    send(app, request(Method::GET, target, &navigation("none", host))).await
}

/// The same with the cookies of a browser, which keeps those of the response.
async fn browse_at(browser: &mut Browser, host: &str, target: &str) -> Response<Bytes> {
    browser.send(Method::GET, target, &navigation("none", host)).await
}

#[tokio::test]
async fn a_page_that_requires_a_login_is_requested_at_the_redirect_uris_host_first() {
    let world = World::new();
    for (redirect_uri, own, others) in [
        (
            "https://app.example.com/auth/callback",
            &["app.example.com", "APP.Example.com", "app.example.com:443", "app.example.com:80"][..],
            &["www.app.example.com", "example.com", "app.example.com:8443", "app.example.com."][..],
        ),
        (
            "https://app.example.com:8443/auth/callback",
            &["app.example.com:8443"],
            &["app.example.com", "app.example.com:443", "app.example.com:3000"],
        ),
        (
            "http://127.0.0.1:3000/auth/callback",
            &["127.0.0.1:3000"],
            &["localhost:3000", "[::1]:3000", "127.0.0.1", "127.0.0.2:3000"],
        ),
        ("http://localhost:3000/auth/callback", &["localhost:3000"], &["127.0.0.1:3000"]),
        ("http://[::1]:3000/auth/callback", &["[::1]:3000"], &["localhost:3000"]),
    ] {
        let app = app(&world.replica(|sessions| sessions.redirect_uri(redirect_uri)));
        let origin = redirect_uri.strip_suffix("/auth/callback").unwrap();
        for (target, login) in [
            ("/me?tab=7", "/login?return_to=%2Fme%3Ftab%3D7"),
            ("/area/one/page", "/login?return_to=%2Farea%2Fone%2Fpage"),
        ] {
            let separator = if target.contains('?') { '&' } else { '?' };
            for host in others {
                let first = open_at(&app, host, target).await;
                assert_eq!(first.status(), StatusCode::FOUND, "{host}");
                assert_eq!(first.location(), format!("{origin}{target}{separator}{MARK}"));
                assert_eq!(set_cookies(first.headers()).len(), 1, "{:?}", first.headers());
                first.assert_private();
                // HTTP/2 has the host in the URI.
                let absolute = format!("http://{host}{target}");
                let second = send(&app, request(Method::GET, &absolute, &NAVIGATION)).await;
                assert_eq!(second.location(), first.location(), "{host}");
            }
            for host in own {
                let response = open_at(&app, host, target).await;
                assert_eq!(response.location(), login, "{host}");
                let absolute = format!("https://{host}{target}");
                let response = send(&app, request(Method::GET, &absolute, &NAVIGATION)).await;
                assert_eq!(response.location(), login, "{host}");
            }
        }
    }
}

#[tokio::test]
async fn a_login_is_requested_at_the_redirect_uris_host_first() {
    let world = World::new();
    for query in ["", "?return_to=%2Fme", "?return_to=/me&login_hint=a%40b.test&prompt=login"] {
        let target = format!("/login{query}");
        let redirected = open_at(&world.app, OTHER, &target).await;
        assert_eq!(redirected.status(), StatusCode::FOUND);
        let separator = if query.is_empty() { '?' } else { '&' };
        assert_eq!(redirected.location(), format!("{ORIGIN}{target}{separator}{MARK}"));
        assert_eq!(set_cookies(redirected.headers()), [FIRST_REDIRECT]);
        redirected.assert_private();
        let mut browser = world.browser();
        let started = browse_at(&mut browser, "app.example.com", redirected.location()).await;
        assert!(started.location().contains("/oauth/authorize?"), "{}", started.location());
        assert!(!started.location().contains("scalekit_host"), "{}", started.location());
        assert_eq!(browser.names_with("_login_").len(), 1);
    }
}

#[tokio::test]
async fn the_requested_page_is_kept_through_redirect_and_login() {
    let world = World::new();
    let mut browser = world.browser();
    let redirected = browse_at(&mut browser, OTHER, "/me?tab=7").await;
    let own = "app.example.com";
    let login = browse_at(&mut browser, own, redirected.location()).await;
    assert_eq!(login.location(), "/login?return_to=%2Fme%3Ftab%3D7");
    let started = browse_at(&mut browser, own, login.location()).await;
    let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
    let done = browse_at(&mut browser, own, &callback).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me?tab=7"));
    assert_eq!(browse_at(&mut browser, own, done.location()).await.json()["email"], JANE);
}

#[tokio::test]
async fn behind_a_proxy_that_changes_the_host_a_login_is_redirected_once_and_completes() {
    let world = World::new();
    let captured = Captured::default();
    let logged = || String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    let warnings = || logged().matches("other_host: ").count();
    let _guards = captured.subscribe();
    let upstream = "upstream:8080";
    let mut browser = world.browser();
    let redirected = browse_at(&mut browser, upstream, "/me?tab=7").await;
    assert_eq!(redirected.location(), format!("{ORIGIN}/me?tab=7&{MARK}"));
    assert_eq!(warnings(), 0);
    let login = browse_at(&mut browser, upstream, redirected.location()).await;
    assert_eq!(login.location(), format!("/login?return_to=%2Fme%3Ftab%3D7&{MARK}"));
    assert_eq!(warnings(), 1);
    let started = browse_at(&mut browser, upstream, login.location()).await;
    assert!(started.location().contains("/oauth/authorize?"), "{}", started.location());
    assert!(!started.location().contains("scalekit_host"), "{}", started.location());
    let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
    let done = browse_at(&mut browser, upstream, &callback).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me?tab=7"));
    assert_eq!(browse_at(&mut browser, upstream, done.location()).await.json()["email"], JANE);

    // Once for each host and minute.
    let warning = logged().lines().find(|line| line.contains("other_host: ")).unwrap().to_owned();
    assert!(warning.contains("redirect_uri_host=app.example.com"), "{warning}");
    assert!(warning.contains("request_host=upstream:8080"), "{warning}");
    assert!(warning.contains("WARN"), "{warning}");
    for (host, seconds, expected) in [
        (upstream, 0, 1),
        ("other:8080", 0, 2),
        (upstream, 59, 2),
        ("other:8080", 0, 2),
        (upstream, 1, 3),
    ] {
        world.advance(seconds);
        open_at(&world.app, host, &format!("/login?{MARK}")).await;
        assert_eq!(warnings(), expected, "{host}");
    }
    for number in 0..100 {
        open_at(&world.app, &format!("h{number}.test"), &format!("/login?{MARK}")).await;
    }
    let named = warnings();
    assert!(named < 20, "{named}");
    // Made-up hosts do not hide that of a proxy.
    world.advance(5);
    open_at(&world.app, "proxy:8080", &format!("/login?{MARK}")).await;
    assert_eq!(warnings(), named + 1);
    assert!(logged().contains("request_host=proxy:8080"));
}

/// A content delivery network that forwards known parameters only, and its own host.
#[tokio::test]
async fn behind_a_proxy_that_removes_the_mark_too_a_login_completes_after_three_redirects() {
    let world = World::new();
    let connection = world.sandbox.connections().list().remove(0).id;
    world.sandbox.idp().set_initiate_login_url("https://app.example.com/login");
    let optional = Router::new()
        .route("/managed", get(|_: Session| async { "admin" }))
        .route_layer(RequireScope::any_role(["admin"]))
        .route_layer(RequireSession::new(&world.sessions).optional());
    let app = world.app.clone().merge(optional).layer(IdpInitiatedRedirect::new(&world.sessions));
    for page in ["/me", "/login", "/managed", "idp"] {
        let mut browser = world.browser().at(&app);
        let page = match page {
            "idp" => {
                let login = NewIdpInitiatedLogin::new(&connection);
                format!("/login?idp_initiated_login={}", world.sandbox.idp().login_token(login))
            }
            page => page.to_owned(),
        };
        let unmarked = |location: &str| {
            let location = location.strip_prefix(ORIGIN).unwrap_or(location);
            location.replace(&format!("?{MARK}"), "").replace(&format!("&{MARK}"), "")
        };
        let mut locations = Vec::new();
        let mut target = page.clone();
        while target.starts_with('/') {
            let response = browse_at(&mut browser, "upstream", &target).await;
            target = unmarked(response.location());
            locations.push(response.location().to_owned());
            assert!(locations.len() < 9, "{locations:?}");
        }
        let redirects = locations.iter().filter(|location| location.starts_with(ORIGIN)).count();
        assert_eq!(redirects, 3, "{locations:?}");
        let callback = world.sandbox.log_in(&target, JANE).unwrap();
        let done = browse_at(&mut browser, "upstream", &callback).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
    }
    // A user may open the other host again.
    let mut browser = world.browser();
    for visit in 0..10 {
        let response = browse_at(&mut browser, OTHER, "/me").await;
        let is_redirected = response.location() == format!("{ORIGIN}/me?{MARK}");
        assert_eq!(is_redirected, visit % 4 != 3, "{visit}");
        if !is_redirected {
            world.advance(11);
        }
    }
    // A page that needs no login is not redirected, and sets no cookie.
    let shown = browse_at(&mut world.browser(), OTHER, "/maybe").await;
    assert_eq!((shown.status(), set_cookies(shown.headers()).len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn requests_without_a_valid_host_are_not_redirected() {
    let world = World::new();
    for hosts in [
        &[][..],
        &[""],
        &["user@www.example.com"],
        &["www.example.com:x"],
        &["www.example.com/path"],
        &["www example"],
        &["a.test, b.test"],
        &["[::1"],
        &["www.example.com", "www.example.com"],
    ] {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let headers = [&NAVIGATION[..], &hosts].concat();
        let response = send(&world.app, request(Method::GET, "/me", &headers)).await;
        assert_eq!(response.location(), "/login?return_to=%2Fme", "{hosts:?}");
        let response = send(&world.app, request(Method::GET, "/login", &headers)).await;
        assert!(response.location().contains("/oauth/authorize?"), "{hosts:?}");
    }
}

#[tokio::test]
async fn only_navigations_are_redirected() {
    let world = World::new();
    let html = [("accept", "text/html")];
    for (method, headers) in [
        (Method::GET, &FETCH[..]),
        (Method::GET, &[]),
        (Method::GET, &[("accept", "application/json")]),
        (Method::GET, &[("upgrade", "websocket"), ("sec-fetch-mode", "websocket")]),
        (Method::HEAD, &NAVIGATION),
        (Method::POST, &NAVIGATION),
        (Method::PUT, &html),
        (Method::DELETE, &FETCH),
    ] {
        for target in ["/me", "/login", "/auth/refresh"] {
            let with_host = [headers, &[("host", OTHER)]].concat();
            let other = send(&world.app, request(method.clone(), target, &with_host)).await;
            let own = send(&world.app, request(method.clone(), target, headers)).await;
            assert_eq!(other.status(), own.status(), "{method} {target} {headers:?}");
            let location = other.header("location").unwrap_or_default();
            assert!(!location.contains("scalekit_host"), "{method} {target}: {location}");
            assert!(!other.text().contains("scalekit_host"), "{method} {target}");
        }
    }
    // Requests that start no login.
    let mut jane = world.logged_in(JANE).await;
    assert_eq!(browse_at(&mut jane, OTHER, "/me").await.status(), StatusCode::OK);
    for (target, status) in [
        ("/maybe", StatusCode::OK),
        ("/login?error=access_denied", StatusCode::BAD_REQUEST),
        ("/auth/callback?code=a&state=b", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(open_at(&world.app, OTHER, target).await.status(), status, "{target}");
    }
}

#[tokio::test]
async fn the_mark_reaches_neither_the_app_nor_the_page_to_return_to() {
    let world = World::new();
    let show = |uri: Uri, OriginalUri(original): OriginalUri, RawQuery(query): RawQuery| async move {
        format!("{uri} {original} {}", query.unwrap_or_default())
    };
    let inner = Router::new().route("/page", get(show));
    for optional in [false, true] {
        let layer = RequireSession::new(&world.sessions);
        let layer = if optional { layer.optional() } else { layer };
        let app = Router::new().nest("/area", inner.clone().route_layer(layer));
        let mut jane = world.logged_in(JANE).await.at(&app);
        for (query, shown) in [
            (format!("?{MARK}"), "/page /area/page "),
            (format!("?a=1&{MARK}"), "/page?a=1 /area/page?a=1 a=1"),
            (format!("?{MARK}&a=%26"), "/page?a=%26 /area/page?a=%26 a=%26"),
            (
                "?b=scalekit_host_redirect".to_owned(),
                "/page?b=scalekit_host_redirect /area/page?b=scalekit_host_redirect b=scalekit_host_redirect",
            ),
        ] {
            for host in ["app.example.com", OTHER] {
                let target = format!("/area/page{query}");
                let response = browse_at(&mut jane, host, &target).await;
                assert_eq!(response.text(), shown, "{target}");
            }
        }
    }
    // A bookmark, a form on a marked page, and links.
    let page = format!("/me?a=1&{MARK}");
    let response = open_at(&world.app, "app.example.com", &page).await;
    assert_eq!(response.location(), "/login?return_to=%2Fme%3Fa%3D1");
    let referer = format!("{ORIGIN}{page}");
    let form = [NAVIGATION[0], NAVIGATION[1], ("referer", &*referer)];
    let response = send(&world.app, request(Method::POST, "/me", &form)).await;
    assert!(response.text().contains("href=\"/login?return_to=%2Fme%3Fa%3D1\""));
    let encoded = url::form_urlencoded::byte_serialize(page.as_bytes()).collect::<String>();
    let absolute = url::form_urlencoded::byte_serialize(referer.as_bytes()).collect::<String>();
    for query in [format!("return_to={encoded}"), format!("target_link_uri={absolute}")] {
        let mut browser = world.browser();
        let url = browser.start_login(&format!("/login?{query}&{MARK}")).await;
        assert_eq!(parameter(&url, "scalekit_host_redirect"), None);
        let done = browser.open(&world.sandbox.log_in(&url, JANE).unwrap()).await;
        assert_eq!(done.location(), "/me?a=1");
    }
}

#[tokio::test]
async fn a_redirect_leads_to_no_other_host() {
    let world = World::new();
    let layers = [
        RequireSession::new(&world.sessions),
        RequireSession::new(&world.sessions).base_path("//evil.test"),
        RequireSession::new(&world.sessions).base_path(".evil.test"),
        RequireSession::new(&world.sessions).base_path("@evil.test"),
    ];
    for layer in layers {
        let service = layer.layer(service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
        for target in ["/", "//evil.test/x", "/\\evil.test", "/@evil.test", "/.//evil.test", "/?//"]
        {
            let headers = [&NAVIGATION[..], &[("host", "evil.test")]].concat();
            let response =
                service.clone().oneshot(request(Method::GET, target, &headers)).await.unwrap();
            let location = response.headers()[header::LOCATION].to_str().unwrap().to_owned();
            let there = url::Url::parse(ORIGIN).unwrap().join(&location).unwrap();
            assert_eq!(there.origin().ascii_serialization(), ORIGIN, "{target} {location}");
        }
    }
}

#[tokio::test]
async fn an_idp_initiated_login_is_not_used_up_at_another_host() {
    let world = World::new();
    world.sandbox.idp().set_initiate_login_url("https://app.example.com/login");
    let app = world.app.clone().layer(IdpInitiatedRedirect::new(&world.sessions));
    let connection = world.sandbox.connections().list().remove(0).id;
    let token = world.sandbox.idp().login_token(NewIdpInitiatedLogin::new(&connection));
    let target = format!("/login?idp_initiated_login={token}");
    let mut browser = world.browser().at(&app);
    let redirected = browse_at(&mut browser, OTHER, &target).await;
    assert_eq!(redirected.location(), format!("{ORIGIN}{target}&{MARK}"));
    assert_eq!(set_cookies(redirected.headers()), [FIRST_REDIRECT]);
    redirected.assert_private();
    let started = browse_at(&mut browser, "app.example.com", redirected.location()).await;
    assert_eq!(parameter(started.location(), "connection_id"), Some(connection));
    // Behind a proxy that changes the host, the second use is an ordinary login.
    let again = browse_at(&mut browser, OTHER, redirected.location()).await;
    assert_eq!(again.location(), format!("/login?{MARK}"));
    let started = browse_at(&mut browser, OTHER, again.location()).await;
    assert!(started.location().contains("/oauth/authorize?"));
}

#[tokio::test]
async fn a_logout_at_another_host_asks_at_the_redirect_uris_host() {
    let world = World::new();
    let mut jane = world.logged_in(JANE).await;
    let redirected = open_at(&world.app, OTHER, "/logout").await;
    assert_eq!(redirected.status(), StatusCode::FOUND);
    assert_eq!(redirected.location(), format!("{ORIGIN}/logout?{MARK}"));
    // To the browser, this is a redirect from another site.
    let headers = navigation("cross-site", "app.example.com");
    let asked = jane.send(Method::GET, redirected.location(), &headers).await;
    assert_eq!(asked.status(), StatusCode::OK);
    assert!(asked.text().contains("Confirm that you want to log out"), "{}", asked.text());
    assert!(set_cookies(asked.headers()).is_empty());
    assert_eq!(jane.open("/me").await.status(), StatusCode::OK);
    // Not for links of other sites, and only as a page.
    let image = [("accept", "image/*"), ("sec-fetch-mode", "no-cors"), headers[2], headers[3]];
    for (method, target, headers) in [
        (Method::GET, "/logout".to_owned(), headers),
        (Method::GET, format!("/logout?{MARK}"), image),
        (Method::POST, format!("/logout?{MARK}"), headers),
    ] {
        let rejected = jane.send(method.clone(), &target, &headers).await;
        assert_eq!(rejected.status(), StatusCode::FORBIDDEN, "{method} {target}");
    }
    // A browser that does not send where a link is from names the page only.
    for headers in [&[][..], &[("referer", "https://www.example.com/page")]] {
        let headers = [&[("accept", "text/html"), ("host", OTHER)][..], headers].concat();
        let redirected = send(&world.app, request(Method::GET, "/logout", &headers)).await;
        assert_eq!(redirected.location(), format!("{ORIGIN}/logout?{MARK}"));
    }
    // A form at another host continues there too.
    let origin = ("origin", "https://www.example.com");
    let form = submit(&mut jane, OTHER, origin, "/logout", "").await;
    assert_continues_at(&form, &format!("/logout?{MARK}"));
    assert_eq!(jane.open("/me").await.status(), StatusCode::OK);
    // Behind a proxy that changes the host, the redirect is of the same site.
    let own = navigation("same-origin", "upstream");
    let done = jane.send(Method::GET, redirected.location(), &own).await;
    assert!(done.location().contains("/oidc/logout"), "{}", done.location());
    assert_ne!(jane.open("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn connecting_an_account_starts_at_the_redirect_uris_host() {
    let world = World::new();
    let connect = ConnectAccount::builder(&world.sessions, "gmail").build().unwrap();
    let app = world.app.clone().merge(connect.routes());
    let mut jane = world.logged_in(JANE).await.at(&app);
    let expected = format!("{ORIGIN}/connect/gmail?{MARK}");
    let anonymous = open_at(&app, OTHER, "/connect/gmail").await;
    assert_eq!(anonymous.location(), expected);
    // Cookies are valid for all ports of a host.
    let redirected = browse_at(&mut jane, "app.example.com:8443", "/connect/gmail").await;
    assert_eq!((redirected.status(), redirected.location()), (StatusCode::FOUND, &*expected));
    redirected.assert_private();
    let page = browse_at(&mut jane, "app.example.com", redirected.location()).await;
    assert!(page.text().contains("action=\"/connect/gmail\""), "{}", page.text());
    // Behind a proxy that changes the host, and for a form, it continues.
    let page = browse_at(&mut jane, "upstream", redirected.location()).await;
    assert_eq!(page.status(), StatusCode::OK);
    let form = [NAVIGATION[0], ("sec-fetch-site", "same-origin"), ("host", "upstream")];
    let begun = jane.send(Method::POST, "/connect/gmail", &form).await;
    assert_eq!(begun.status(), StatusCode::SEE_OTHER);
    assert!(!begun.location().starts_with(ORIGIN), "{}", begun.location());
    // The URL of a return is not repeated.
    let returned = "/connect/gmail/verify?auth_request_id=a&state=b";
    let response = open_at(&app, OTHER, returned).await;
    assert_eq!((response.status(), response.location()), (StatusCode::FOUND, "/login"));
}

/// A form of the app's page at this host, as browsers send it.
async fn submit(
    browser: &mut Browser,
    host: &str,
    origin: (&str, &str),
    target: &str,
    form: &'static str,
) -> Response<Bytes> {
    let headers = [
        NAVIGATION[0],
        NAVIGATION[1],
        ("sec-fetch-site", "same-origin"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", host),
        origin,
    ];
    let mut request = browser.request(Method::POST, target, &headers);
    *request.body_mut() = Body::from(form);
    let response = send(browser.app(), request).await;
    browser.store_cookies(&response);
    response
}

/// Asserts that a page leads to this one at the redirect URI's host.
#[track_caller]
fn assert_continues_at(response: &Response<Bytes>, page: &str) {
    assert_eq!(response.status(), StatusCode::OK);
    let url = format!("{ORIGIN}{page}").replace('&', "&amp;");
    let text = response.text();
    assert!(text.contains(&format!("<a href=\"{url}\">Continue</a>")), "{text}");
    let refresh = format!("<meta http-equiv=\"refresh\" content=\"0; url={url}\">");
    assert!(text.contains(&refresh), "{text}");
    assert!(text.contains("Continue at app.example.com"), "{text}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_form_at_another_host_continues_at_its_page_at_the_redirect_uris_host() {
    let world = World::new();
    let connect = ConnectAccount::builder(&world.sessions, "gmail").build().unwrap();
    let login = PasswordlessLogin::builder(&world.sessions)
        .start_page("/sign-in")
        .code_page("/code")
        .build()
        .unwrap();
    let app = world.app.clone().merge(connect.routes()).merge(login.routes());
    let mut jane = world.logged_in(JANE).await.at(&app);
    let (own, port) = ("app.example.com", "app.example.com:8443");
    let email = "email=jane%40acme.test&return_to=%2Fme";
    let (send_path, sign_in) = ("/passwordless/send", "/sign-in?return_to=%2Fme");
    for (target, form, page) in
        [("/connect/gmail", "", "/connect/gmail"), (send_path, email, sign_in)]
    {
        let separator = if page.contains('?') { '&' } else { '?' };
        for origin in [
            ("origin", "https://app.example.com:8443"),
            ("referer", "https://app.example.com:8443/some/page?a=b"),
        ] {
            let cookies = jane.names().len();
            let response = submit(&mut jane, port, origin, target, form).await;
            assert_continues_at(&response, &format!("{page}{separator}{MARK}"));
            assert_eq!(jane.names().len(), cookies, "no attempt has begun");
        }
        // At the own host, behind a proxy that changes the host, and where the browser does not
        // name it, the attempt begins.
        let origin = ("origin", ORIGIN);
        for (host, origin) in [(own, origin), ("upstream", origin), (port, ("origin", "null"))] {
            world.advance(61);
            let response = submit(&mut jane, host, origin, target, form).await;
            assert_eq!(response.status(), StatusCode::SEE_OTHER, "{}", response.text());
            assert!(!response.location().starts_with(ORIGIN), "{}", response.location());
            assert_eq!(set_cookies(response.headers()).len(), 1, "{target} {host}");
        }
        // A script would follow the redirect to another origin.
        world.advance(61);
        let headers = [
            FETCH[0],
            FETCH[1],
            FETCH[2],
            ("host", port),
            ("origin", "https://app.example.com:8443"),
        ];
        let json = ("content-type", "application/json");
        let mut request = jane.request(Method::POST, target, &[&headers[..], &[json]].concat());
        *request.body_mut() = Body::from("{\"email\": \"jane@acme.test\"}");
        let response = send(&app, request).await;
        let location = response.header("location").unwrap_or_default();
        assert!(!location.contains(MARK), "{target}: {location}");
        // Another site is rejected as at the own host.
        let mut foreign = jane.clone();
        let headers = navigation("cross-site", port);
        let evil = [&headers[..], &[("origin", "https://evil.test")]].concat();
        let response = foreign.send(Method::POST, target, &evil).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{target}");
    }
    // An older browser names its page only, which is none of the own host.
    let headers = [NAVIGATION[0], ("host", OTHER), ("origin", "http://www.example.com")];
    let response = world.browser().at(&app).send(Method::POST, send_path, &headers).await;
    assert_continues_at(&response, &format!("/sign-in?{MARK}"));
}

#[tokio::test]
async fn a_scope_behind_an_optional_session_redirects_in_the_same_way() {
    let world = World::new();
    let app = Router::new()
        .route("/admin", get(|_: Session| async { "admin" }))
        .route_layer(RequireScope::any_role(["admin"]))
        .route_layer(RequireSession::new(&world.sessions).optional());
    let redirected = open_at(&app, OTHER, "/admin?a=1").await;
    assert_eq!(redirected.location(), format!("{ORIGIN}/admin?a=1&{MARK}"));
    let login = open_at(&app, "app.example.com", redirected.location()).await;
    assert_eq!(login.location(), "/login?return_to=%2Fadmin%3Fa%3D1");
}

/// Behind a proxy that removes the base path, and behind one that does not.
#[tokio::test]
async fn the_same_path_below_a_base_path_is_requested() {
    let world = World::new();
    let sessions: Sessions =
        world.replica(|sessions| sessions.redirect_uri(format!("{ORIGIN}/app/auth/callback")));
    let service = RequireSession::new(&sessions).layer(service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    for target in ["/page?a=1", "/app/page?a=1"] {
        let headers = [&NAVIGATION[..], &[("host", OTHER)]].concat();
        let response = service.clone().oneshot(request(Method::GET, target, &headers)).await;
        let location = response.unwrap().headers()[header::LOCATION].clone();
        assert_eq!(location, format!("{ORIGIN}/app/page?a=1&{MARK}"), "{target}");
    }
    for target in ["/login?a=1", "/app/login?a=1"] {
        let headers = [&NAVIGATION[..], &[("host", OTHER)]].concat();
        let request = request(Method::GET, target, &headers);
        let response = sessions.login().oneshot(request).await.unwrap();
        let location = response.headers()[header::LOCATION].clone();
        assert_eq!(location, format!("{ORIGIN}/app/login?a=1&{MARK}"), "{target}");
    }
    let unknown = world.replica(|sessions| sessions.redirect_uri(format!("{ORIGIN}/done")));
    let headers = [&NAVIGATION[..], &[("host", OTHER)]].concat();
    let response = unknown.login().oneshot(request(Method::GET, "/x/login?a=1", &headers)).await;
    let location = response.unwrap().headers()[header::LOCATION].clone();
    assert_eq!(location, format!("{ORIGIN}/login?a=1&{MARK}"));
}
