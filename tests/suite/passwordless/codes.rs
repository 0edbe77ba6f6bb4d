//! Codes: forms, limits, resends and tabs.

use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use futures::future::join_all;
use http::{Response, StatusCode};
use serde_json::json;
use tower_scalekit::PasswordlessLogin;
use tower_scalekit::api::passwordless::{EmailTemplate, PasswordlessType as Type};
use tower_scalekit::clock::Clock;
use tower_scalekit::passwordless_login::{
    PasswordlessLoginBuilder, PasswordlessLoginError as Failure, SendDenied,
};
use tower_scalekit::sandbox::{Endpoint, Fault, PasswordlessType};
use tower_scalekit::session::{LocalSession, LoginHookError, User};
use tower_scalekit::shared_store::MemoryStore;

use super::{
    ADA, MailWorld, RESEND, SEND, VERIFY, assert_rejected, attempt_of, click, email_of, fetch_json,
    press_the_button, submission, submit,
};
use crate::support::{JANE, Reading as _, app, send, set_cookies};

#[tokio::test]
async fn a_code_logs_in_and_the_login_returns_to_its_page() {
    let mail = MailWorld::new();
    let mut browser = mail.browser();
    let form = [("email", " Ada@Acme.test "), ("return_to", "/me?tab=2"), ("template", "SIGNUP")];
    let sent = submit(&mut browser, SEND, &form).await;
    sent.assert_private();
    let attempt = attempt_of(&sent);
    let [cookie] = set_cookies(sent.headers())[..] else { panic!("one cookie: {sent:?}") };
    assert!(cookie.starts_with(&format!("__Host-scalekit_passwordless_{attempt}=")), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=900"), "{cookie}");
    let sent = mail.newest_mail();
    assert_eq!((sent.email.as_str(), sent.template.as_str()), ("Ada@Acme.test", "SIGNUP"));
    let link = format!("https://app.example.com/passwordless/verify/{attempt}?link_token=");
    assert!(sent.link.unwrap().starts_with(&link));

    let pending = |attempt| {
        let cookies = browser.cookie_header().parse().unwrap();
        mail.login.pending(&[(http::header::COOKIE, cookies)].into_iter().collect(), attempt)
    };
    let shown = pending(Some(attempt.as_str())).unwrap();
    assert_eq!((&shown.attempt, shown.email.as_str()), (&attempt, "Ada@Acme.test"));
    assert_eq!(shown.passwordless_type, Some(Type::LinkOtp));
    assert_eq!(shown.return_to.as_str(), "/me?tab=2");
    assert_eq!((pending(None), pending(Some("another0"))), (Some(shown), None));

    let typed = mail.code().chars().flat_map(|digit| [digit, ' ']).collect::<String>();
    let done = submit(&mut browser, VERIFY, &[("attempt", &attempt), ("code", &typed)]).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me?tab=2"));
    assert_eq!(done.header("referrer-policy"), Some("no-referrer"));
    done.assert_private();
    assert_eq!(browser.names(), ["__Host-scalekit_session"], "the attempt has ended");
    let me = browser.fetch("/me").await.json();
    assert_eq!((&me["email"], &me["sub"]), (&"Ada@Acme.test".into(), &ADA.into()));
}

/// Two replicas of an app whose users log in by e-mail.
fn two_replicas() -> (MailWorld, Router) {
    two_replicas_with(|login| login)
}

fn two_replicas_with(
    change: impl Fn(PasswordlessLoginBuilder) -> PasswordlessLoginBuilder,
) -> (MailWorld, Router) {
    let store = Arc::new(MemoryStore::new(Clock::system()));
    let mail = MailWorld::of(|one| one.shared_store(store.clone()), &change);
    let sessions = mail.world.replica(|one| one.shared_store(store.clone()));
    let login = change(PasswordlessLogin::builder(&sessions).code_page("/code")).build().unwrap();
    let other = app(&sessions).merge(login.routes());
    (mail, other)
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_sent_to_two_replicas_logs_in_once() {
    let (mail, other) = two_replicas();
    let (browser, attempt) = mail.waiting("/me").await;
    let wrong = [("attempt", attempt.as_str()), ("code", &mail.wrong_code())];
    let rejected = submit(&mut browser.at(&other), VERIFY, &wrong).await;
    assert_rejected(&rejected, 400, &Failure::InvalidCode);
    let form = [("attempt", attempt.as_str()), ("code", &mail.code())];
    let asked = mail.asked();
    let clicks = [&mail.app, &other, &other];
    let clicks = clicks.map(|app| send(app, submission(&browser, VERIFY, &form)));
    let responses = join_all(clicks).await;
    assert_eq!(mail.asked(), asked + 1);
    for response in &responses {
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{}", response.text());
        assert_eq!(response.location(), "/me");
        // Whichever of them the browser receives.
        assert_eq!(set_cookies(response.headers()), set_cookies(responses[0].headers()));
        let mut browser = browser.clone();
        browser.store_cookies(response);
        assert_eq!(email_of(&mut browser).await.as_deref(), Some(ADA));
    }
}

#[tokio::test]
async fn a_code_that_the_hook_denies_is_denied_at_another_replica_too() {
    let (mail, other) =
        two_replicas_with(|login| login.on_login(async |_| Err(LoginHookError::Denied)));
    let (browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    for app in [&mail.app, &other] {
        let denied = send(app, submission(&browser, VERIFY, &[("code", &code)])).await;
        assert_rejected(&denied, 403, &Failure::LoginDenied);
    }
}

#[tokio::test]
async fn a_second_click_on_another_replica_sets_no_cookies_of_a_session_that_has_ended() {
    let (mail, other) = two_replicas();
    let (browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    let mut first = browser.clone();
    submit(&mut first, VERIFY, &[("code", &code)]).await;
    assert!(submit(&mut first, "/logout", &[]).await.status().is_redirection());
    mail.world.advance(2);
    for app in [&mail.app, &other] {
        let again = send(app, submission(&browser, VERIFY, &[("code", &code)])).await;
        assert_eq!((again.status(), again.location()), (StatusCode::SEE_OTHER, "/me"));
        let cookies = set_cookies(again.headers());
        assert!(cookies.iter().all(|cookie| cookie.contains("Max-Age=0")), "{cookies:?}");
    }
}

#[tokio::test]
async fn a_second_click_on_another_replica_shows_the_confirmation_of_the_first() {
    let (mail, other) = two_replicas();
    let mut browser = mail.world.logged_in(JANE).await.at(&mail.app);
    submit(&mut browser, SEND, &[("email", ADA), ("return_to", "/me")]).await;
    let code = mail.code();
    // The first response is lost.
    let first = send(&mail.app, submission(&browser, VERIFY, &[("code", &code)])).await;
    let mut browser = browser.at(&other);
    let second = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_eq!(second.location(), first.location());
    browser.decide(&second, "switch").await;
    assert_eq!(email_of(&mut browser).await.as_deref(), Some(ADA));
}

#[tokio::test]
async fn each_recipient_has_template_variables_of_their_own() {
    let mail = MailWorld::with(|login| {
        login
            .template_variable("team", "All")
            .template_variable("app", "Notes")
            .recipient_variables(|email, headers| async move {
                assert!(headers.contains_key("sec-fetch-mode"));
                let name = email.split('@').next().unwrap().to_owned();
                match &*name {
                    "down" => Err(SendDenied::unavailable("the database is away")),
                    "many" => Ok((0..31).map(|n| (format!("v{n}"), String::new())).collect()),
                    "unknown" => Err(SendDenied::Silently),
                    _ => Ok([("team".to_owned(), name)].into()),
                }
            })
    });
    let mut browser = mail.browser();
    for (email, team) in [(ADA, "ada"), ("bob@acme.test", "bob")] {
        submit(&mut browser, SEND, &[("email", email)]).await;
        let variables = mail.newest_mail().template_variables;
        assert_eq!((&*variables["team"], &*variables["app"]), (team, "Notes"));
    }
    let sent = mail.sandbox().mail().outbox().len();
    let unknown = submit(&mut browser, SEND, &[("email", "unknown@acme.test")]).await;
    assert_eq!(unknown.status(), StatusCode::SEE_OTHER, "as if one had been sent");
    let down = submit(&mut browser, SEND, &[("email", "down@acme.test")]).await;
    assert_rejected(&down, 503, &Failure::Unavailable);
    let many = submit(&mut browser, SEND, &[("email", "many@acme.test")]).await;
    assert_rejected(&many, 500, &Failure::Misconfigured);
    assert_eq!(mail.sandbox().mail().outbox().len(), sent);
}

#[tokio::test]
async fn scripts_get_json() {
    let mail = MailWorld::with(|login| {
        login.expires_in(std::time::Duration::from_secs(90)).template_variable("team", "Alpha")
    });
    mail.sandbox().mail().set_passwordless_type(PasswordlessType::Otp);
    let mut browser = mail.browser();
    let sent = fetch_json(&mut browser, SEND, &json!({ "email": ADA, "template": null })).await;
    assert_eq!(sent.status(), StatusCode::OK);
    sent.assert_private();
    let body = sent.json();
    assert_eq!(body["passwordless_type"], "OTP");
    assert_eq!((&body["expires_in"], &body["expires_at"]), (&90.into(), &1_900_000_090.into()));
    assert_eq!(mail.newest_mail().template_variables["team"], "Alpha");
    let again = fetch_json(&mut browser, RESEND, &json!({})).await.json();
    assert_eq!(again["attempt"], body["attempt"]);

    let wrong = fetch_json(&mut browser, VERIFY, &json!({ "code": mail.wrong_code() })).await;
    assert_rejected(&wrong, 400, &Failure::InvalidCode);
    assert_eq!(wrong.json()["error"], "invalid_code");
    let code = json!({ "code": mail.code(), "attempt": body["attempt"] });
    let done = fetch_json(&mut browser, VERIFY, &code).await;
    assert_eq!((done.status(), done.json()), (StatusCode::OK, json!({ "return_to": "/" })));
    assert_eq!(email_of(&mut browser).await.as_deref(), Some(ADA));
}

#[tokio::test]
async fn the_sixth_wrong_code_ends_the_login_and_a_new_email_starts_another() {
    let mail = MailWorld::new();
    let (mut browser, attempt) = mail.waiting("/me").await;
    let wrong = mail.wrong_code();
    for _ in 0..5 {
        let response = submit(&mut browser, VERIFY, &[("code", &wrong)]).await;
        assert_rejected(&response, 400, &Failure::InvalidCode);
        assert!(response.text().contains("This code is wrong"));
        let back = format!("href=\"/code?attempt={attempt}\"");
        assert!(response.text().contains(&back), "{}", response.text());
    }
    // Even the right one is rejected.
    let code = mail.code();
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 429, &Failure::TooManyAttempts);
    assert!(response.text().contains("request a new e-mail"));
    assert!(response.text().contains("href=\"/in?return_to=%2Fme\""), "{}", response.text());
    // The link of the e-mail is not a guess.
    let mut patient = browser.clone();
    assert_eq!(click(&mut patient, &mail.link()).await.location(), "/me");

    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/me").await;
    let wrong = mail.wrong_code();
    for _ in 0..6 {
        submit(&mut browser, VERIFY, &[("code", &wrong)]).await;
    }
    let sent = submit(&mut browser, SEND, &[("email", ADA)]).await;
    let code = mail.code();
    let newest = attempt_of(&sent);
    let done = submit(&mut browser, VERIFY, &[("attempt", &newest), ("code", &code)]).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_text_that_cannot_be_a_code_does_not_count_as_a_try() {
    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/").await;
    let asked = mail.asked();
    for code in ["", "-", " ", "12\u{b2}34", "é23456", &"1".repeat(33)] {
        let response = submit(&mut browser, VERIFY, &[("code", code)]).await;
        assert_rejected(&response, 400, &Failure::InvalidCode);
    }
    assert_eq!(mail.asked(), asked);
}

#[tokio::test]
async fn an_expired_code_is_reported_and_can_be_resent() {
    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/me").await;
    mail.world.advance(300);
    let code = mail.code();
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 400, &Failure::Expired);
    assert!(response.text().contains("has expired"));
    // A wrong one too: it has expired by the app's own clock.
    let wrong = mail.wrong_code();
    let response = submit(&mut browser, VERIFY, &[("code", &wrong)]).await;
    assert_rejected(&response, 400, &Failure::Expired);

    attempt_of(&submit(&mut browser, RESEND, &[]).await);
    let code = mail.code();
    let done = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
}

#[tokio::test]
async fn an_attempt_expires_ten_minutes_after_its_code_even_if_the_browser_keeps_its_cookie() {
    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/me").await;
    browser.keep_expired(&browser.names_with("passwordless")[0]);
    mail.world.advance(900);
    let asked = mail.asked();
    for (path, form) in [(VERIFY, &[("code", "123456")][..]), (RESEND, &[])] {
        let response = submit(&mut browser, path, form).await;
        assert_rejected(&response, 400, &Failure::NoPendingLogin);
    }
    assert_eq!(mail.asked(), asked);
}

#[tokio::test]
async fn the_third_email_in_a_minute_is_rejected() {
    let mail = MailWorld::new();
    let (mut browser, attempt) = mail.waiting("/me").await;
    attempt_of(&submit(&mut browser, RESEND, &[]).await);
    mail.world.advance(5);
    let wait = Some(std::time::Duration::from_secs(55));
    let too_many = Failure::TooManyEmails { retry_after: wait };
    let response = submit(&mut browser, RESEND, &[]).await;
    assert_rejected(&response, 429, &too_many);
    assert_eq!(response.header("retry-after"), Some("55"));
    assert!(response.text().contains("Wait a minute"));
    assert!(response.text().contains(&format!("href=\"/code?attempt={attempt}\"")));
    let form = [("email", "ADA@acme.test"), ("return_to", "/me")];
    let response = submit(&mut mail.browser(), SEND, &form).await;
    assert_rejected(&response, 429, &too_many);
    assert!(response.text().contains("href=\"/in?return_to=%2Fme\""));
    // In the browser that requested the e-mails, the newest one can still be used.
    let response = submit(&mut browser, SEND, &form).await;
    assert_rejected(&response, 429, &too_many);
    assert!(response.text().contains(&format!("href=\"/code?attempt={attempt}\"")));
    assert_eq!(submit(&mut browser, SEND, &[("email", "bob@acme.test")]).await.status(), 303);
    let response = submit(&mut browser, SEND, &form).await;
    assert!(response.text().contains(&format!("href=\"/code?attempt={attempt}\"")), "Ada's");

    mail.world.advance(60);
    attempt_of(&submit(&mut browser, RESEND, &[("attempt", &attempt)]).await);
}

#[tokio::test]
async fn a_double_click_sends_one_more_email() {
    for new in [false, true] {
        let mail = MailWorld::new();
        mail.sandbox().mail().issue_new_credentials_on_resend(new);
        let (mut browser, attempt) = mail.waiting("/me").await;
        let request = || send(&mail.app, submission(&browser, RESEND, &[]));
        let (one, two) = futures::future::join(request(), request()).await;
        // And a request that was sent before the cookie arrived.
        let late = request().await;
        for response in [one, two, late] {
            assert_eq!(attempt_of(&response), attempt);
            browser.store_cookies(&response);
        }
        assert_eq!(mail.sandbox().mail().outbox().len(), 2);
        let code = mail.code();
        assert_eq!(submit(&mut browser, VERIFY, &[("code", &code)]).await.location(), "/me");
    }
}

#[tokio::test]
async fn two_concurrent_users_each_get_their_email_again() {
    let mail = MailWorld::new();
    let (mut ada, _) = mail.waiting("/me").await;
    let mut bob = mail.browser();
    submit(&mut bob, SEND, &[("email", "bob@acme.test")]).await;
    for browser in [&mut ada, &mut bob] {
        attempt_of(&submit(browser, RESEND, &[]).await);
    }
    let to: Vec<_> = mail.sandbox().mail().outbox().into_iter().map(|mail| mail.email).collect();
    assert_eq!(to, ["bob@acme.test", ADA, "bob@acme.test", ADA]);
}

#[tokio::test]
async fn a_login_ends_the_previous_one() {
    let mail = MailWorld::new();
    let mut browser = mail.browser();
    let mut earlier = Vec::new();
    for email in ["bob@acme.test", ADA] {
        submit(&mut browser, SEND, &[("email", email)]).await;
        let code = mail.code();
        let mut done = submit(&mut browser, VERIFY, &[("code", &code)]).await;
        if !earlier.is_empty() {
            done = browser.decide(&done, "switch").await;
        }
        assert_eq!(done.location(), "/");
        assert_eq!(email_of(&mut browser).await.as_deref(), Some(email));
        earlier.push(browser.clone());
    }
    assert_eq!(email_of(&mut earlier[0]).await, None);
}

#[tokio::test]
async fn the_configured_template_is_the_default() {
    let mail = MailWorld::with(|login| login.template(EmailTemplate::SignUp));
    mail.waiting("/").await;
    assert_eq!(mail.newest_mail().template, "SIGNUP");
    submit(&mut mail.browser(), SEND, &[("email", ADA), ("template", "SIGNIN")]).await;
    assert_eq!(mail.newest_mail().template, "SIGNIN");
}

#[tokio::test]
async fn clocks_may_differ() {
    let mail = MailWorld::new();
    let responses = [
        (json!({ "auth_request_id": "a", "expires_at": "1899990000", "expires_in": 300 }), 900),
        (json!({ "auth_request_id": "a", "expires_at": "1899990000" }), 600),
        (json!({ "auth_request_id": "a", "expires_at": "1900000100" }), 700),
        (json!({ "auth_request_id": "a" }), 900),
        (json!({ "auth_request_id": "a", "expires_in": u64::MAX }), 900),
        (json!({ "auth_request_id": "a", "expires_in": 8_640_000 }), 1200),
    ];
    for (number, (response, lifetime)) in responses.into_iter().enumerate() {
        let response = Response::new(Bytes::from(response.to_string()));
        mail.sandbox().faults().add_times(Endpoint::Api, 1, Fault::Response(response));
        let email = format!("{number}@acme.test");
        let sent = submit(&mut mail.browser(), SEND, &[("email", &email)]).await;
        let [cookie] = set_cookies(sent.headers())[..] else { panic!("one cookie: {sent:?}") };
        assert!(cookie.ends_with(&format!("Max-Age={lifetime}")), "{cookie}");
    }
}

#[tokio::test]
async fn a_resent_email_extends_the_lifetime_of_the_same_code() {
    let mail = MailWorld::new();
    let (mut browser, attempt) = mail.waiting("/me").await;
    let code = mail.code();
    mail.world.advance(200);
    let sent = submit(&mut browser, RESEND, &[("attempt", &attempt)]).await;
    assert_eq!((attempt_of(&sent), mail.code()), (attempt, code.clone()));
    mail.world.advance(200);
    let wrong = mail.wrong_code();
    let response = submit(&mut browser, VERIFY, &[("code", &wrong)]).await;
    assert_rejected(&response, 400, &Failure::InvalidCode);
    let done = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_eq!(done.location(), "/me");
}

#[tokio::test]
async fn after_a_resend_with_new_credentials_an_older_tab_accepts_the_new_code() {
    let mail = MailWorld::new();
    mail.sandbox().mail().issue_new_credentials_on_resend(true);
    let (mut browser, attempt) = mail.waiting("/me").await;
    let (old_code, old_link) = (mail.code(), mail.link());
    attempt_of(&submit(&mut browser, RESEND, &[("attempt", &attempt)]).await);
    assert_eq!(browser.names().len(), 1, "it is the same attempt");
    if mail.code() != old_code {
        let form = [("attempt", attempt.as_str()), ("code", &old_code)];
        let response = submit(&mut browser, VERIFY, &form).await;
        assert_rejected(&response, 400, &Failure::InvalidCode);
        assert!(response.text().contains("newest e-mail"));
    }
    let page = click(&mut browser, &old_link).await;
    let response = press_the_button(&mut browser, &page).await;
    assert_rejected(&response, 400, &Failure::InvalidLink);
    let code = mail.code();
    let done = submit(&mut browser, VERIFY, &[("attempt", &attempt), ("code", &code)]).await;
    assert_eq!(done.location(), "/me");
}

#[tokio::test]
async fn two_tabs_each_accept_their_own_code() {
    let mail = MailWorld::new();
    let mut browser = mail.browser();
    let mut tabs = Vec::new();
    for email in [ADA, "bob@acme.test"] {
        let form = [("email", email), ("return_to", &format!("/{email}"))];
        let attempt = attempt_of(&submit(&mut browser, SEND, &form).await);
        tabs.push((email, attempt, mail.code()));
        mail.world.advance(1);
    }
    for (index, (email, attempt, code)) in tabs.into_iter().enumerate() {
        let form = [("attempt", attempt.as_str()), ("code", &code)];
        let mut done = submit(&mut browser, VERIFY, &form).await;
        if index > 0 {
            done = browser.decide(&done, "switch").await;
        }
        assert_eq!(done.location(), format!("/{email}"));
        assert_eq!(email_of(&mut browser).await.as_deref(), Some(email));
    }
    assert_eq!(browser.names(), ["__Host-scalekit_session"]);
}

#[tokio::test]
async fn of_many_attempts_the_newest_three_are_kept() {
    let mail = MailWorld::new();
    let mut browser = mail.browser();
    let mut attempts = Vec::new();
    for number in 0..6 {
        let email = format!("{}{number}@acme.test", "a".repeat(200));
        let form = [("email", email.as_str()), ("return_to", &format!("/{}", "b".repeat(1400)))];
        attempts.push((attempt_of(&submit(&mut browser, SEND, &form).await), mail.code()));
        assert!(browser.cookie_header().len() < 4500, "{}", browser.cookie_header().len());
        mail.world.advance(1);
    }
    let (newest, code) = attempts.last().unwrap();
    let done = submit(&mut browser, VERIFY, &[("attempt", newest), ("code", code)]).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
    let mut small = mail.browser();
    for number in 0..6 {
        let form = [("email", format!("c{number}@acme.test"))];
        submit(&mut small, SEND, &[("email", form[0].1.as_str())]).await;
        mail.world.advance(1);
    }
    assert_eq!(small.names_with("passwordless").len(), 3);
}

#[tokio::test]
async fn the_hook_decides_which_session_begins() {
    let mail = MailWorld::with(|login| {
        login.on_login(|verified| async move {
            if verified.email == "mallory@acme.test" {
                return Err(LoginHookError::Denied);
            }
            let mut user = User::default();
            user.id = "usr_ada".to_owned();
            user.email = verified.email;
            Ok(LocalSession::new(user).organization_id("org_1").roles(["member"]))
        })
    });
    let (mut browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    submit(&mut browser, VERIFY, &[("code", &code)]).await;
    let me = browser.fetch("/me").await.json();
    assert_eq!((&me["sub"], &me["roles"]), (&"usr_ada".into(), &json!(["member"])));

    let mut mallory = mail.browser();
    let sent = submit(&mut mallory, SEND, &[("email", "mallory@acme.test")]).await;
    assert_eq!(
        sent.status(),
        StatusCode::SEE_OTHER,
        "nothing is revealed before the address is verified"
    );
    let code = mail.code();
    let response = submit(&mut mallory, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 403, &Failure::LoginDenied);
    assert_eq!(mallory.names(), [""; 0]);
}

#[tokio::test]
async fn a_code_is_accepted_as_users_paste_it() {
    let wide = |code: String| {
        code.chars().map(|c| char::from_u32(u32::from(c) - 0x30 + 0xff10).unwrap()).collect()
    };
    let arabic = |code: String| {
        code.chars().map(|c| char::from_u32(u32::from(c) - 0x30 + 0x660).unwrap()).collect()
    };
    let pastes: [fn(String) -> String; 5] = [
        wide,
        arabic,
        |code| format!("\u{200b}{}\u{2011}{}\u{a0}", &code[..3], &code[3..]),
        |code| format!("\"{code}\"."),
        |code| format!("  {code}{}", "\r\n".repeat(40)),
    ];
    for paste in pastes {
        let mail = MailWorld::new();
        let (mut browser, attempt) = mail.waiting("/me").await;
        let code = paste(mail.code());
        let form = [("attempt", attempt.as_str()), ("code", code.as_str())];
        let done = submit(&mut browser, VERIFY, &form).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"), "{code:?}");
    }
}

#[tokio::test]
async fn an_address_with_invisible_characters_around_it_is_accepted() {
    for address in [" ada@acme.test\r\n", "\u{feff}ada@acme.test", "ada@acme.test\u{200b}\u{a0}"] {
        let mail = MailWorld::new();
        let mut browser = mail.browser();
        let sent = submit(&mut browser, SEND, &[("email", address)]).await;
        attempt_of(&sent);
        assert_eq!(mail.newest_mail().email, ADA, "{address:?}");
    }
}
