//! User verification of connected accounts: only the account of the user who began becomes active.

mod callbacks;

use axum::Router;
use http::{Method, Request, Response, StatusCode};
use tower::ServiceExt as _;
use tower_scalekit::connect_account::ConnectAccountError;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::shared_store::KeyNamespace;
use tower_scalekit::{ConnectAccount, Sandbox, Session};
use url::Url;

use crate::support::{
    Browser, FETCH, JANE, JOHN, NAVIGATION, ORIGIN, Reading as _, World, parameter, with_parameters,
};

const START: &str = "/connect/gmail";
const AFTERWARDS: &str = "https://app.example.com/mails";

struct Scene {
    world: World,
    app: Router,
}

impl Scene {
    fn new() -> Self {
        Self::with(|connect| connect)
    }

    fn with(
        change: impl FnOnce(
            tower_scalekit::connect_account::ConnectAccountBuilder,
        ) -> tower_scalekit::connect_account::ConnectAccountBuilder,
    ) -> Self {
        let world = World::new();
        world.sandbox.connected_accounts().require_user_verification(true);
        world.sandbox.connected_accounts().set_verified_redirect_url(AFTERWARDS);
        let connect = change(ConnectAccount::builder(&world.sessions, "gmail")).build().unwrap();
        let app = world.app.clone().merge(connect.routes());
        Self { world, app }
    }

    async fn logged_in(&self, email: &str) -> Browser {
        self.world.logged_in(email).await.at(&self.app)
    }

    fn sandbox(&self) -> &Sandbox {
        &self.world.sandbox
    }

    fn is_active(&self, email: &str) -> bool {
        let id = self.sandbox().users().get(email).unwrap().id;
        let account = self.sandbox().connected_accounts().get("gmail", &id);
        account.is_some_and(|account| account.status == "ACTIVE")
    }

    /// Begins and consents. Returns the URL of the callback.
    async fn consented(&self, browser: &mut Browser) -> String {
        let begun = browser.post(START).await;
        assert_eq!(begun.status(), StatusCode::SEE_OTHER, "{}", begun.text());
        begun.assert_private();
        self.sandbox().consent(begun.location()).unwrap()
    }
}

fn failure(response: &Response<bytes::Bytes>) -> &ConnectAccountError {
    response.extensions().get::<RouteRejection<ConnectAccountError>>().expect("a rejection").error()
}

fn attempts(browser: &Browser) -> usize {
    browser.names_with("_connect_").len()
}

#[tokio::test]
async fn an_account_is_active_after_its_user_is_verified() {
    let scene = Scene::new();
    let mut jane = scene.logged_in(JANE).await;
    let back = scene.consented(&mut jane).await;
    assert!(back.starts_with("https://app.example.com/connect/gmail/verify?auth_request_id="));
    assert_eq!(parameter(&back, "state").unwrap().len(), 43);
    assert!(!scene.is_active(JANE));
    assert_eq!(attempts(&jane), 1);
    let state = parameter(&back, "state").unwrap();
    let name = jane.names_with("_connect_").remove(0);
    assert!(!jane.cookie(&name).unwrap().contains(&state), "it is sealed");

    let done = jane.open(&back).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, AFTERWARDS));
    done.assert_private();
    assert_eq!(done.header("referrer-policy"), Some("no-referrer"));
    assert!(scene.is_active(JANE));
    assert_eq!(attempts(&jane), 0);

    // The account can be used once.
    let again = jane.open(&back).await;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    assert_eq!(failure(&again), &ConnectAccountError::StateMismatch);
    assert!(scene.is_active(JANE));
}

#[tokio::test]
async fn another_users_callback_is_rejected_and_the_account_stays_inactive() {
    let scene = Scene::new();
    let mut jane = scene.logged_in(JANE).await;
    let back = scene.consented(&mut jane).await;

    // John opens Jane's callback in his own browser.
    let mut john = scene.logged_in(JOHN).await;
    let rejected = john.open(&back).await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
    assert_eq!(failure(&rejected), &ConnectAccountError::StateMismatch);

    // Jane's browser, in which John has logged in meanwhile.
    let back = scene.consented(&mut jane).await;
    john.clone_from(&jane);
    let done = john.log_in(scene.sandbox(), JOHN).await;
    john.decide(&done, "switch").await;
    let rejected = john.open(&back).await;
    assert_eq!(rejected.status(), StatusCode::FORBIDDEN, "{}", rejected.text());
    assert_eq!(failure(&rejected), &ConnectAccountError::UserMismatch);
    assert_eq!(attempts(&john), 1, "the attempt has ended, and the other one cannot be completed");
    assert!(!scene.is_active(JANE) && !scene.is_active(JOHN));
}

