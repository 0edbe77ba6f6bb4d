//! The default response to each kind of request, for cookie and for bearer routes.

mod bearer;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::middleware::{Next, from_fn};
use axum::routing::{any, get};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower::{ServiceExt as _, service_fn};
use tower_http::cors::CorsLayer;
use tower_layer::Layer as _;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::challenge::{Realm, ScopeToken};
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::oauth::SsoError;
use tower_scalekit::require_scope::ScopeRejection;
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::require_token::TokenRejection;
use tower_scalekit::sandbox::{Endpoint, Fault, TokenFault};
use tower_scalekit::{Principal, RequireScope, RequireSession, RequireToken, Sandbox};

use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, ORIGIN, Reading as _, World, request, sandbox_builder,
    send, set_cookies, token_layer, with_parameters,
};

fn bearer(sandbox: &Sandbox) -> RequireToken {
    token_layer(sandbox)
        .realm(Realm::new("todos").unwrap())
        .scope_hint([ScopeToken::new("todo:read").unwrap()])
}

/// Requires `todo:read` for all routes and `todo:write` for one.
fn bearer_app(sandbox: &Sandbox) -> Router {
    let subject = |who: Option<axum::Extension<Principal>>| async move {
        who.map_or_else(|| "nobody".to_owned(), |who| who.subject().to_owned())
    };
    Router::new()
        .route("/todos", any(subject))
        .route("/todos/write", any(subject).layer(RequireScope::all(["todo:write"])))
        .route_layer(RequireScope::all(["todo:read"]))
        .route_layer(bearer(sandbox))
}

fn token(sandbox: &Sandbox, scope: &str) -> String {
    let mut draft = sandbox.tokens().access_token_draft(JANE);
    draft.claims.insert("scope".into(), scope.into());
    format!("Bearer {}", sandbox.tokens().sign_draft(&draft))
}

async fn ask(app: &Router, headers: &[(&str, &str)]) -> Response<Bytes> {
    send(app, request(Method::GET, "/todos", headers)).await
}

#[tokio::test]
async fn navigations_without_a_session_are_redirected_to_login_with_the_return_path() {
    let world = World::new();
    let by_accept = [("accept", "text/html,application/xhtml+xml")];
    for headers in [&NAVIGATION[..], &by_accept] {
        for method in [Method::GET, Method::HEAD] {
            for (target, login) in [
                ("/me", "/login?return_to=%2Fme"),
                ("/me?a=1&b=%26", "/login?return_to=%2Fme%3Fa%3D1%26b%3D%2526"),
                ("/area/one/page?x", "/login?return_to=%2Farea%2Fone%2Fpage%3Fx"),
            ] {
                let response = world.browser().send(method.clone(), target, headers).await;
                assert_eq!(response.status(), StatusCode::FOUND);
                assert_eq!(response.location(), login);
                assert!(set_cookies(response.headers()).is_empty());
                response.assert_private();
            }
        }
    }
}

#[tokio::test]
async fn the_return_path_keeps_the_prefix_of_a_nested_router() {
    let world = World::new();
    let inner = Router::new()
        .route("/page", get(|| async { "" }))
        .route_layer(RequireSession::new(&world.sessions));
    let app = Router::new().nest("/outer", Router::new().nest("/inner", inner));
    let response = Browser::new(&app, &world.sandbox).open("/outer/inner/page?q=1").await;
    assert_eq!(response.location(), "/login?return_to=%2Fouter%2Finner%2Fpage%3Fq%3D1");
}

/// Removes the prefix of nested axum routers, as without feature `axum`.
async fn without_original_uri(mut request: Request<Body>, next: Next) -> axum::response::Response {
    request.extensions_mut().remove::<OriginalUri>();
    next.run(request).await
}

