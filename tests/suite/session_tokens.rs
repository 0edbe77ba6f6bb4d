//! The tokens of a session, for calls in the user's name.

use std::convert::Infallible;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Request, Response, StatusCode, header};
use tower::{Layer as _, Service as _, ServiceBuilder, ServiceExt as _, service_fn};
use tower_scalekit::add_access_token::AddAccessTokenError;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::session::{LocalSession, SessionTokenError, SessionsBuilder, User};
use tower_scalekit::{AddAccessToken, RequireSession, Session, Sessions};
use tower_test::mock;

use crate::store::FlakyStore;
use crate::support::{Browser, FETCH, JANE, JOHN, Reading as _, World, app, request, token_layer};

/// The two places where sessions are kept.
const PLACES: [fn(SessionsBuilder) -> SessionsBuilder; 2] =
    [|one| one, SessionsBuilder::store_backed];

fn world(change: impl FnOnce(SessionsBuilder) -> SessionsBuilder) -> World {
    World::with(|sandbox| sandbox, |sessions| change(sessions.retain_access_token()))
}

/// The session of a request with the browser's cookies, as a handler gets it.
async fn session_at(sessions: &Sessions, browser: &Browser) -> Session {
    let handler = service_fn(|request: Request<Body>| async move {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Session::from_extensions(request.extensions()));
        Ok::<_, Infallible>(response)
    });
    let layer = RequireSession::new(sessions);
    let request = browser.request(Method::GET, "/", &FETCH);
    let response = layer.layer(handler).oneshot(request).await.unwrap();
    response.extensions().get::<Option<Session>>().cloned().flatten().expect("a session")
}

async fn session_of(world: &World, browser: &Browser) -> Session {
    session_at(&world.sessions, browser).await
}

/// The claims of a token that the environment's verifier accepts.
async fn verified(world: &World, token: &str) -> tower_scalekit::Principal {
    let verifier = world.sandbox.scalekit().token_verifier().audience(world.sandbox.client_id());
    verifier.build().unwrap().verify(token).await.unwrap()
}

#[tokio::test]
async fn the_access_token_is_that_of_the_newest_refresh() {
    for place in PLACES {
        let world = world(place);
        let mut browser = world.logged_in(JANE).await;
        let session = session_of(&world, &browser).await;
        let token = session.access_token().await.unwrap();
        let first = verified(&world, token.expose()).await;
        assert_eq!(first.raw_claims(), session.principal().raw_claims());
        assert_eq!(token.expires_at(), session.principal().expires_at());
        assert_eq!(world.sandbox.requests().refreshes(), 0);

        // A task that has kept the session gets the token of a refresh by the browser.
        world.sandbox.users().update(JANE, |jane| jane.roles = vec!["auditor".to_owned()]);
        world.advance(301);
        let me = browser.fetch("/me").await.json();
        let token = session.access_token().await.unwrap();
        let second = verified(&world, token.expose()).await;
        assert_eq!(second.raw_claims()["jti"], me["jti"]);
        assert_eq!(second.roles(), ["auditor"]);
        assert_eq!(world.sandbox.requests().refreshes(), 1);
        assert!(!format!("{token:?}{session:?}").contains(token.expose()));

        // However many refreshes later, no token is exchanged for it.
        for refreshes in 2..8 {
            world.advance(301);
            browser.fetch("/me").await;
            assert_eq!(world.sandbox.requests().refreshes(), refreshes);
        }
        let token = session.access_token().await.unwrap();
        let jti = &browser.fetch("/me").await.json()["jti"];
        assert_eq!(&verified(&world, token.expose()).await.raw_claims()["jti"], jti);
        assert_eq!(world.sandbox.requests().refreshes(), 7);
    }
}

