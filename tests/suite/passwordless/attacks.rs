//! Attacks on logins by e-mail.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::json;
use tower_scalekit::api::passwordless::VerifiedEmail;
use tower_scalekit::middleware::RejectionContext;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::passwordless_login::PasswordlessLoginError as Failure;
use tower_scalekit::sandbox::{Endpoint, Fault};

use super::{
    ADA, MailWorld, RESEND, SEND, SUBMISSION, VERIFY, assert_rejected, attempt_of, click, email_of,
    failure, fetch_json, press_the_button, submission, submit, without_attempt,
};
use crate::support::{JANE, NAVIGATION, Reading as _, send, set_cookies};

#[tokio::test]
async fn a_form_of_another_site_sends_no_email_and_logs_no_user_in() {
    let mail = MailWorld::new();
    let (mut browser, attempt) = mail.waiting("/me").await;
    let (code, link) = (mail.code(), mail.link());
    let (_, token) = link.split_once('=').unwrap();
    let asked = mail.asked();
    let content = ("content-type", "application/x-www-form-urlencoded");
    let sites: [&[(&str, &str)]; 5] = [
        &[content, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
        &[content, ("sec-fetch-site", "same-site")],
        &[content, ("origin", "https://evil.test"), ("accept", "text/html")],
        &[content, ("origin", "null")],
        // A script may not send JSON to another site without preflight, but text.
        &[("content-type", "text/plain"), ("sec-fetch-site", "cross-site")],
    ];
    let forms = [
        (SEND, format!("email={ADA}")),
        (RESEND, String::new()),
        (VERIFY, format!("code={code}&attempt={attempt}")),
        (VERIFY, format!("link_token={token}")),
    ];
    for headers in sites {
        for (path, form) in &forms {
            // Browsers usually do not send the cookies at all, but may be lax.
            let mut request = browser.request(Method::POST, path, headers);
            *request.body_mut() = Body::from(form.clone());
            let response = send(&mail.app, request).await;
            assert_rejected(&response, 403, &Failure::CrossSite);
        }
    }
    assert_eq!((mail.asked(), mail.sandbox().mail().outbox().len()), (asked, 1));
    assert_eq!(email_of(&mut browser).await, None);
    assert_eq!(click(&mut browser, &link).await.location(), "/me");
}

#[tokio::test]
async fn an_attackers_link_logs_no_user_in_as_the_attacker() {
    let mail = MailWorld::new();
    // Mallory requests an e-mail to her own address and sends the link to Jane, who is logged in
    // and has a pending login of her own.
    let mut mallory = mail.browser();
    attempt_of(&submit(&mut mallory, SEND, &[("email", "mallory@acme.test")]).await);
    let link = mail.link();
    let mut jane = mail.world.logged_in(JANE).await.at(&mail.app);
    let page = click(&mut jane, &link).await;
    assert_eq!(page.status(), StatusCode::OK, "a page, and no login");
    assert_eq!(email_of(&mut jane).await.as_deref(), Some(JANE));

    // Even its button ends no session: first the user has to confirm, with both accounts shown.
    let mut presses = jane.clone();
    let asked = press_the_button(&mut presses, &page).await;
    assert!(asked.location().starts_with("/passwordless/switch?attempt="), "{asked:?}");
    assert_eq!(email_of(&mut presses).await.as_deref(), Some(JANE));
    let question = presses.open(asked.location()).await.text();
    assert!(question.contains("Stay logged in as jane@acme.test"), "{question}");
    assert!(question.contains("Switch to mallory@acme.test"), "{question}");
    assert_eq!(presses.decide(&asked, "keep").await.location(), "/");
    assert_eq!(email_of(&mut presses).await.as_deref(), Some(JANE));
    let link = {
        mail.world.advance(60);
        attempt_of(&submit(&mut mallory, SEND, &[("email", "mallory@acme.test")]).await);
        mail.link()
    };
    attempt_of(&submit(&mut jane, SEND, &[("email", JANE)]).await);
    let asked = mail.asked();
    let page = click(&mut jane, &link).await;
    assert_eq!(page.status(), StatusCode::OK, "still a page, and no login");
    assert_eq!(mail.asked(), asked, "and the link is not tried");
    // The same without the attempt in the path, where it is tried with Jane's own request.
    let page = click(&mut jane, &without_attempt(&link)).await;
    assert_eq!((page.status(), mail.asked()), (StatusCode::OK, asked + 1));
    assert_eq!(email_of(&mut jane).await.as_deref(), Some(JANE), "her session is unchanged");
    // Nothing was used up.
    assert_eq!(click(&mut mallory, &link).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_verification_of_another_state_is_rejected() {
    let mail = MailWorld::new();
    let states = [
        json!({ "email": ADA, "state": "forged" }),
        json!({ "email": ADA, "state": "" }),
        json!({ "email": ADA }),
    ];
    for forged in states {
        let forged = || Fault::Response(Response::new(Bytes::from(forged.to_string())));
        let (mut browser, _) = mail.waiting("/me").await;
        mail.sandbox().faults().add_times(Endpoint::Api, 1, forged());
        let response = submit(&mut browser, VERIFY, &[("code", "123456")]).await;
        assert_rejected(&response, 400, &Failure::StateMismatch);
        mail.sandbox().faults().add_times(Endpoint::Api, 1, forged());
        let response = click(&mut browser, &mail.link()).await;
        assert_rejected(&response, 400, &Failure::StateMismatch);
        assert_eq!(email_of(&mut browser).await, None);
        mail.world.advance(60);
    }
}

#[tokio::test]
async fn a_code_is_valid_only_in_the_browser_that_requested_it() {
    let mail = MailWorld::new();
    let (browser, attempt) = mail.waiting("/me").await;
    let code = mail.code();
    let asked = mail.asked();
    let form = [("attempt", attempt.as_str()), ("code", &code)];
    let response = submit(&mut mail.browser(), VERIFY, &form).await;
    assert_rejected(&response, 400, &Failure::NoPendingLogin);

    // The same with the attempt under another name, or changed, or with a session as the attempt.
    let name = browser.names_with("passwordless").remove(0);
    let sealed = browser.cookie(&name).unwrap().to_owned();
    let prefix = name.strip_suffix(&attempt).unwrap();
    let jane = mail.world.logged_in(JANE).await;
    let session = jane.cookie("__Host-scalekit_session").unwrap();
    let login = prefix.replace("passwordless", "login");
    for (name, value) in [
        (format!("{prefix}AAAAAAAA"), sealed.clone()),
        (format!("{login}{attempt}"), sealed.clone()),
        (name.clone(), format!("{sealed}A")),
        (name.clone(), session.to_owned()),
        (format!("{prefix}{attempt}0"), sealed.clone()),
    ] {
        let mut forger = mail.browser();
        forger.put_cookie(&name, &value);
        let response = submit(&mut forger, VERIFY, &[("code", &code)]).await;
        assert_rejected(&response, 400, &Failure::NoPendingLogin);
    }
    assert_eq!(mail.asked(), asked);
}

#[tokio::test]
async fn a_login_returns_to_a_page_of_the_app() {
    let mail = MailWorld::new();
    let long = format!("/{}", "a".repeat(1600));
    for elsewhere in [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "/passwordless/verify?link_token=x",
        "/passwordless/verify/abcdefgh?link_token=x",
        "/passwordless/send",
        "/login",
        "/logout?x",
        &long,
    ] {
        let (mut browser, _) = mail.waiting(elsewhere).await;
        let code = mail.code();
        let done = submit(&mut browser, VERIFY, &[("code", &code)]).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/"), "{elsewhere}");
        mail.world.advance(60);
    }
}

#[tokio::test]
async fn sending_reveals_nothing_about_accounts() {
    let mail = MailWorld::new();
    let mut responses = Vec::new();
    for email in [JANE, "nobody@nowhere.test"] {
        let response = fetch_json(&mut mail.browser(), SEND, &json!({ "email": email })).await;
        let mut body = response.json();
        body.as_object_mut().unwrap().remove("attempt").unwrap();
        let names: Vec<_> = response.headers().keys().cloned().collect();
        responses.push((response.status(), body, names));
    }
    assert_eq!(responses[0], responses[1]);
}

#[tokio::test]
async fn oversized_and_malformed_input_is_rejected() {
    let mail = MailWorld::new();
    let (mut browser, attempt) = mail.waiting("/me").await;
    let code = mail.code();
    let long = "a".repeat(10 * 1024);
    let asked = mail.asked();
    for (path, form, status, expected) in [
        (SEND, vec![("email", long.as_str())], 400, Failure::InvalidEmail),
        (SEND, vec![("email", "ada"), ("return_to", "/")], 400, Failure::InvalidEmail),
        (SEND, vec![("email", "@acme.test")], 400, Failure::InvalidEmail),
        (SEND, vec![("email", "a@b.test\r\nbcc: c@d.test")], 400, Failure::InvalidEmail),
        (SEND, vec![("email", "a@b.test,c@d.test")], 400, Failure::InvalidEmail),
        (SEND, vec![], 400, Failure::InvalidEmail),
        (SEND, vec![("email", ADA), ("template", "X")], 400, Failure::InvalidRequest),
        (SEND, vec![("email", ADA), ("email", ADA)], 400, Failure::InvalidRequest),
        (SEND, vec![("email", &long), ("x", &long)], 413, Failure::PayloadTooLarge),
        (RESEND, vec![("attempt", &long)], 400, Failure::NoPendingLogin),
        (VERIFY, vec![("code", &long)], 400, Failure::InvalidCode),
        (VERIFY, vec![("code", &code), ("attempt", &long)], 400, Failure::NoPendingLogin),
        (VERIFY, vec![("link_token", &long)], 400, Failure::InvalidRequest),
        (VERIFY, vec![("link_token", "a b")], 400, Failure::InvalidRequest),
        (VERIFY, vec![("code", &code), ("link_token", "x")], 400, Failure::InvalidRequest),
        (VERIFY, vec![("attempt", &attempt)], 400, Failure::InvalidRequest),
    ] {
        let response = submit(&mut browser, path, &form).await;
        assert_rejected(&response, status, &expected);
        assert!(response.text().len() < 2000, "nothing is repeated");
    }
    let link = |query: &str| format!("{VERIFY}?{query}");
    for query in ["", "link_token=", "link_token=a&link_token=b", "link_token=%00"] {
        let response = browser.open(&link(query)).await;
        assert_rejected(&response, 400, &Failure::InvalidRequest);
    }
    // A value that is no attempt of this browser leads to the confirmation page.
    let other_case: String =
        attempt
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
            })
            .collect();
    for attempt in ["AAAAAAAA", "..%2f..%2fetc", "%00", &other_case, &long] {
        let page = browser.open(&format!("{VERIFY}/{attempt}?link_token=x")).await;
        assert_eq!(page.status(), StatusCode::OK, "{attempt:.20}");
        assert!(!page.text().contains(attempt), "nothing is repeated");
    }
    let response = browser.open(&link(&format!("link_token={long}"))).await;
    assert_rejected(&response, 400, &Failure::InvalidRequest);
    for (content_type, body) in [
        ("application/json", "[1]"),
        ("application/json", "{\"email\":1}"),
        ("application/json", "{\"email\":\"ada@acme.test\",\"email\":\"bob@acme.test\"}"),
        ("application/json", "{"),
        ("text/plain", "email=ada@acme.test"),
        ("multipart/form-data; boundary=x", "--x--"),
    ] {
        let headers = [SUBMISSION[0], SUBMISSION[2], ("content-type", content_type)];
        let mut request = browser.request(Method::POST, SEND, &headers);
        *request.body_mut() = body.into();
        let response = send(&mail.app, request).await;
        assert_rejected(&response, 400, &Failure::InvalidRequest);
    }
    browser
        .put_cookie(&format!("__Host-scalekit_passwordless_{}", "a".repeat(8)), &"x".repeat(4000));
    let done = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_eq!(done.location(), "/me", "the attempt was still valid");
    assert_eq!(mail.asked(), asked + 1, "only that reached the environment");
}

#[tokio::test]
async fn other_methods_are_rejected() {
    let mail = MailWorld::new();
    let mut browser = mail.browser();
    for (method, path, allow) in [
        (Method::GET, SEND, "POST"),
        (Method::PUT, RESEND, "POST"),
        (Method::DELETE, VERIFY, "GET,HEAD,POST"),
    ] {
        let response = browser.send(method, path, &NAVIGATION).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.header("allow"), Some(allow));
    }
    let response = browser.open(SEND).await;
    assert_eq!(failure(&response), Failure::MethodNotAllowed { allow: "POST" });
}

