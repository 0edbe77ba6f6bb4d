//! Routes for browsers with a session and for API clients with a bearer token.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use tower_scalekit::require_scope::ScopeRejection;
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::require_token::TokenRejection;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::token::Credential;
use tower_scalekit::{Principal, RequireAuth, RequireScope, RequireSession, Session};

use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, Reading as _, World, request, send, set_cookies,
    token_layer,
};

fn auth_layer(world: &World) -> RequireAuth {
    RequireAuth::new(RequireSession::new(&world.sessions), token_layer(&world.sandbox))
}

fn app(layer: RequireAuth) -> Router {
    let admin = get(identity).layer(RequireScope::all_permissions(["workspace_data:write"]));
    let cached = get(|| async { [(header::CACHE_CONTROL, "private, max-age=60")] });
    Router::new()
        .route("/", get(identity).post(identity))
        .route("/cached", cached)
        .route("/admin", admin)
        .route_layer(layer)
}

async fn identity(principal: Option<Principal>, session: Option<Session>) -> String {
    let Some(principal) = principal else {
        assert!(session.is_none());
        return "nobody".to_owned();
    };
    assert_eq!(session.is_some(), principal.credential() == Credential::Session);
    let email = session.as_ref().map(|session| session.user().email.clone());
    let email = email.or(principal.raw_claims().get("email").map(|email| email.to_string()));
    format!("{:?} {}", principal.credential(), email.unwrap_or_default())
}

fn bearer(world: &World, email: &str) -> String {
    format!("Bearer {}", world.sandbox.tokens().access_token(email))
}

/// A request with these headers, besides those of the browser.
async fn call(browser: &Browser, headers: &[(&str, &str)]) -> Response<Bytes> {
    let headers = [&FETCH[..], headers].concat();
    send(browser.app(), browser.request(Method::GET, "/", &headers)).await
}

#[tokio::test]
async fn the_principal_names_the_credential_of_the_request() {
    let world = World::new();
    let app = app(auth_layer(&world));
    let jane = world.logged_in(JANE).await.at(&app);
    let nobody = world.browser().at(&app);
    let token = bearer(&world, JOHN);

    assert_eq!(call(&jane, &[]).await.text(), format!("Session {JANE}"));
    assert!(call(&nobody, &[("authorization", &token)]).await.text().starts_with("BearerToken"));
    let both = call(&jane, &[("authorization", &token)]).await;
    assert!(both.text().starts_with("BearerToken"), "{}", both.text());
}

#[tokio::test]
async fn an_invalid_credential_is_rejected_whatever_the_other_one_is() {
    let world = World::new();
    let app = app(auth_layer(&world));
    let jane = world.logged_in(JANE).await.at(&app);
    let mut forged = world.browser().at(&app);
    forged.put_cookie(world.sessions.cookie_name(), &"A".repeat(400));
    let token = bearer(&world, JANE);

    let cut = &token[..token.len() - 1];
    for wrong in ["Bearer", "Bearer a.b.c", cut] {
        let response = call(&jane, &[("authorization", wrong)]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        assert_eq!(response.json()["error"], "invalid_token");
        let rejection = response.extensions().get::<TokenRejection>();
        assert!(matches!(rejection, Some(TokenRejection::InvalidToken { .. })), "{rejection:?}");
        assert!(set_cookies(response.headers()).is_empty(), "the session is kept");
    }
    for second in [&*token, "Basic YTpi"] {
        let twice = [("authorization", &*token), ("authorization", second)];
        let response = call(&jane, &twice).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.json()["error"], "invalid_request");
    }
    let response = call(&forged, &[]).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.json()["error"], "login_required");
    assert_eq!(response.header("www-authenticate"), None, "the rejection of a session");
    let valid = call(&forged, &[("authorization", &token)]).await;
    assert_eq!(valid.status(), StatusCode::OK, "the cookie is not looked at");
    assert!(set_cookies(valid.headers()).is_empty());
}

