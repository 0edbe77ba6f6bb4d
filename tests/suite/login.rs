//! Logins from the first click to the session, and attacks on them.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::oauth::SsoError;
use tower_scalekit::sandbox::{Endpoint, Fault, NewUser};
use tower_scalekit::shared_store::KeyNamespace;
use url::Url;

use crate::store::FlakyStore;
use crate::support::{
    Browser, CALLBACK, JANE, JOHN, NAVIGATION, ORIGIN, Reading as _, World, app, login_error,
    noise, parameter, send, set_cookies, with_parameters,
};

pub(crate) fn assert_rejected(response: &Response<Bytes>, expected: &LoginError) {
    assert_eq!(&login_error(response), expected);
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let session = set_cookies(response.headers()).iter().any(|line| line.contains("_session"));
    assert!(!session, "a rejection changes the session: {response:?}");
    assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
    response.assert_private();
}

/// A browser that is about to open its callback.
pub(crate) async fn at_the_callback(world: &World) -> (Browser, String) {
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?return_to=/me").await;
    (browser, world.sandbox.log_in(&authorization, JANE).unwrap())
}

#[tokio::test]
async fn a_login_returns_to_its_page_and_its_cookies_are_strict() {
    let world = World::new();
    let mut browser = world.browser();
    let rejected = browser.open("/me?tab=2").await;
    let started = browser.open(rejected.location()).await;
    assert_eq!(started.status(), StatusCode::FOUND);
    started.assert_private();
    assert_eq!(started.header("referrer-policy"), Some("no-referrer"));
    let [attempt] = set_cookies(started.headers())[..] else { panic!("one cookie: {started:?}") };
    assert!(attempt.starts_with("__Host-scalekit_login_"), "{attempt}");
    assert!(attempt.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600"));

    let callback = world.sandbox.log_in(started.location(), JANE).unwrap();
    let completed = browser.open(&callback).await;
    assert_eq!(completed.status(), StatusCode::SEE_OTHER);
    assert_eq!(completed.location(), "/me?tab=2");
    completed.assert_private();
    assert_eq!(completed.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(browser.names(), ["__Host-scalekit_session"]);
    let page = browser.open("/me?tab=2").await;
    assert_eq!((page.status(), &page.json()["email"]), (StatusCode::OK, &JANE.into()));
}

#[tokio::test]
async fn state_nonce_and_challenge_are_fresh_and_strong_in_every_attempt() {
    let world = World::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let url = world.browser().start_login("/login").await;
        assert!(url.starts_with(&format!("{}/oauth/authorize?", world.sandbox.environment_url())));
        assert_eq!(parameter(&url, "response_type").as_deref(), Some("code"));
        assert_eq!(parameter(&url, "redirect_uri").as_deref(), Some(CALLBACK));
        assert_eq!(parameter(&url, "client_id").as_deref(), Some(world.sandbox.client_id()));
        assert_eq!(parameter(&url, "code_challenge_method").as_deref(), Some("S256"));
        for name in ["state", "nonce", "code_challenge"] {
            let value = parameter(&url, name).unwrap();
            assert!(value.len() >= 43, "{name} is short");
            assert!(seen.insert(value), "{name} came twice");
        }
    }
}

#[tokio::test]
async fn parallel_tabs_both_log_in_in_either_order() {
    let world = World::new();
    for swap in [false, true] {
        let mut browser = world.browser();
        let one = browser.start_login("/login?return_to=/one").await;
        let two = browser.start_login("/login?return_to=/two").await;
        let mut tabs = [(one, "/one"), (two, "/two")];
        if swap {
            tabs.reverse();
        }
        for (authorization, page) in tabs {
            let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
            let completed = browser.open(&callback).await;
            assert_eq!(completed.status(), StatusCode::SEE_OTHER, "{}", completed.text());
            assert_eq!(completed.location(), page);
        }
        assert_eq!(browser.names(), ["__Host-scalekit_session"]);
    }
}

#[tokio::test]
async fn of_twenty_attempts_the_newest_five_are_kept() {
    let world = World::new();
    let mut browser = world.browser();
    let mut authorizations = Vec::new();
    for _ in 0..20 {
        authorizations.push(browser.start_login("/login").await);
        assert!(browser.names().len() <= 5);
        world.advance(1);
    }
    let mut finished = 0;
    for authorization in authorizations.into_iter().rev() {
        let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
        let response = browser.open(&callback).await;
        if finished < 5 {
            assert_eq!(response.status(), StatusCode::SEE_OTHER);
            finished += 1;
        } else {
            assert_eq!(response.location(), "/", "the browser has a session");
        }
    }
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 5);
}