#[tokio::test]
async fn a_victims_mailbox_is_not_connected_to_the_sender_of_the_link() {
    let scene = Scene::new();
    let mut john = scene.logged_in(JOHN).await;
    // John begins, and has Jane open the link; she consents and returns in her own browser.
    let back = scene.consented(&mut john).await;
    let mut jane = scene.logged_in(JANE).await;
    // Even with a pending attempt of her own.
    let hers = scene.consented(&mut jane).await;
    let rejected = jane.open(&back).await;
    assert_eq!(failure(&rejected), &ConnectAccountError::StateMismatch);
    // With her own state, John's consent is still not hers: Scalekit compares the identifier.
    let back = scene.consented(&mut john).await;
    let mixed = with_parameters(&back, &[("state", &parameter(&hers, "state").unwrap())]);
    let rejected = jane.open(&mixed).await;
    assert_eq!(rejected.status(), StatusCode::FORBIDDEN);
    assert_eq!(failure(&rejected), &ConnectAccountError::UserMismatch);
    assert!(!scene.is_active(JOHN) && !scene.is_active(JANE));
}

#[tokio::test]
async fn a_forged_missing_or_repeated_parameter_is_rejected_and_ends_the_attempt() {
    let verify = |query: String| format!("/connect/gmail/verify?{query}");
    type Change = fn(&str, &str, &str) -> String;
    let changes: [(Change, ConnectAccountError); 9] = [
        (
            |_, state, _| format!("auth_request_id=a&state={}{}", &state[..8], "A".repeat(35)),
            ConnectAccountError::StateMismatch,
        ),
        (|_, _, _| "auth_request_id=a&state=short".to_owned(), ConnectAccountError::StateMismatch),
        (|_, _, _| "auth_request_id=a&state=".to_owned(), ConnectAccountError::StateMismatch),
        (
            |_, _, _| "auth_request_id=a&state=%C3%A9%C3%A9%C3%A9%C3%A9".to_owned(),
            ConnectAccountError::StateMismatch,
        ),
        (|query, state, _| format!("{query}&state={state}"), ConnectAccountError::InvalidRequest),
        (
            |query, _, id| format!("{query}&auth_request_id={id}"),
            ConnectAccountError::InvalidRequest,
        ),
        (|_, state, _| format!("state={state}"), ConnectAccountError::InvalidRequest),
        (|_, _, id| format!("auth_request_id={id}"), ConnectAccountError::InvalidRequest),
        (|_, _, _| String::new(), ConnectAccountError::InvalidRequest),
    ];
    let rejections: [(Change, ConnectAccountError); 3] = [
        (
            |_, state, _| format!("state={state}&auth_request_id=forged"),
            ConnectAccountError::NoPendingVerification,
        ),
        (
            |_, state, _| format!("state={state}&error=access_denied&error_description=%3Cb%3EHi"),
            ConnectAccountError::ConsentDenied { code: Some("access_denied".to_owned()) },
        ),
        (
            |_, state, _| format!("state={state}&error=%3Cscript%3E"),
            ConnectAccountError::ConsentDenied { code: None },
        ),
    ];
    for (change, expected) in changes.into_iter().chain(rejections) {
        let scene = Scene::new();
        let mut jane = scene.logged_in(JANE).await;
        let back = scene.consented(&mut jane).await;
        let state = parameter(&back, "state").unwrap();
        let id = parameter(&back, "auth_request_id").unwrap();
        let target = verify(change(back.split_once('?').unwrap().1, &state, &id));
        let rejected = jane.open(&target).await;
        assert_eq!(rejected.status(), StatusCode::BAD_REQUEST, "{target}");
        assert_eq!(failure(&rejected), &expected, "{target}");
        rejected.assert_private();
        assert!(!rejected.text().contains("<b>") && !rejected.text().contains("script"));
        assert!(!scene.is_active(JANE), "{target}");
        // Only a callback with the state, or its beginning, has ended the attempt.
        let is_spent = target.contains(&format!("state={}", &state[..8]));
        let then = jane.open(&back).await;
        assert_eq!(then.status() == StatusCode::BAD_REQUEST, is_spent, "{target}");
    }
}

