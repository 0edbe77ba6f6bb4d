//! Sessions of the app's own, without tokens.

use super::*;

#[tokio::test]
async fn a_local_session_is_served_like_any_other_without_the_environment() {
    let replicas = Replicas::new();
    for (path, stored) in [("/own", true), ("/own/cookie", false)] {
        let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
        let begun = browser.post(path).await;
        assert_eq!(begun.text(), "hello");
        begun.assert_private();
        assert_eq!(browser.cookie_header().len() < 150, stored);
        let me = browser.fetch("/me").await.json();
        assert_eq!(me["sub"], "usr_mary");
        assert_eq!((&me["email"], &me["roles"]), (&json!("mary@own.test"), &json!(["r"])));
        assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::OK);
        replicas.world.advance(24 * 3600);
        assert_eq!(browser.status_at(&replicas.apps[1]).await, StatusCode::OK);
        assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::OK);

        let copy = browser.clone();
        let logout = browser.open("/logout").await;
        assert_eq!(logout.location(), "https://app.example.com/");
        assert_eq!(browser.names_with("_session"), [""; 0]);
        replicas.world.advance(2);
        for replica in [0, 1] {
            assert_eq!(copy.status_at(&replicas.apps[replica]).await, StatusCode::UNAUTHORIZED);
        }
    }
    assert_eq!(replicas.world.sandbox.requests().count(Endpoint::Token), 0);
    replicas.world.sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
    browser.post("/own").await;
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_local_session_ends_at_its_own_lifetime() {
    let replicas = Replicas::new();
    let mut browser = Browser::new(&replicas.apps[0], &replicas.world.sandbox);
    browser.post("/own/short").await;
    let name = replicas.sessions[0].cookie_name().to_owned();
    browser.keep_expired(&name);
    replicas.world.advance(59);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    replicas.world.advance(1);
    let response = browser.send(Method::GET, "/me", &NAVIGATION).await;
    assert_eq!(
        (response.status(), response.location()),
        (StatusCode::FOUND, "/login?return_to=%2Fme")
    );
}

#[tokio::test]
async fn a_local_session_replaces_the_previous_session() {
    let replicas = Replicas::new();
    let mut browser = replicas.logged_in().await;
    let old = browser.clone();
    browser.post("/own").await;
    assert_eq!(browser.fetch("/me").await.json()["sub"], "usr_mary");
    assert_eq!(old.clone().fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_without_a_user_id_does_not_begin() {
    let world = World::new();
    let begun = world.sessions.create(LocalSession::new(User::default()), &HeaderMap::new()).await;
    assert!(matches!(begun, Err(CreateSessionError::NoUserId)));
    assert_eq!(world.sessions.redirect_uri(), CALLBACK);
}

#[tokio::test]
async fn a_session_with_a_malformed_id_token_does_not_begin() {
    let world = World::new();
    let mut user = User::default();
    user.id = "usr_mary".to_owned();
    // No segments; claims that are no JSON object (`[]`).
    for id_token in ["none", "e30.W10.AA"] {
        let local = LocalSession::new(user.clone()).id_token_hint(id_token.to_owned().into());
        let begun = world.sessions.create(local, &HeaderMap::new()).await;
        assert!(matches!(begun, Err(CreateSessionError::InvalidClaims)), "{id_token}");
    }
}
