//! Wall clocks that are stepped, and clocks of replicas and the environment that differ.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{HeaderMap, Method, Response, StatusCode, header};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::session::{Deprovisioned, Deprovisioning, LocalSession, User};
use tower_scalekit::shared_store::{MemoryStore, StoreError};
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{Sandbox, Scalekit, Sessions};

use crate::store::FlakyStore;
use crate::support::{
    Browser, CALLBACK, FETCH, JANE, JOHN, Reading as _, World, app, request, request_with_token,
    sandbox_builder, secret, send, token_layer,
};

/// How far a wall clock is from another, or is stepped.
const DIFFERENCES: [time::Duration; 5] = [
    time::Duration::ZERO,
    time::Duration::seconds(-3),
    time::Duration::seconds(59),
    time::Duration::seconds(-59),
    time::Duration::seconds(60),
];

/// Replicas, each with its own clock, and an environment with another.
struct Apart {
    sandbox: Sandbox,
    clocks: [ManualClock; 2],
    sessions: [Sessions; 2],
    apps: [Router; 2],
}

impl Apart {
    /// The wall clocks of the replicas, ahead of and behind the environment's.
    fn by(difference: time::Duration) -> Self {
        let sandbox = sandbox_builder().build();
        let start = sandbox.clock().clock().now();
        let clocks = [difference, -difference].map(|by| ManualClock::at(start + by));
        let store = Arc::new(MemoryStore::new(sandbox.clock().clock()));
        let sessions = clocks.each_ref().map(|clock| {
            Sessions::builder(scalekit(&sandbox, clock))
                .secret(secret(1))
                .redirect_uri(CALLBACK)
                .shared_store(Arc::clone(&store))
                .build()
                .unwrap()
        });
        let apps = sessions.each_ref().map(app);
        Self { sandbox, clocks, sessions, apps }
    }

    fn advance(&self, seconds: u64) {
        for clock in self.clocks.iter().chain([self.sandbox.clock()]) {
            clock.advance(Duration::from_secs(seconds));
        }
    }

    async fn logged_in(&self, replica: usize) -> Browser {
        let mut browser = Browser::new(&self.apps[replica], &self.sandbox);
        let done = browser.log_in(&self.sandbox, JANE).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
        browser
    }

    async fn is_in(&self, browser: &Browser) -> bool {
        let mut responses = Vec::new();
        for app in &self.apps {
            let response = send(app, browser.request(Method::GET, "/me", &FETCH)).await;
            responses.push(response.status() == StatusCode::OK);
        }
        assert_eq!(responses[0], responses[1], "the replicas disagree");
        responses[0]
    }
}

pub(crate) fn scalekit(sandbox: &Sandbox, clock: &ManualClock) -> Scalekit {
    Scalekit::builder(
        sandbox.environment_url(),
        sandbox.client_id(),
        sandbox.client_secret().clone(),
    )
    .http_client(sandbox.client())
    .clock(clock.clock())
    .build()
    .unwrap()
}

async fn me(browser: &Browser) -> serde_json::Value {
    send(browser.app(), browser.request(Method::GET, "/me", &FETCH)).await.json()
}

async fn revoke(
    sessions: &Sessions,
    what: usize,
    me: &serde_json::Value,
) -> Result<(), StoreError> {
    match what {
        0 => sessions.revoke_user(me["sub"].as_str().unwrap()).await,
        1 => sessions.revoke_session(me["sid"].as_str().unwrap()).await,
        _ => sessions.revoke_organization(me["oid"].as_str().unwrap()).await,
    }
}

#[tokio::test]
async fn a_login_one_second_after_a_revocation_is_valid_and_the_older_session_ends() {
    for difference in DIFFERENCES {
        for (login, revocation) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for what in 0..3 {
                let apart = Apart::by(difference);
                let old = apart.logged_in(login).await;
                let known = me(&old).await;
                assert!(apart.is_in(&old).await);
                apart.advance(1);
                revoke(&apart.sessions[revocation], what, &known).await.unwrap();
                apart.advance(1);
                let new = apart.logged_in(login).await;
                apart.advance(2);
                assert!(!apart.is_in(&old).await, "{difference} {login} {revocation} {what}");
                assert!(apart.is_in(&new).await, "{difference} {login} {revocation} {what}");
            }
        }
    }
}

