//! Requests that browsers and frameworks make before the user follows a link have no side effects.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::connect_account::ConnectAccountError;
use tower_scalekit::middleware::{RejectionContext, RouteRejection};
use tower_scalekit::passwordless_login::PasswordlessLoginError;
use tower_scalekit::require_session::SessionRejection;
use tower_scalekit::sandbox::Endpoint;
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::shared_store::MemoryStore;
use tower_scalekit::{
    ConnectAccount, IdpInitiatedRedirect, PasswordlessLogin, RequireScope, RequireSession,
};

use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, ORIGIN, Reading as _, World, app, parameter, request,
    send, set_cookies,
};

/// How browsers and frameworks mark such requests.
const MARKS: [(&str, &str); 11] = [
    ("sec-purpose", "prefetch"),
    ("sec-purpose", "prefetch;prerender"),
    ("sec-purpose", "prefetch;anonymous-client-ip"),
    ("purpose", "prefetch"),
    ("purpose", "Prefetch"),
    ("x-purpose", "preview"),
    ("x-purpose", "prerender"),
    ("x-moz", "prefetch"),
    ("x-sec-purpose", "prefetch;prerender"),
    ("next-router-prefetch", "1"),
    ("next-router-prefetch", "2"),
];

/// An app with all routes.
fn world() -> World {
    world_with(|sessions| sessions)
}

fn world_with(change: impl FnOnce(SessionsBuilder) -> SessionsBuilder) -> World {
    let mut world = World::with(|sandbox| sandbox, change);
    let sessions = &world.sessions;
    world.sandbox.connected_accounts().require_user_verification(true);
    let connect = ConnectAccount::builder(sessions, "gmail").build().unwrap();
    let login = PasswordlessLogin::builder(sessions).code_page("/code").build().unwrap();
    world.app = app(sessions)
        .merge(connect.routes())
        .merge(login.routes())
        .layer(IdpInitiatedRedirect::new(sessions));
    world
}