#[tokio::test]
async fn a_login_returns_to_no_page_whose_path_is_unknown() {
    let world = World::new();
    let of = |redirect_uri: &str| {
        world.replica(|sessions| sessions.redirect_uri(format!("{ORIGIN}{redirect_uri}")))
    };
    let (unknown, whole) = (of("/done"), &world.sessions);
    let based = of("/outer/inner/auth/callback");
    let required = [
        (RequireSession::new(&unknown), "/login"),
        (RequireSession::new(&unknown).base_path("/a"), "/login?return_to=%2Fa%2Fpage%3Fq%3D1"),
        (
            RequireSession::new(&based),
            "/outer/inner/login?return_to=%2Fouter%2Finner%2Fpage%3Fq%3D1",
        ),
        (RequireSession::new(whole).base_path("/area"), "/login?return_to=%2Farea%2Fpage%3Fq%3D1"),
        (RequireSession::new(whole), "/login?return_to=%2Fpage%3Fq%3D1"),
        (RequireSession::new(whole).base_path("//evil.test"), "/login"),
        (RequireSession::new(whole).base_path("evil.test"), "/login"),
    ];
    for (layer, login) in required {
        let optional = layer.clone().optional();
        let inner = Router::new().route("/page", get(|| async { "" })).route_layer(layer.clone());
        let nested = Router::new()
            .nest("/outer", Router::new().nest("/inner", inner))
            .layer(from_fn(without_original_uri));
        let response = send(&nested, request(Method::GET, "/outer/inner/page?q=1", &NAVIGATION));
        assert_eq!(response.await.location(), login);

        // A plain service, behind a component that has removed a prefix.
        let service = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let plain = layer.layer(service);
        let navigation = request(Method::GET, "/page?q=1", &NAVIGATION);
        assert_eq!(plain.oneshot(navigation).await.unwrap().headers()["location"], login);

        // The inner layer sees less of the path than the outer one, which knows its base path.
        let inner = Router::new()
            .route("/", get(|| async { "" }))
            .route_layer(RequireScope::any_role(["admin"]));
        let app =
            Router::new().nest("/page", inner).layer(optional).layer(from_fn(without_original_uri));
        let response = send(&app, request(Method::GET, "/page?q=1", &NAVIGATION)).await;
        assert_eq!((response.status(), response.location()), (StatusCode::FOUND, login));
    }
}

#[tokio::test]
async fn scripts_and_forms_without_a_session_get_401_in_json() {
    let world = World::new();
    let page_load_as_script = [("accept", "text/html"), ("sec-fetch-mode", "cors")];
    let websocket = [("sec-fetch-mode", "websocket"), ("upgrade", "websocket")];
    for (method, headers) in [
        (Method::GET, &FETCH[..]),
        (Method::GET, &[]),
        (Method::GET, &[("accept", "application/json")]),
        (Method::GET, &[("x-requested-with", "XMLHttpRequest")]),
        (Method::GET, &page_load_as_script),
        (Method::GET, &websocket),
        (Method::DELETE, &[]),
    ] {
        let response = world.browser().send(method.clone(), "/me", headers).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {headers:?}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        let body = response.json();
        let fields: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["error", "message"]);
        assert_eq!((&body["error"], response.header("location")), (&"login_required".into(), None));
        response.assert_private();
        assert!(matches!(
            response.extensions().get(),
            Some(SessionRejection::MissingSession(login)) if login.login_url().is_none()
        ));
    }
}