#[tokio::test]
async fn a_tampered_attempt_cookie_is_rejected() {
    let scene = Scene::new();
    let mut jane = scene.logged_in(JANE).await;
    let back = scene.consented(&mut jane).await;
    let name = jane.names_with("_connect_").remove(0);
    let (start, end) = jane.cookie(&name).unwrap().split_at(40);
    let other = if end.starts_with('A') { "B" } else { "A" };
    jane.put_cookie(&name, &format!("{start}{other}{}", &end[1..]));
    assert_eq!(failure(&jane.open(&back).await), &ConnectAccountError::StateMismatch);
    assert!(!scene.is_active(JANE));
}

#[tokio::test]
async fn an_attempt_expires_after_ten_minutes() {
    let scene = Scene::new();
    let mut jane = scene.logged_in(JANE).await;
    let back = scene.consented(&mut jane).await;
    let name = jane.names_with("_connect_").remove(0);
    jane.keep_expired(&name);
    // The session has to be refreshed by then, and is.
    scene.world.advance(600);
    let late = jane.open(&back).await;
    assert_eq!(failure(&late), &ConnectAccountError::StateMismatch);
    assert!(!scene.is_active(JANE));
}

#[tokio::test]
async fn several_tabs_connect_and_the_oldest_of_many_is_dropped() {
    let scene = Scene::new();
    let mut jane = scene.logged_in(JANE).await;
    let mut backs = Vec::new();
    for _ in 0..6 {
        scene.world.advance(1);
        backs.push(scene.consented(&mut jane).await);
    }
    assert_eq!(attempts(&jane), 5);
    assert_eq!(failure(&jane.open(&backs[0]).await), &ConnectAccountError::StateMismatch);
    for back in [&backs[3], &backs[1]] {
        assert_eq!(jane.open(back).await.status(), StatusCode::SEE_OTHER);
    }
    assert_eq!(attempts(&jane), 3);
}

#[tokio::test]
async fn connecting_requires_a_session() {
    let scene = Scene::new();
    let mut nobody = Browser::new(&scene.app, scene.sandbox());
    assert_eq!(nobody.post(START).await.status(), StatusCode::UNAUTHORIZED);
    let shown = nobody.open(START).await;
    assert_eq!(shown.status(), StatusCode::FOUND);
    assert!(shown.location().starts_with("/login?return_to="));
    assert!(scene.sandbox().connected_accounts().list().is_empty());
}

#[tokio::test]
async fn a_rejected_callback_cannot_be_used_again() {
    let scene = Scene::new();
    let mut john = scene.logged_in(JOHN).await;
    // John has Jane open the link, and later obtains the address that rejected her.
    for late in [0, 700] {
        let back = scene.consented(&mut john).await;
        scene.world.advance(late);
        let mut jane = scene.logged_in(JANE).await;
        assert_eq!(failure(&jane.open(&back).await), &ConnectAccountError::StateMismatch);
        let rejected = john.open(&back).await;
        assert_eq!(failure(&rejected), &ConnectAccountError::StateMismatch);
        // It does not work under the state of another attempt of his.
        let other = scene.consented(&mut john).await;
        let mixed = with_parameters(&back, &[("state", &parameter(&other, "state").unwrap())]);
        let rejected = john.open(&mixed).await;
        assert_eq!(failure(&rejected), &ConnectAccountError::StateMismatch);
        assert!(!scene.is_active(JOHN));
    }
}