/// Asserts that marked requests change nothing, however they are marked.
async fn assert_no_effect(browser: &mut Browser, target: &str) {
    for mark in MARKS {
        for mode in [&NAVIGATION, &FETCH] {
            let same_origin = ("sec-fetch-site", "same-origin");
            let headers = [&mode[..2], &[same_origin, mark]].concat();
            let response =
                send(browser.app(), browser.request(Method::GET, target, &headers)).await;
            let shown = format!("{target} {mark:?}: {response:?}");
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{shown}");
            assert_eq!(set_cookies(response.headers()), [""; 0], "{shown}");
            assert_eq!(response.header("cache-control"), Some("no-store"), "{shown}");
            assert!(response.header("retry-after").is_some(), "{shown}");
            assert!(response.headers().get(header::LOCATION).is_none(), "{shown}");
            if mode == &NAVIGATION {
                assert!(response.text().contains(">Continue</a>"), "{}", response.text());
            } else {
                assert_eq!(response.json()["error"], "speculative_request");
            }
        }
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn submit(browser: &mut Browser, target: &str, body: &'static str) -> Response<Bytes> {
    let headers = [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-site", "same-origin"), FORM];
    let mut request = browser.request(Method::POST, target, &headers);
    *request.body_mut() = Body::from(body);
    let response = send(browser.app(), request).await;
    browser.store_cookies(&response);
    response
}

#[tokio::test]
async fn a_login_starts_and_completes_when_the_user_follows_the_link() {
    let world = world();
    let mut browser = world.browser();
    assert_no_effect(&mut browser, "/login?return_to=/me").await;
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    assert_no_effect(&mut browser, &callback).await;
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 0);
    let done = browser.open(&callback).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
}

#[tokio::test]
async fn an_idp_initiated_login_is_not_spent() {
    let world = world();
    let connection = world.sandbox.organizations().list()[0].connection_id.clone();
    let token = world.sandbox.idp().login_token(&*connection);
    for path in ["/login", "/me"] {
        let target = format!("{path}?idp_initiated_login={token}");
        assert_no_effect(&mut world.browser(), &target).await;
    }
    let login = world.browser().open(&format!("/login?idp_initiated_login={token}")).await;
    assert!(login.location().contains("connection_id="), "{}", login.location());
}

#[tokio::test]
async fn a_session_is_not_ended_or_refreshed() {
    let world = world();
    let mut browser = world.logged_in(JANE).await;
    assert_no_effect(&mut browser, "/logout").await;
    assert_eq!(world.sandbox.requests().refreshes(), 0);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(browser.post("/auth/refresh").await.status(), StatusCode::OK);

    let logout = browser.send(Method::GET, "/logout", &NAVIGATION).await;
    assert_eq!(logout.status(), StatusCode::SEE_OTHER);
    let state = parameter(logout.location(), "state").unwrap();
    let back = format!("/auth/logout/callback?state={state}");
    assert_no_effect(&mut browser, &back).await;
    assert_eq!(browser.open(&back).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_login_as_another_user_still_waits_for_confirmation() {
    let world = world();
    let mut browser = world.logged_in(JANE).await;
    let asked = browser.log_in(&world.sandbox, JOHN).await;
    let page = asked.location().to_owned();
    assert_no_effect(&mut browser, &page).await;
    let done = browser.decide(&asked, "switch").await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(browser.fetch("/me").await.json()["email"], JOHN);
}

#[tokio::test]
async fn an_account_is_connected_when_the_user_returns() {
    let world = world();
    let mut browser = world.logged_in(JANE).await;
    assert_no_effect(&mut browser, "/connect/gmail").await;
    let begun = browser.post("/connect/gmail").await;
    let back = world.sandbox.consent(begun.location()).unwrap();
    assert_no_effect(&mut browser, &back).await;
    assert_no_effect(&mut world.browser(), &back).await;
    assert_eq!(browser.open(&back).await.status(), StatusCode::SEE_OTHER);
    let id = world.sandbox.users().get(JANE).unwrap().id;
    assert_eq!(world.sandbox.connected_accounts().get("gmail", &id).unwrap().status, "ACTIVE");
}

#[tokio::test]
async fn an_email_is_not_sent_and_a_magic_link_is_not_used_up() {
    let world = world();
    let mut browser = world.browser();
    let sent =
        submit(&mut browser, "/passwordless/send", "email=jane@acme.test&return_to=/me").await;
    assert_eq!(sent.status(), StatusCode::SEE_OTHER);
    let mail = world.sandbox.mail().outbox().remove(0);
    let link = mail.link.unwrap();
    let link = link.strip_prefix(ORIGIN).unwrap();
    assert_no_effect(&mut browser, link).await;
    assert_no_effect(&mut world.browser(), link).await;
    let done = browser.open(link).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(world.sandbox.mail().outbox().len(), 1);
}

#[tokio::test]
async fn a_page_that_requires_a_session_starts_no_login() {
    let world = world();
    let mut browser = world.browser();
    for target in ["/me", "/me?a=b", "/area/one/page", "/connect/gmail"] {
        assert_no_effect(&mut browser, target).await;
    }
    let marked = [NAVIGATION[0], NAVIGATION[1], MARKS[0]];
    let page = browser.send(Method::GET, "/me?a=b&c", &marked).await;
    assert!(page.text().contains("<a href=\"\">Continue</a>"), "{}", page.text());
    assert_eq!(browser.open("/me").await.status(), StatusCode::FOUND);

    // A session that is over is as good as none, and its cookie stays.
    let mut expired = world.logged_in(JANE).await;
    world.advance(60 * 24 * 60 * 60);
    let name = world.sessions.cookie_name().to_owned();
    expired.keep_expired(&name);
    assert_no_effect(&mut expired, "/me").await;
    assert!(expired.cookie(&name).is_some());
}

#[tokio::test]
async fn a_session_that_must_be_refreshed_first_is_not_served() {
    for store_backed in [false, true] {
        let world = world_with(|sessions| match store_backed {
            true => sessions.store_backed(),
            false => sessions,
        });
        let mut browser = world.logged_in(JANE).await;
        // About to expire: the tokens are still valid.
        world.advance(295);
        for mark in MARKS {
            let served = browser.send(Method::GET, "/me", &[mark]).await;
            assert_eq!(served.status(), StatusCode::OK);
            assert_eq!(served.json()["email"], JANE);
            assert_eq!(set_cookies(served.headers()), [""; 0]);
            served.assert_private();
        }
        world.advance(6);
        assert_no_effect(&mut browser, "/me").await;
        for mark in MARKS {
            let optional = browser.send(Method::GET, "/maybe", &[mark]).await;
            assert_eq!((optional.status(), &*optional.text()), (StatusCode::OK, "nobody"));
            assert_eq!(set_cookies(optional.headers()), [""; 0]);
        }
        assert_eq!(world.sandbox.requests().refreshes(), 0);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        assert_eq!(world.sandbox.requests().refreshes(), 1);
    }
}

#[tokio::test]
async fn an_optional_session_is_served_as_it_is() {
    let world = world();
    let mut jane = world.logged_in(JANE).await;
    let damaged = {
        let mut browser = world.browser();
        let value = format!("{}x", jane.cookie(world.sessions.cookie_name()).unwrap());
        browser.put_cookie(world.sessions.cookie_name(), &value);
        browser
    };
    for mark in MARKS {
        for (browser, who) in
            [(&mut jane, JANE), (&mut world.browser(), "nobody"), (&mut damaged.clone(), "nobody")]
        {
            let served = browser.send(Method::GET, "/maybe", &[mark]).await;
            assert_eq!((served.status(), &*served.text()), (StatusCode::OK, who));
            assert_eq!(set_cookies(served.headers()), [""; 0]);
        }
    }
}

#[tokio::test]
async fn a_scope_of_an_anonymous_request_starts_no_login() {
    let world = world();
    let app = Router::new()
        .route("/admin", get(|| async { "admin" }))
        .layer(RequireScope::all_roles(["admin"]))
        .layer(RequireSession::new(&world.sessions).optional());
    let mut browser = Browser::new(&app, &world.sandbox);
    assert_no_effect(&mut browser, "/admin").await;
    assert_eq!(browser.open("/admin").await.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn a_marked_request_does_not_extend_the_idle_time() {
    for store_backed in [false, true] {
        let world = World::with(
            |sandbox| sandbox.access_token_lifetime(Duration::from_secs(3600)),
            |sessions| sessions,
        );
        let store = Arc::new(MemoryStore::new(world.sandbox.clock().clock()));
        let sessions = world.replica(|sessions| {
            let sessions = sessions.idle_timeout(Duration::from_secs(600)).shared_store(store);
            if store_backed { sessions.store_backed() } else { sessions }
        });
        let world = World { app: app(&sessions), sessions, ..world };
        let mut used = world.logged_in(JANE).await;
        let mut prefetched = world.logged_in(JANE).await;
        world.advance(400);
        let served = prefetched.send(Method::GET, "/me", &[MARKS[0]]).await;
        assert_eq!(served.status(), StatusCode::OK);
        assert_eq!(set_cookies(served.headers()), [""; 0]);
        assert_eq!(used.fetch("/me").await.status(), StatusCode::OK);
        world.sessions.shutdown(Duration::from_secs(5)).await.unwrap();
        world.advance(400);
        assert_eq!(used.fetch("/me").await.status(), StatusCode::OK);
        prefetched.keep_expired(world.sessions.cookie_name());
        assert_eq!(prefetched.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    }
}

/// A typed reason, a custom body and the default status.
fn custom<R: std::fmt::Debug>(rejected: RejectionContext<'_, R>) -> Response<Bytes> {
    let text = format!("{:?} at {}", rejected.rejection(), rejected.uri().path());
    let mut response = rejected.into_default_response();
    *response.body_mut() = text.into();
    response
}

#[tokio::test]
async fn the_rejection_is_typed_and_can_be_customized() {
    let world = World::new();
    let sessions = &world.sessions;
    let connect = ConnectAccount::builder(sessions, "gmail").on_rejection(custom).build().unwrap();
    let login = PasswordlessLogin::builder(sessions).code_page("/code").on_rejection(custom);
    let app = Router::new()
        .route("/me", get(|| async {}))
        .layer(RequireSession::new(sessions).on_rejection(custom))
        .route_service("/logout", sessions.logout().on_rejection(custom))
        .merge(connect.routes())
        .merge(login.build().unwrap().routes());
    let mut browser = world.logged_in(JANE).await.at(&app);
    let marked = [NAVIGATION[0], NAVIGATION[1], MARKS[1]];

    let response = browser.send(Method::GET, "/logout", &marked).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.text().contains("Speculative") && response.text().ends_with("at /logout"));
    let rejection: &RouteRejection<LoginError> = response.extensions().get().unwrap();
    assert_eq!(rejection.error(), &LoginError::Speculative);
    assert_eq!(rejection.message(), "This page was requested before you opened it");

    let response = browser.send(Method::GET, "/connect/gmail", &marked).await;
    assert!(response.text().contains("Speculative"));
    let rejection: &RouteRejection<ConnectAccountError> = response.extensions().get().unwrap();
    assert_eq!(rejection.error(), &ConnectAccountError::Speculative);

    let response = browser.send(Method::GET, "/passwordless/verify?link_token=x", &marked).await;
    assert!(response.text().contains("Speculative"));
    let rejection: &RouteRejection<PasswordlessLoginError> = response.extensions().get().unwrap();
    assert_eq!(rejection.error(), &PasswordlessLoginError::Speculative);

    let response = Browser::new(&app, &world.sandbox).send(Method::GET, "/me", &marked).await;
    assert!(response.text().contains("Speculative"));
    let Some(SessionRejection::Speculative(login)) = response.extensions().get() else {
        panic!("{response:?}")
    };
    assert_eq!(login.login_url(), None, "a prefetched login would begin an attempt");
}

#[tokio::test]
async fn an_apps_own_callback_uses_up_no_attempt() {
    let world = world();
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let parts =
        |headers: &[(&str, &str)]| browser.request(Method::GET, &callback, headers).into_parts().0;
    for mark in MARKS {
        let rejected = world.sessions.callback().identify(&parts(&[mark])).await.unwrap_err();
        assert_eq!(rejected.error(), Some(&LoginError::Speculative));
        assert_eq!(rejected.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let login = world.sessions.callback().identify(&parts(&NAVIGATION)).await.unwrap();
    assert_eq!(login.identity.user().email, JANE);
}

/// Otherwise a proxy that marks all requests would lock users out.
#[tokio::test]
async fn a_link_that_the_user_follows_and_a_form_have_their_effects() {
    for mark in MARKS {
        let world = world();
        let mut browser = world.browser();
        let follow = [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-user", "?1"), mark];
        let login = browser.send(Method::GET, "/me", &follow).await;
        assert_eq!(login.location(), "/login?return_to=%2Fme", "{mark:?}");
        let started = browser.send(Method::GET, login.location(), &follow).await;
        let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
        let done = browser.send(Method::GET, &callback, &follow).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
        // The user's activation is lost where a script of the environment has sent its form.
        assert_no_effect(&mut browser, "/connect/gmail").await;

        let form = [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-site", "same-origin"), mark];
        let begun = browser.send(Method::POST, "/connect/gmail", &form).await;
        assert_eq!(begun.status(), StatusCode::SEE_OTHER, "{}", begun.text());
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        let refreshed = browser.send(Method::POST, "/auth/refresh", &form).await;
        assert_eq!(refreshed.status(), StatusCode::OK);
        let logout = browser.send(Method::POST, "/logout", &form).await;
        assert_eq!(logout.status(), StatusCode::SEE_OTHER);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);

        let sent = [&form[..], &[FORM]].concat();
        let mut request = browser.request(Method::POST, "/passwordless/send", &sent);
        *request.body_mut() = Body::from("email=jane@acme.test");
        let sent = send(browser.app(), request).await;
        assert_eq!(sent.status(), StatusCode::SEE_OTHER, "{}", sent.text());
    }
}

#[tokio::test]
async fn a_back_channel_logout_has_no_browser_that_could_prefetch() {
    let world = world();
    for mark in MARKS {
        let headers = [FORM, mark];
        let request = request(Method::POST, "/auth/backchannel-logout", &headers);
        let response = send(&world.app, request).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{mark:?}");
    }
}

#[tokio::test]
async fn other_values_of_the_same_headers_are_no_marks() {
    let world = world();
    for (name, value) in
        [("sec-purpose", ""), ("purpose", "navigate"), ("x-moz", "1"), ("x-purpose", "pre")]
    {
        let headers = [NAVIGATION[0], NAVIGATION[1], (name, value)];
        let response = world.browser().send(Method::GET, "/login", &headers).await;
        assert_eq!(response.status(), StatusCode::FOUND, "{name}: {value}");
    }
}