#[tokio::test]
async fn credentials_of_another_scheme_count_as_none() {
    let world = World::new();
    let app = app(auth_layer(&world));
    let jane = world.logged_in(JANE).await.at(&app);
    let nobody = world.browser().at(&app);
    for scheme in ["Basic YTpi", "DPoP a.b.c", ""] {
        let response = call(&jane, &[("authorization", scheme)]).await;
        assert_eq!(response.text(), format!("Session {JANE}"), "{scheme}");
        let response = call(&nobody, &[("authorization", scheme)]).await;
        assert_eq!(response.header("www-authenticate"), Some("Bearer"), "{scheme}");
    }
}

#[tokio::test]
async fn without_a_credential_browsers_get_the_login_and_others_the_challenge() {
    let world = World::new();
    let app = app(auth_layer(&world));
    let respond = async |method: Method, headers: &[(&str, &str)]| {
        send(&app, request(method, "/?a=b", headers)).await
    };
    let page = respond(Method::GET, &NAVIGATION).await;
    assert_eq!(page.status(), StatusCode::FOUND);
    assert_eq!(page.location(), "/login?return_to=%2F%3Fa%3Db");
    assert!(matches!(page.extensions().get(), Some(SessionRejection::MissingSession(_))));
    let form = respond(Method::POST, &NAVIGATION).await;
    assert_eq!(form.status(), StatusCode::UNAUTHORIZED);
    assert!(form.text().contains("Log in"), "{}", form.text());
    let prefetch = [("sec-purpose", "prefetch"), ("sec-fetch-mode", "no-cors")];
    let prefetch = respond(Method::GET, &prefetch).await;
    assert_eq!(prefetch.status(), StatusCode::SERVICE_UNAVAILABLE);
    for headers in [&[][..], &FETCH, &[("accept", "application/json")]] {
        let response = respond(Method::GET, headers).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let rejection = response.extensions().get();
        assert!(matches!(rejection, Some(TokenRejection::MissingToken { .. })));
    }
}