#[tokio::test]
async fn twenty_concurrent_tabs_stay_within_the_header_limits_of_proxies() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    // None of them has the cookies of the others.
    let started: Vec<_> = (0..20)
        .map(|tab| {
            let target = format!("/login?return_to=/a-page-of-forty-characters-in-its-path/{tab}");
            browser.request(Method::GET, &target, &NAVIGATION)
        })
        .collect();
    let mut callbacks = Vec::new();
    for request in started {
        let response = send(&world.app, request).await;
        browser.store_cookies(&response);
        callbacks.push(world.sandbox.log_in(response.location(), JANE).unwrap());
    }
    assert!(browser.cookie_header().len() < 8000, "{}", browser.cookie_header().len());
    for callback in callbacks {
        assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn attempts_with_long_return_paths_stay_within_the_header_limits_of_proxies() {
    let world = World::new();
    let mut browser = world.logged_in(JANE).await;
    for _ in 0..10 {
        browser.start_login(&format!("/login?return_to=/{}", "a".repeat(2000))).await;
        assert!(browser.cookie_header().len() < 8000, "{}", browser.cookie_header().len());
        world.advance(1);
    }
    let authorization = browser.start_login("/login?return_to=/me").await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    assert_eq!(browser.open(&callback).await.location(), "/me");
}

#[tokio::test]
async fn an_attempt_lasts_ten_minutes_even_if_the_browser_keeps_its_cookie() {
    for (seconds, status) in [(599, StatusCode::SEE_OTHER), (600, StatusCode::BAD_REQUEST)] {
        let world = World::new();
        let mut browser = world.browser();
        let authorization = browser.start_login("/login").await;
        let [name] = &browser.names_with("_login_")[..] else { panic!("one attempt") };
        let value = browser.cookie(name).unwrap().to_owned();
        world.advance(seconds);
        let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
        browser.put_cookie(name, &value);
        let response = browser.open(&callback).await;
        assert_eq!(response.status(), status);
        assert_eq!(browser.names_with("_login_"), [""; 0]);
    }
}

#[tokio::test]
async fn the_callback_of_another_browser_is_rejected() {
    let world = World::new();
    let (_attacker, callback) = at_the_callback(&world).await;
    let mut empty = world.browser();
    let mut busy = world.browser();
    busy.start_login("/login").await;
    let mut logged_in = world.logged_in(JOHN).await;
    for victim in [&mut empty, &mut busy] {
        let before = victim.cookie_header();
        assert_rejected(&victim.open(&callback).await, &LoginError::StateMismatch);
        assert_eq!(victim.cookie_header(), before);
    }
    // A user who is logged in stays so, and is redirected into the app.
    let before = logged_in.cookie_header();
    let response = logged_in.open(&callback).await;
    assert_eq!((response.status(), response.location()), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(logged_in.cookie_header(), before);
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1, "the code is not spent");
    assert_eq!(logged_in.fetch("/me").await.json()["email"], JOHN);
}

#[tokio::test]
async fn an_attempt_cookie_under_the_name_of_another_state_is_rejected() {
    let world = World::new();
    let (attacker, callback) = at_the_callback(&world).await;
    let mut victim = world.browser();
    victim.start_login("/login").await;
    // The victim's own sealed attempt, under the name of the attacker's state.
    let own = victim.names_with("_login_").remove(0);
    let wanted = attacker.names_with("_login_").remove(0);
    let sealed = victim.cookie(&own).unwrap().to_owned();
    victim.put_cookie(&wanted, &sealed);
    assert_rejected(&victim.open(&callback).await, &LoginError::StateMismatch);
}

#[tokio::test]
async fn a_state_that_shares_only_its_first_characters_is_rejected() {
    let world = World::new();
    let (browser, callback) = at_the_callback(&world).await;
    let state = parameter(&callback, "state").unwrap();
    for other in [&state[..8], &state[..42], &format!("{state}A"), &format!("{}A", &state[..42])] {
        if *other == state {
            continue;
        }
        let response = browser.clone().open(&with_parameters(&callback, &[("state", other)])).await;
        assert_rejected(&response, &LoginError::StateMismatch);
    }
}

#[tokio::test]
async fn a_callback_and_its_code_work_once() {
    let world = World::new();
    let (mut browser, callback) = at_the_callback(&world).await;
    let mut copied = browser.clone();
    assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
    // The Back button after the login, or a restored tab.
    let again = browser.open(&callback).await;
    assert_eq!((again.status(), again.location()), (StatusCode::SEE_OTHER, "/me"));
    again.assert_private();
    assert_eq!(set_cookies(again.headers()), [""; 0]);
    world.advance(60);
    assert_eq!(browser.open(&callback).await.location(), "/", "the return path is no longer known");
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1);
    // A copy of the cookies is sent second: the attempt is used.
    assert_rejected(&copied.open(&callback).await, &LoginError::StateMismatch);
    // In another attempt, the code is spent.
    let (mut other, own) = at_the_callback(&world).await;
    let code = parameter(&callback, "code").unwrap();
    let target = with_parameters(&own, &[("code", &code)]);
    assert_rejected(&other.open(&target).await, &LoginError::InvalidGrant);
}

