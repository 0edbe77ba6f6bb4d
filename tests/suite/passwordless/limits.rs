//! Limits on codes and e-mails, independent of the environment's own.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tower_scalekit::Sandbox;
use tower_scalekit::clock::Clock;
use tower_scalekit::passwordless_login::{PasswordlessLoginError as Failure, SendDenied};
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::shared_store::{KeyNamespace, SharedStore as _};

use super::{
    ADA, MailWorld, RESEND, SEND, VERIFY, assert_rejected, attempt_of, email_of, failure,
    fetch_json, submission, submit,
};
use crate::store::FlakyStore;
use crate::support::{Browser, Reading as _, send, set_cookies};

/// Wrong codes.
fn wrong_codes(mail: &MailWorld) -> impl Iterator<Item = String> {
    let right = mail.code();
    (100_000..).map(|code: u32| code.to_string()).filter(move |code| *code != right)
}

#[tokio::test]
async fn one_login_has_five_tries_regardless_of_time_and_resends() {
    let hour = Duration::from_secs(3600);
    for waits in [0, 700] {
        let mail = MailWorld::with(|login| login.expires_in(hour));
        mail.sandbox().mail().issue_new_credentials_on_resend(true);
        let (mut browser, _) = mail.waiting("/me").await;
        for code in wrong_codes(&mail).take(3) {
            let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
            assert_rejected(&response, 400, &Failure::InvalidCode);
        }
        // The environment resets its count, for another request and after ten minutes.
        mail.world.advance(waits);
        attempt_of(&submit(&mut browser, RESEND, &[]).await);
        for code in wrong_codes(&mail).take(2) {
            let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
            assert_rejected(&response, 400, &Failure::InvalidCode);
        }
        mail.world.advance(waits);
        let (asked, code) = (mail.asked(), mail.code());
        let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
        assert_rejected(&response, 429, &Failure::TooManyAttempts);
        assert_eq!(mail.asked(), asked);
    }
}

#[tokio::test]
async fn concurrent_tries_count_each() {
    let mail = MailWorld::new();
    let (browser, _) = mail.waiting("/me").await;
    let asked = mail.asked();
    let codes: Vec<_> = wrong_codes(&mail).take(30).collect();
    let tries = codes
        .iter()
        .map(|code| send(&mail.app, submission(&browser, VERIFY, &[("code", code.as_str())])));
    let responses = futures::future::join_all(tries).await;
    let limited = responses.iter().filter(|response| failure(response) == Failure::TooManyAttempts);
    assert_eq!(limited.count(), 25);
    assert_eq!(mail.asked(), asked + 5);
}