#[tokio::test]
async fn a_double_click_spends_one_code_and_opens_one_session() {
    let logins = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&logins);
    let mail = MailWorld::with(|login| {
        login.on_login(move |verified: VerifiedEmail| {
            counted.fetch_add(1, Ordering::SeqCst);
            ready(Ok(verified.session()))
        })
    });
    let (mut browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    let asked = mail.asked();
    let request = || send(&mail.app, submission(&browser, VERIFY, &[("code", &code)]));
    let held = mail.sandbox().faults().hold(Endpoint::Api);
    let release = async {
        while mail.asked() == asked {
            tokio::task::yield_now().await;
        }
        drop(held);
    };
    let ((one, two), ()) =
        futures::future::join(futures::future::join(request(), request()), release).await;
    // A form that arrives late, with the earlier cookies.
    let late = request().await;
    for done in [&one, &two, &late] {
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
        browser.store_cookies(done);
        assert_eq!(set_cookies(done.headers()), set_cookies(one.headers()));
    }
    assert_eq!((mail.asked(), logins.load(Ordering::SeqCst)), (asked + 1, 1));
    assert_eq!(email_of(&mut browser).await.as_deref(), Some(ADA));
    // Without the attempt's cookie it is rejected, and later with it too.
    let response = submit(&mut browser, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 400, &Failure::NoPendingLogin);
}