#[tokio::test]
async fn callbacks_with_missing_or_repeated_parameters_are_rejected_and_end_the_attempt() {
    let world = World::new();
    let (browser, callback) = at_the_callback(&world).await;
    let (base, query) = callback.split_once('?').unwrap();
    let code = format!("code={}", parameter(&callback, "code").unwrap());
    let state = format!("state={}", parameter(&callback, "state").unwrap());
    let issuer = format!("iss={}", world.sandbox.environment_url());
    for (query, ends_attempt) in [
        (String::new(), false),
        (code.clone(), false),
        (format!("{query}&{state}"), true),
        (format!("{query}&state=other"), true),
        (format!("state=other&{query}"), false),
        (state.clone(), true),
        (format!("{state}&code="), true),
        (format!("{query}&{code}"), true),
        (format!("{query}&code=other"), true),
        (format!("{query}&{issuer}&{issuer}"), true),
        (format!("{query}&error=access_denied"), true),
        (format!("{state}&error=a&error=b"), true),
    ] {
        let mut browser = browser.clone();
        let response = browser.open(&format!("{base}?{query}")).await;
        assert_rejected(&response, &LoginError::InvalidRequest);
        assert_eq!(browser.names().is_empty(), ends_attempt, "{query}");
    }
}

#[tokio::test]
async fn the_issuer_of_a_callback_is_compared_exactly() {
    let world = World::new();
    let ours = world.sandbox.environment_url();
    let (browser, callback) = at_the_callback(&world).await;
    let trailing = format!("{ours}/");
    for issuer in ["https://evil.scalekit.test", "", &trailing, &ours.to_uppercase()] {
        let response = browser.clone().open(&with_parameters(&callback, &[("iss", issuer)])).await;
        assert_rejected(&response, &LoginError::IssuerMismatch);
    }
    let right = with_parameters(&callback, &[("iss", &ours)]);
    assert_eq!(browser.clone().open(&right).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1, "a code of a mix-up was sent");
}