#[tokio::test]
async fn a_refresh_for_a_token_is_the_one_of_the_session() {
    for place in PLACES {
        let world = world(place);
        let mut browser = world.logged_in(JANE).await;
        let session = session_of(&world, &browser).await;
        world.advance(301);
        let tokens: Vec<_> = join_all((0..50).map(|_| session.access_token()))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(tokens.iter().all(|token| token.expose() == tokens[0].expose()));
        assert_eq!(world.sandbox.requests().refreshes(), 1);

        // The browser still has the old cookie. Its next response sets the new one.
        let cookies = browser.names_and_values();
        let me = browser.fetch("/me").await.json();
        let principal = verified(&world, tokens[0].expose()).await;
        assert_eq!(me["jti"], principal.raw_claims()["jti"]);
        let is_stored = cookies.len() < 200;
        assert_eq!(browser.names_and_values() == cookies, is_stored);
        assert_eq!(world.sandbox.requests().refreshes(), 1);
    }
}

#[tokio::test]
async fn an_id_token_needs_no_setting() {
    for place in PLACES {
        let world = World::with(|sandbox| sandbox, place);
        let mut browser = world.logged_in(JANE).await;
        let session = session_of(&world, &browser).await;
        let claims = |token: &str| {
            let claims = token.split('.').nth(1).unwrap().to_owned();
            let claims =
                base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims);
            serde_json::from_slice::<serde_json::Value>(&claims.unwrap()).unwrap()
        };
        let first = claims(session.id_token().await.unwrap().expose());
        assert_eq!(first["email"], JANE);
        world.advance(301);
        let second = claims(session.id_token().await.unwrap().expose());
        assert_eq!(world.sandbox.requests().refreshes(), 1);
        assert!(second["exp"].as_i64() > first["exp"].as_i64());
        browser.fetch("/me").await;
        assert_eq!(world.sandbox.requests().refreshes(), 1);
    }
}

#[tokio::test]
async fn a_held_session_that_has_ended_has_no_token_ever_again() {
    let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
    for logs_out in [true, false] {
        let world = World::with(|sandbox| sandbox.access_token_lifetime(day), |sessions| sessions);
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions = world.replica(|sessions| {
            sessions
                .retain_access_token()
                .store_backed()
                .shared_store(store.clone())
                .absolute_lifetime(90 * minute)
        });
        let app = app(&sessions);
        let mut jane = world.logged_in_at(&app, JANE).await;
        let session = session_at(&sessions, &jane).await;
        session.access_token().await.unwrap();
        if logs_out {
            jane.post("/logout").await;
        } else {
            world.advance(30 * 60);
        }
        // The log forgets the ends of stored sessions after an hour.
        world.advance(61 * 60);
        world.logged_in_at(&app, JOHN).await.post("/logout").await;
        for _ in 0..3 {
            world.advance(30);
            let error = session.access_token().await.unwrap_err();
            assert!(matches!(error, SessionTokenError::Ended), "{logs_out}: {error}");
        }
    }
}