#[tokio::test]
async fn the_recipient_can_log_in_while_attackers_are_limited() {
    let mail = MailWorld::new();
    let (mut ada, _) = mail.waiting("/me").await;
    let code = mail.code();
    let mut strangers = Vec::new();
    for _ in 0..2 {
        strangers.push(mail.waiting("/me").await.0);
        mail.world.advance(60);
        strangers.push(mail.waiting("/me").await.0);
    }
    let mut wrong = wrong_codes(&mail).filter(|wrong| *wrong != code);
    let (mut tried, mut limited) = (0, 0);
    for stranger in &mut strangers {
        for _ in 0..6 {
            let wrong = wrong.next().unwrap();
            let response = submit(stranger, VERIFY, &[("code", &wrong)]).await;
            match failure(&response) {
                Failure::InvalidCode => tried += 1,
                Failure::TooManyAttempts => limited += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((tried, limited), (10 + 2, 12), "ten, and one in each further login");
    let done = submit(&mut ada, VERIFY, &[("code", &code)]).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(email_of(&mut ada).await.as_deref(), Some(ADA));
    // A day later the address has ten attempts again.
    mail.world.advance(24 * 60 * 60);
    let (mut stranger, _) = mail.waiting("/me").await;
    for _ in 0..2 {
        let response = submit(&mut stranger, VERIFY, &[("code", &wrong.next().unwrap())]).await;
        assert_rejected(&response, 400, &Failure::InvalidCode);
    }
}

#[tokio::test]
async fn correct_codes_and_outages_are_not_counted_as_wrong_codes() {
    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/me").await;
    mail.sandbox().faults().add_times(Endpoint::Api, 12, Fault::Status(StatusCode::BAD_GATEWAY));
    let code = mail.code();
    for _ in 0..12 {
        let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
        assert_rejected(&response, 503, &Failure::Unavailable);
    }
    for _ in 0..12 {
        let code = mail.code();
        assert_eq!(submit(&mut browser, VERIFY, &[("code", &code)]).await.location(), "/me");
        mail.world.advance(60);
        browser = mail.waiting("/me").await.0;
    }
    for code in wrong_codes(&mail).take(2) {
        let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
        assert_rejected(&response, 400, &Failure::InvalidCode);
    }
}

#[tokio::test]
async fn a_rejection_in_an_unknown_form_is_counted_as_a_wrong_code() {
    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/me").await;
    let body = r#"{"message":"the code is wrong"}"#;
    let rejection = Response::builder().status(400).body(Bytes::from(body)).unwrap();
    mail.sandbox().faults().add(Endpoint::Api, Fault::Response(rejection));
    let (asked, code) = (mail.asked(), mail.code());
    for number in 0..12 {
        let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
        match number {
            0..5 => assert_rejected(&response, 503, &Failure::Unavailable),
            _ => assert_rejected(&response, 429, &Failure::TooManyAttempts),
        }
    }
    assert_eq!(mail.asked(), asked + 5);
}

#[tokio::test]
async fn a_code_is_accepted_for_ten_minutes_unless_the_app_allows_longer() {
    let mail = MailWorld::new();
    let body = json!({ "auth_request_id": "a", "expires_in": 86_400 }).to_string();
    let fault = Fault::Response(Response::new(Bytes::from(body)));
    mail.sandbox().faults().add_times(Endpoint::Api, 1, fault);
    let mut browser = mail.browser();
    attempt_of(&submit(&mut browser, SEND, &[("email", ADA)]).await);
    mail.world.advance(600);
    let asked = mail.asked();
    let response = submit(&mut browser, VERIFY, &[("code", "123456")]).await;
    assert_rejected(&response, 400, &Failure::Expired);
    assert_eq!(mail.asked(), asked);

    let mail = MailWorld::with(|login| login.expires_in(Duration::from_secs(3600)));
    let (mut browser, _) = mail.waiting("/me").await;
    mail.world.advance(3599);
    let code = mail.code();
    assert_eq!(submit(&mut browser, VERIFY, &[("code", &code)]).await.location(), "/me");
}

#[tokio::test]
async fn emails_to_one_address_are_limited_per_day_resends_and_other_spellings_included() {
    let mail = MailWorld::with(|login| login.max_emails_per_address(3));
    let (mut browser, attempt) = mail.waiting("/me").await;
    mail.world.advance(60);
    attempt_of(&submit(&mut browser, RESEND, &[]).await);
    mail.world.advance(60);
    attempt_of(&submit(&mut mail.browser(), SEND, &[("email", "ADA@acme.TEST")]).await);
    mail.world.advance(60);
    let asked = mail.asked();
    let response = submit(&mut mail.browser(), SEND, &[("email", ADA)]).await;
    let Failure::TooManyEmails { retry_after: Some(wait) } = failure(&response) else { panic!() };
    assert_eq!(wait, Duration::from_secs(24 * 60 * 60 - 180));
    assert_eq!(response.header("retry-after"), Some("86220"));
    assert!(response.text().contains("Try again later"));
    let response = submit(&mut browser, RESEND, &[("attempt", &attempt)]).await;
    assert!(matches!(failure(&response), Failure::TooManyEmails { .. }));
    assert_eq!(mail.asked(), asked);
    attempt_of(&submit(&mut mail.browser(), SEND, &[("email", "bob@acme.test")]).await);
    mail.world.advance(24 * 60 * 60 - 180);
    mail.waiting("/me").await;
}

#[tokio::test]
async fn setting_the_clock_back_extends_no_limit_of_emails() {
    let mail = MailWorld::with(|login| login);
    for _ in 0..2 {
        mail.waiting("/me").await;
    }
    mail.world.sandbox.clock().step(time::Duration::hours(-1));
    let response = submit(&mut mail.browser(), SEND, &[("email", ADA)]).await;
    let wait = Some(Duration::from_secs(60));
    assert_rejected(&response, 429, &Failure::TooManyEmails { retry_after: wait });
    mail.world.advance(60);
    attempt_of(&submit(&mut mail.browser(), SEND, &[("email", ADA)]).await);
}

#[tokio::test]
async fn a_replica_whose_clock_is_a_minute_behind_changes_no_count() {
    let store = FlakyStore::new(Clock::system());
    let mail = MailWorld::of(|sessions| sessions.shared_store(store.clone()), |login| login);
    for _ in 0..2 {
        mail.waiting("/me").await;
    }
    let counts = || {
        let seen = store.seen().into_iter();
        seen.filter(|(key, _)| key.namespace() == KeyNamespace::SentEmail)
            .collect::<HashMap<_, _>>()
    };
    let before = counts();
    mail.world.sandbox.clock().step(time::Duration::seconds(-60));
    let response = submit(&mut mail.browser(), SEND, &[("email", ADA)]).await;
    assert!(matches!(failure(&response), Failure::TooManyEmails { .. }));
    assert_eq!(counts(), before);
    // Its own e-mails are counted too.
    mail.world.advance(30);
    attempt_of(&submit(&mut mail.browser(), SEND, &[("email", "bob@acme.test")]).await);
    mail.world.advance(91);
    attempt_of(&submit(&mut mail.browser(), SEND, &[("email", ADA)]).await);
}

/// Sends for a client that the app's proxy has identified.
async fn send_for(mail: &MailWorld, client: &str, email: &str) -> Response<Bytes> {
    let mut request = submission(&mail.browser(), SEND, &[("email", email)]);
    request.headers_mut().insert("x-real-ip", client.parse().unwrap());
    send(&mail.app, request).await
}

#[tokio::test]
async fn emails_for_one_client_are_limited_per_hour() {
    let mail = MailWorld::with(|login| {
        login.max_emails_per_client(3).client_key(|request| {
            Some(request.headers().get("x-real-ip")?.to_str().ok()?.to_owned())
        })
    });
    for number in 0..3 {
        attempt_of(&send_for(&mail, "203.0.113.1", &format!("{number}@acme.test")).await);
    }
    let response = send_for(&mail, "203.0.113.1", "3@acme.test").await;
    let wait = Some(Duration::from_secs(3600));
    assert_rejected(&response, 429, &Failure::TooManyEmails { retry_after: wait });
    attempt_of(&send_for(&mail, "203.0.113.2", "3@acme.test").await);
    mail.world.advance(3600);
    attempt_of(&send_for(&mail, "203.0.113.1", "3@acme.test").await);
}

#[tokio::test]
async fn one_client_does_not_use_up_the_limit_of_an_address() {
    let mail = MailWorld::with(|login| {
        login.max_emails_per_address(4).client_key(|request| {
            Some(request.headers().get("x-real-ip")?.to_str().ok()?.to_owned())
        })
    });
    for _ in 0..2 {
        attempt_of(&send_for(&mail, "203.0.113.1", ADA).await);
        mail.world.advance(60);
    }
    for _ in 0..4 {
        let response = send_for(&mail, "203.0.113.1", ADA).await;
        assert!(matches!(failure(&response), Failure::TooManyEmails { .. }));
    }
    for _ in 0..2 {
        attempt_of(&send_for(&mail, "203.0.113.2", ADA).await);
    }
}

#[tokio::test]
async fn the_apps_own_limits_apply_to_sends_and_resends() {
    let mail = MailWorld::with(|login| {
        login.before_send(|email, headers| async move {
            assert_eq!(email, ADA);
            match headers.get("x-limit").map(|limit| limit.as_bytes()) {
                None => Ok(()),
                Some(b"many") => {
                    Err(SendDenied::TooManyEmails { retry_after: Some(Duration::from_secs(7)) })
                }
                Some(b"silent") => Err(SendDenied::Silently),
                _ => Err(SendDenied::unavailable("the database does not respond")),
            }
        })
    });
    let (browser, _) = mail.waiting("/me").await;
    let with = async |path: &str, limit: &str| {
        mail.world.advance(60);
        let mut request = submission(&browser, path, &[("email", ADA)]);
        request.headers_mut().insert("x-limit", limit.parse().unwrap());
        send(&mail.app, request).await
    };
    let asked = mail.asked();
    for path in [SEND, RESEND] {
        let wait = Some(Duration::from_secs(7));
        let response = with(path, "many").await;
        assert_rejected(&response, 429, &Failure::TooManyEmails { retry_after: wait });
        assert_eq!(response.header("retry-after"), Some("7"));
        assert_rejected(&with(path, "unknown").await, 503, &Failure::Unavailable);
        attempt_of(&with(path, "silent").await);
    }
    assert_eq!((mail.asked(), mail.sandbox().mail().outbox().len()), (asked, 1));
}

/// What a script gets, without the values that differ each time.
async fn response_of(browser: &mut Browser, path: &str, body: Value) -> String {
    let response = fetch_json(browser, path, &body).await;
    let mut body = response.json();
    body.as_object_mut().unwrap().remove("attempt");
    let cookies = set_cookies(response.headers());
    let lengths: Vec<_> = cookies.iter().map(|cookie| cookie.len()).collect();
    let names: Vec<_> = response.headers().keys().collect();
    format!("{} {body} {lengths:?} {names:?}", response.status())
}

#[tokio::test]
async fn a_response_does_not_reveal_whether_the_environment_accepts_an_address() {
    for rejection in [
        (400, r#"{"error_code":"INVALID_EMAIL","message":"email is not valid"}"#),
        (400, r#"{"code":3,"message":"user is disabled"}"#),
        (403, r#"{"code":7,"message":"this address may not log in"}"#),
        (404, r#"{"code":5,"message":"no such user"}"#),
    ] {
        let mail = MailWorld::new();
        // The properties of e-mails are known from one that was sent.
        submit(&mut mail.browser(), SEND, &[("email", "first@acme.test")]).await;
        let mut responses = Vec::new();
        for (email, is_accepted) in [("bob@acme.test", true), ("eve@acme.test", false)] {
            if !is_accepted {
                let response =
                    Response::builder().status(rejection.0).body(Bytes::from(rejection.1)).unwrap();
                mail.sandbox().faults().add_times(Endpoint::Api, 1, Fault::Response(response));
            }
            let mut browser = mail.browser();
            let mut all = Vec::new();
            all.push(response_of(&mut browser, SEND, json!({ "email": email })).await);
            let code = json!({ "code": mail.wrong_code() });
            for _ in 0..6 {
                all.push(response_of(&mut browser, VERIFY, code.clone()).await);
            }
            all.push(response_of(&mut browser, RESEND, json!({})).await);
            // The third e-mail in a minute.
            all.push(response_of(&mut mail.browser(), SEND, json!({ "email": email })).await);
            let sent = submit(&mut mail.browser(), SEND, &[("email", email)]).await;
            all.push(format!("{} {}", sent.status(), sent.text()));
            responses.push(all);
        }
        assert_eq!(responses[0], responses[1]);
    }
}

#[tokio::test]
async fn emails_that_could_not_be_sent_are_not_counted() {
    let mail = MailWorld::with(|login| login.max_emails_per_address(1));
    mail.sandbox().faults().add_times(Endpoint::Api, 5, Fault::Status(StatusCode::BAD_GATEWAY));
    for _ in 0..5 {
        let response = submit(&mut mail.browser(), SEND, &[("email", ADA)]).await;
        assert_rejected(&response, 503, &Failure::Unavailable);
    }
    mail.waiting("/me").await;
    let response = mail.browser().send(Method::GET, SEND, &[]).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn emails_that_could_not_be_sent_leave_nothing_but_the_count_of_their_client() {
    let store = FlakyStore::new(Sandbox::new().clock().clock());
    let mail = MailWorld::of(
        |sessions| sessions.shared_store(store.clone()),
        |login| {
            login.max_emails_per_client(3).client_key(|request| {
                Some(request.headers().get("x-real-ip")?.to_str().ok()?.to_owned())
            })
        },
    );
    mail.sandbox().faults().add_times(Endpoint::Api, 6, Fault::Status(StatusCode::BAD_GATEWAY));
    for number in 0..6 {
        let client = format!("203.0.113.{}", number / 3);
        let response = send_for(&mail, &client, &format!("{number}@acme.test")).await;
        assert_rejected(&response, 503, &Failure::Unavailable);
    }
    let mut stored = 0;
    for key in store.keys() {
        let is_counter = key.namespace() == KeyNamespace::SentEmail;
        stored += usize::from(is_counter && store.get(&key).await.unwrap().is_some());
    }
    assert_eq!(stored, 2, "one for each client");
    let response = send_for(&mail, "203.0.113.0", "6@acme.test").await;
    assert!(matches!(failure(&response), Failure::TooManyEmails { .. }));
    attempt_of(&send_for(&mail, "203.0.113.2", "0@acme.test").await);
}