#[tokio::test]
async fn a_late_logout_event_ends_the_older_session_but_no_login_one_second_after_it() {
    for difference in DIFFERENCES {
        for replica in [0, 1] {
            for as_webhook in [false, true] {
                let apart = Apart::by(difference);
                let old = apart.logged_in(replica).await;
                let sub = me(&old).await["sub"].clone();
                apart.advance(5);
                let logged_out_at = apart.sandbox.clock().clock().now();
                apart.advance(1);
                let new = apart.logged_in(replica).await;
                // The logout arrives after the new login.
                apart.advance(1);
                if as_webhook {
                    let event = json!({
                        "id": "evt_1", "type": "user.logout", "data": {"user": {"id": sub}},
                        "occurred_at": logged_out_at.format(&Rfc3339).unwrap(),
                    });
                    let event = WebhookEvent::parse(event.to_string().as_bytes()).unwrap();
                    let deprovisioning = Deprovisioning::new(&apart.sessions[replica]);
                    let applied = deprovisioning.apply(&event).await.unwrap();
                    assert!(matches!(applied, Deprovisioned::Matched(_)), "{applied:?}");
                } else {
                    let at = logged_out_at.unix_timestamp();
                    let token = apart.sandbox.tokens().sign(json!({
                        "iss": apart.sandbox.environment_url(), "aud": apart.sandbox.client_id(),
                        "jti": "t1", "iat": at, "exp": at + 300, "sub": sub,
                        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
                    }));
                    let form = (header::CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded");
                    let mut request = request(Method::POST, "/auth/backchannel-logout", &[form]);
                    *request.body_mut() = format!("logout_token={token}").into();
                    let response = send(&apart.apps[replica], request).await;
                    assert_eq!(response.status(), StatusCode::OK, "{difference}");
                }
                apart.advance(2);
                assert!(!apart.is_in(&old).await, "{difference} {replica} {as_webhook}");
                assert!(apart.is_in(&new).await, "{difference} {replica} {as_webhook}");
            }
        }
    }
}

#[tokio::test]
async fn a_wall_clock_stepped_back_between_login_and_revocation_keeps_no_session_alive() {
    let sandbox = sandbox_builder().build();
    let sessions = Sessions::builder(sandbox.scalekit())
        .secret(secret(1))
        .redirect_uri(CALLBACK)
        .build()
        .unwrap();
    let mut browser = Browser::new(&app(&sessions), &sandbox);
    browser.log_in(&sandbox, JANE).await;
    let known = me(&browser).await;
    sandbox.clock().step(time::Duration::seconds(-3));
    sessions.revoke_user(known["sub"].as_str().unwrap()).await.unwrap();
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::UNAUTHORIZED);
}

/// It lives longer by the error, and so does its end.
#[tokio::test]
async fn a_session_that_began_while_the_wall_clock_was_ahead_stays_ended_after_a_correction() {
    for way in ["logout", "session", "user"] {
        let world = World::new();
        let store = Arc::new(MemoryStore::new(world.sandbox.clock().clock()));
        let replica = || {
            world.replica(|one| {
                let lifetime = Duration::from_secs(2 * 60 * 60);
                one.shared_store(Arc::clone(&store)).absolute_lifetime(lifetime)
            })
        };
        let sessions = replica();
        world.sandbox.clock().step(time::Duration::HOUR);
        let mut browser = Browser::new(&app(&sessions), &world.sandbox);
        browser.log_in(&world.sandbox, JANE).await;
        let (known, copy) = (me(&browser).await, browser.clone());
        let id = |name: &str| known[name].as_str().unwrap().to_owned();
        match way {
            "session" => sessions.revoke_session(&id("sid")).await.unwrap(),
            "user" => sessions.revoke_user(&id("sub")).await.unwrap(),
            _ => assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER),
        }
        world.sandbox.clock().step(-time::Duration::HOUR);
        world.advance(2 * 60 * 60 + 30 * 60);
        for sessions in [&sessions, &replica()] {
            let request = copy.request(Method::GET, "/me", &FETCH);
            let response = send(&app(sessions), request).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{way}");
        }
    }
}