#[tokio::test]
async fn requests_of_other_sites_are_rejected_for_sessions_only() {
    let world = World::new();
    let app = app(auth_layer(&world));
    let jane = world.logged_in(JANE).await.at(&app);
    let other_site = [("origin", "https://spa.test"), ("sec-fetch-site", "cross-site")];
    let post = async |headers: &[(&str, &str)]| {
        let headers = [&other_site, headers].concat();
        send(&app, jane.request(Method::POST, "/", &headers)).await
    };
    let forged = post(&[]).await;
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    assert!(matches!(forged.extensions().get(), Some(SessionRejection::CrossSite)));
    assert_eq!(post(&[("authorization", &bearer(&world, JANE))]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_with_a_token_does_not_refresh_the_session_beside_it() {
    let world = World::new();
    let app = app(auth_layer(&world));
    let jane = world.logged_in(JANE).await.at(&app);
    world.advance(295);
    let before = world.sandbox.requests().refreshes();
    let response = call(&jane, &[("authorization", &bearer(&world, JANE))]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(set_cookies(response.headers()).is_empty());
    assert_eq!(world.sandbox.requests().refreshes(), before);
    let refreshed = call(&jane, &[]).await;
    assert_eq!(refreshed.text(), format!("Session {JANE}"));
    assert!(!set_cookies(refreshed.headers()).is_empty());
    assert_eq!(world.sandbox.requests().refreshes(), before + 1);
}

#[tokio::test]
async fn scopes_are_required_of_each_credential_with_a_challenge_for_tokens() {
    let world = World::new();
    let app = app(auth_layer(&world));
    let john = world.logged_in(JOHN).await.at(&app);
    let jane = world.logged_in(JANE).await.at(&app);
    let admin = async |browser: &Browser, headers: &[(&str, &str)]| {
        send(&app, browser.request(Method::GET, "/admin", headers)).await
    };
    assert_eq!(admin(&jane, &FETCH).await.status(), StatusCode::OK);
    let response = admin(&john, &FETCH).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.header("www-authenticate"), None);
    // The cookie of a user with the permission does not help.
    let response = admin(&jane, &[("authorization", &bearer(&world, JOHN))]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let challenge = response.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer error=\"insufficient_scope\""), "{challenge}");
}

#[tokio::test]
async fn optional_forwards_requests_without_a_credential_but_no_invalid_token() {
    let world = World::new();
    let app = app(auth_layer(&world).optional());
    let nobody = world.browser().at(&app);
    assert_eq!(call(&nobody, &[]).await.text(), "nobody");
    assert_eq!(send(&app, request(Method::GET, "/", &NAVIGATION)).await.text(), "nobody");
    let invalid = call(&nobody, &[("authorization", "Bearer a.b.c")]).await;
    assert_eq!(invalid.status(), StatusCode::UNAUTHORIZED);

    let page = send(&app, request(Method::GET, "/admin", &NAVIGATION)).await;
    assert_eq!(page.location(), "/login?return_to=%2Fadmin");
    let api = send(&app, request(Method::GET, "/admin", &FETCH)).await;
    assert_eq!(api.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.header("www-authenticate"), Some("Bearer"));
    assert!(matches!(api.extensions().get(), Some(ScopeRejection::MissingToken { .. })));
}

#[tokio::test]
async fn an_optional_token_is_valid_or_absent() {
    let world = World::new();
    let layer = token_layer(&world.sandbox).optional();
    let app = Router::new().route("/", get(identity)).route_layer(layer);
    let nobody = world.browser().at(&app);
    assert_eq!(call(&nobody, &[]).await.text(), "nobody");
    assert_eq!(call(&nobody, &[("authorization", "Basic YTpi")]).await.text(), "nobody");
    let valid = call(&nobody, &[("authorization", &bearer(&world, JANE))]).await;
    assert!(valid.text().starts_with("BearerToken"));
    for wrong in ["Bearer", "Bearer a.b.c"] {
        let invalid = call(&nobody, &[("authorization", wrong)]).await;
        assert_eq!(invalid.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        assert_eq!(invalid.json()["error"], "invalid_token");
    }
}

#[tokio::test]
async fn a_cached_response_is_for_the_same_token_and_the_same_cookie() {
    let world = World::new();
    let app = app(auth_layer(&world));
    let jane = world.logged_in(JANE).await.at(&app);
    let token = bearer(&world, JANE);
    for headers in [&[][..], &[("authorization", &*token)]] {
        let cached = send(&app, jane.request(Method::GET, "/cached", headers)).await;
        assert_eq!(cached.header("cache-control"), Some("private, max-age=60"));
        let mut vary: Vec<_> = cached.headers().get_all(header::VARY).iter().collect();
        vary.sort();
        assert_eq!(vary, ["authorization", "cookie"]);
        let other = send(&app, jane.request(Method::GET, "/", headers)).await;
        assert_eq!(other.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn an_outage_of_the_keys_concerns_tokens_only() {
    let world = World::new();
    let app = app(auth_layer(&world));
    let jane = world.logged_in(JANE).await.at(&app);
    // Another process, which has no keys yet.
    let app = self::app(auth_layer(&world));
    world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let jane = jane.at(&app);
    assert_eq!(call(&jane, &[]).await.status(), StatusCode::OK);
    let response = call(&jane, &[("authorization", &bearer(&world, JANE))]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.header("www-authenticate"), None);
}

#[tokio::test]
async fn each_layer_renders_its_own_rejections() {
    let world = World::new();
    let session = RequireSession::new(&world.sessions).on_rejection(|context| {
        context.into_default_response().map(|_| Bytes::from("the session's"))
    });
    let token = token_layer(&world.sandbox)
        .on_rejection(|context| context.into_default_response().map(|_| "the token's".into()));
    let app = app(RequireAuth::new(session, token));
    let page = send(&app, request(Method::GET, "/", &NAVIGATION)).await;
    assert_eq!(page.text(), "the session's");
    let api = send(&app, request(Method::GET, "/", &FETCH)).await;
    assert_eq!(api.text(), "the token's");
}
