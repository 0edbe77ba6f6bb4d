//! Mistakes in the setup of an app, and what it responds.

use axum::Router;
use axum::routing::get;
use http::{Method, StatusCode};
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::{RequireSession, Sessions};

use crate::support::{FETCH, NAVIGATION, Reading as _, World, request, send};

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
