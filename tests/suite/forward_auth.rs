//! Forwarded authentication, by the requests that proxies send.

use axum::Router;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use tower::ServiceBuilder;
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::sandbox::NewUser;
use tower_scalekit::{ForwardAuth, RequireAuth, RequireScope, RequireSession, Sessions};

use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, ORIGIN, Reading as _, World, request, send,
    set_cookies, token_layer,
};

const NAMES: [&str; 6] = ["user", "email", "organization", "roles", "permissions", "scopes"];

fn identity(response: &Response<Bytes>) -> [&str; 6] {
    NAMES.map(|name| {
        let value = response.header(&format!("x-auth-request-{name}"));
        value.expect("each header is always set")
    })
}

fn guard(world: &World) -> RequireAuth {
    RequireAuth::new(RequireSession::new(&world.sessions), token_layer(&world.sandbox))
}

/// The app as nginx, Traefik and Envoy call it.
fn app(world: &World, sessions: &Sessions) -> Router {
    let admin = ServiceBuilder::new()
        .layer(RequireSession::new(sessions))
        .layer(RequireScope::all_roles(["admin"]));
    let optional = RequireSession::new(sessions).optional();
    Router::new()
        .route_service("/nginx", ForwardAuth::nginx().service(guard(world)))
        .route_service("/admin", ForwardAuth::nginx().service(admin))
        .route_service("/optional", ForwardAuth::nginx().service(optional))
        .route_service("/none", ForwardAuth::nginx().service(tower::layer::util::Identity::new()))
        .route_service("/traefik", ForwardAuth::traefik().service(guard(world)))
        .nest_service("/envoy", ForwardAuth::envoy("/envoy").service(guard(world)))
        .route_service("/kept/{*path}", ForwardAuth::envoy("/kept").service(guard(world)))
        .merge(sessions.routes())
}

/// Sends the subrequest of nginx for a request.
async fn verify(
    browser: &mut Browser,
    path: &str,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
) -> Response<Bytes> {
    let proxy = [("x-original-method", method), ("x-original-uri", uri)];
    let headers = [&proxy[..], headers].concat();
    browser.send(Method::GET, path, &headers).await
}