#[tokio::test]
async fn a_code_that_was_just_used_shares_its_session_with_no_other_browser() {
    let mail = MailWorld::new();
    let (mut ada, _) = mail.waiting("/me").await;
    let code = mail.code();
    let mut mallory = mail.browser();
    submit(&mut mallory, SEND, &[("email", "mallory@acme.test")]).await;
    assert_eq!(submit(&mut ada, VERIFY, &[("code", &code)]).await.location(), "/me");
    let response = submit(&mut mallory, VERIFY, &[("code", &code)]).await;
    assert_rejected(&response, 400, &Failure::InvalidCode);
    assert_eq!(email_of(&mut mallory).await, None);
}

#[tokio::test]
async fn a_double_click_does_not_restore_a_session_that_was_ended_meanwhile() {
    let mail = MailWorld::new();
    let (browser, _) = mail.waiting("/me").await;
    let code = mail.code();
    let (mut first, mut late) = (browser.clone(), browser);
    submit(&mut first, VERIFY, &[("code", &code)]).await;
    assert_eq!(email_of(&mut first).await.as_deref(), Some(ADA));
    assert!(submit(&mut first, "/logout", &[]).await.status().is_redirection());
    assert_eq!(submit(&mut late, VERIFY, &[("code", &code)]).await.location(), "/me");
    assert_eq!(email_of(&mut late).await, None);
}

#[tokio::test]
async fn rejections_can_be_customized_and_keep_their_reason_and_headers() {
    let mail = MailWorld::with(|login| {
        login.on_rejection(|rejected: RejectionContext<'_, RouteRejection<Failure>>| {
            let text = format!(
                "{}|{}",
                rejected.rejection().message(),
                rejected.rejection().retry_url().unwrap()
            );
            let mut response = rejected.into_default_response();
            *response.body_mut() = text.into();
            response
        })
    });
    let (mut browser, attempt) = mail.waiting("/me").await;
    let wrong = mail.wrong_code();
    let response = submit(&mut browser, VERIFY, &[("code", &wrong)]).await;
    assert_rejected(&response, 400, &Failure::InvalidCode);
    assert!(response.text().ends_with(&format!("|/code?attempt={attempt}")), "{}", response.text());
    mail.sandbox().faults().add(Endpoint::Api, Fault::Unreachable);
    let response = submit(&mut browser, SEND, &[("email", ADA), ("return_to", "/me")]).await;
    assert_eq!(response.header("retry-after"), Some("2"));
    assert!(response.text().ends_with("|/in?return_to=%2Fme"), "{}", response.text());
    assert_eq!(set_cookies(response.headers()), [""; 0]);
}