#[tokio::test]
async fn a_callback_without_an_issuer_is_rejected_if_one_is_required() {
    let world = World::with(|sandbox| sandbox, |sessions| sessions.require_issuer());
    let (browser, callback) = at_the_callback(&world).await;
    assert!(parameter(&callback, "iss").is_none());
    let response = browser.clone().open(&callback).await;
    assert_rejected(&response, &LoginError::IssuerMismatch);
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 0, "the code is not sent");
    let ours = with_parameters(&callback, &[("iss", &world.sandbox.environment_url())]);
    assert_eq!(browser.clone().open(&ours).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn query_values_are_not_reflected() {
    let world = World::new();
    let (browser, callback) = at_the_callback(&world).await;
    let state = parameter(&callback, "state").unwrap();
    let marks =
        ["<script>mark</script>", "mark\r\nset-cookie: mark=1", "\"mark", "&lt;mark", "mark"];
    for mark in marks {
        for name in ["error", "error_description", "error_uri", "code", "state", "iss", "mark"] {
            let fixed = [("state", state.as_str()), ("error", "access_denied")];
            let fixed = fixed.into_iter().filter(|(known, _)| *known != name && name != "code");
            let parameters: Vec<_> = fixed.chain([(name, mark)]).collect();
            for path in ["/login", "/auth/callback"] {
                let mut url = Url::parse(ORIGIN).unwrap().join(path).unwrap();
                url.query_pairs_mut().extend_pairs(&parameters);
                for accept in ["text/html", "application/json"] {
                    let headers = [("accept", accept)];
                    let response = browser.clone().send(Method::GET, url.as_str(), &headers).await;
                    if response.status() == StatusCode::FOUND {
                        continue; // A plain login: other tests cover the parameters that it forwards.
                    }
                    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{url}");
                    let shown = format!("{:?}{}", response.headers(), response.text());
                    assert!(!shown.contains("mark"), "{url}: {shown}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_error_at_the_login_path_is_400_and_starts_no_login() {
    let world = World::new();
    for query in ["error=access_denied", "error=%3Cb%3E", "error=x&return_to=/me"] {
        let mut browser = world.browser();
        let response = browser.open(&format!("/login?{query}")).await;
        assert!(matches!(login_error(&response), LoginError::AuthorizationFailed { .. }));
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.header("location"), None);
        assert_eq!(browser.names(), [""; 0]);
    }
}

#[tokio::test]
async fn a_cancelled_login_can_be_retried_and_keeps_its_return_page() {
    let world = World::new();
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?return_to=/me%3Fa%3Db").await;
    let state = parameter(&authorization, "state").unwrap();
    let rejected = format!("/auth/callback?error=access_denied&state={state}");
    let page = browser.open(&rejected).await;
    assert_eq!(page.status(), StatusCode::BAD_REQUEST);
    assert!(page.text().contains("href=\"/login?return_to=%2Fme%3Fa%3Db\""), "{}", page.text());
}

#[tokio::test]
async fn a_login_without_interaction_is_retried_once_with_interaction() {
    let world = World::new();
    for code in ["login_required", "interaction_required", "consent_required"] {
        let mut browser = world.browser();
        let authorization = browser.start_login("/login?prompt=none&return_to=/me").await;
        assert_eq!(parameter(&authorization, "prompt").as_deref(), Some("none"));
        let state = parameter(&authorization, "state").unwrap();
        let response = browser.open(&format!("/auth/callback?error={code}&state={state}")).await;
        assert_eq!(
            (response.status(), response.location()),
            (StatusCode::SEE_OTHER, "/login?return_to=%2Fme")
        );
        assert_eq!(browser.names(), [""; 0], "the attempt is over");

        let authorization = browser.start_login(response.location()).await;
        assert_eq!(parameter(&authorization, "prompt"), None);
        let state = parameter(&authorization, "state").unwrap();
        let response = browser.open(&format!("/auth/callback?error={code}&state={state}")).await;
        assert_rejected(&response, &LoginError::AuthorizationFailed { error: Some(code.into()) });
    }
    // Any other error of such a login is returned.
    let mut browser = world.browser();
    let authorization = browser.start_login("/login?prompt=none").await;
    let state = parameter(&authorization, "state").unwrap();
    let response = browser.open(&format!("/auth/callback?error=access_denied&state={state}")).await;
    let error = Some(SsoError::AccessDenied);
    assert_rejected(&response, &LoginError::AuthorizationFailed { error });
}

#[tokio::test]
async fn foreign_cookies_under_the_attempt_prefix_are_removed_in_limited_numbers() {
    let world = World::new();
    let mut browser = world.browser();
    browser.start_login("/login").await;
    let [own] = &browser.names_with("_login_")[..] else { panic!("one attempt") };
    let prefix = own[..own.len() - 8].to_owned();
    for number in 0..100 {
        browser.put_cookie(&format!("{prefix}{number:08}"), "x");
    }
    browser.put_cookie(&format!("{prefix}{}", "y".repeat(3000)), "x");
    let started = browser.open("/login").await;
    let removed = set_cookies(started.headers());
    assert!(removed.len() <= 21, "{}", removed.len());
    assert!(removed.iter().all(|line| line.len() < 600), "{removed:?}");
}

#[tokio::test]
async fn a_login_leaves_the_attempt_of_another_app_with_the_same_secret() {
    let world = World::new();
    let other = app(&world.replica(|sessions| sessions.name("other")));
    let mut browser = Browser::new(&other, &world.sandbox);
    browser.start_login("/login").await;
    let [attempt] = &browser.names_with("_login_")[..] else { panic!("one attempt") };
    let mut browser = browser.at(&world.app);
    browser.start_login("/login").await;
    let attempts = browser.names_with("_login_");
    assert!(attempts.len() == 2 && attempts.contains(attempt), "{attempts:?}");
}

#[tokio::test]
async fn a_failing_token_endpoint_is_503_and_the_same_callback_works_afterwards() {
    for fault in [
        Fault::Unreachable,
        Fault::Status(StatusCode::TOO_MANY_REQUESTS),
        Fault::Status(StatusCode::BAD_GATEWAY),
        Fault::Html,
        Fault::Response(Response::new(Bytes::from_static(b"{}"))),
        Fault::Status(StatusCode::NOT_FOUND),
        Fault::Status(StatusCode::FOUND),
    ] {
        let world = World::new();
        let (mut browser, callback) = at_the_callback(&world).await;
        world.sandbox.faults().add(Endpoint::Token, fault);
        let response = browser.open(&callback).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(login_error(&response), LoginError::Unavailable);
        assert!(response.header("retry-after").is_some());
        assert_eq!(set_cookies(response.headers()), [""; 0]);
        world.sandbox.faults().clear(Endpoint::Token);
        assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn a_replayed_attempt_causes_no_second_token_request_on_any_replica() {
    let mut world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    world.app = app(&world.replica(|sessions| sessions.shared_store(store.clone())));
    let other = app(&world.replica(|sessions| sessions.shared_store(store.clone())));
    let (browser, callback) = at_the_callback(&world).await;
    let mut first = browser.clone();
    let completed = first.open(&callback).await;
    assert_eq!(completed.status(), StatusCode::SEE_OTHER);
    // A click that the browser sends before it has the response.
    let again = browser.clone().open(&callback).await;
    assert_eq!((again.status(), again.location()), (StatusCode::SEE_OTHER, completed.location()));
    assert_eq!(set_cookies(again.headers()), set_cookies(completed.headers()));
    world.advance(11);
    for app in [&world.app, &other] {
        let mut again = browser.at(app);
        assert_rejected(&again.open(&callback).await, &LoginError::StateMismatch);
    }
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 1);
    // A second exchange would have revoked the tokens of the first.
    world.advance(400);
    assert_eq!(first.fetch("/me").await.status(), StatusCode::OK);
    // The store does not contain what is needed to continue the attempt.
    let state = parameter(&callback, "state").unwrap();
    assert!(store.keys().iter().all(|key| !key.id().contains(&state)), "{:?}", store.keys());

    // While the store is down, logins still succeed.
    let (mut browser, callback) = at_the_callback(&world).await;
    store.reject(Some(KeyNamespace::LoginAttempt));
    assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn wrong_client_credentials_are_500() {
    let world = World::new();
    let (mut browser, callback) = at_the_callback(&world).await;
    let body = Bytes::from_static(br#"{"error":"invalid_client","error_description":"<b>"}"#);
    let mut rejection = Response::new(body);
    *rejection.status_mut() = StatusCode::UNAUTHORIZED;
    world.sandbox.faults().add(Endpoint::Token, Fault::Response(rejection));
    let response = browser.open(&callback).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(login_error(&response), LoginError::Misconfigured);
    assert!(!response.text().contains("invalid_client"));
}

#[tokio::test]
async fn every_login_sets_a_new_cookie_and_replaces_the_previous_session() {
    let world = World::new();
    let name = world.sessions.cookie_name();
    let mut browser = world.logged_in(JANE).await;
    let first = browser.cookie(name).unwrap().to_owned();
    browser.log_in(&world.sandbox, JANE).await;
    assert_ne!(browser.cookie(name), Some(first.as_str()));
    let done = browser.log_in(&world.sandbox, JOHN).await;
    browser.decide(&done, "switch").await;
    assert_eq!(browser.fetch("/me").await.json()["email"], JOHN);
    // A planted value is neither kept nor accepted.
    let mut planted = world.browser();
    planted.put_cookie(name, "fixed-by-an-attacker");
    planted.log_in(&world.sandbox, JANE).await;
    assert_ne!(planted.cookie(name), Some("fixed-by-an-attacker"));
    // Leftover pieces of a longer session are removed with it.
    world.sandbox.users().add(NewUser::new("big@acme.test").permissions(noise(250)));
    let mut shrunk = world.logged_in("big@acme.test").await;
    assert!(shrunk.names().len() >= 2);
    let done = shrunk.log_in(&world.sandbox, JOHN).await;
    shrunk.decide(&done, "switch").await;
    assert_eq!(shrunk.names(), [name]);
    assert_eq!(shrunk.fetch("/me").await.json()["email"], JOHN);
}

#[tokio::test]
async fn other_methods_are_405_with_allow() {
    let world = World::new();
    for (path, allowed) in [
        ("/login", "GET, HEAD"),
        ("/auth/callback", "GET"),
        ("/auth/refresh", "POST"),
        ("/logout", "GET, POST"),
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            if allowed.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let mut browser = world.logged_in(JANE).await;
            let before = browser.cookie_header();
            let method: Method = method.parse().unwrap();
            let response = browser.send(method.clone(), path, &NAVIGATION).await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(response.header("allow"), Some(allowed));
            assert_eq!(browser.cookie_header(), before);
        }
    }
    let head = world.browser().send(Method::HEAD, "/login", &NAVIGATION).await;
    assert_eq!(head.status(), StatusCode::FOUND);
}

#[test]
#[should_panic(expected = "/login")]
fn a_page_at_the_path_of_a_route_is_an_error_at_start() {
    let page = Router::new().route("/login", get(|| async { "page" }));
    let _ = World::new().sessions.routes::<()>().merge(page);
}
