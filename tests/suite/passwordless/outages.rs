//! Outages: the attempt can continue afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{Either, select};
use http::{Response, StatusCode};
use tokio::sync::Notify;
use tower_scalekit::api::passwordless::VerifiedEmail;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::passwordless_login::PasswordlessLoginError as Failure;
use tower_scalekit::sandbox::{Endpoint, Fault};
use tower_scalekit::session::LoginHookError;

use super::{
    ADA, MailWorld, RESEND, SEND, VERIFY, assert_rejected, attempt_of, click, email_of, failure,
    press_the_button, submission, submit,
};
use crate::store::FlakyStore;
use crate::support::{Reading as _, sandbox_builder, send};

fn responded(status: u16, body: &'static str) -> Fault {
    let response = Response::builder().status(status).header("retry-after", "7");
    Fault::Response(response.body(Bytes::from(body)).unwrap())
}

#[tokio::test]
async fn an_unavailable_environment_is_503_and_the_login_can_continue() {
    let general = r#"{"code":8,"message":"slow down","error_code":"RATE_LIMITED"}"#;
    for fault in [
        Fault::Unreachable,
        Fault::Status(StatusCode::BAD_GATEWAY),
        responded(429, general),
        // Of a gateway.
        responded(404, ""),
        responded(400, r#"{"message":"no Route matched with those values"}"#),
        responded(403, "<html>"),
        Fault::Status(StatusCode::REQUEST_TIMEOUT),
        Fault::Status(StatusCode::MISDIRECTED_REQUEST),
    ] {
        let mail = MailWorld::new();
        let (mut browser, _) = mail.waiting("/me").await;
        let (code, link) = (mail.code(), mail.link());
        mail.sandbox().faults().add(Endpoint::Api, fault);
        let mut other = mail.browser();
        let page = click(&mut other, &link).await;
        let responses = [
            submit(&mut browser, SEND, &[("email", ADA)]).await,
            submit(&mut browser, RESEND, &[]).await,
            submit(&mut browser, VERIFY, &[("code", &code)]).await,
            click(&mut browser, &link).await,
            press_the_button(&mut other, &page).await,
        ];
        for response in responses {
            assert_rejected(&response, 503, &Failure::Unavailable);
            assert!(response.header("retry-after").is_some());
        }
        mail.sandbox().faults().clear(Endpoint::Api);
        let done = submit(&mut browser, VERIFY, &[("code", &code)]).await;
        assert_eq!(done.location(), "/me");
    }
}

#[tokio::test]
async fn a_missing_api_token_is_an_outage_or_a_misconfiguration() {
    let mail = MailWorld::new();
    mail.sandbox().faults().add_times(Endpoint::Token, 1, Fault::Unreachable);
    let response = submit(&mut mail.browser(), SEND, &[("email", ADA)]).await;
    assert_rejected(&response, 503, &Failure::Unavailable);
    mail.sandbox().faults().add_times(
        Endpoint::Token,
        1,
        responded(401, r#"{"error":"invalid_client"}"#),
    );
    let response = submit(&mut mail.browser(), SEND, &[("email", ADA)]).await;
    assert_rejected(&response, 500, &Failure::Misconfigured);
    assert_eq!(submit(&mut mail.browser(), SEND, &[("email", ADA)]).await.status(), 303);
}

#[tokio::test]
async fn the_environments_error_messages_are_understood() {
    let mail = MailWorld::with(|login| login.max_emails_per_address(100));
    for (status, body, expected) in [
        (400, r#"{"code":9,"message":"otp expired"}"#, Failure::Expired),
        (400, r#"{"code":3,"details":[{"error_code":"OTP_EXPIRED"}]}"#, Failure::Expired),
        (400, r#"{"error_code":"OTP_EXPIRED","message":"invalid otp"}"#, Failure::Expired),
        (400, r#"{"error_code":"INVALID_OR_EXPIRED","message":"expired"}"#, Failure::InvalidCode),
        (400, r#"{"code":3,"message":"invalid or expired code"}"#, Failure::InvalidCode),
        (400, r#"{"code":3,"message":"it is incorrect or has expired"}"#, Failure::InvalidCode),
        (400, r#"{"error_code":"OTP_WRONG_OR_EXPIRED"}"#, Failure::InvalidCode),
        (400, r#"{"code":3,"message":"no"}"#, Failure::InvalidCode),
        (403, r#"{"code":7,"message":"no"}"#, Failure::Misconfigured),
        (404, r#"{"code":5,"message":"no"}"#, Failure::InvalidCode),
        (404, r#"{"code":404,"message":"no"}"#, Failure::Unavailable),
        (408, r#"{"code":1,"message":"no"}"#, Failure::Unavailable),
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
        mail.world.advance(60);
        let (mut browser, _) = mail.waiting("/me").await;
        mail.sandbox().faults().add_times(Endpoint::Api, 1, responded(status, body));
        let response = submit(&mut browser, VERIFY, &[("code", "123456")]).await;
        assert_eq!(failure(&response), expected, "{body}");
    }
    let (browser, _) = mail.waiting("/me").await;
    let long =
        Box::leak(format!(r#"{{"auth_request_id":"{}"}}"#, "a".repeat(600)).into_boxed_str());
    for (status, body, expected) in [
        (429, "{}", Failure::TooManyEmails { retry_after: Some(Duration::from_secs(7)) }),
        (404, r#"{"code":5}"#, Failure::NoPendingLogin),
        (404, "", Failure::Unavailable),
        (200, "{}", Failure::Misconfigured),
        (200, long, Failure::Misconfigured),
    ] {
        mail.world.advance(60);
        mail.sandbox().faults().add_times(Endpoint::Api, 1, responded(status, body));
        let response = submit(&mut browser.clone(), RESEND, &[]).await;
        assert_eq!(failure(&response), expected, "{body}");
        if status == 429 {
            assert_eq!(response.header("retry-after"), Some("7"));
        }
    }
}

#[tokio::test]
async fn a_rejected_email_fails_visibly_only_if_a_setting_is_clearly_the_cause() {
    let mail = MailWorld::with(|login| login.max_emails_per_address(100));
    for (status, body, expected) in [
        (400, r#"{"code":3,"message":"bad email"}"#, None),
        (400, r#"{"error_code":"INVALID_EMAIL"}"#, None),
        (422, r#"{"code":3,"message":"cannot deliver mail to ada@acme.test"}"#, None),
        (400, r#"{"code":3,"message":"'ada' is not an e-mail address"}"#, None),
        (400, r#"{"code":3,"message":"please enter a valid email"}"#, None),
        (
            400,
            r#"{"code":3,"message":"validation error:\n - email: value must be a valid email address"}"#,
            None,
        ),
        (
            400,
            r#"{"code":3,"message":"bad request","details":[{"validation_error_info":
            {"field_violations":[{"field":"email","description":"must be an address"}]}}]}"#,
            None,
        ),
        (400, r#"{"code":3,"message":"email template not found"}"#, Some(Failure::Misconfigured)),
        (
            400,
            r#"{"code":3,"message":"magiclink_auth_uri is no address"}"#,
            Some(Failure::Misconfigured),
        ),
        (400, r#"{"code":3,"message":"no email provider"}"#, Some(Failure::Misconfigured)),
        (400, r#"{"code":3,"message":"passwordless is off"}"#, Some(Failure::Misconfigured)),
        (
            400,
            r#"{"error_code":"INVALID_ARGUMENT","message":"email login is not enabled"}"#,
            Some(Failure::Misconfigured),
        ),
        (400, r#"{"error_code":"PASSWORDLESS_EMAIL_DISABLED"}"#, Some(Failure::Misconfigured)),
        (
            400,
            r#"{"code":3,"message":"invalid: your IP address is blocked"}"#,
            Some(Failure::Misconfigured),
        ),
        (400, r#"{"code":3,"message":"noreply@acme.test is not verified"}"#, None),
        (400, r#"{"code":3,"message":"login is disabled for this user"}"#, None),
        (403, r#"{"code":3,"message":"no mail for ada@acme.test"}"#, None),
        (404, r#"{"code":3,"message":"no mail"}"#, None),
        (409, r#"{"code":6}"#, None),
        (401, "{}", Some(Failure::Misconfigured)),
    ] {
        // A 401 is retried with another token.
        mail.sandbox().faults().add_times(
            Endpoint::Api,
            1 + usize::from(status == 401),
            responded(status, body),
        );
        let mut browser = mail.browser();
        let response = submit(&mut browser, SEND, &[("email", ADA)]).await;
        match expected {
            Some(expected) => {
                assert_rejected(&response, 500, &expected);
                assert_eq!(browser.names(), [""; 0]);
            }
            None => drop(attempt_of(&response)),
        }
        mail.world.advance(60);
    }
    assert!(mail.sandbox().mail().outbox().is_empty());
}

#[tokio::test]
async fn a_login_whose_request_has_expired_begins_again() {
    let mail = MailWorld::new();
    mail.sandbox().mail().issue_new_credentials_on_resend(true);
    let (mut browser, _) = mail.waiting("/me").await;
    // The response to this one is lost.
    submit(&mut browser.clone(), RESEND, &[]).await;
    mail.world.advance(60);
    let response = submit(&mut browser, RESEND, &[]).await;
    assert_rejected(&response, 400, &Failure::NoPendingLogin);
    assert!(response.text().contains("href=\"/in?return_to=%2Fme\""), "{}", response.text());
}

#[tokio::test]
async fn a_rejected_resend_does_not_use_the_code_up() {
    for (status, text) in [(400, "wait 30 seconds"), (404, "no"), (409, "aborted")] {
        let mail = MailWorld::new();
        let (mut browser, _) = mail.waiting("/me").await;
        let body = Bytes::from(format!(r#"{{"code":3,"message":"{text}"}}"#));
        let rejection = Response::builder().status(status).body(body).unwrap();
        mail.sandbox().faults().add_times(Endpoint::Api, 1, Fault::Response(rejection));
        let response = submit(&mut browser, RESEND, &[]).await;
        assert_rejected(&response, 400, &Failure::NoPendingLogin);
        let code = mail.code();
        assert_eq!(submit(&mut browser, VERIFY, &[("code", &code)]).await.location(), "/me");
    }
}

#[tokio::test]
async fn the_link_of_an_email_whose_response_was_lost_shows_the_confirmation_page() {
    let mail = MailWorld::new();
    mail.sandbox().mail().issue_new_credentials_on_resend(true);
    let (mut browser, _) = mail.waiting("/me").await;
    submit(&mut browser.clone(), RESEND, &[]).await;
    let page = click(&mut browser, &mail.link()).await;
    assert_eq!(press_the_button(&mut browser, &page).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_code_whose_verification_was_lost_requires_another_email() {
    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    mail.sandbox().faults().add_times(Endpoint::Api, 1, Fault::ResponseLost);
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 503, &Failure::Unavailable);
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 400, &Failure::InvalidCode);
    let response = submit(&mut browser, RESEND, &[]).await;
    assert_rejected(&response, 400, &Failure::NoPendingLogin);
    assert!(response.text().contains("href=\"/in?return_to=%2Fme\""), "{}", response.text());
}

#[tokio::test]
async fn an_unavailable_store_does_not_use_the_code_up() {
    let store = FlakyStore::new(sandbox_builder().build().clock().clock());
    let mail = MailWorld::of(|sessions| sessions.shared_store(store.clone()), |login| login);
    let (mut browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    store.set_down(true);
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 503, &Failure::Unavailable);
    store.set_down(false);
    let done = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_eq!(done.location(), "/me", "although the code is spent");
    assert_eq!(email_of(&mut browser).await.as_deref(), Some(ADA));
}

fn retry_url(response: &Response<Bytes>) -> String {
    response.extensions().get::<RouteRejection<Failure>>().unwrap().retry_url().unwrap().to_owned()
}

/// An app whose database responds while the flag is not set.
fn with_a_database(down: &Arc<AtomicBool>) -> MailWorld {
    let down = Arc::clone(down);
    MailWorld::with(|login| {
        login.on_login(move |verified: VerifiedEmail| {
            let down = down.load(Ordering::SeqCst);
            async move {
                match down {
                    true => Err(LoginHookError::unavailable("the database is down")),
                    false => Ok(verified.session()),
                }
            }
        })
    })
}

#[tokio::test]
async fn an_unavailable_hook_does_not_use_the_code_up() {
    let down = Arc::new(AtomicBool::new(true));
    let mail = with_a_database(&down);
    let (mut browser, _) = mail.waiting("/me").await;
    let link = mail.link();
    let response = click(&mut browser, &link).await;
    assert_rejected(&response, 503, &Failure::Unavailable);
    assert!(!response.text().contains("database"));
    down.store(false, Ordering::SeqCst);
    assert_eq!(browser.open(&retry_url(&response)).await.location(), "/me");
}

#[tokio::test]
async fn the_retry_link_of_another_users_link_does_not_try_it_with_the_own_attempt() {
    let mail = MailWorld::new();
    mail.waiting("/me").await;
    let link = mail.link();
    let mut jane = mail.browser();
    submit(&mut jane, SEND, &[("email", "jane@acme.test")]).await;
    let page = click(&mut jane, &link).await;
    mail.sandbox().faults().add_times(Endpoint::Api, 1, Fault::Unreachable);
    let response = press_the_button(&mut jane, &page).await;
    assert_rejected(&response, 503, &Failure::Unavailable);
    let asked = mail.asked();
    let page = jane.open(&retry_url(&response)).await;
    assert_eq!((page.status(), mail.asked()), (StatusCode::OK, asked));
    assert_eq!(press_the_button(&mut jane, &page).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_unfinished_link_is_not_valid_in_another_browser_if_the_same_one_is_enforced() {
    let down = Arc::new(AtomicBool::new(true));
    let mail = with_a_database(&down);
    mail.sandbox().mail().enforce_same_browser(true);
    let (mut browser, _) = mail.waiting("/me").await;
    assert_rejected(&click(&mut browser, &mail.link()).await, 503, &Failure::Unavailable);
    down.store(false, Ordering::SeqCst);
    let mut other = mail.browser();
    let page = click(&mut other, &mail.link()).await;
    assert_rejected(&press_the_button(&mut other, &page).await, 400, &Failure::InvalidLink);
    assert_eq!(click(&mut browser, &mail.link()).await.location(), "/me");
}

#[tokio::test]
async fn a_wrong_code_does_not_complete_the_login_of_the_right_one() {
    let down = Arc::new(AtomicBool::new(true));
    let mail = with_a_database(&down);
    let (mut browser, _) = mail.waiting("/me").await;
    let (code, wrong) = (mail.code(), mail.wrong_code());
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 503, &Failure::Unavailable);
    down.store(false, Ordering::SeqCst);
    let mut late = browser.clone();
    let response = submit(&mut browser, VERIFY, &[("code", &wrong)]).await;
    assert_rejected(&response, 400, &Failure::InvalidCode);
    assert_eq!(submit(&mut browser, VERIFY, &[("code", &code)]).await.location(), "/me");
    let response = submit(&mut late, VERIFY, &[("code", &wrong)]).await;
    assert_rejected(&response, 400, &Failure::InvalidCode);
}

#[tokio::test]
async fn an_unavailable_hook_does_not_use_a_link_in_another_browser_up() {
    let down = Arc::new(AtomicBool::new(true));
    let mail = with_a_database(&down);
    mail.waiting("/me").await;
    let mut other = mail.browser();
    let page = click(&mut other, &mail.link()).await;
    let response = press_the_button(&mut other, &page).await;
    assert_rejected(&response, 503, &Failure::Unavailable);
    let asked = mail.asked();
    // The same button, and the retry link.
    assert_rejected(&press_the_button(&mut other, &page).await, 503, &Failure::Unavailable);
    let page = other.open(&retry_url(&response)).await;
    assert!(response.text().contains(&retry_url(&response)), "{}", response.text());
    down.store(false, Ordering::SeqCst);
    let done = press_the_button(&mut other, &page).await;
    assert_eq!((done.status(), mail.asked()), (StatusCode::SEE_OTHER, asked));
    assert_eq!(email_of(&mut other).await.as_deref(), Some(ADA));

    // Now it is spent, and no other browser logs in with it.
    let mut stranger = mail.browser();
    let page = click(&mut stranger, &mail.link()).await;
    assert_rejected(&press_the_button(&mut stranger, &page).await, 400, &Failure::InvalidLink);
}

#[tokio::test]
async fn an_unfinished_login_can_be_retried_for_a_minute() {
    let down = Arc::new(AtomicBool::new(true));
    let mail = with_a_database(&down);
    let (mut browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 503, &Failure::Unavailable);
    down.store(false, Ordering::SeqCst);
    mail.world.advance(60);
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 400, &Failure::InvalidCode);
}

#[tokio::test]
async fn a_login_completes_when_its_browser_disconnects() {
    let (asked, response) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (entered, wait) = (Arc::clone(&asked), Arc::clone(&response));
    let mail = MailWorld::with(|login| {
        login.on_login(move |verified: VerifiedEmail| {
            let (entered, wait) = (Arc::clone(&entered), Arc::clone(&wait));
            async move {
                entered.notify_one();
                wait.notified().await;
                Ok(verified.session())
            }
        })
    });
    let (mut browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    let request = Box::pin(send(&mail.app, submission(&browser, VERIFY, &[("code", &code)])));
    let Either::Right((_, left)) = select(request, Box::pin(asked.notified())).await else {
        panic!("the login hook was not called")
    };
    drop(left);
    // The user presses the button again.
    let again = send(&mail.app, submission(&browser, VERIFY, &[("code", &code)]));
    response.notify_one();
    let again = again.await;
    browser.store_cookies(&again);
    assert_eq!(again.location(), "/me");
    assert_eq!(email_of(&mut browser).await.as_deref(), Some(ADA));
    assert!(asked.notified().now_or_never().is_none(), "the hook was called once");
}

#[tokio::test]
async fn a_hook_that_panics_is_500_and_later_logins_work() {
    let mail = MailWorld::with(|login| {
        login.on_login(|verified: VerifiedEmail| async move {
            match verified.email.as_str() {
                ADA => panic!("expected in this test"),
                _ => Ok(verified.session()),
            }
        })
    });
    let (mut browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 500, &Failure::Misconfigured);
    mail.world.advance(1);
    submit(&mut browser, SEND, &[("email", "bob@acme.test")]).await;
    let code = mail.code();
    assert_eq!(submit(&mut browser, VERIFY, &[("code", &code)]).await.location(), "/");
}