/// The error is longer than the session.
#[tokio::test]
async fn a_short_session_that_began_while_the_wall_clock_was_ahead_stays_ended() {
    for ahead in [3, 23].map(time::Duration::hours) {
        let world = World::new();
        let store = Arc::new(MemoryStore::new(world.sandbox.clock().clock()));
        let replica = || app(&world.replica(|one| one.shared_store(Arc::clone(&store))));
        world.sandbox.clock().step(ahead);
        let sessions = world.replica(|one| one.shared_store(Arc::clone(&store)));
        let mut user = User::default();
        user.id = "usr_mary".to_owned();
        let hour = Duration::from_secs(60 * 60);
        let local = LocalSession::new(user).in_cookie().lifetime(hour);
        let mut response = Response::new(Bytes::new());
        sessions.create(local, &HeaderMap::new()).await.unwrap().set(response.headers_mut());
        let mut browser = Browser::new(&app(&sessions), &world.sandbox);
        browser.store_cookies(&response);
        let copy = browser.clone();
        assert_eq!(browser.open("/logout").await.status(), StatusCode::SEE_OTHER);
        world.sandbox.clock().step(-ahead);
        world.advance(2 * 60 * 60 + 60);
        for app in [copy.app(), &replica()] {
            let response = send(app, copy.request(Method::GET, "/me", &FETCH)).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{ahead}");
        }
    }
}

