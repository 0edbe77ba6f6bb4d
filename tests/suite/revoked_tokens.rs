//! Bearer tokens of revoked users, sessions and organizations.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_scalekit::require_scope::mcp::RequireMcpScope;
use tower_scalekit::require_token::TokenRejection;
use tower_scalekit::revocation::Revocations;
use tower_scalekit::session::{
    Deprovisioned, Deprovisioning, LocalSession, LoginDecision, LoginHookError, User,
    VerifiedIdentity, VerifiedLogin,
};
use tower_scalekit::shared_store::KeyNamespace;
use tower_scalekit::token::TokenError;
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{Bearer, RequireScope, RequireToken, Sandbox, Sessions};

use crate::deprovisioning::{MATCHED_USER, event, local, organization_id, status};
use crate::secrets::Captured;
use crate::store::{FlakyStore, When};
use crate::support::{
    JANE, JOHN, NAVIGATION, Reading as _, World, app, request_with_token, send, settle, token_layer,
};

/// An app with sessions, and an API in another process.
struct Services {
    world: World,
    sessions: Sessions,
    store: FlakyStore,
    api: Router,
}

fn guard(sandbox: &Sandbox, revocations: &Revocations) -> RequireToken {
    token_layer(sandbox).reject_revoked(revocations)
}

fn api(guard: RequireToken) -> Router {
    Router::new().route("/", get(|| async { "ok" })).route_layer(guard)
}

impl Services {
    fn new(rejects_when_stale: bool) -> Self {
        let world = World::new();
        let store = FlakyStore::new(world.sandbox.clock().clock());
        let sessions = world.replica(|sessions| sessions.shared_store(store.clone()));
        let revocations = world.sandbox.scalekit().revocations(store.clone());
        let revocations = match rejects_when_stale {
            true => revocations.reject_on_stale_revocations(),
            false => revocations,
        };
        let api = api(guard(&world.sandbox, &revocations.build()));
        Self { world, sessions, store, api }
    }

    async fn get(&self, token: &str) -> Response<Bytes> {
        send(&self.api, request_with_token("/", token)).await
    }

