//! Magic links: in the same browser, in other browsers, and opened by scanners.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join;
use http::{Method, StatusCode};
use serde_json::json;
use tower_scalekit::passwordless_login::PasswordlessLoginError as Failure;
use tower_scalekit::sandbox::{Endpoint, PasswordlessType};

use super::{
    ADA, MailWorld, SEND, VERIFY, assert_rejected, attempt_of, click, email_of, fetch_json, hidden,
    press_the_button, submission, submit, without_attempt,
};
use crate::support::{JANE, NAVIGATION, ORIGIN, Reading as _, send};

#[tokio::test]
async fn a_link_in_the_browser_that_requested_it_logs_in_at_once() {
    for (kind, enforced) in [(PasswordlessType::Link, false), (PasswordlessType::LinkOtp, true)] {
        let mail = MailWorld::new();
        mail.sandbox().mail().set_passwordless_type(kind);
        mail.sandbox().mail().enforce_same_browser(enforced);
        let (mut browser, _) = mail.waiting("/me?tab=2").await;
        let done = click(&mut browser, &mail.link()).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me?tab=2"));
        assert_eq!(done.header("referrer-policy"), Some("no-referrer"));
        done.assert_private();
        assert_eq!(browser.names(), ["__Host-scalekit_session"]);
        assert_eq!(email_of(&mut browser).await.as_deref(), Some(ADA));

        let again = click(&mut browser, &mail.link()).await;
        let response = press_the_button(&mut browser, &again).await;
        assert_rejected(&response, 400, &Failure::InvalidLink);
        assert_eq!(email_of(&mut browser).await.as_deref(), Some(ADA), "still logged in");
    }
}

#[tokio::test]
async fn in_another_browser_a_link_shows_a_page_without_leaks_whose_button_logs_in() {
    let mail = MailWorld::new();
    let (mut first, _) = mail.waiting("/me").await;
    let asked = mail.asked();
    let mut other = mail.browser();
    let page = click(&mut other, &mail.link()).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().contains("Log in to app.example.com"), "{}", page.text());
    assert!(page.text().contains("<form method=\"post\" action=\"/passwordless/verify\">"));
    page.assert_private();
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    // Browsers apply it to the redirects after the form, too.
    assert!(!policy.contains("form-action"), "{policy}");
    assert_eq!((mail.asked(), other.names().len()), (asked, 0));
    assert_eq!(email_of(&mut other).await, None);

    let done = press_the_button(&mut other, &page).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(email_of(&mut other).await.as_deref(), Some(ADA));
    assert_eq!(email_of(&mut first).await, None, "it is the other browser's session");
}