#[tokio::test]
async fn a_replica_whose_wall_clock_is_stepped_back_reads_revocations_within_two_seconds() {
    for step in [-1, 1].map(time::Duration::hours) {
        let apart = Apart::by(time::Duration::ZERO);
        let browser = apart.logged_in(0).await;
        let known = me(&browser).await;
        assert!(apart.is_in(&browser).await);
        apart.clocks[1].step(step);
        revoke(&apart.sessions[0], 0, &known).await.unwrap();
        apart.advance(2);
        let response = send(&apart.apps[1], browser.request(Method::GET, "/me", &FETCH)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{step}");
    }
}

fn api(sandbox: &Sandbox) -> Router {
    Router::new().route("/", get(|| async {})).route_layer(token_layer(sandbox))
}

async fn status(api: &Router, token: &str) -> StatusCode {
    send(api, request_with_token("/", token)).await.status()
}

#[tokio::test]
async fn a_failed_key_fetch_before_a_step_back_is_retried_after_a_second() {
    let sandbox = sandbox_builder().build();
    let api = api(&sandbox);
    sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let token = sandbox.tokens().access_token(JANE);
    assert_eq!(status(&api, &token).await, StatusCode::SERVICE_UNAVAILABLE);
    sandbox.faults().clear(Endpoint::Keys);
    sandbox.clock().step(time::Duration::hours(-2));
    sandbox.clock().advance(Duration::from_secs(1));
    assert_eq!(status(&api, &sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
}

#[tokio::test]
async fn fetches_for_unknown_keys_used_up_before_a_step_back_are_granted_again_after_ten_seconds() {
    let sandbox = sandbox_builder().build();
    let api = api(&sandbox);
    assert_eq!(status(&api, &sandbox.tokens().access_token(JANE)).await, StatusCode::OK);
    let (rejected, unavailable) = (StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE);
    for (kid, expected) in [("a", rejected), ("b", rejected), ("c", unavailable)] {
        let claims = sandbox.tokens().access_token_draft(JANE).claims;
        let header = json!({ "alg": "RS256", "kid": kid, "typ": "JWT" });
        let unknown = sandbox.tokens().sign_with_header(header, claims.into());
        assert_eq!(status(&api, &unknown).await, expected);
    }
    sandbox.clock().step(time::Duration::hours(-2));
    sandbox.keys().rotate();
    sandbox.clock().advance(Duration::from_secs(10));
    assert_eq!(status(&api, &sandbox.tokens().access_token(JOHN)).await, StatusCode::OK);
}

#[tokio::test]
async fn an_application_token_is_replaced_in_time_despite_clock_steps() {
    for step in [-2, 0, 2].map(time::Duration::hours) {
        let sandbox = sandbox_builder().build();
        let clock = ManualClock::at(sandbox.clock().clock().now());
        let scalekit = scalekit(&sandbox, &clock);
        let call =
            async || drop(scalekit.api().organizations().list().stream().try_next().await.unwrap());
        call().await;
        clock.step(step);
        call().await;
        let before = sandbox.requests().count(Endpoint::Token);
        assert_eq!(before, 1, "{step}");
        for clock in [&clock, sandbox.clock()] {
            clock.advance(Duration::from_secs(24 * 60 * 60));
        }
        call().await;
        assert_eq!(sandbox.requests().count(Endpoint::Token), before + 1, "{step}");
    }
}

#[tokio::test]
async fn requests_are_rejected_while_revocations_are_stale_if_configured() {
    for rejects in [false, true] {
        let sandbox = sandbox_builder().build();
        let store = FlakyStore::new(sandbox.clock().clock());
        let builder = Sessions::builder(sandbox.scalekit())
            .secret(secret(1))
            .redirect_uri(CALLBACK)
            .shared_store(store.clone())
            .max_revocation_staleness(Duration::from_secs(10));
        let builder = if rejects { builder.reject_on_stale_revocations() } else { builder };
        let mut browser = Browser::new(&app(&builder.build().unwrap()), &sandbox);
        browser.log_in(&sandbox, JANE).await;
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        store.set_down(true);
        sandbox.clock().advance(Duration::from_secs(10));
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
        sandbox.clock().advance(Duration::from_secs(2));
        let response = browser.fetch("/me").await;
        let expected = if rejects { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        assert_eq!(response.status(), expected);
        assert_eq!(response.header("retry-after").is_some(), rejects);
        store.set_down(false);
        sandbox.clock().advance(Duration::from_secs(2));
        assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_cookie_without_a_session_is_rejected_as_none_while_revocations_are_stale() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    store.set_down(true);
    let app =
        app(&world.replica(|one| one.shared_store(store.clone()).reject_on_stale_revocations()));
    let nobody = Browser::new(&app, &world.sandbox);
    let mut forged = nobody.clone();
    forged.put_cookie(world.sessions.cookie_name(), &"A".repeat(400));
    for (path, expected) in [("/me", StatusCode::UNAUTHORIZED), ("/maybe", StatusCode::OK)] {
        for browser in [&nobody, &forged] {
            assert_eq!(browser.clone().fetch(path).await.status(), expected, "{path}");
        }
    }
    assert_eq!(store.take_operations(), (0, 0), "neither waits for the revocations");
}

#[tokio::test]
async fn a_replica_that_has_not_read_revocations_yet_rejects_requests_if_configured() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let first = world.replica(|one| one.shared_store(store.clone()));
    let mut jane = Browser::new(&app(&first), &world.sandbox);
    jane.log_in(&world.sandbox, JANE).await;
    let mut john = Browser::new(&app(&first), &world.sandbox);
    john.log_in(&world.sandbox, JOHN).await;
    let subject = jane.fetch("/me").await.json()["sub"].as_str().unwrap().to_owned();
    first.revoke_user(&subject).await.unwrap();
    store.set_down(true);
    let replica = |rejects: bool| {
        app(&world.replica(|one| {
            let one = one.shared_store(store.clone());
            if rejects { one.reject_on_stale_revocations() } else { one }
        }))
    };
    for (app, expected) in
        [(replica(true), StatusCode::SERVICE_UNAVAILABLE), (replica(false), StatusCode::OK)]
    {
        let status = async |browser: &Browser| {
            send(&app, browser.request(Method::GET, "/me", &FETCH)).await.status()
        };
        for browser in [&jane, &john] {
            assert_eq!(status(browser).await, expected);
        }
        store.set_down(false);
        world.advance(2);
        assert_eq!(status(&jane).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&john).await, StatusCode::OK);
        store.set_down(true);
    }
}

/// Two replicas with one wall clock, which is also that of the environment.
struct Together {
    world: World,
    apps: [Router; 2],
}

impl Together {
    fn new(store_backed: bool, lifetime: Duration) -> Self {
        let world = World::with(|sandbox| sandbox.refresh_grace(Duration::ZERO), |one| one);
        let store = Arc::new(MemoryStore::new(world.sandbox.clock().clock()));
        let apps = [(); 2].map(|()| {
            let sessions = world.replica(|one| {
                let one = one.shared_store(Arc::clone(&store)).absolute_lifetime(lifetime);
                if store_backed { one.store_backed() } else { one }
            });
            app(&sessions)
        });
        Self { world, apps }
    }

    /// The cookies of a login.
    async fn logged_in(&self) -> String {
        let mut browser = Browser::new(&self.apps[0], &self.world.sandbox);
        let done = browser.log_in(&self.world.sandbox, JANE).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
        browser.cookie_header()
    }

    async fn is_in(&self, cookies: &str) -> bool {
        let statuses = [self.status(0, cookies).await, self.status(1, cookies).await];
        statuses == [StatusCode::OK; 2]
    }

    /// The status of a request whose response is lost: the browser keeps its cookies.
    async fn status(&self, replica: usize, cookies: &str) -> StatusCode {
        let headers = [&FETCH[..], &[("cookie", cookies)]].concat();
        send(&self.apps[replica], request(Method::GET, "/me", &headers)).await.status()
    }

    /// Sends a request whose client leaves before the response.
    async fn drop_request(&self, replica: usize, cookies: &str) {
        let headers = [&FETCH[..], &[("cookie", cookies)]].concat();
        let (app, request) = (self.apps[replica].clone(), request(Method::GET, "/me", &headers));
        let sent = tokio::spawn(async move { send(&app, request).await });
        tokio::task::yield_now().await;
        sent.abort();
        drop(sent.await);
    }
}

const HOUR_AHEAD: [(Duration, StatusCode); 2] = [
    (Duration::from_secs(3 * 60), StatusCode::UNAUTHORIZED),
    (Duration::from_secs(65 * 60), StatusCode::OK),
];

#[tokio::test]
async fn a_session_outlives_a_moment_in_which_the_wall_clock_is_an_hour_ahead() {
    // Ahead, the shorter session is over; the longer one is refreshed.
    for (lifetime, ahead) in HOUR_AHEAD {
        for (store_backed, rotates) in [(false, false), (false, true), (true, false), (true, true)]
        {
            for fault in [None, Some(Fault::Html)] {
                let case = format!("{lifetime:?}, {store_backed}, {rotates}, {fault:?}");
                let together = Together::new(store_backed, lifetime);
                let (world, sandbox) = (&together.world, &together.world.sandbox);
                let cookies = together.logged_in().await;
                assert!(together.is_in(&cookies).await, "{case}");

                sandbox.clock().step(time::Duration::HOUR);
                if rotates {
                    sandbox.keys().rotate();
                    sandbox.keys().remove_old();
                }
                let is_refreshed = fault.is_none() && ahead == StatusCode::OK;
                let expected = match (&fault, ahead) {
                    (Some(_), StatusCode::OK) => StatusCode::SERVICE_UNAVAILABLE,
                    _ => ahead,
                };
                if let Some(fault) = fault {
                    sandbox.faults().add(Endpoint::Token, fault);
                }
                for replica in [0, 1] {
                    together.drop_request(replica, &cookies).await;
                    assert_eq!(together.status(replica, &cookies).await, expected, "{case}");
                }
                sandbox.faults().clear(Endpoint::Token);
                sandbox.clock().step(-time::Duration::HOUR);

                assert!(together.is_in(&cookies).await, "{case}");
                world.advance(150);
                assert!(together.is_in(&cookies).await, "{case}");
                let refreshes = sandbox.requests().refreshes();
                // The result of a refresh is known for as long as the session lives.
                world.advance(lifetime.as_secs() - 20 - 150);
                assert!(together.is_in(&cookies).await, "{case}");
                if is_refreshed {
                    assert_eq!((refreshes, sandbox.requests().refreshes()), (1, 1), "{case}");
                }
                world.advance(20);
                assert!(!together.is_in(&cookies).await, "{case}");
            }
        }
    }
}