    fn claim(&self, token: &str, name: &str) -> String {
        let payload = token.split('.').nth(1).unwrap();
        let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, payload);
        let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
        claims[name].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn tokens_are_rejected_within_two_seconds_while_the_store_is_slow() {
    let services = Services::new(false);
    let jane = services.world.sandbox.tokens().access_token(JANE);
    let id = services.claim(&jane, "sub");
    assert_eq!(services.get(&jane).await.status(), StatusCode::OK);
    services.world.advance(2);
    // The store has read the log, and its response is late.
    let late = services.store.hold_next(When::AfterIt);
    let (api, request) = (services.api.clone(), request_with_token("/", &jane));
    let waiting = tokio::spawn(async move { send(&api, request).await });
    settle().await;
    services.sessions.revoke_user(&id).await.unwrap();
    services.world.sandbox.clock().advance(Duration::from_millis(1900));
    late.notify_one();
    assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
    services.world.sandbox.clock().advance(Duration::from_millis(100));
    assert_eq!(services.get(&jane).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn tokens_are_rejected_within_two_seconds_of_a_revocation_elsewhere() {
    for name in ["sub", "sid", "oid"] {
        let services = Services::new(false);
        let tokens = services.world.sandbox.tokens();
        let mut draft = tokens.access_token_draft(JANE);
        draft.claims.insert("sid".into(), json!("ses_jane"));
        draft.claims.insert("oid".into(), json!("org_jane"));
        let (jane, john) = (tokens.sign_draft(&draft), tokens.access_token(JOHN));
        for token in [&jane, &john] {
            assert_eq!(services.get(token).await.status(), StatusCode::OK);
        }
        let id = services.claim(&jane, name);
        match name {
            "sub" => services.sessions.revoke_user(&id).await,
            "sid" => services.sessions.revoke_session(&id).await,
            _ => services.sessions.revoke_organization(&id).await,
        }
        .unwrap();
        services.world.advance(2);
        for _ in 0..2 {
            let rejected = services.get(&jane).await;
            assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED, "{name}");
            let challenge = rejected.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
            assert!(challenge.contains("invalid_token"), "{challenge}");
            assert!(matches!(
                rejected.extensions().get(),
                Some(TokenRejection::InvalidToken { error: TokenError::Revoked, .. })
            ));
            assert_eq!(services.get(&john).await.status(), StatusCode::OK, "{name}");
        }
        // Clocks may differ by a minute.
        services.world.advance(61);
        let mut draft = services.world.sandbox.tokens().access_token_draft(JANE);
        draft.claims.insert("sid".into(), json!("ses_jane"));
        draft.claims.insert("oid".into(), json!("org_jane"));
        let new = services.world.sandbox.tokens().sign_draft(&draft);
        assert_eq!(services.get(&new).await.status(), StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn a_process_with_sessions_shares_its_revocations() {
    let world = World::new();
    let app = api(guard(&world.sandbox, &world.sessions.revocations()));
    let token = world.sandbox.tokens().access_token(JANE);
    let ask = async || send(&app, request_with_token("/", &token)).await.status();
    assert_eq!(ask().await, StatusCode::OK);
    let me = world.logged_in(JANE).await.fetch("/me").await.json();
    world.sessions.revoke_user(me["sub"].as_str().unwrap()).await.unwrap();
    assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_the_store_known_revocations_are_used_unless_stale_ones_are_rejected() {
    for rejects in [false, true] {
        let services = Services::new(rejects);
        let token = services.world.sandbox.tokens().access_token(JANE);
        assert_eq!(services.get(&token).await.status(), StatusCode::OK);
        services.store.set_down(true);
        services.world.advance(30);
        assert_eq!(services.get(&token).await.status(), StatusCode::OK);
        services.world.advance(31);
        let response = services.get(&token).await;
        if rejects {
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
        } else {
            assert_eq!(response.status(), StatusCode::OK);
        }
        services.store.set_down(false);
        services.world.advance(2);
        assert_eq!(services.get(&token).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn an_unauthenticated_request_reads_no_revocations() {
    let services = Services::new(false);
    for token in ["garbage", ""] {
        assert_eq!(services.get(token).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(services.store.take_operations(), (0, 0));
}

#[tokio::test]
async fn layers_behind_it_and_the_extractor_never_see_a_revoked_token() {
    let world = World::new();
    let guard = guard(&world.sandbox, &world.sessions.revocations());
    let echo = || async { "ok" };
    let app = Router::new()
        .route("/scope", get(echo).layer(RequireScope::all(["openid"])))
        .route("/mcp", post(echo).layer(RequireMcpScope::new().tool("list", ["openid"])))
        .route_layer(guard.clone())
        .route("/extractor", get(|_: Bearer| async { "ok" }))
        .with_state(guard.clone());
    let plain = guard.layer(service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok"))))
    }));
    let mut draft = world.sandbox.tokens().access_token_draft(JANE);
    draft.claims.insert("scope".into(), json!("openid"));
    let bearer = format!("Bearer {}", world.sandbox.tokens().sign_draft(&draft));
    let subject = draft.claims["sub"].as_str().unwrap().to_owned();
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list"}});
    let statuses = async || {
        let mut all = Vec::new();
        for (method, path) in
            [(Method::GET, "/scope"), (Method::POST, "/mcp"), (Method::GET, "/extractor")]
        {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::AUTHORIZATION, &bearer)
                .header(header::CONTENT_TYPE, "application/json")
                .body(axum::body::Body::from(call.to_string()))
                .unwrap();
            all.push(app.clone().oneshot(request).await.unwrap().status());
        }
        let request =
            Request::get("/").header(header::AUTHORIZATION, &bearer).body(Full::default()).unwrap();
        all.push(plain.clone().oneshot(request).await.unwrap().status());
        all
    };
    assert_eq!(statuses().await, [StatusCode::OK; 4]);
    world.sessions.revoke_user(&subject).await.unwrap();
    assert_eq!(statuses().await, [StatusCode::UNAUTHORIZED; 4]);
}

#[tokio::test]
async fn requests_share_one_read_of_the_log() {
    let world = World::new();
    let store = Arc::new(FlakyStore::new(world.sandbox.clock().clock()));
    let revocations = world.sandbox.scalekit().revocations(Arc::clone(&store)).build();
    let apps = [(); 2].map(|()| api(guard(&world.sandbox, &revocations)));
    let token = world.sandbox.tokens().access_token(JANE);
    for _ in 0..50 {
        for app in &apps {
            let request = request_with_token("/", &token);
            assert_eq!(send(app, request).await.status(), StatusCode::OK);
        }
    }
    tokio::time::sleep(Duration::ZERO).await;
    let (reads, _) = store.take_operations();
    assert!(reads <= 2, "the counter is read once or twice: {reads}");
}

/// An API that rejects revoked tokens, beside an app with these sessions.
struct Tokens {
    world: World,
    api: Router,
    deprovisioning: Deprovisioning,
    acme: String,
}

impl Tokens {
    fn new(world: World) -> Self {
        let api = api(guard(&world.sandbox, &world.sessions.revocations()));
        let deprovisioning = Deprovisioning::new(&world.sessions);
        let acme = organization_id(&world, "Acme");
        Self { world, api, deprovisioning, acme }
    }

    /// A token of this user that the sandbox signs after these changes of its claims.
    fn token(&self, email: &str, changes: Value) -> String {
        let mut draft = self.world.sandbox.tokens().access_token_draft(email);
        for (name, value) in changes.as_object().unwrap() {
            draft.claims.insert(name.clone(), value.clone());
        }
        draft.claims.retain(|_, value| !value.is_null());
        self.world.sandbox.tokens().sign_draft(&draft)
    }

    async fn accepts(&self, token: &str) -> bool {
        match send(&self.api, request_with_token("/", token)).await.status() {
            StatusCode::OK => true,
            StatusCode::UNAUTHORIZED => false,
            other => panic!("{other}"),
        }
    }

    async fn apply(&self, event_type: &str, data: Value) -> Deprovisioned {
        let mut event = event(event_type, &data);
        event["organization_id"] = json!(self.acme);
        let event = WebhookEvent::parse(event.to_string().as_bytes()).unwrap();
        self.deprovisioning.apply(&event).await.unwrap()
    }

    async fn remove(&self, email: &str) -> Deprovisioned {
        let user = json!({"id": "diruser_1", "email": email});
        self.apply("organization.directory.user_deleted", user).await
    }
}

#[tokio::test]
async fn a_user_whom_a_directory_removes_has_no_valid_token_left() {
    for (event_type, change) in [
        ("organization.directory.user_deleted", json!({})),
        ("organization.directory.user_updated", json!({"active": false})),
    ] {
        let all = Tokens::new(World::new());
        let jane = all.world.logged_in(JANE).await;
        drop(all.world.logged_in(JOHN).await);
        let token = all.token(JANE, json!({}));
        let spared = [
            all.token(JOHN, json!({})),
            all.token(JANE, json!({"oid": "org_other"})),
            all.token(JANE, json!({"oid": null})),
        ];
        for token in spared.iter().chain([&token]) {
            assert!(all.accepts(token).await);
        }
        let mut user = json!({"id": "diruser_1", "email": JANE});
        user.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(all.apply(event_type, user).await, MATCHED_USER);
        assert_eq!(status(&jane).await, StatusCode::UNAUTHORIZED);
        assert!(!all.accepts(&token).await, "{event_type}");
        for token in &spared {
            assert!(all.accepts(token).await, "{event_type}");
        }
        // Once the user is back.
        all.world.advance(61);
        assert!(all.accepts(&all.token(JANE, json!({}))).await);
    }
}

#[tokio::test]
async fn tokens_outlive_the_session_by_which_their_user_is_known() {
    let all = Tokens::new(World::new());
    drop(all.world.logged_in(JANE).await);
    all.world.advance(399 * 24 * 60 * 60);
    let token = all.token(JANE, json!({}));
    assert!(all.accepts(&token).await);
    all.remove(JANE).await;
    assert!(!all.accepts(&token).await);
}

#[tokio::test]
async fn a_token_is_revoked_by_a_former_address_of_its_user() {
    let all = Tokens::new(World::new());
    drop(all.world.logged_in(JANE).await);
    let token = all.token(JANE, json!({}));
    let created = "organization.directory.user_created";
    all.apply(created, json!({"id": "diruser_1", "email": JANE})).await;
    assert_eq!(all.remove("married@acme.test").await, MATCHED_USER);
    assert!(!all.accepts(&token).await);
}

#[tokio::test]
async fn only_the_claims_of_a_token_identify_a_user_without_a_session() {
    let all = Tokens::new(World::new());
    let plain = all.token(JANE, json!({}));
    let named = all.token(JANE, json!({"email": "Jane@Acme.test"}));
    assert!(matches!(all.remove(JANE).await, Deprovisioned::Unmatched(_)));
    assert!(all.accepts(&plain).await && !all.accepts(&named).await);
}

#[tokio::test]
async fn tokens_of_modular_single_sign_on_are_revoked_without_an_organization() {
    for by_id in [false, true] {
        let all = Tokens::new(World::with(|sandbox| sandbox.modular_sso(), |sessions| sessions));
        let mut ana = all.world.browser();
        let authorization = ana.start_login("/login?domain_hint=example.com").await;
        let callback = all.world.sandbox.log_in(&authorization, "ana@example.com").unwrap();
        ana.open(&callback).await;
        let subject = ana.fetch("/me").await.json()["sub"].as_str().unwrap().to_owned();
        let token = all.token("ana@example.com", json!({"sub": subject}));
        let other = all.token("ana@example.com", json!({"sub": "conn_other;ana"}));
        assert!(all.accepts(&token).await && all.accepts(&other).await);
        let organizations = all.world.sandbox.organizations().list();
        for organization in organizations {
            let data = match by_id {
                true => json!({"id": "diruser_1", "dp_id": subject.split_once(';').unwrap().1}),
                false => json!({"id": "diruser_1", "email": "ana@example.com"}),
            };
            let mut event = event("organization.directory.user_deleted", &data);
            event["organization_id"] = json!(organization.id);
            let event = WebhookEvent::parse(event.to_string().as_bytes()).unwrap();
            all.deprovisioning.apply(&event).await.unwrap();
        }
        assert_eq!(status(&ana).await, StatusCode::UNAUTHORIZED);
        assert!(!all.accepts(&token).await && all.accepts(&other).await, "{by_id}");
    }
}

#[tokio::test]
async fn a_directory_of_an_organization_that_the_app_sets_revokes_no_token_of_the_login() {
    let all = Tokens::new(World::with(
        |sandbox| sandbox.modular_sso(),
        |sessions| {
            sessions.on_login(|login: VerifiedLogin| {
                let session = login.identity().session().organization_id("org_own");
                std::future::ready(Ok::<_, LoginHookError>(session.into()))
            })
        },
    ));
    let mut ana = all.world.browser();
    let authorization = ana.start_login("/login?domain_hint=example.com").await;
    let callback = all.world.sandbox.log_in(&authorization, "ana@example.com").unwrap();
    ana.open(&callback).await;
    let subject = ana.fetch("/me").await.json()["sub"].as_str().unwrap().to_owned();
    let id_at_idp = subject.split_once(';').unwrap().1.to_owned();
    let tokens = [json!({"sub": subject}), json!({"sub": subject, "oid": "org_other"})]
        .map(|changes| all.token("ana@example.com", changes));
    let user = json!({"id": "diruser_1", "email": "ana@example.com", "dp_id": id_at_idp});
    for organization in ["org_own", "org_another"] {
        let mut event = event("organization.directory.user_deleted", &user);
        event["organization_id"] = json!(organization);
        let event = WebhookEvent::parse(event.to_string().as_bytes()).unwrap();
        all.deprovisioning.apply(&event).await.unwrap();
    }
    assert_eq!(status(&ana).await, StatusCode::UNAUTHORIZED);
    for token in &tokens {
        assert!(all.accepts(token).await);
    }
}

#[tokio::test]
async fn an_account_of_the_app_that_several_users_share_survives_the_removal_of_one() {
    let all = Tokens::new(World::with(
        |sandbox| sandbox,
        |sessions| {
            sessions.on_login(|login: VerifiedLogin| {
                let mut user = login.identity().user().clone();
                "shared".clone_into(&mut user.id);
                let session = login.identity().session_of(user);
                std::future::ready(Ok::<_, LoginHookError>(session.into()))
            })
        },
    ));
    let jane = all.world.logged_in(JANE).await;
    let john = all.world.logged_in(JOHN).await;
    assert_eq!(all.remove(JANE).await, MATCHED_USER);
    assert_eq!(status(&jane).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&john).await, StatusCode::OK);
    assert!(all.accepts(&all.token(JOHN, json!({}))).await);
}

#[tokio::test]
async fn an_address_revokes_tokens_in_its_organization_or_in_none() {
    for in_organization in [false, true] {
        let all = Tokens::new(World::new());
        let id = all.world.sandbox.users().get(JANE).unwrap().id;
        for organization in [Some(&*all.acme), None] {
            drop(local(&all.world, &id, JANE, organization).await);
        }
        let member = all.token(JANE, json!({}));
        let alone = all.token(JANE, json!({"oid": null}));
        let organization = in_organization.then_some(&*all.acme);
        all.world.sessions.revoke_email(JANE, organization).await.unwrap();
        let accepted = (all.accepts(&member).await, all.accepts(&alone).await);
        assert_eq!(accepted, (!in_organization, in_organization));
    }
}

#[tokio::test]
async fn tokens_are_revoked_by_the_apps_own_ids_and_by_the_organization_of_the_login() {
    let own_session = |identity: &VerifiedIdentity, in_organization: bool| {
        let mut user = User::default();
        user.id = "7".to_owned();
        match in_organization {
            true => identity.session_of(user),
            false => LocalSession::new(user),
        }
    };
    for in_organization in [false, true] {
        for by_directory in [false, true] {
            let all = Tokens::new(World::with(
                |sandbox| sandbox,
                |sessions| {
                    sessions.on_login(move |login: VerifiedLogin| {
                        let session = own_session(login.identity(), in_organization);
                        std::future::ready(Ok::<_, LoginHookError>(session.into()))
                    })
                },
            ));
            let jane = all.world.logged_in(JANE).await;
            assert_eq!(jane.clone().fetch("/me").await.json()["sub"], "7");
            let token = all.token(JANE, json!({}));
            assert!(all.accepts(&token).await);
            match by_directory {
                true => drop(all.remove(JANE).await),
                false => all.world.sessions.revoke_user("7").await.unwrap(),
            }
            assert!(!all.accepts(&token).await, "{in_organization} {by_directory}");
        }
    }
}

#[tokio::test]
async fn the_end_of_a_membership_ends_a_session_with_the_apps_own_user_id() {
    let world = World::new();
    let all = Tokens::new(world);
    let mut browser = all.world.browser();
    let authorization = browser.start_login("/login").await;
    let callback = all.world.sandbox.log_in(&authorization, JANE).unwrap();
    let parts = browser.request(Method::GET, &callback, &NAVIGATION).into_parts().0;
    let login = all.world.sessions.callback().identify(&parts).await.unwrap();
    let mut user = User::default();
    user.id = "7".to_owned();
    let session = login.identity.session_of(user);
    let cookies = all.world.sessions.create(session, &http::HeaderMap::new()).await.unwrap();
    let mut response = Response::new(Bytes::new());
    cookies.set(response.headers_mut());
    browser.store_cookies(&response);
    assert_eq!(browser.fetch("/me").await.json()["sub"], "7");
    let user_id = all.world.sandbox.users().get(JANE).unwrap().id;
    let left = json!({"organization": {"id": all.acme}, "user": {"id": user_id}});
    let applied = all.apply("user.organization_membership_deleted", left).await;
    assert_eq!(applied, MATCHED_USER);
    assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_user_of_a_session_that_began_without_the_store_is_recorded_later() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|sessions| sessions.shared_store(store.clone()));
    drop(world.logged_in_at(&app(&sessions), JOHN).await);
    let all = Tokens::new(World { sessions: sessions.clone(), ..world });
    let id = all.world.sandbox.users().get(JANE).unwrap().id;
    let mut user = User::default();
    user.id = id;
    user.email = JANE.to_owned();
    store.set_down(true);
    let session = LocalSession::new(user).organization_id(&all.acme).in_cookie();
    drop(sessions.create(session, &http::HeaderMap::new()).await.unwrap());
    let token = all.token(JANE, json!({}));
    store.set_down(false);
    sessions.shutdown(Duration::from_secs(5)).await.unwrap();
    all.remove(JANE).await;
    assert!(!all.accepts(&token).await);
}

#[tokio::test]
async fn an_event_is_delivered_again_if_the_users_of_its_names_cannot_be_read() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|sessions| sessions.shared_store(store.clone()));
    drop(world.logged_in_at(&app(&sessions), JANE).await);
    let all = Tokens::new(World { sessions, ..world });
    let token = all.token(JANE, json!({}));
    let removed = json!({
        "id": "evt_1", "type": "organization.directory.user_deleted",
        "organization_id": all.acme, "data": {"id": "diruser_1", "email": JANE},
    });
    let removed = WebhookEvent::parse(removed.to_string().as_bytes()).unwrap();
    store.fail_reads(KeyNamespace::SessionMarker, 1);
    assert!(all.deprovisioning.apply(&removed).await.is_err());
    assert_eq!(all.deprovisioning.apply(&removed).await.unwrap(), MATCHED_USER);
    all.world.advance(2);
    assert!(!all.accepts(&token).await);
}

#[tokio::test]
async fn an_api_reads_the_revocations_of_sessions_with_a_login_hook() {
    let world = World::new();
    let store = FlakyStore::new(world.sandbox.clock().clock());
    let sessions = world.replica(|sessions| {
        sessions.shared_store(store.clone()).on_login(|_: VerifiedLogin| {
            std::future::ready(Ok::<_, LoginHookError>(LoginDecision::accept()))
        })
    });
    let revocations = world.sandbox.scalekit().revocations(store).build();
    let api = api(guard(&world.sandbox, &revocations));
    let token = world.sandbox.tokens().access_token(JANE);
    let ask = async || send(&api, request_with_token("/", &token)).await.status();
    assert_eq!(ask().await, StatusCode::OK);
    let id = world.sandbox.users().get(JANE).unwrap().id;
    sessions.revoke_user(&id).await.unwrap();
    world.advance(2);
    assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
    assert!(revocations.readiness().await.is_ready());
}

#[tokio::test]
async fn a_token_that_directories_cannot_name_is_logged() {
    let all = Tokens::new(World::new());
    let machine = json!({"sub": "m2m_1", "client_id": "m2m_1"});
    for (changes, is_logged) in
        [(json!({}), true), (json!({"email": JANE}), false), (machine, false)]
    {
        let token = all.token(JANE, changes);
        let log = Captured::default();
        let guard = log.subscribe();
        all.accepts(&token).await;
        drop(guard);
        assert_eq!(log.text().contains("token_without_email"), is_logged, "{}", log.text());
    }
}