#[tokio::test]
async fn a_scanner_does_not_use_a_link_up() {
    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/me").await;
    let (link, asked) = (mail.link(), mail.asked());
    let mut scanner = mail.browser();
    let bare: &[(&str, &str)] = &[];
    for headers in [bare, &NAVIGATION, &[("accept", "text/html"), ("user-agent", "Scanner")]] {
        for method in [Method::GET, Method::HEAD] {
            let response = scanner.send(method, link.strip_prefix(ORIGIN).unwrap(), headers).await;
            assert_eq!((response.status(), scanner.names().len()), (StatusCode::OK, 0));
        }
    }
    // Neither do other requests of the user's own browser.
    let image = [("accept", "image/*"), ("sec-fetch-mode", "no-cors")];
    for (method, headers) in [(Method::GET, &image[..]), (Method::HEAD, &NAVIGATION)] {
        let response = browser.send(method, link.strip_prefix(ORIGIN).unwrap(), headers).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(mail.asked(), asked, "nothing was verified");
    assert_eq!(click(&mut browser, &link).await.location(), "/me");
}

#[tokio::test]
async fn a_page_shown_in_the_browser_of_the_attempt_logs_in_as_the_link_would() {
    for same_browser_only in [false, true] {
        let mail = MailWorld::with(|login| match same_browser_only {
            true => login.same_browser_only(),
            false => login,
        });
        mail.sandbox().mail().enforce_same_browser(true);
        let (mut browser, _) = mail.waiting("/me").await;
        let script = [("accept", "text/html"), ("sec-fetch-mode", "cors")];
        let link = mail.link();
        let page = browser.send(Method::GET, link.strip_prefix(ORIGIN).unwrap(), &script).await;
        let done = press_the_button(&mut browser, &page).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
        assert_rejected(
            &press_the_button(&mut browser, &page).await,
            400,
            &Failure::NoPendingLogin,
        );
    }
}

#[tokio::test]
async fn a_link_without_its_attempt_is_tried_with_the_newest() {
    let mail = MailWorld::new();
    mail.sandbox().mail().enforce_same_browser(true);
    let (mut browser, _) = mail.waiting("/me").await;
    let done = click(&mut browser, &without_attempt(&mail.link())).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
}

#[tokio::test]
async fn an_invented_token_causes_at_most_one_request() {
    let mail = MailWorld::new();
    let (mut browser, attempt) = mail.waiting("/me").await;
    for email in ["bob@acme.test", "carol@acme.test"] {
        mail.world.advance(1);
        submit(&mut browser, SEND, &[("email", email)]).await;
    }
    let asked = mail.asked();
    let page = browser.open(&format!("{VERIFY}/{attempt}?link_token=garbage")).await;
    assert_eq!((page.status(), mail.asked()), (StatusCode::OK, asked + 1));
    let page = browser.open(&format!("{VERIFY}?link_token=garbage")).await;
    assert_eq!((page.status(), mail.asked()), (StatusCode::OK, asked + 2));
    let page = browser.open(&format!("{VERIFY}/another0?link_token=garbage")).await;
    assert_eq!((page.status(), mail.asked()), (StatusCode::OK, asked + 2));
}

#[tokio::test]
async fn a_link_in_another_browser_is_rejected_unused_if_scalekit_enforces_the_same_browser() {
    let mail = MailWorld::new();
    mail.sandbox().mail().enforce_same_browser(true);
    let (mut browser, _) = mail.waiting("/me").await;
    let mut other = mail.browser();
    let page = click(&mut other, &mail.link()).await;
    let response = press_the_button(&mut other, &page).await;
    assert_rejected(&response, 400, &Failure::InvalidLink);
    assert!(response.text().contains("another browser"), "{}", response.text());
    assert_eq!(email_of(&mut other).await, None);
    assert_eq!(click(&mut browser, &mail.link()).await.location(), "/me");
}

#[tokio::test]
async fn the_app_can_enforce_the_same_browser() {
    let mail = MailWorld::with(|login| login.same_browser_only());
    let (mut browser, attempt) = mail.waiting("/me").await;
    let asked = mail.asked();
    let mut other = mail.browser();
    let response = click(&mut other, &mail.link()).await;
    assert_rejected(&response, 400, &Failure::BrowserMismatch);
    let (_, token) =
        mail.link().split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let response = submit(&mut other, VERIFY, &[("link_token", &token)]).await;
    assert_rejected(&response, 400, &Failure::BrowserMismatch);
    assert_eq!(mail.asked(), asked);
    for path in [VERIFY.to_owned(), format!("{VERIFY}/{attempt}")] {
        let response = browser.open(&format!("{path}?link_token=garbage")).await;
        assert_rejected(&response, 400, &Failure::InvalidLink);
        assert!(response.text().contains("href=\"/in?return_to=%2Fme\""), "{}", response.text());
    }
    assert_eq!(click(&mut browser, &mail.link()).await.location(), "/me");
}

#[tokio::test]
async fn a_link_finds_its_own_among_the_attempts_of_several_tabs() {
    let mail = MailWorld::new();
    let mut browser = mail.browser();
    let mut links = Vec::new();
    for email in [ADA, "bob@acme.test"] {
        let form = [("email", email), ("return_to", &format!("/{email}"))];
        attempt_of(&submit(&mut browser, SEND, &form).await);
        links.push((email, mail.link()));
        mail.world.advance(1);
    }
    for (index, (email, link)) in links.into_iter().enumerate() {
        let mut done = click(&mut browser, &link).await;
        if index > 0 {
            done = browser.decide(&done, "switch").await;
        }
        assert_eq!(done.location(), format!("/{email}"));
        assert_eq!(email_of(&mut browser).await.as_deref(), Some(email));
    }
}

#[tokio::test]
async fn an_expired_link_is_reported_in_both_browsers() {
    let mail = MailWorld::new();
    let (mut browser, _) = mail.waiting("/me").await;
    mail.world.advance(300);
    let response = click(&mut browser, &mail.link()).await;
    assert_rejected(&response, 400, &Failure::Expired);
    assert!(response.text().contains("href=\"/in?return_to=%2Fme\""), "{}", response.text());
    let mut other = mail.browser();
    let page = click(&mut other, &mail.link()).await;
    assert_rejected(&press_the_button(&mut other, &page).await, 400, &Failure::Expired);
}

#[tokio::test]
async fn a_leftover_attempt_does_not_suppress_the_confirmation_page() {
    let mail = MailWorld::new();
    // Begun here, and completed in another browser.
    let (mut laptop, _) = mail.waiting("/me").await;
    mail.world.advance(14 * 60);
    mail.waiting("/me").await;
    let page = click(&mut laptop, &mail.link()).await;
    let done = press_the_button(&mut laptop, &page).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
}

#[tokio::test]
async fn a_double_click_on_the_button_logs_in_and_another_pages_button_does_not() {
    let mail = MailWorld::new();
    mail.waiting("/me").await;
    let mut other = mail.browser();
    let page = click(&mut other, &mail.link()).await;
    let strangers = click(&mut mail.browser(), &mail.link()).await;
    let (token, secret) = (hidden(&page, "link_token"), hidden(&page, "page"));
    let press = || {
        let form = [("link_token", token.as_str()), ("page", secret.as_str())];
        send(&mail.app, submission(&other, VERIFY, &form))
    };
    let asked = mail.asked();
    let held = mail.sandbox().faults().hold(Endpoint::Api);
    let release = async {
        while mail.asked() == asked {
            tokio::task::yield_now().await;
        }
        drop(held);
    };
    let ((one, two), ()) = join(join(press(), press()), release).await;
    assert_eq!((one.status(), two.status()), (StatusCode::SEE_OTHER, StatusCode::SEE_OTHER));
    assert_eq!(press().await.status(), StatusCode::SEE_OTHER);
    assert_eq!(mail.asked(), asked + 1);

    let mut stranger = mail.browser();
    let response = press_the_button(&mut stranger, &strangers).await;
    assert_rejected(&response, 400, &Failure::InvalidLink);
    mail.world.advance(11);
    assert_rejected(&press().await, 400, &Failure::InvalidLink);
}

#[tokio::test]
async fn a_login_by_email_requires_confirmation_only_to_replace_another_users_session() {
    let mail = MailWorld::new();
    let mut jane = mail.world.logged_in(JANE).await.at(&mail.app);
    let form = [("email", ADA), ("return_to", "/me")];
    let attempt = attempt_of(&submit(&mut jane, SEND, &form).await);
    let form = [("attempt", attempt.as_str()), ("code", &mail.code())];
    let asked = submit(&mut jane, VERIFY, &form).await;
    assert!(asked.location().starts_with("/passwordless/switch?attempt="), "{asked:?}");
    assert_eq!(email_of(&mut jane).await.as_deref(), Some(JANE));
    let old = jane.clone();
    let done = jane.decide(&asked, "switch").await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/me"));
    assert_eq!(email_of(&mut jane).await.as_deref(), Some(ADA));
    assert_eq!(email_of(&mut old.clone()).await, None, "the other session has ended");
    assert_eq!(jane.names(), ["__Host-scalekit_session"]);

    // The same user once more: no confirmation. A script gets the same target as the browser.
    mail.world.advance(60);
    attempt_of(&submit(&mut jane, SEND, &[("email", "Ada@acme.test")]).await);
    let done = submit(&mut jane, VERIFY, &[("code", &mail.code())]).await;
    assert_eq!(done.location(), "/");
    let ada = email_of(&mut jane).await.unwrap();
    assert!(ada.eq_ignore_ascii_case(ADA), "{ada}");
    attempt_of(&submit(&mut jane, SEND, &[("email", "bob@acme.test")]).await);
    let done = fetch_json(&mut jane, VERIFY, &json!({"code": mail.code()})).await;
    let page = done.json()["return_to"].as_str().unwrap().to_owned();
    assert!(page.starts_with("/passwordless/switch?attempt="), "{page}");
    assert_eq!(email_of(&mut jane).await, Some(ada));
}

#[tokio::test]
async fn the_hook_of_a_login_by_email_is_called_after_the_user_has_switched() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let mail = MailWorld::with(|login| {
        login.on_login(move |verified| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(verified.session()))
        })
    });
    let mut jane = mail.world.logged_in(JANE).await.at(&mail.app);
    attempt_of(&submit(&mut jane, SEND, &[("email", ADA)]).await);
    let question = submit(&mut jane, VERIFY, &[("code", &mail.code())]).await;
    let mut keeps = jane.clone();
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    jane.decide(&question, "switch").await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(email_of(&mut jane).await.as_deref(), Some(ADA));
    assert_eq!(email_of(&mut keeps).await, None);
}