#[tokio::test]
async fn a_callback_without_a_session_is_used_up_and_not_copied_into_the_login() {
    let scene = Scene::with(|connect| connect.start_page("/settings/accounts"));
    let mut john = scene.logged_in(JOHN).await;
    let back = scene.consented(&mut john).await;
    let mut visitor = Browser::new(&scene.app, scene.sandbox());
    let login = visitor.open(&back).await;
    assert_eq!(
        (login.status(), login.location()),
        (StatusCode::FOUND, "/login?return_to=%2Fsettings%2Faccounts")
    );
    assert_eq!(login.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(failure(&john.open(&back).await), &ConnectAccountError::StateMismatch);
    assert!(!scene.is_active(JOHN));

    // The same applies when the session has ended during the consent.
    let back = scene.consented(&mut john).await;
    let name = scene.world.sessions.cookie_name().to_owned();
    john.put_cookie(&name, "over");
    let login = john.open(&back).await;
    assert_eq!(login.location(), "/login?return_to=%2Fsettings%2Faccounts");
    assert_eq!(attempts(&john), 0);
    let fetched = Browser::new(&scene.app, scene.sandbox()).fetch(&back).await;
    assert_eq!(fetched.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn no_login_returns_to_a_callback() {
    let scene = Scene::new();
    let mut john = scene.logged_in(JOHN).await;
    let back = scene.consented(&mut john).await;
    let back = back.strip_prefix(ORIGIN).unwrap();
    // The app has added its own layer to the routes.
    let sessions = &scene.world.sessions;
    let connect = ConnectAccount::builder(sessions, "gmail").build().unwrap();
    let app = connect.routes().layer(tower_scalekit::RequireSession::new(sessions));
    let login = Browser::new(&app, scene.sandbox()).open(back).await;
    assert_eq!((login.status(), login.location()), (StatusCode::FOUND, "/login"));

    let mut visitor = Browser::new(&scene.app, scene.sandbox());
    let page: String = url::form_urlencoded::byte_serialize(back.as_bytes()).collect();
    let authorization = visitor.start_login(&format!("/login?return_to={page}")).await;
    let callback = scene.sandbox().log_in(&authorization, JANE).unwrap();
    assert_eq!(visitor.open(&callback).await.location(), "/");
}

#[tokio::test]
async fn two_identical_concurrent_callbacks_verify_the_account_once() {
    let scene = Scene::new();
    let mut jane = scene.logged_in(JANE).await;
    let back = scene.consented(&mut jane).await;
    let before = scene.sandbox().requests().count(Endpoint::Api);
    let mut other_tab = jane.clone();
    let (one, two) = futures::future::join(jane.open(&back), other_tab.open(&back)).await;
    assert_eq!([one.location(), two.location()], [AFTERWARDS; 2]);
    assert_eq!(scene.sandbox().requests().count(Endpoint::Api), before + 1);
    assert!(scene.is_active(JANE));
}

#[tokio::test]
async fn pages_of_other_sites_cannot_start_an_attempt() {
    let scene = Scene::new();
    let mut jane = scene.logged_in(JANE).await;
    for method in [Method::GET, Method::POST] {
        for headers in [
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
            [("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")],
            [("origin", "https://evil.test"), ("accept", "*/*")],
        ] {
            let response = jane.send(method.clone(), START, &headers).await;
            // A link shows the page with the button.
            let is_opened = method == Method::GET;
            let status = if is_opened { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(response.status(), status, "{method} {headers:?}");
        }
    }
    for method in [Method::PUT, Method::HEAD, Method::DELETE] {
        let rejected = jane.send(method.clone(), START, &FETCH).await;
        assert_eq!(rejected.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(rejected.header("allow"), Some("GET, POST"));
    }
    assert!(scene.sandbox().connected_accounts().list().is_empty());
    assert_eq!(attempts(&jane), 0);
    let same = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "navigate")];
    let begun = jane.send(Method::POST, START, &same).await;
    assert_eq!(begun.status(), StatusCode::SEE_OTHER);
    let rejected = jane.send(Method::POST, "/connect/gmail/verify?state=a", &FETCH).await;
    assert_eq!(rejected.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn an_outage_is_503_and_the_attempt_can_continue() {
    let mut not_found = Response::default();
    *not_found.status_mut() = StatusCode::NOT_FOUND;
    for down in [
        Fault::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::Status(StatusCode::REQUEST_TIMEOUT),
        // Of a gateway.
        Fault::Response(not_found),
    ] {
        let scene = Scene::new();
        let mut jane = scene.logged_in(JANE).await;
        scene.sandbox().faults().add(Endpoint::Api, down.clone());
        let rejected = jane.post(START).await;
        assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE, "{down:?}");
        assert!(rejected.header("retry-after").is_some());
        scene.sandbox().faults().clear(Endpoint::Api);

        let back = scene.consented(&mut jane).await;
        scene.sandbox().faults().add(Endpoint::Api, down.clone());
        let rejected = jane.open(&back).await;
        assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE, "{down:?}");
        assert_eq!(failure(&rejected), &ConnectAccountError::Unavailable);
        assert_eq!(rejected.header("retry-after"), Some("2"));
        assert!(rejected.text().starts_with("<!doctype html>"));
        assert!(!scene.is_active(JANE));
        scene.sandbox().faults().clear(Endpoint::Api);
        assert_eq!(jane.open(&back).await.location(), AFTERWARDS);
        assert!(scene.is_active(JANE));
    }
}

#[tokio::test]
async fn browsers_are_redirected_to_http_urls_only() {
    let scene = Scene::new();
    let mut jane = scene.logged_in(JANE).await;
    for address in ["javascript:alert(1)", "/there", "//evil.test"] {
        scene.sandbox().connected_accounts().set_verified_redirect_url(address);
        let back = scene.consented(&mut jane).await;
        let done = jane.open(&back).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/"), "{address}");
    }
    let response = |link: &str| {
        let body = format!(r#"{{"connected_account":{{"id":"ca_1"}},"link":"{link}"}}"#);
        Fault::Response(Response::new(body.into()))
    };
    scene.sandbox().faults().add_times(Endpoint::Api, 2, response("javascript:alert(1)"));
    assert_eq!(jane.post(START).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let elsewhere = "https://accounts.example.com/x";
    scene.sandbox().faults().add_times(Endpoint::Api, 2, response(elsewhere));
    assert_eq!(jane.post(START).await.location(), elsewhere);
}

#[tokio::test]
async fn the_identifier_and_the_rejections_can_be_customized() {
    let scene = Scene::with(|connect| {
        connect
            .path("/accounts/gmail")
            .identifier(|session: &Session| session.user().email.clone())
            .on_rejection(|rejected| {
                let failure = format!("{:?}", rejected.rejection().error());
                let mut response = rejected.into_default_response();
                *response.body_mut() = failure.into();
                response
            })
    });
    let mut jane = scene.logged_in(JANE).await;
    let begun = jane.post("/accounts/gmail").await;
    let back = scene.sandbox().consent(begun.location()).unwrap();
    assert!(back.starts_with(&format!("{ORIGIN}/accounts/gmail/verify?")));
    assert_eq!(jane.open(&back).await.location(), AFTERWARDS);
    let account = scene.sandbox().connected_accounts().get("gmail", JANE).unwrap();
    assert_eq!(account.status, "ACTIVE");
    let rejected = jane.send(Method::GET, &back, &NAVIGATION).await;
    assert_eq!(rejected.text(), "StateMismatch");
}

#[tokio::test]
async fn a_login_before_connecting_returns_to_a_page_with_the_user_and_the_button() {
    let scene = Scene::with(|connect| connect.start_page("/settings/accounts"));
    let mut jane = Browser::new(&scene.app, scene.sandbox());
    let login = jane.open(START).await;
    let authorization = jane.start_login(login.location()).await;
    let callback = scene.sandbox().log_in(&authorization, JANE).unwrap();
    let done = jane.open(&callback).await;
    assert_eq!(done.location(), START);
    let after_login = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    let page = jane.send(Method::GET, START, &after_login).await;
    page.assert_private();
    for text in [
        "You are logged in to app.example.com as jane@acme.test",
        r#"<form method="post" action="/connect/gmail">"#,
        r#"href="/settings/accounts""#,
    ] {
        assert!(page.text().contains(text), "{}", page.text());
    }
    assert!(scene.sandbox().connected_accounts().list().is_empty());

    let rejected = jane.open("/connect/gmail/verify").await;
    assert!(rejected.text().contains(r#"href="/settings/accounts""#), "{}", rejected.text());
    scene.sandbox().connected_accounts().set_verified_redirect_url("javascript:alert(1)");
    let back = scene.consented(&mut jane).await;
    assert_eq!(jane.open(&back).await.location(), "/settings/accounts");
}

#[tokio::test]
async fn a_disconnected_account_can_be_connected_again_in_any_status() {
    for kept in [false, true] {
        let scene = Scene::new();
        scene.sandbox().connected_accounts().keep_status_until_consent(kept);
        let mut jane = scene.logged_in(JANE).await;
        let back = scene.consented(&mut jane).await;
        jane.open(&back).await;
        let account = scene.sandbox().connected_accounts().list().remove(0);
        assert!(scene.sandbox().connected_accounts().disconnect(&account.id));
        let back = scene.consented(&mut jane).await;
        assert!(!scene.is_active(JANE));
        assert_eq!(jane.open(&back).await.location(), AFTERWARDS);
        assert!(scene.is_active(JANE), "kept: {kept}");
    }
}

#[tokio::test]
async fn an_attempt_for_one_connection_is_rejected_for_another() {
    let scene = Scene::new();
    scene.sandbox().connected_accounts().add_connection("second", "GMAIL");
    let second = ConnectAccount::builder(&scene.world.sessions, "second").build().unwrap();
    let app = scene.app.clone().merge(second.routes());
    let mut jane = scene.logged_in(JANE).await.at(&app);
    let back = scene.consented(&mut jane).await;
    let elsewhere = back.replace("/connect/gmail/", "/connect/second/");
    let rejected = jane.open(&elsewhere).await;
    assert_eq!(rejected.status(), StatusCode::FORBIDDEN);
    assert!(!scene.is_active(JANE));
}

#[tokio::test]
async fn an_unknown_connection_is_500() {
    let scene = Scene::new();
    let wrong = ConnectAccount::builder(&scene.world.sessions, "Gmail").path("/connect/wrong");
    let app = scene.app.clone().merge(wrong.build().unwrap().routes());
    let mut jane = scene.logged_in(JANE).await.at(&app);
    let rejected = jane.post("/connect/wrong").await;
    assert_eq!(rejected.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failure(&rejected), &ConnectAccountError::Misconfigured);
    assert_eq!(rejected.json()["error"], "server_error");
}

#[test]
fn all_invalid_settings_are_reported_at_once() {
    let world = World::new();
    for path in ["", "connect", "//evil.test", "/connect/", "/connect/{id}", "/connect?a"] {
        let error = ConnectAccount::builder(&world.sessions, "").path(path).build().unwrap_err();
        assert!(error.problems().len() >= 2, "{path}: {error}");
    }
    for page in [
        "",
        "settings",
        "//evil.test",
        "/a?b",
        "/a\"",
        "/connect/gmail",
        "/connect/gmail/verify",
        "/x/../connect/gmail",
    ] {
        let builder = ConnectAccount::builder(&world.sessions, "gmail").start_page(page);
        let error = builder.build().unwrap_err();
        assert_eq!(error.problems().len(), 1, "{page}: {error}");
        assert!(error.to_string().contains("start_page"), "{error}");
    }
    let spaced = ConnectAccount::builder(&world.sessions, "Gmail of Acme").build().unwrap();
    assert_eq!(spaced.path(), "/connect/Gmail-of-Acme");
    assert_eq!(spaced.verify_path(), "/connect/Gmail-of-Acme/verify");
}

#[tokio::test]
async fn a_consent_without_the_required_verification_has_no_effect() {
    let scene = Scene::new();
    let mut jane = scene.logged_in(JANE).await;
    scene.consented(&mut jane).await;
    let id = scene.sandbox().users().get(JANE).unwrap().id;
    let key = tower_scalekit::api::connected_accounts::AccountKey::new("gmail", id);
    let accounts = scene.sandbox().scalekit().api().connected_accounts();
    let link = accounts.authorization_link(&key).await.unwrap();
    let failed = scene.sandbox().consent(link.url().as_str()).unwrap_err();
    assert!(failed.reason.contains("failed_to_exchange"), "{failed}");
    assert!(!scene.is_active(JANE));
}

#[tokio::test]
async fn services_work_without_a_router() {
    let scene = Scene::new();
    let connect = ConnectAccount::builder(&scene.world.sessions, "gmail").build().unwrap();
    let cookie = scene.sandbox().session_cookie(&scene.world.sessions, JANE).await;
    let request = Request::post("/anywhere").header("cookie", cookie).body(()).unwrap();
    let begun = connect.start().oneshot(request).await.unwrap();
    assert_eq!(begun.status(), StatusCode::SEE_OTHER);
    let link = Url::parse(begun.headers()["location"].to_str().unwrap()).unwrap();
    assert!(link.path().starts_with("/magicLink/"));
}

#[tokio::test(start_paused = true)]
async fn only_attempts_with_a_link_of_the_environment_use_the_store() {
    let scene = Scene::new();
    let store = crate::store::FlakyStore::new(scene.sandbox().clock().clock());
    let sessions = scene.world.replica(|one| one.shared_store(store.clone()));
    let connect = ConnectAccount::builder(&sessions, "gmail").build().unwrap();
    let app = crate::support::app(&sessions).merge(connect.routes());
    let mut jane = Browser::new(&app, scene.sandbox());
    jane.log_in(scene.sandbox(), JANE).await;
    let expected = || {
        let keys = store.keys().into_iter();
        keys.filter(|key| key.namespace() == KeyNamespace::ConnectCallback).count()
    };
    scene.sandbox().faults().add(Endpoint::Api, Fault::Unreachable);
    for _ in 0..3 {
        let response = jane.post(START).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", response.text());
    }
    assert_eq!(expected(), 0);
    scene.sandbox().faults().clear(Endpoint::Api);
    assert_eq!(jane.post(START).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(expected(), 1);
}