/// Headers of a browser that sends a form, of this page if it is set.
fn form_of(referer: Option<&str>) -> Vec<(&str, &str)> {
    let referer = referer.map(|referer| ("referer", referer));
    let form = [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-site", "same-origin")];
    form.into_iter().chain(referer).collect()
}

#[tokio::test]
async fn a_form_without_a_session_gets_a_page_whose_link_returns_to_the_form() {
    let world = World::new();
    for (referer, link) in [
        (
            Some("https://app.example.com/edit?id=7&a=%22"),
            "/login?return_to=%2Fedit%3Fid%3D7%26a%3D%2522",
        ),
        (Some("https://app.example.com/"), "/login"),
        (Some("https://evil.test/edit"), "/login"),
        (Some("https://app.example.com//evil.test"), "/login"),
        (Some("not a URL"), "/login"),
        (None, "/login"),
    ] {
        let page = world.browser().send(Method::POST, "/me", &form_of(referer)).await;
        assert_eq!(page.status(), StatusCode::UNAUTHORIZED, "{referer:?}");
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(page.header("location"), None);
        assert!(page.text().contains(&format!("href=\"{link}\"")), "{}", page.text());
        page.assert_private();
        assert!(matches!(
            page.extensions().get(),
            Some(SessionRejection::MissingSession(login)) if login.login_url().is_none()
        ));
    }
    let put = world.browser().send(Method::PUT, "/me", &[("accept", "text/html")]).await;
    assert_eq!(put.header("content-type"), Some("text/html; charset=utf-8"));
    let script = world.browser().send(Method::POST, "/me", &FETCH).await;
    assert_eq!(script.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_form_during_an_outage_gets_a_page_whose_link_returns_to_the_form() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    world.advance(301);
    world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
    let headers = form_of(Some("https://app.example.com/edit?id=7"));
    let page = browser.send(Method::POST, "/me", &headers).await;
    assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.text().contains("href=\"/edit?id=7\""), "{}", page.text());
    assert_eq!(set_cookies(page.headers()), [""; 0]);
    let Some(SessionRejection::Unavailable(retry)) = page.extensions().get() else {
        panic!("another rejection: {page:?}")
    };
    assert_eq!(retry.page(), Some("/edit?id=7"));
}

#[tokio::test]
async fn invalid_and_expired_sessions_are_rejected_alike_and_own_cookies_cleared() {
    let world = World::new();
    let name = world.sessions.cookie_name().to_owned();
    let mut damaged = world.logged_in(JANE).await;
    damaged.put_cookie(&name, "AAAA");
    let ended = world.logged_in(JOHN).await;
    world.sandbox.users().revoke_sessions(JOHN);
    world.advance(301);
    let short = world.replica(|s| s.absolute_lifetime(std::time::Duration::from_secs(60)));
    let mut over = Browser::new(&crate::support::app(&short), &world.sandbox);
    over.log_in(&world.sandbox, JANE).await;
    over.keep_expired(&name);
    world.advance(60);

    // The second response of a session that the environment has ended is sent when that is known.
    for (mut browser, clears, clears_again) in
        [(damaged, false, false), (ended, true, false), (over, true, true)]
    {
        let navigation = browser.clone().open("/me").await;
        assert_eq!(navigation.status(), StatusCode::FOUND);
        assert_eq!(navigation.location(), "/login?return_to=%2Fme");
        let script = browser.fetch("/me").await;
        assert_eq!(script.status(), StatusCode::UNAUTHORIZED);
        let removal = format!("{name}=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
        for (response, clears) in [(&navigation, clears), (&script, clears_again)] {
            response.assert_private();
            let cleared = set_cookies(response.headers());
            assert_eq!(cleared, vec![removal.as_str(); usize::from(clears)]);
            let reason = response.extensions().get::<SessionRejection>();
            assert!(matches!(reason, Some(SessionRejection::InvalidSession(_))));
        }
        browser.store_cookies(&navigation);
        assert_eq!(browser.cookie(&name), if clears { None } else { Some("AAAA") });
    }
}

#[tokio::test]
async fn the_cookie_of_an_ended_session_is_kept_for_its_successor() {
    let world = World::new();
    let mut jane = world.logged_in(JANE).await;
    let old = jane.request(Method::GET, "/me", &FETCH);
    world
        .sessions
        .revoke_session(jane.fetch("/me").await.json()["sid"].as_str().unwrap())
        .await
        .unwrap();
    world.advance(1);
    let done = jane.log_in(&world.sandbox, JANE).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
    // A request from before the login is handled after it.
    let late = send(&world.app, old).await;
    assert_eq!((late.status(), set_cookies(late.headers()).len()), (StatusCode::UNAUTHORIZED, 0));
    jane.store_cookies(&late);
    assert_eq!(jane.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_websocket_of_another_site_is_rejected() {
    let world = World::new();
    let jane = world.logged_in(JANE).await;
    let guarded =
        RequireSession::new(&world.sessions).layer(service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
    let status = async |browser: &Browser, method: Method, headers: &[(&str, &str)]| {
        let request = browser.request(method, "/socket", headers);
        guarded.clone().oneshot(request).await.unwrap().status()
    };
    // HTTP/1.1, HTTP/1.1 behind a proxy that removes `Upgrade`, and HTTP/2.
    let handshakes = [
        (Method::GET, ("upgrade", "websocket")),
        (Method::GET, ("sec-fetch-mode", "websocket")),
        (Method::CONNECT, ("sec-websocket-version", "13")),
    ];
    for (method, handshake) in handshakes {
        for other in [
            &[handshake, ("origin", "https://blog.example.com"), ("sec-fetch-site", "same-site")][..],
            &[handshake, ("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")],
            &[handshake, ("origin", "https://evil.test")],
            &[handshake, ("origin", "null")],
        ] {
            let rejected = status(&jane, method.clone(), other).await;
            assert_eq!(rejected, StatusCode::FORBIDDEN, "{method} {other:?}");
            let nobody = status(&world.browser(), method.clone(), other).await;
            assert_eq!(nobody, StatusCode::UNAUTHORIZED, "{method} {other:?}");
        }
        for own in [
            &[handshake, ("origin", ORIGIN), ("sec-fetch-site", "same-origin")][..],
            &[handshake, ("origin", ORIGIN)],
            &[handshake],
        ] {
            assert_eq!(
                status(&jane, method.clone(), own).await,
                StatusCode::OK,
                "{method} {own:?}"
            );
        }
    }
}

#[tokio::test]
async fn state_changing_requests_of_other_sites_are_rejected() {
    let world = World::new();
    let jane = world.logged_in(JANE).await;
    let sibling = [("sec-fetch-site", "same-site"), ("origin", "https://blog.example.com")];
    let post = |browser: &Browser, headers: &[(&str, &str)]| {
        let request = browser.request(Method::POST, "/me", headers);
        let app = browser.app().clone();
        async move { send(&app, request).await }
    };
    let rejected = post(&jane, &sibling).await;
    assert_eq!(rejected.status(), StatusCode::FORBIDDEN);
    assert_eq!(rejected.json()["error"], "cross_site_request");
    assert!(matches!(rejected.extensions().get(), Some(SessionRejection::CrossSite)));
    rejected.assert_private();
    let reading = jane.request(Method::GET, "/me", &sibling);
    assert_eq!(send(&world.app, reading).await.status(), StatusCode::OK);
    assert_eq!(post(&jane, &FETCH).await.status(), StatusCode::OK);
    // Not sent by a browser, and without credentials.
    assert_eq!(post(&jane, &[]).await.status(), StatusCode::OK);
    assert_eq!(post(&world.browser(), &sibling).await.status(), StatusCode::UNAUTHORIZED);

    let trusting = world.replica(|s| s.trusted_origin("https://blog.example.com"));
    let jane = jane.at(&crate::support::app(&trusting));
    assert_eq!(post(&jane, &sibling).await.status(), StatusCode::OK);
    let other = [("sec-fetch-site", "same-site"), ("origin", "https://shop.example.com")];
    assert_eq!(post(&jane, &other).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_session_without_the_scope_gets_403_without_a_challenge() {
    let world = World::new();
    assert_eq!(world.logged_in(JANE).await.fetch("/admin").await.status(), StatusCode::OK);
    let mut john = world.logged_in(JOHN).await;
    for response in [john.clone().open("/admin").await, john.fetch("/admin").await] {
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.json()["error"], "insufficient_scope");
        let message = response.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("workspace_data:write"), "{message}");
        assert_eq!(response.header("www-authenticate"), None);
        response.assert_private();
        assert!(matches!(
            response.extensions().get(),
            Some(ScopeRejection::Insufficient { missing, challenge: None, .. })
                if missing[0].as_str() == "workspace_data:write"
        ));
        assert!(set_cookies(response.headers()).is_empty());
    }
}

#[tokio::test]
async fn an_unreachable_environment_is_503_and_the_cookie_is_kept() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    world.advance(301);
    world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
    let page = browser.clone().open("/me?tab=7&x=%22").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("href=\"/me?tab=7&amp;x=%22\""), "{}", page.text());
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let script = browser.fetch("/me").await;
    assert_eq!(script.json()["error"], "temporarily_unavailable");
    for response in [page, script] {
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(set_cookies(response.headers()), [""; 0]);
        response.assert_private();
        assert!(matches!(response.extensions().get(), Some(SessionRejection::Unavailable(_))));
    }
}

#[tokio::test]
async fn callback_rejections_contain_no_foreign_text() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let session = browser.cookie(world.sessions.cookie_name()).unwrap().to_owned();
    let authorization = browser.start_login("/login").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let foreign = "<script>alert(1)</script>";
    let rejected = with_parameters(
        &callback,
        &[("code", "x"), ("error", "access_denied"), ("error_description", foreign)],
    )
    .replace("code=x&", "");
    for accept in ["text/html", "application/json", "*/*"] {
        let headers = [("accept", accept)];
        let response = browser.clone().send(Method::GET, &rejected, &headers).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        response.assert_private();
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
        assert!(!response.text().contains("alert"), "{}", response.text());
        let cleared = set_cookies(response.headers());
        assert!(cleared.len() == 1 && cleared[0].contains("_login_"), "{cleared:?}");
        if accept == "text/html" {
            assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
            assert!(response.header("content-security-policy").unwrap().contains("'none'"));
            assert!(response.text().contains("href=\"/login\""), "{}", response.text());
        } else {
            assert_eq!(response.header("content-type"), Some("application/json"));
            assert_eq!(response.json()["error"], "authorization_failed");
        }
        let error = Some(SsoError::AccessDenied);
        let rejection = response.extensions().get::<RouteRejection<LoginError>>().unwrap();
        assert_eq!(rejection.error(), &LoginError::AuthorizationFailed { error });
    }
    browser.open(&rejected).await;
    assert_eq!(browser.cookie(world.sessions.cookie_name()), Some(session.as_str()));
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_return_path_that_is_too_long_is_omitted_from_the_login_url() {
    let world = World::new();
    let long = format!("/me?q={}", "x".repeat(8000));
    let response = world.browser().open(&long).await;
    assert_eq!((response.status(), response.location()), (StatusCode::FOUND, "/login"));
    let short = format!("/me?q={}", "x".repeat(1000));
    let response = world.browser().open(&short).await;
    assert!(response.location().starts_with("/login?return_to=%2Fme%3Fq%3Dxxx"));
}

#[tokio::test]
async fn anonymous_requests_behind_an_optional_session_get_the_login_if_a_role_is_required() {
    let world = World::new();
    let app = Router::new()
        .route("/", get(|| async { "in" }))
        .route_layer(RequireScope::any_role(["admin"]))
        .route_layer(RequireSession::new(&world.sessions).optional());
    let response = send(&app, request(Method::GET, "/", &FETCH)).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.json()["error"], "login_required");
    response.assert_private();
    let response = send(&app, request(Method::GET, "/?a=b", &NAVIGATION)).await;
    let location = "/login?return_to=%2F%3Fa%3Db";
    assert_eq!((response.status(), response.location()), (StatusCode::FOUND, location));
    let jane = world.logged_in(JANE).await;
    assert_eq!(jane.at(&app).fetch("/").await.status(), StatusCode::OK);
    let john = world.logged_in(JOHN).await;
    assert_eq!(john.at(&app).fetch("/").await.status(), StatusCode::FORBIDDEN);
}
