//! When something does not answer, the attempt goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tower_scalekit::api::passwordless::VerifiedEmail;
use tower_scalekit::passwordless_login::PasswordlessFailure as Failure;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::session::NotAdmitted;

use super::{
    ADA, MailWorld, RESEND, SEND, VERIFY, assert_refused, click, email_of, failure,
    press_the_button, submit,
};
use crate::store::FlakyStore;
use crate::support::{Reading as _, sandbox_builder};

fn answered(status: u16, body: &'static str) -> Fault {
    let answer = Response::builder().status(status).header("retry-after", "7");
    Fault::Answer(answer.body(Bytes::from(body)).unwrap())
}

#[tokio::test]
async fn an_environment_out_of_reach_is_503_and_the_login_goes_on_afterwards() {
    let general = r#"{"code":8,"message":"slow down","error_code":"RATE_LIMITED"}"#;
    for fault in
        [Fault::Unreachable, Fault::Status(StatusCode::BAD_GATEWAY), answered(429, general)]
    {
        let mail = MailWorld::new();
        let (mut browser, _) = mail.waiting("/me").await;
        let (code, link) = (mail.code(), mail.link());
        mail.sandbox().fail(Endpoint::Api, fault);
        let mut other = mail.browser();
        let page = click(&mut other, &link).await;
        let answers = [
            submit(&mut browser, SEND, &[("email", ADA)]).await,
            submit(&mut browser, RESEND, &[]).await,
            submit(&mut browser, VERIFY, &[("code", &code)]).await,
            click(&mut browser, &link).await,
            press_the_button(&mut other, &page).await,
        ];
        for answer in answers {
            assert_refused(&answer, 503, &Failure::Unavailable);
            assert!(answer.header("retry-after").is_some());
        }
        mail.sandbox().heal(Endpoint::Api);
        let done = submit(&mut browser, VERIFY, &[("code", &code)]).await;
        assert_eq!(done.location(), "/me");
    }
}

#[tokio::test]
async fn no_token_to_call_with_is_an_outage_or_a_matter_of_configuration() {
    let mail = MailWorld::new();
    mail.sandbox().fail_times(Endpoint::Token, 1, Fault::Unreachable);
    let answer = submit(&mut mail.browser(), SEND, &[("email", ADA)]).await;
    assert_refused(&answer, 503, &Failure::Unavailable);
    mail.sandbox().fail_times(Endpoint::Token, 1, answered(401, r#"{"error":"invalid_client"}"#));
    let answer = submit(&mut mail.browser(), SEND, &[("email", ADA)]).await;
    assert_refused(&answer, 500, &Failure::Misconfigured);
    assert_eq!(submit(&mut mail.browser(), SEND, &[("email", ADA)]).await.status(), 303);
}

#[tokio::test]
async fn the_environments_own_words_are_understood() {
    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/me").await;
    for (status, body, expected) in [
        (400, r#"{"code":9,"message":"otp expired"}"#, Failure::Expired),
        (400, r#"{"code":3,"details":[{"error_code":"OTP_EXPIRED"}]}"#, Failure::Expired),
        (400, r#"{"code":3,"message":"invalid or expired code"}"#, Failure::CodeRefused),
        (400, r#"{"code":3,"message":"no"}"#, Failure::CodeRefused),
        (403, r#"{"code":7,"message":"no"}"#, Failure::Misconfigured),
        (404, r#"{"code":5,"message":"no"}"#, Failure::CodeRefused),
        (429, "", Failure::TooManyAttempts),
        (
            429,
            r#"{"error_code":"RATE_LIMITED","message":"max OTP attempts"}"#,
            Failure::TooManyAttempts,
        ),
        (500, "{}", Failure::Unavailable),
        (200, "{}", Failure::Misconfigured),
        (200, "<html>", Failure::Misconfigured),
    ] {
        mail.sandbox().fail_times(Endpoint::Api, 1, answered(status, body));
        let answer = submit(&mut browser.clone(), VERIFY, &[("code", "123456")]).await;
        assert_eq!(failure(&answer), expected, "{body}");
    }
    for (status, body, expected) in [
        (429, "{}", Failure::TooManyMails { retry_after: Some(Duration::from_secs(7)) }),
        (404, "{}", Failure::AttemptUnknown),
        (200, "{}", Failure::Misconfigured),
    ] {
        mail.sandbox().fail_times(Endpoint::Api, 1, answered(status, body));
        let answer = submit(&mut browser, RESEND, &[]).await;
        assert_eq!(failure(&answer), expected, "{body}");
        if status == 429 {
            assert_eq!(answer.header("retry-after"), Some("7"));
        }
    }
    mail.sandbox().fail_times(Endpoint::Api, 1, answered(400, r#"{"message":"bad email"}"#));
    let answer = submit(&mut browser, SEND, &[("email", ADA)]).await;
    assert_refused(&answer, 400, &Failure::AddressRefused);
}

#[tokio::test]
async fn a_store_that_is_down_costs_no_code() {
    let store = FlakyStore::new(sandbox_builder().build().clock().clock());
    let mail = MailWorld::of(|sessions| sessions.shared_store(store.clone()), |login| login);
    let (mut browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    store.set_down(true);
    let answer = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_refused(&answer, 503, &Failure::Unavailable);
    store.set_down(false);
    let done = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_eq!(done.location(), "/me", "although the code is spent");
    assert_eq!(email_of(&mut browser).await.as_deref(), Some(ADA));
}

#[tokio::test]
async fn an_app_that_cannot_look_people_up_costs_no_code() {
    let down = Arc::new(AtomicBool::new(true));
    let database = Arc::clone(&down);
    let mail = MailWorld::with(|login| {
        login.on_login(move |verified: VerifiedEmail| {
            let down = database.load(Ordering::SeqCst);
            async move {
                match down {
                    true => Err(NotAdmitted::unavailable("the database is down")),
                    false => Ok(verified.session()),
                }
            }
        })
    });
    let (mut browser, _) = mail.waiting("/me").await;
    let link = mail.link();
    let answer = click(&mut browser, &link).await;
    assert_refused(&answer, 503, &Failure::Unavailable);
    assert!(!answer.text().contains("database"));
    down.store(false, Ordering::SeqCst);
    assert_eq!(click(&mut browser, &link).await.location(), "/me");
}
