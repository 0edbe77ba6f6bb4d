//! Sessions in cookies: sealing, limits and routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Method, StatusCode};
use tokio::sync::Notify;
use tower::ServiceExt as _;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::sandbox::{Endpoint, Fault, NewUser};
use tower_scalekit::{Principal, RequireSession, RequireToken, Session, SessionSecret, Sessions};

use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, Reading as _, World, app, noise, parameter, request,
    secret, send, set_cookies,
};

const NAME: &str = "__Host-scalekit_session";
const BIG: &str = "big@acme.test";

/// A user whose session takes several cookies.
fn add_big_user(world: &World, permissions: usize) {
    world.sandbox.users().add(NewUser::new(BIG).permissions(noise(permissions)));
}

#[tokio::test]
async fn cookies_have_the_host_prefix_on_https_and_none_on_http_loopback() {
    let world = World::new();
    let done = world.browser().log_in(&world.sandbox, JANE).await;
    let days = 30 * 24 * 60 * 60;
    let [session, recent, attempt] = set_cookies(done.headers())[..] else { panic!("{done:?}") };
    assert!(session.starts_with("__Host-scalekit_session="));
    let attributes = format!("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age={days}");
    assert!(session.ends_with(&attributes), "{session}");
    assert!(attempt.starts_with("__Host-scalekit_login_") && attempt.ends_with("Max-Age=0"));
    let attributes = "; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60";
    assert!(recent.starts_with("__Host-scalekit_recent_") && recent.ends_with(attributes));

    let plain = world.replica(|s| s.redirect_uri("http://localhost:3000/auth/callback"));
    let mut browser = Browser::new(&app(&plain), &world.sandbox);
    let authorization = browser.start_login("/login").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let callback = callback.strip_prefix("http://localhost:3000").unwrap();
    let done = browser.open(callback).await;
    let [session, _, _] = set_cookies(done.headers())[..] else { panic!("{done:?}") };
    assert!(session.starts_with("scalekit_session="));
    assert!(session.ends_with(&format!("; HttpOnly; SameSite=Lax; Path=/; Max-Age={days}")));
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(browser.at(&world.app).fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn tampered_truncated_and_foreign_cookies_redirect_to_login() {
    let world = World::new();
    let jane = world.logged_in(JANE).await;
    let value = jane.cookie(NAME).unwrap().to_owned();
    let mut login = world.browser();
    login.start_login("/login").await;
    let attempt = login.names_with("_login_").remove(0);
    let attempt = login.cookie(&attempt).unwrap().to_owned();
    let other_secret = world.replica(|s| s.secret(secret(99)));
    let mut foreign = Browser::new(&app(&other_secret), &world.sandbox);
    foreign.log_in(&world.sandbox, JANE).await;
    let other_name = world.replica(|s| s.cookie_name("other"));
    let mut renamed = Browser::new(&app(&other_name), &world.sandbox);
    renamed.log_in(&world.sandbox, JANE).await;

    let middle = value.len() / 2;
    let flipped = if &value[middle..=middle] == "A" { "B" } else { "A" };
    // A cookie that no key opens may belong to another app: it stays until a login replaces it.
    for bad in [
        "",
        "A",
        "\"\"",
        "=",
        &value[1..],
        &value[..value.len() - 1],
        &value[..middle],
        &format!("{value}A"),
        &format!("{value}="),
        &format!("{value}{value}"),
        &format!("{}{flipped}{}", &value[..middle], &value[middle + 1..]),
        &value.to_uppercase(),
        &attempt,
        foreign.cookie(NAME).unwrap(),
        renamed.cookie("__Host-other_session").unwrap(),
        &"A".repeat(100_000),
    ] {
        let mut browser = world.browser();
        browser.put_cookie(NAME, bad);
        let response = browser.open("/me").await;
        assert_eq!(response.status(), StatusCode::FOUND, "{bad:.80}");
        assert_eq!(response.location(), "/login?return_to=%2Fme");
        assert_eq!(browser.cookie(NAME), Some(bad), "{bad:.80}");
        assert_eq!(browser.log_in(&world.sandbox, JANE).await.status(), StatusCode::SEE_OTHER);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn of_several_cookies_of_the_same_name_each_of_the_first_three_is_tried() {
    let world = World::new();
    let (jane, john) = (world.logged_in(JANE).await, world.logged_in(JOHN).await);
    let [jane, john] =
        [jane, john].map(|browser| format!("{NAME}={}", browser.cookie(NAME).unwrap()));
    let other = format!("{NAME}=x");
    for (cookies, expected) in [
        (vec![format!("{jane}; {john}")], Some(JANE)),
        (vec![john.clone(), jane.clone()], Some(JOHN)),
        (vec![format!("{other}; {jane}")], Some(JANE)),
        (vec![format!("{jane}; {NAME}=")], Some(JANE)),
        (vec![other.clone(), other.clone(), jane.clone()], Some(JANE)),
        (vec![other.clone(), other.clone(), other.clone(), jane.clone()], None),
    ] {
        let headers: Vec<_> = cookies.iter().map(|value| ("cookie", value.as_str())).collect();
        let response = send(&world.app, request(Method::GET, "/me", &headers)).await;
        assert_eq!(set_cookies(response.headers()), [""; 0]);
        match expected {
            Some(email) => assert_eq!(response.json()["email"], email),
            None => assert_eq!(response.status(), StatusCode::UNAUTHORIZED),
        }
    }
    // HTTP/2 splits cookies into several headers.
    let headers = [("cookie", "a=1"), ("cookie", jane.as_str()), ("cookie", "b=2; c")];
    assert_eq!(send(&world.app, request(Method::GET, "/me", &headers)).await.json()["email"], JANE);
}

#[tokio::test]
async fn a_large_session_is_split_and_joined_and_leaves_no_pieces_when_it_shrinks() {
    let world = World::new();
    add_big_user(&world, 250);
    let mut browser = world.logged_in(BIG).await;
    let pieces = browser.names_with("_session");
    assert!(pieces.len() >= 2, "{pieces:?}");
    assert_eq!(browser.fetch("/me").await.json()["email"], BIG);

    let john = world.logged_in(JOHN).await.cookie(NAME).unwrap().to_owned();
    for change in 0..5 {
        let mut other = browser.clone();
        let (first, second) = (
            other.cookie(&pieces[0]).unwrap().to_owned(),
            other.cookie(&pieces[1]).unwrap().to_owned(),
        );
        match change {
            0 => {
                other.put_cookie(&pieces[0], &second);
                other.put_cookie(&pieces[1], &first);
            }
            1 => other.put_cookie(&pieces[1], &second[..second.len() - 1]),
            2 => other.put_cookie(&format!("{NAME}.2"), "AAAA"),
            3 => other.put_cookie(&pieces[0], &john),
            _ => other.put_cookie(&pieces[1], ""),
        }
        // Pieces that do not belong to the session are kept.
        let expected = match change {
            2 => Some(BIG),
            3 => Some(JOHN),
            _ => None,
        };
        let before = other.cookie_header();
        let response = other.fetch("/me").await;
        match expected {
            Some(email) => assert_eq!(response.json()["email"], email, "{change}"),
            None => assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{change}"),
        }
        assert_eq!(other.cookie_header(), before, "{change}");
    }
    // An index beyond the limit belongs to another app's cookie.
    let mut more = browser.clone();
    more.put_cookie(&format!("{NAME}.3"), "AAAA");
    more.put_cookie(&format!("{NAME}.99999999999999999999"), "AAAA");
    assert_eq!(more.fetch("/me").await.status(), StatusCode::OK);

    world.sandbox.users().update(BIG, |user| user.permissions.clear());
    world.advance(298);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(browser.names(), [NAME], "leftovers stay");
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_session_that_is_too_large_is_500_at_the_login_and_sets_no_cookie() {
    let world = World::new();
    add_big_user(&world, 570);
    let mut browser = world.logged_in(JOHN).await;
    let before = browser.cookie_header();
    let response = browser.log_in(&world.sandbox, BIG).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let rejection = response.extensions().get::<RouteRejection<LoginError>>().unwrap();
    assert_eq!(rejection.error(), &LoginError::Misconfigured);
    assert_eq!(browser.cookie_header(), before);
    assert_eq!(browser.fetch("/me").await.json()["email"], JOHN);
}

#[tokio::test]
async fn tokens_that_no_header_could_carry_are_verified_and_then_too_large() {
    let world = World::new();
    add_big_user(&world, 1000);
    let response = world.browser().log_in(&world.sandbox, BIG).await;
    let rejection = response.extensions().get::<RouteRejection<LoginError>>().unwrap();
    assert_eq!(rejection.error(), &LoginError::Misconfigured);
    // In the shared store, any size fits.
    let stored = world.replica(|s| s.store_backed());
    let mut browser = Browser::new(&app(&stored), &world.sandbox);
    assert_eq!(browser.log_in(&world.sandbox, BIG).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.fetch("/me").await.json()["email"], BIG);
}

#[tokio::test]
async fn two_hundred_permissions_take_two_cookies() {
    let world = World::new();
    add_big_user(&world, 200);
    let browser = world.logged_in(BIG).await;
    assert_eq!(browser.names_with("_session").len(), 2);
}

#[tokio::test]
async fn sessions_sealed_with_a_previous_secret_stay_valid_and_are_resealed() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let old = browser.cookie(NAME).unwrap().to_owned();
    let rotated = world.replica(|s| s.secret(secret(40)).previous_secret(secret(1)));
    let mut rotated = browser.at(&app(&rotated));
    assert_eq!(rotated.fetch("/me").await.json()["email"], JANE);
    assert_ne!(rotated.cookie(NAME), Some(old.as_str()));
    let only_new = world.replica(|s| s.secret(secret(40)));
    let mut later = rotated.at(&app(&only_new));
    let response = later.fetch("/me").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(set_cookies(response.headers()), [""; 0]);
    // A pending login stays valid too.
    let authorization = browser.start_login("/login").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let rotated = world.replica(|s| s.secret(secret(40)).previous_secret(secret(1)));
    let completed = browser.at(&app(&rotated)).open(&callback).await;
    assert_eq!(completed.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_idle_limit_is_enforced_locally_and_use_extends_it() {
    let world = World::with(
        |sandbox| sandbox.access_token_lifetime(Duration::from_secs(86_400)),
        |sessions| sessions.idle_timeout(Duration::from_secs(600)),
    );
    let mut used = world.logged_in(JANE).await;
    let mut unused = world.logged_in(JANE).await;
    let first = used.cookie(NAME).unwrap().to_owned();
    unused.keep_expired(NAME);
    for step in 0..5 {
        world.advance(299);
        let response = used.fetch("/me").await;
        assert_eq!(response.status(), StatusCode::OK);
        // Rewritten only after more than a tenth of the time.
        assert_eq!(set_cookies(response.headers()).len(), 1, "{step}");
        assert_eq!(set_cookies(used.fetch("/me").await.headers()), [""; 0]);
        if step == 1 {
            assert_eq!(unused.clone().fetch("/me").await.status(), StatusCode::OK);
        }
    }
    assert_eq!(unused.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(unused.names(), [""; 0]);
    unused.put_cookie(NAME, &first);
    assert_eq!(unused.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_absolute_limit_is_enforced_whatever_the_cookie_contains() {
    let hour = Duration::from_secs(3600);
    let world = World::with(|sandbox| sandbox, |sessions| sessions.absolute_lifetime(hour));
    let mut browser = world.logged_in(JANE).await;
    for _ in 0..14 {
        world.advance(250);
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
    let kept = browser.cookie(NAME).unwrap().to_owned();
    let refreshes = world.sandbox.requests().refreshes();
    world.advance(100);
    assert_eq!(browser.names(), [""; 0], "Max-Age is what is left");
    browser.put_cookie(NAME, &kept);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.sandbox.requests().refreshes(), refreshes);
}

#[tokio::test]
async fn without_a_refresh_token_a_session_ends_with_its_access_token() {
    let world = World::with(|sandbox| sandbox, |s| s.scopes(["openid", "email"]));
    let mut browser = world.logged_in(JANE).await;
    world.advance(299);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    world.advance(1);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(browser.names(), [""; 0]);
}

#[tokio::test]
async fn optional_forwards_anonymous_requests_and_keeps_cookies_of_ended_sessions() {
    let world = World::new();
    let anonymous = world.browser().open("/maybe").await;
    assert_eq!((anonymous.status(), anonymous.text().as_str()), (StatusCode::OK, "nobody"));
    anonymous.assert_private();
    let mut jane = world.logged_in(JANE).await;
    assert_eq!(jane.fetch("/maybe").await.text(), JANE);
    jane.put_cookie(NAME, "damaged");
    let response = jane.fetch("/maybe").await;
    assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "nobody"));
    assert_eq!(jane.cookie(NAME), Some("damaged"), "it may belong to another app");

    let mut john = world.logged_in(JOHN).await;
    world.advance(301);
    world.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
    assert_eq!(john.fetch("/maybe").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    world.sandbox.faults().clear(Endpoint::Token);
    world.sandbox.users().revoke_sessions(JOHN);
    world.advance(2);
    assert_eq!(john.fetch("/maybe").await.text(), "nobody");
    assert_eq!(john.names(), [NAME]);
}

#[tokio::test]
async fn a_slow_response_behind_an_optional_layer_keeps_the_cookie_of_a_login_made_meanwhile() {
    let world = World::with(
        |sandbox| sandbox,
        |sessions| sessions.idle_timeout(Duration::from_secs(60)).scopes(["openid", "email"]),
    );
    let responding = Arc::new(Notify::new());
    let slow = {
        let responding = Arc::clone(&responding);
        get(async move |session: Option<Session>| {
            responding.notified().await;
            session.map_or("nobody", |_| "somebody")
        })
    };
    let layer = RequireSession::new(&world.sessions).optional();
    let app = app(&world.sessions).route("/slow", slow.layer(layer));
    let mut browser = world.logged_in(JANE).await.at(&app);
    browser.keep_expired(NAME);
    world.advance(61);
    let late = tokio::spawn({
        let (app, request) = (app.clone(), browser.request(Method::GET, "/slow", &FETCH));
        async move { send(&app, request).await }
    });
    tokio::task::yield_now().await;
    let done = browser.log_in(&world.sandbox, JANE).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
    responding.notify_one();
    let late = late.await.unwrap();
    assert_eq!(late.text(), "nobody");
    browser.store_cookies(&late);
    assert_eq!(browser.fetch("/me").await.json()["email"], JANE);
}

#[tokio::test]
async fn extractors_without_their_layer_are_500() {
    async fn optional_principal(_: Option<Principal>) {}
    let world = World::new();
    let app = Router::new()
        .route("/session", get(|_: Session| async {}))
        .route("/maybe-session", get(|_: Option<Session>| async {}))
        .route("/principal", get(|_: Principal| async {}))
        .route("/maybe-principal", get(optional_principal))
        .route("/ok", get(|| async {}));
    let jane = world.logged_in(JANE).await;
    for path in ["/session", "/maybe-session", "/principal", "/maybe-principal"] {
        let response = jane.at(&app).fetch(path).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(response.json()["error"], "server_error");
    }
    assert_eq!(jane.at(&app).fetch("/ok").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_identity_inserted_by_an_outer_layer_is_removed() {
    let world = World::new();
    let jane = world.logged_in(JANE).await;
    let session: Session = session_of(&world.sessions, &jane).await;
    let stolen = |mut request: http::Request<axum::body::Body>| {
        request.extensions_mut().insert(session.clone());
        request.extensions_mut().insert(session.principal().clone());
        request
    };
    let probe = |request: http::Request<axum::body::Body>| async move {
        let extensions = request.extensions();
        let found = (
            Session::from_extensions(extensions).is_some(),
            extensions.get::<Principal>().is_some(),
        );
        Ok::<_, std::convert::Infallible>(http::Response::new(format!("{found:?}")))
    };
    let nobody = stolen(request(Method::GET, "/", &FETCH));
    let optional = RequireSession::new(&world.sessions).optional();
    let service = tower::ServiceBuilder::new().layer(optional).service_fn(probe);
    let response = service.oneshot(nobody).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert_eq!(body, "(false, false)");

    let token = RequireToken::for_audience(&world.sandbox.scalekit(), "any").unwrap();
    let service = tower::ServiceBuilder::new().layer(token).service_fn(probe);
    let response = service.oneshot(stolen(request(Method::GET, "/", &FETCH))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

async fn session_of(sessions: &Sessions, browser: &Browser) -> Session {
    let take = |request: http::Request<axum::body::Body>| async move {
        let mut response = http::Response::new(String::new());
        response.extensions_mut().insert(Session::from_extensions(request.extensions()).unwrap());
        Ok::<_, std::convert::Infallible>(response)
    };
    let service =
        tower::ServiceBuilder::new().layer(RequireSession::new(sessions)).service_fn(take);
    let response = service.oneshot(browser.request(Method::GET, "/", &[])).await.unwrap();
    response.extensions().get::<Session>().unwrap().clone()
}

#[tokio::test]
async fn the_handlers_cache_control_is_kept_unless_a_cookie_is_set() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let response = browser.fetch("/cached").await;
    assert_eq!(response.header("cache-control"), Some("private, max-age=60"));
    assert_eq!(response.header("vary"), Some("cookie"));
    browser.fetch("/me").await.assert_private();
    world.advance(298);
    let response = browser.fetch("/cached").await;
    assert!(!set_cookies(response.headers()).is_empty());
    response.assert_private();
}

#[tokio::test]
async fn logout_removes_every_cookie_and_ends_the_session_at_the_environment() {
    let world = World::new();
    add_big_user(&world, 250);
    for method in [Method::GET, Method::POST] {
        let mut browser = world.logged_in(BIG).await;
        let pieces = browser.names().len();
        let response = browser.send(method, "/logout", &NAVIGATION).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        response.assert_private();
        let recent = 1;
        assert_eq!(set_cookies(response.headers()).len(), pieces + recent + 1);
        assert_eq!(browser.names(), browser.names_with("_logout_"));
        let there = response.location();
        assert!(there.starts_with(&format!("{}/oidc/logout?", world.sandbox.environment_url())));
        assert!(parameter(there, "id_token_hint").unwrap().split('.').count() == 3);
        assert_eq!(
            parameter(there, "post_logout_redirect_uri").as_deref(),
            Some("https://app.example.com/auth/logout/callback")
        );
        // The hint is the ID token that the environment issued, which ends the session there.
        let back = follow(&world, there).await;
        assert_eq!(back.status(), StatusCode::FOUND);
        assert_eq!(world.sandbox.users().revoke_sessions(BIG), 0);
        let landed = browser.open(back.location()).await;
        assert_eq!(
            (landed.status(), landed.location()),
            (StatusCode::SEE_OTHER, "https://app.example.com/")
        );
        landed.assert_private();
        assert_eq!(browser.names(), [""; 0]);
    }
}

pub(crate) async fn follow(world: &World, url: &str) -> http::Response<bytes::Bytes> {
    use tower_scalekit::http_client::HttpClient as _;
    let request = http::Request::get(url).body(bytes::Bytes::new()).unwrap();
    world.sandbox.client().send(request).await.unwrap()
}

#[tokio::test]
async fn a_cross_site_logout_is_rejected_and_others_work_offline_expired_and_logged_out() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let before = browser.cookie_header();
    for headers in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "https://evil.test")],
        [("origin", "null")],
        [("referer", "https://evil.test/")],
    ] {
        for method in [Method::GET, Method::POST] {
            let response = browser.send(method, "/logout", &headers).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{headers:?}");
            let rejection = response.extensions().get::<RouteRejection<LoginError>>().unwrap();
            assert_eq!(rejection.error(), &LoginError::CrossSite);
            assert_eq!(browser.cookie_header(), before);
        }
    }
    // An old browser without a referrer gets a confirmation page, which an `<img>` cannot show.
    let page = browser.send(Method::GET, "/logout", &[("accept", "text/html")]).await;
    assert_eq!((page.status(), browser.cookie_header()), (StatusCode::OK, before.clone()));
    assert!(page.text().contains("<form method=\"post\" action=\"/logout\">"), "{}", page.text());
    page.assert_private();
    let image = browser.send(Method::GET, "/logout", &[("accept", "image/*")]).await;
    assert_eq!((image.status(), browser.cookie_header()), (StatusCode::FORBIDDEN, before.clone()));
    // Not even one in a page of the app, which another user may have written.
    for (destination, mode) in [("image", "no-cors"), ("iframe", "navigate"), ("style", "no-cors")]
    {
        let embedded = [
            ("sec-fetch-dest", destination),
            ("sec-fetch-mode", mode),
            ("sec-fetch-site", "same-origin"),
        ];
        let response = browser.send(Method::GET, "/logout", &embedded).await;
        assert_eq!(
            (response.status(), browser.cookie_header()),
            (StatusCode::FORBIDDEN, before.clone()),
            "{destination}"
        );
    }
    // A link in a frame, which the user follows.
    let link = [
        ("sec-fetch-dest", "iframe"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-user", "?1"),
    ];
    let response = browser.clone().send(Method::GET, "/logout", &link).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    for endpoint in [Endpoint::Token, Endpoint::Keys, Endpoint::Logout] {
        world.sandbox.faults().add(endpoint, Fault::Unreachable);
    }
    world.advance(100_000);
    let own_page = [("origin", "https://app.example.com"), ("sec-fetch-site", "same-origin")];
    let response = browser.send(Method::POST, "/logout", &own_page).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert!(parameter(response.location(), "id_token_hint").is_some());
    assert_eq!(browser.names(), browser.names_with("_logout_"));
    let again = browser.post("/logout").await;
    assert_eq!(again.status(), StatusCode::SEE_OTHER);
    assert_eq!(parameter(again.location(), "id_token_hint"), None);
    browser.put_cookie(NAME, "another app's");
    assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.cookie(NAME), Some("another app's"));
}

#[tokio::test]
async fn a_logout_callback_is_accepted_once_and_only_with_the_state_of_this_browser() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    let bystander = world.logged_in(JOHN).await;
    let out = browser.open("/logout").await;
    let back = follow(&world, out.location()).await.location().to_owned();
    let state = parameter(&back, "state").unwrap();
    assert_eq!(parameter(out.location(), "state"), Some(state.clone()));

    let forged = format!("/auth/logout/callback?state={}{}", &state[..8], &"A".repeat(35));
    let repeated = format!("{back}&state={state}");
    for (mut browser, target, expected) in [
        (bystander.clone(), back.as_str(), LoginError::LogoutStateMismatch),
        (browser.clone(), &forged, LoginError::LogoutStateMismatch),
        (browser.clone(), "/auth/logout/callback?state=a", LoginError::LogoutStateMismatch),
        (browser.clone(), "/auth/logout/callback", LoginError::InvalidRequest),
        (browser.clone(), &repeated, LoginError::InvalidRequest),
    ] {
        let before = browser.cookie_header();
        let rejected = browser.open(target).await;
        assert_eq!(rejected.status(), StatusCode::BAD_REQUEST, "{target}");
        let rejection = rejected.extensions().get::<RouteRejection<LoginError>>().unwrap();
        assert_eq!(rejection.error(), &expected, "{target}");
        assert_eq!(browser.cookie_header(), before, "{target}");
    }
    let mut late = browser.clone();
    let name = late.names_with("_logout_").remove(0);
    assert_eq!(browser.open(&back).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.open(&back).await.status(), StatusCode::BAD_REQUEST, "it was used");
    late.keep_expired(&name);
    world.advance(600);
    assert_eq!(late.open(&back).await.status(), StatusCode::BAD_REQUEST, "it has expired");
}

#[test]
fn a_secret_is_long_and_not_uniform() {
    assert!(SessionSecret::new([0; 64]).is_err() && SessionSecret::new([1, 2, 3]).is_err());
}