#[tokio::test]
async fn the_confirmation_page_can_be_customized() {
    let mail = MailWorld::with(|login| {
        login.confirmation_page(|question| {
            format!("<h1>Acme</h1>{} {}", question.action(), question.hidden_fields())
        })
    });
    mail.waiting("/me").await;
    let mut other = mail.browser();
    let page = click(&mut other, &mail.link()).await;
    assert!(page.text().starts_with("<h1>Acme</h1>/passwordless/verify <input"), "{}", page.text());
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    page.assert_private();
    assert_eq!(press_the_button(&mut other, &page).await.location(), "/");
}

#[tokio::test]
async fn a_link_that_an_email_client_has_wrapped_logs_in() {
    for wrap in ["%0D%0A", "%20", "+", "%E2%80%8B"] {
        let mail = MailWorld::new();
        let (mut browser, _) = mail.waiting("/me?tab=2").await;
        let link = mail.link();
        let (head, tail) = link.split_at(link.len() - 10);
        let done = click(&mut browser, &format!("{head}{wrap}{tail}{wrap}")).await;
        assert_eq!(
            (done.status(), done.location()),
            (StatusCode::SEE_OTHER, "/me?tab=2"),
            "{wrap}"
        );

        let mail = MailWorld::new();
        let _first = mail.waiting("/me").await;
        let mut other = mail.browser();
        let link = mail.link();
        let (head, tail) = link.split_at(link.len() - 10);
        let page = click(&mut other, &format!("{head}{wrap}{tail}")).await;
        let done = press_the_button(&mut other, &page).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{wrap}");
    }
}
