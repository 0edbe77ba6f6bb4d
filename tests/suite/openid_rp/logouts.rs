//! Logouts that the app initiates, and the logout tokens that the environment sends meanwhile.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::sandbox::{Endpoint, Fault, TokenFault};
use tower_scalekit::token::TokenError;

use crate::secrets::Captured;
use crate::sessions::follow;
use crate::support::{
    Browser, JANE, NAVIGATION, ORIGIN, Reading as _, World, parameter, request, send,
};

const RETURN: &str = "https://app.example.com/auth/logout/callback";

async fn session_id(browser: &mut Browser) -> String {
    browser.fetch("/me").await.json()["sid"].as_str().unwrap().to_owned()
}

/// Logs out, and returns the URL at the environment to which the browser is sent.
async fn log_out(browser: &mut Browser) -> String {
    let out = browser.open("/logout").await;
    assert_eq!(out.status(), StatusCode::SEE_OTHER, "{}", out.text());
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    out.location().to_owned()
}

#[tokio::test]
async fn oidcc_client_test_rp_init_logout() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let sid = session_id(&mut browser).await;
    let there = log_out(&mut browser).await;
    assert!(there.starts_with(&format!("{}/oidc/logout?", world.sandbox.environment_url())));
    assert!(parameter(&there, "id_token_hint").is_some());
    assert_eq!(parameter(&there, "post_logout_redirect_uri").as_deref(), Some(RETURN));
    assert!(parameter(&there, "state").unwrap().len() >= 43);
    let back = follow(&world, &there).await;
    let landed = browser.open(back.location()).await;
    assert_eq!(
        (landed.status(), landed.location()),
        (StatusCode::SEE_OTHER, &*format!("{ORIGIN}/"))
    );
    let details = world.sandbox.scalekit().api().sessions().get(&sid).await.unwrap();
    assert_ne!(details.status.unwrap().as_str(), "active");
}

/// The environment returns the browser with this query. The user is logged out, and sees an error
/// page: the page after a logout would let another site pretend that.
async fn returns_with(query: &str, expected: LoginError) {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let there = log_out(&mut browser).await;
    let returned = Response::builder().status(302).header("location", format!("{RETURN}{query}"));
    world
        .sandbox
        .faults()
        .add(Endpoint::Logout, Fault::Response(returned.body(Bytes::new()).unwrap()));
    let back = follow(&world, &there).await;
    let landed = browser.open(back.location()).await;
    assert_eq!(landed.status(), StatusCode::BAD_REQUEST);
    let rejection = landed.extensions().get::<RouteRejection<LoginError>>().unwrap();
    assert_eq!(rejection.error(), &expected);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn oidcc_client_test_rp_init_logout_other_state() {
    returns_with("?state=other", LoginError::LogoutStateMismatch).await;
}

#[tokio::test]
async fn oidcc_client_test_rp_init_logout_no_state() {
    returns_with("", LoginError::InvalidRequest).await;
}

/// Sends a logout token as the suite does, with a claim and a parameter that must be ignored.
async fn send_token(world: &World, session_id: &str, fault: Option<&TokenFault>) -> StatusCode {
    let mut draft = world.sandbox.tokens().logout_token_draft(session_id);
    draft.claims.insert("ignored_claim".to_owned(), "ignored".into());
    if let Some(fault) = fault {
        fault.apply(&mut draft);
    }
    let token = world.sandbox.tokens().sign_draft(&draft);
    let form = [("content-type", "application/x-www-form-urlencoded;charset=UTF-8")];
    let mut request = request(Method::POST, "/auth/backchannel-logout", &form);
    *request.body_mut() = format!("logout_token={token}&ignored_parameter=The+POST+body").into();
    let response = send(&world.app, request).await;
    assert_eq!(response.header("cache-control"), Some("no-store"));
    response.status()
}

/// As in the suite, the token is sent while the browser that logs out is at the environment, where
/// its session has ended already. Sent before, it ends the session only if it is valid. The log says
/// why it is not.
async fn receives(fault: Option<(TokenFault, TokenError)>) {
    let (fault, error) = fault.unzip();
    let status = if fault.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    world.sandbox.keys().publish_es256();
    let mut other = world.logged_in(JANE).await;
    let sid = session_id(&mut other).await;
    assert_eq!(send_token(&world, &sid, fault.as_ref()).await, status);
    let is_active = other.fetch("/me").await.status() == StatusCode::OK;
    assert_eq!(is_active, fault.is_some());

    let mut browser = world.logged_in(JANE).await;
    let sid = session_id(&mut browser).await;
    let there = log_out(&mut browser).await;
    let back = follow(&world, &there).await;
    assert_eq!(send_token(&world, &sid, fault.as_ref()).await, status);
    let landed = browser.send(Method::GET, back.location(), &NAVIGATION).await;
    assert_eq!(landed.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    let log = log.text();
    match error.map(|error| format!("invalid_logout_token reason={:?}", error.name())) {
        Some(reason) => assert_eq!(log.matches(&reason).count(), 2, "{log}"),
        None => assert!(!log.contains("invalid_logout_token"), "{log}"),
    }
}

fn claim(name: &str, value: Value) -> TokenFault {
    TokenFault::WithClaim(name.to_owned(), value)
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout() {
    receives(None).await;
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_alg_none() {
    receives(Some((TokenFault::Unsigned, TokenError::InvalidAlgorithm))).await;
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_no_event() {
    let fault = TokenFault::MissingClaim("events".to_owned());
    receives(Some((fault, TokenError::WrongTokenType))).await;
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_with_nonce() {
    let fault = claim("nonce", json!("n-0S6_WzA2Mj"));
    receives(Some((fault, TokenError::WrongTokenType))).await;
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_wrong_alg() {
    receives(Some((TokenFault::SignedWithEs256, TokenError::InvalidAlgorithm))).await;
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_wrong_aud() {
    receives(Some((TokenFault::InvalidAudience, TokenError::InvalidAudience))).await;
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_wrong_event() {
    let fault = claim("events", json!({ "http://schemas.openid.net/event/foobar": {} }));
    receives(Some((fault, TokenError::InvalidClaim("events")))).await;
}

#[tokio::test]
async fn oidcc_client_test_rp_backchannel_rpinitlogout_wrong_iss() {
    receives(Some((TokenFault::InvalidIssuer, TokenError::InvalidIssuer))).await;
}