#[tokio::test]
async fn the_identity_of_either_credential_is_in_the_headers() {
    let world = World::new();
    let mut jane = world.logged_in(JANE).await.at(&app(&world, &world.sessions));
    let response = verify(&mut jane, "/nginx", "GET", "/", &FETCH).await;
    assert_eq!(response.status(), StatusCode::OK);
    let [user, email, organization, roles, permissions, _] = identity(&response);
    assert!(user.starts_with("usr_") && organization.starts_with("org_"), "{user} {organization}");
    assert_eq!((email, roles), (JANE, "admin"));
    assert!(permissions.split(',').any(|one| one == "workspace_data:write"), "{permissions}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert!(response.body().is_empty());

    let token = format!("Bearer {}", world.sandbox.tokens().access_token(JOHN));
    let response = verify(&mut jane, "/nginx", "GET", "/", &[("authorization", &token)]).await;
    assert_ne!(identity(&response)[0], user, "the token decides");
}

#[tokio::test]
async fn values_cannot_add_items_and_spoofed_headers_are_not_read() {
    let world = World::new();
    let bea = NewUser::new("bea@acme.test").roles(["a,admin", "b c"].map(str::to_owned));
    world.sandbox.users().add(bea);
    let mut bea = world.logged_in("bea@acme.test").await.at(&app(&world, &world.sessions));
    let spoofed = [("x-auth-request-roles", "admin"), ("x-auth-request-user", "usr_root")];
    let response = verify(&mut bea, "/nginx", "GET", "/", &spoofed).await;
    assert_eq!(identity(&response)[3], "a%2Cadmin,b%20c");
    assert_ne!(identity(&response)[0], "usr_root");
    assert_eq!(
        verify(&mut bea, "/admin", "GET", "/", &spoofed).await.status(),
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn an_anonymous_request_behind_an_optional_layer_has_empty_headers() {
    let world = World::new();
    let mut nobody = world.browser().at(&app(&world, &world.sessions));
    let response = verify(&mut nobody, "/optional", "GET", "/", &NAVIGATION).await;
    assert_eq!((response.status(), identity(&response)), (StatusCode::OK, [""; 6]));
}

#[tokio::test]
async fn nginx_gets_401_with_the_login_and_other_proxies_the_redirect() {
    let world = World::new();
    let app = app(&world, &world.sessions);
    let mut nobody = world.browser().at(&app);
    let login = "/login?return_to=%2Fa%3Fb%3Dc";
    // nginx accepts it, and knows no other rejection.
    let response = verify(&mut nobody, "/nginx", "GET", "/a<b", &NAVIGATION).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let response = verify(&mut nobody, "/nginx", "GET", "/a?b=c", &NAVIGATION).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.header("x-auth-request-redirect"), Some(login));
    assert_eq!(response.header("location"), None);
    let api = verify(&mut nobody, "/nginx", "GET", "/a?b=c", &FETCH).await;
    assert_eq!(api.header("x-auth-request-redirect"), None);
    assert_eq!(api.header("www-authenticate"), Some("Bearer"));

    let forwarded = [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/a?b=c")];
    let headers = [&NAVIGATION[..], &forwarded].concat();
    let response = send(&app, request(Method::GET, "/traefik", &headers)).await;
    assert_eq!((response.status(), response.location()), (StatusCode::FOUND, login));
    for verify in ["/envoy/a?b=c", "/kept/a?b=c"] {
        let response = send(&app, request(Method::GET, verify, &NAVIGATION)).await;
        assert_eq!((response.status(), response.location()), (StatusCode::FOUND, login));
    }
}

#[tokio::test]
async fn the_method_of_the_request_decides_whether_another_site_may_send_it() {
    let world = World::new();
    let app = app(&world, &world.sessions);
    let mut jane = world.logged_in(JANE).await.at(&app);
    let other_site = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    for (method, status) in [("GET", StatusCode::OK), ("POST", StatusCode::FORBIDDEN)] {
        let response = verify(&mut jane, "/nginx", method, "/", &other_site).await;
        assert_eq!(response.status(), status);
        let forwarded = [("x-forwarded-method", method), ("x-forwarded-uri", "/")];
        let headers = [&other_site[..], &forwarded].concat();
        let response = send(&app, jane.request(Method::GET, "/traefik", &headers)).await;
        assert_eq!(response.status(), status);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let response = send(&app, jane.request(method, "/envoy/", &other_site)).await;
        assert_eq!(response.status(), status);
    }
    let handshake = [("sec-websocket-key", "a"), ("origin", "https://evil.test")];
    let response = verify(&mut jane, "/nginx", "GET", "/ws", &handshake).await;
    assert!(matches!(response.extensions().get(), Some(SessionRejection::CrossSite)));
}

#[tokio::test]
async fn a_websocket_of_another_site_over_http2_is_rejected() {
    let world = World::new();
    let app = app(&world, &world.sessions);
    let jane = world.logged_in(JANE).await.at(&app);
    // Envoy turns an extended CONNECT into a GET (RFC 8441, section 5): without `Sec-WebSocket-Key`.
    let forwarded = [
        ("x-original-method", "GET"),
        ("x-original-uri", "/ws"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", "/ws"),
        ("sec-websocket-version", "13"),
    ];
    for verify in ["/envoy/ws", "/kept/ws", "/nginx", "/traefik"] {
        for (origin, status) in
            [("https://evil.test", StatusCode::FORBIDDEN), (ORIGIN, StatusCode::OK)]
        {
            let headers = [&forwarded[..], &[("origin", origin)]].concat();
            let response = send(&app, jane.request(Method::GET, verify, &headers)).await;
            assert_eq!(response.status(), status, "{verify} {origin}");
            let rejection = response.extensions().get();
            assert_eq!(
                matches!(rejection, Some(SessionRejection::CrossSite)),
                origin != ORIGIN,
                "{verify}"
            );
        }
    }
}

#[tokio::test]
async fn a_rejection_that_is_rendered_as_success_is_500() {
    let world = World::new();
    let token = token_layer(&world.sandbox).on_rejection(|_| Response::new("please log in".into()));
    let session = RequireSession::new(&world.sessions).on_rejection(|rejected| {
        let mut response = rejected.into_default_response();
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    });
    let either = RequireAuth::new(session.clone(), token.clone());
    let forwarded = [
        ("x-original-method", "GET"),
        ("x-original-uri", "/"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", "/"),
    ];
    let jane = world.logged_in(JANE).await;
    for proxy in [ForwardAuth::nginx(), ForwardAuth::traefik(), ForwardAuth::envoy("")] {
        for (index, app) in [
            Router::new().route_service("/", proxy.service(session.clone())),
            Router::new().route_service("/", proxy.service(token.clone())),
            Router::new().route_service("/", proxy.service(either.clone())),
        ]
        .into_iter()
        .enumerate()
        {
            for headers in [&NAVIGATION[..], &FETCH] {
                let headers = [headers, &forwarded].concat();
                let response = send(&app, request(Method::GET, "/", &headers)).await;
                assert_eq!(
                    response.status(),
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "{proxy:?} {index}"
                );
            }
            let headers = [&FETCH[..], &forwarded].concat();
            let response = send(&app, jane.request(Method::GET, "/", &headers)).await;
            // `RequireToken` alone does not read the session.
            assert_eq!(response.status() == StatusCode::OK, index != 1, "{proxy:?} {index}");
        }
    }
}

#[tokio::test]
async fn the_prefix_of_envoy_is_removed_once() {
    let world = World::new();
    let app = app(&world, &world.sessions);
    let outer = Router::new().nest("/outer", app.clone()).nest_service(
        "/nested/verify",
        ForwardAuth::envoy("/nested/verify").service(guard(&world)),
    );
    for (app, verify, return_to) in [
        (&app, "/envoy/envoy/a", "%2Fenvoy%2Fa"),
        (&app, "/envoy/envoy", "%2Fenvoy"),
        (&app, "/envoy/envoy/envoy/a?b", "%2Fenvoy%2Fenvoy%2Fa%3Fb"),
        (&app, "/kept/kept/a", "%2Fkept%2Fa"),
        (&outer, "/nested/verify/nested/verify/a", "%2Fnested%2Fverify%2Fa"),
    ] {
        let response = send(app, request(Method::GET, verify, &NAVIGATION)).await;
        let login = format!("/login?return_to={return_to}");
        assert_eq!((response.status(), response.location()), (StatusCode::FOUND, &*login));
    }
}

#[tokio::test]
async fn a_proxy_without_its_headers_and_a_guard_without_a_layer_are_500() {
    let world = World::new();
    let app = app(&world, &world.sessions);
    let mut jane = world.logged_in(JANE).await.at(&app);
    for verify in ["/nginx", "/traefik"] {
        let response = jane.send(Method::GET, verify, &FETCH).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{verify}");
    }
    let response = verify(&mut jane, "/none", "GET", "/", &FETCH).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.header("x-auth-request-user"), None);
    // The login itself must not be behind it.
    let response =
        verify(&mut world.browser().at(&app), "/nginx", "GET", "/login", &NAVIGATION).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn each_cookie_of_a_refresh_is_in_a_header_for_nginx() {
    let world = World::new();
    let app = app(&world, &world.sessions);
    let names: Vec<String> = crate::support::noise(300).collect();
    world.sandbox.users().add(NewUser::new("bea@acme.test").roles(names));
    let mut bea = world.logged_in("bea@acme.test").await.at(&app);
    world.advance(299);
    let response = verify(&mut bea, "/nginx", "GET", "/", &FETCH).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(world.sandbox.requests().refreshes(), 1);
    let cookies = set_cookies(response.headers());
    assert!(cookies.len() > 1, "{}", cookies.len());
    for (index, cookie) in cookies.iter().enumerate() {
        let name = format!("x-auth-request-set-cookie-{}", index + 1);
        assert_eq!(response.header(&name), Some(*cookie));
    }
    assert_eq!(verify(&mut bea, "/nginx", "GET", "/", &FETCH).await.status(), StatusCode::OK);
    assert_eq!(world.sandbox.requests().refreshes(), 1, "the browser has the new cookies");
}

#[tokio::test]
async fn a_login_returns_to_pages_outside_of_the_apps_base_path() {
    let callback = "https://app.example.com/sso/auth/callback";
    let world = World::with(
        |sandbox| sandbox.redirect_uri(callback),
        |sessions| sessions.redirect_uri(callback),
    );
    let mut nobody = world.browser().at(&app(&world, &world.sessions));
    let response = verify(&mut nobody, "/nginx", "GET", "/reports", &NAVIGATION).await;
    let login = response.header("x-auth-request-redirect");
    assert_eq!(login, Some("/sso/login?return_to=%2Freports"));
}

#[tokio::test]
async fn another_host_is_redirected_to_the_own_one() {
    let world = World::new();
    let app = app(&world, &world.sessions);
    let forwarded = [
        ("host", "127.0.0.1:3000"),
        ("x-forwarded-host", "www.example.com"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", "/a"),
    ];
    let headers = [&NAVIGATION[..], &forwarded].concat();
    let response = send(&app, request(Method::GET, "/traefik", &headers)).await;
    let own = "https://app.example.com/a?scalekit_host_redirect=1";
    assert_eq!((response.status(), response.location()), (StatusCode::FOUND, own));
}