#[tokio::test]
async fn without_the_setting_the_error_names_it() {
    let world = World::new();
    let browser = world.logged_in(JANE).await;
    let error = session_of(&world, &browser).await.access_token().await.unwrap_err();
    assert_eq!(error, SessionTokenError::NotRetained);
    assert!(error.to_string().contains("SessionsBuilder::retain_access_token"), "{error}");
    assert_eq!(error.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(world.sandbox.requests().refreshes(), 0);
}

#[tokio::test]
async fn a_local_session_has_no_access_token() {
    let world = world(|sessions| sessions);
    let mut user = User::default();
    user.id = "7".to_owned();
    let mut browser = world.browser();
    let cookies = world.sessions.create(LocalSession::new(user), &http::HeaderMap::new()).await;
    let mut response = Response::new(Bytes::new());
    cookies.unwrap().set(response.headers_mut());
    browser.store_cookies(&response);
    let session = session_of(&world, &browser).await;
    assert_eq!(session.access_token().await.unwrap_err(), SessionTokenError::NoTokens);
    assert_eq!(session.id_token().await.unwrap_err(), SessionTokenError::NoTokens);

    let hooked = world.replica(|sessions| {
        sessions
            .retain_access_token()
            .on_login(|login| async move { Ok(login.identity().session().into()) })
    });
    let mut browser = Browser::new(&app(&hooked), &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let session = session_at(&hooked, &browser).await;
    assert_eq!(session.access_token().await.unwrap_err(), SessionTokenError::NoTokens);
    assert!(session.id_token().await.is_ok(), "that of the login");
}

#[tokio::test]
async fn a_failing_refresh_is_a_typed_error_and_ends_no_session() {
    for place in PLACES {
        let world = world(place);
        let mut browser = world.logged_in(JANE).await;
        let session = session_of(&world, &browser).await;
        let first = session.access_token().await.unwrap();
        world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
        world.advance(296);
        let still_valid = session.access_token().await.unwrap();
        assert_eq!(still_valid.expose(), first.expose());
        world.advance(10);
        let error = session.access_token().await.unwrap_err();
        assert_eq!(error, SessionTokenError::Unavailable);
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.header("retry-after").is_some());
        world.sandbox.faults().clear(Endpoint::Token);
        world.advance(2);
        assert_ne!(session.access_token().await.unwrap().expose(), first.expose());
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_session_that_has_ended_has_no_token() {
    for place in PLACES {
        // By the environment, by a logout, by a revocation, by its limits.
        for how in 0..4 {
            let world = world(|sessions| {
                let lifetime = std::time::Duration::from_secs(400);
                let sessions = place(sessions);
                if how == 3 { sessions.absolute_lifetime(lifetime) } else { sessions }
            });
            let mut browser = world.logged_in(JANE).await;
            let session = session_of(&world, &browser).await;
            match how {
                0 => {
                    world.sandbox.users().revoke_sessions(JANE);
                    world.advance(301);
                }
                1 => {
                    browser.open("/logout").await;
                }
                2 => world.sessions.revoke_user(session.principal().subject()).await.unwrap(),
                _ => world.advance(401),
            }
            let error = session.access_token().await.unwrap_err();
            assert_eq!(error, SessionTokenError::Ended, "{how}");
            assert_eq!(session.id_token().await.unwrap_err(), SessionTokenError::Ended, "{how}");
            assert_eq!(error.into_response().status(), StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn a_token_that_must_be_refreshed_needs_the_shared_store() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions =
        world.replica(|sessions| sessions.retain_access_token().shared_store(store.clone()));
    let mut browser = Browser::new(&app(&sessions), &world.sandbox);
    browser.log_in(&world.sandbox, JANE).await;
    let session = session_at(&sessions, &browser).await;
    store.set_down(true);
    assert!(session.access_token().await.is_ok());
    world.advance(301);
    assert_eq!(session.access_token().await.unwrap_err(), SessionTokenError::Unavailable);
    store.set_down(false);
    world.advance(2);
    assert!(session.access_token().await.is_ok());
}

#[tokio::test]
async fn the_setting_can_be_changed_while_sessions_exist() {
    for place in PLACES {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let without = world.replica(|one| place(one.shared_store(store.clone())));
        let with =
            world.replica(|one| place(one.shared_store(store.clone()).retain_access_token()));
        let mut browser = Browser::new(&app(&without), &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;

        // The session began without its token, so it is refreshed, once.
        let session = session_at(&with, &browser).await;
        let token = session.access_token().await.unwrap();
        assert_eq!(session.access_token().await.unwrap().expose(), token.expose());
        assert_eq!(world.sandbox.requests().refreshes(), 1);

        // A replica without the setting accepts it, and drops the token with its next refresh.
        let mut browser = browser.at(&app(&without));
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        world.advance(301);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        assert_eq!(world.sandbox.requests().refreshes(), 2);
        let session = session_at(&with, &browser).await;
        world.advance(11);
        assert_ne!(session.access_token().await.unwrap().expose(), token.expose());
        assert_eq!(world.sandbox.requests().refreshes(), 3, "it was dropped");
    }
}

/// The guide on sessions, and the docs of the setting, have these figures.
#[tokio::test]
async fn the_cost_of_an_access_token_in_a_cookie() {
    let size = async |change: fn(SessionsBuilder) -> SessionsBuilder| {
        let world = World::with(|sandbox| sandbox, change);
        let browser = world.logged_in(JANE).await;
        let bytes = browser.names_and_values().len();
        println!("{bytes} bytes in {:?}", browser.names());
        (bytes, browser.names().len())
    };
    let (without, pieces) = size(|sessions| sessions).await;
    assert_eq!(pieces, 1);
    let (with, pieces) = size(SessionsBuilder::retain_access_token).await;
    assert_eq!(pieces, 1);
    let cost = with - without;
    assert!((380..480).contains(&cost), "{cost}");
    assert!((1350..1500).contains(&without), "{without}");
    let stored = size(SessionsBuilder::store_backed).await;
    assert_eq!(size(|one| one.store_backed().retain_access_token()).await, stored);
}

#[tokio::test]
async fn a_client_adds_the_token_for_an_api_of_the_same_environment() {
    let world = world(|sessions| sessions);
    let browser = world.logged_in(JANE).await;
    let session = session_of(&world, &browser).await;
    let api = service_fn(|request: Request<Body>| async move {
        assert!(request.headers()[header::AUTHORIZATION].is_sensitive());
        let principal = request.extensions().get::<tower_scalekit::Principal>().unwrap();
        Ok::<_, Infallible>(Response::new(Body::from(principal.subject().to_owned())))
    });
    let client = ServiceBuilder::new()
        .layer(AddAccessToken::new(["https://api.example.com"]).unwrap())
        .layer(token_layer(&world.sandbox))
        .service(api);
    let call = |url: &str| request(Method::GET, url, &[("authorization", "Bearer forged")]);

    let mut one = call("https://api.example.com/today");
    one.extensions_mut().insert(session.clone());
    let response = client.clone().oneshot(one).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    // A request that has passed RequireSession, forwarded by a proxy.
    let mut forwarded = call("https://api.example.com/today");
    forwarded.extensions_mut().insert(session.principal().clone());
    assert_eq!(client.clone().oneshot(forwarded).await.unwrap().status(), StatusCode::OK);

    let error = client.clone().oneshot(call("https://api.example.com/")).await.unwrap_err();
    assert!(matches!(error, AddAccessTokenError::MissingSession), "{error}");
    // A request that an optional layer has forwarded, with a session that something else inserted.
    let optional = RequireSession::new(&world.sessions).optional().layer(client.clone());
    let mut anonymous = call("https://api.example.com/");
    anonymous.extensions_mut().insert(session.clone());
    let error = optional.oneshot(anonymous).await.unwrap_err();
    assert!(matches!(error, AddAccessTokenError::MissingSession), "{error}");
    for url in ["https://evil.test/", "http://api.example.com/", "/today"] {
        let mut other = call(url);
        other.extensions_mut().insert(session.clone());
        let error = client.clone().oneshot(other).await.unwrap_err();
        assert!(matches!(error, AddAccessTokenError::OriginNotAllowed), "{url}: {error}");
    }
    world.sessions.revoke_user(session.principal().subject()).await.unwrap();
    let mut ended = call("https://api.example.com/");
    ended.extensions_mut().insert(session);
    let error = client.oneshot(ended).await.unwrap_err();
    assert!(matches!(error, AddAccessTokenError::Token(SessionTokenError::Ended)), "{error}");
}

#[tokio::test]
async fn a_client_calls_the_service_that_was_ready() {
    let world = world(|sessions| sessions);
    let browser = world.logged_in(JANE).await;
    let mut outgoing = request(Method::GET, "https://api.example.com/", &[]);
    outgoing.extensions_mut().insert(session_of(&world, &browser).await);
    let (inner, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let mut client = AddAccessToken::new(["https://api.example.com"]).unwrap().layer(inner);
    let mut cx = Context::from_waker(Waker::noop());
    handle.allow(0);
    assert!(client.poll_ready(&mut cx).is_pending(), "the inner service is busy");
    handle.allow(1);
    assert!(matches!(client.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    let call = tokio::spawn(client.call(outgoing));
    let (sent, respond) = handle.next_request().await.unwrap();
    assert!(sent.headers()[header::AUTHORIZATION].to_str().unwrap().starts_with("Bearer ey"));
    respond.send_error("the connection is lost");
    let error = call.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the connection is lost"), "{error}");
}
