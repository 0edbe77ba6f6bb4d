use std::time::Duration;

use http::Method;
use serde_json::json as value;

use super::api::{bearer, call};
use super::*;
use crate::sandbox::PasswordlessType;

const VERIFY_PAGE: &str = "https://app.test/passwordless/verify?a=1";

/// An environment with a manual clock, and a token for its API.
struct Mailer {
    sandbox: Sandbox,
    bearer: String,
}

impl Mailer {
    async fn new() -> Self {
        let sandbox = at_fixed_time();
        let bearer = bearer(&sandbox).await;
        Self { sandbox, bearer }
    }

    async fn call(&self, verb: &str, body: &Value) -> (u16, Value) {
        let url = self.sandbox.environment_url();
        let request = Request::post(format!("{url}/api/v1/passwordless/email/{verb}"))
            .header(header::AUTHORIZATION, &self.bearer)
            .body(Bytes::from(body.to_string()))
            .unwrap();
        let response = self.sandbox.client().send(request).await.unwrap();
        (response.status().as_u16(), json(&response))
    }

    /// Sends an e-mail and returns the ID of its request.
    async fn send(&self, email: &str) -> String {
        let body = value!({ "email": email, "magiclink_auth_uri": VERIFY_PAGE, "state": "s 1&2" });
        let (status, sent) = self.call("send", &body).await;
        assert_eq!(status, 200, "{sent}");
        string(&sent, "auth_request_id").to_owned()
    }

    async fn resend(&self, id: &str) -> (u16, Value) {
        self.call("resend", &value!({ "auth_request_id": id })).await
    }

    async fn code(&self, id: &str, code: &str) -> (u16, Value) {
        self.call("verify", &value!({ "auth_request_id": id, "code": code })).await
    }

    async fn link(&self, token: &str, id: Option<&str>) -> (u16, Value) {
        self.call("verify", &value!({ "link_token": token, "auth_request_id": id })).await
    }

    fn newest_code(&self) -> String {
        self.sandbox.mail().outbox()[0].code.clone().unwrap()
    }

    fn newest_token(&self) -> String {
        query_value(self.sandbox.mail().outbox()[0].link.as_ref().unwrap(), "link_token").unwrap()
    }

    fn advance(&self, seconds: u64) {
        self.sandbox.clock().advance(Duration::from_secs(seconds));
    }
}

fn message(response: &(u16, Value)) -> (u16, &str) {
    (response.0, string(&response.1, "message"))
}

#[tokio::test]
async fn e_mails_follow_the_dashboards_settings_and_responses_the_documentation() {
    let mailer = Mailer::new().await;
    let body = value!({
        "email": "ada@acme.test", "template": "SIGNUP", "expires_in": "100", "state": "s",
        "magiclink_auth_uri": VERIFY_PAGE, "template_variables": { "team": "Alpha" },
    });
    let (status, sent) = mailer.call("send", &body).await;
    assert_eq!(status, 200);
    assert_eq!((&sent["expires_at"], &sent["expires_in"]), (&"1760000100".into(), &100.into()));
    assert_eq!(sent["passwordless_type"], "LINK_OTP");
    let mail = &mailer.sandbox.mail().outbox()[0];
    assert_eq!((mail.email.as_str(), mail.template.as_str()), ("ada@acme.test", "SIGNUP"));
    assert_eq!(mail.template_variables["team"], "Alpha");
    let code = mail.code.as_ref().unwrap();
    assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()));
    let link = mail.link.as_ref().unwrap();
    assert!(link.starts_with(&format!("{VERIFY_PAGE}&link_token=")) && link.ends_with("_l"));
    assert_eq!(
        mailer.newest_token().split('-').map(str::len).collect::<Vec<_>>(),
        [8, 4, 4, 4, 14]
    );

    for (kind, word, has) in [
        (PasswordlessType::Otp, "OTP", (true, false)),
        (PasswordlessType::Link, "LINK", (false, true)),
    ] {
        mailer.sandbox.mail().set_passwordless_type(kind);
        let body =
            value!({ "email": format!("{word}@acme.test"), "magiclink_auth_uri": VERIFY_PAGE });
        let (_, sent) = mailer.call("send", &body).await;
        assert_eq!((&sent["passwordless_type"], &sent["expires_in"]), (&word.into(), &300.into()));
        let mail = &mailer.sandbox.mail().outbox()[0];
        assert_eq!((mail.code.is_some(), mail.link.is_some()), has);
    }
}

#[tokio::test]
async fn a_code_or_a_link_works_once_and_ends_the_other() {
    let mailer = Mailer::new().await;
    let id = mailer.send("ada@acme.test").await;
    let (code, token) = (mailer.newest_code(), mailer.newest_token());
    let (status, verified) = mailer.code(&id, &code).await;
    let expected = value!({
        "email": "ada@acme.test", "state": "s 1&2", "template": "SIGNIN", "passwordless_type": "OTP",
    });
    assert_eq!((status, verified), (200, expected));
    let used = (400, "the verification code or magic link was used already");
    assert_eq!(message(&mailer.code(&id, &code).await), used);
    assert_eq!(message(&mailer.link(&token, None).await), used);
    assert_eq!(message(&mailer.resend(&id).await), used);

    let id = mailer.send("ada@acme.test").await;
    let (code, token) = (mailer.newest_code(), mailer.newest_token());
    let (status, verified) = mailer.link(&token, None).await;
    assert_eq!((status, &verified["passwordless_type"]), (200, &"LINK".into()));
    assert_eq!(message(&mailer.code(&id, &code).await), used);
}

#[tokio::test]
async fn five_codes_in_ten_minutes_are_the_limit_of_a_request() {
    let mailer = Mailer::new().await;
    let id = mailer.send("ada@acme.test").await;
    let other = mailer.send("bob@acme.test").await;
    let bobs = mailer.newest_code();
    for _ in 0..5 {
        let wrong = mailer.code(&id, "no").await;
        assert_eq!(message(&wrong), (400, "the verification code is invalid"));
        mailer.advance(30);
    }
    let rejected = mailer.code(&id, "no").await;
    assert_eq!(message(&rejected), (429, "too many attempts: start again"));
    assert_eq!(
        (&rejected.1["code"], rejected.1["details"][0]["error_code"].as_str()),
        (&8.into(), Some("RESOURCE_EXHAUSTED"))
    );
    assert_eq!(mailer.code(&other, &bobs).await.0, 200, "of that request only");
    // Sliding window: ten minutes after the first one, one more is accepted.
    mailer.advance(600 - 150);
    assert_eq!(mailer.code(&id, "no").await.0, 400);
    assert_eq!(mailer.code(&id, "no").await.0, 429);
}

#[tokio::test]
async fn two_emails_in_a_minute_are_the_limit_of_an_address() {
    let mailer = Mailer::new().await;
    let id = mailer.send("ada@acme.test").await;
    mailer.advance(30);
    assert_eq!(mailer.resend(&id).await.0, 200);
    let rejected = (429, "too many emails to this address");
    assert_eq!(message(&mailer.resend(&id).await), rejected);
    let body = value!({ "email": "ADA@acme.test", "magiclink_auth_uri": VERIFY_PAGE });
    assert_eq!(message(&mailer.call("send", &body).await), rejected);
    mailer.send("bob@acme.test").await;
    mailer.advance(30);
    assert_eq!(mailer.resend(&id).await.0, 200, "the first is a minute old");
    assert_eq!(mailer.resend(&id).await.0, 429);
    assert_eq!(mailer.sandbox.mail().outbox().len(), 4);
}

#[tokio::test]
async fn codes_and_links_expire_and_resending_extends_them() {
    let mailer = Mailer::new().await;
    let id = mailer.send("ada@acme.test").await;
    let (code, token) = (mailer.newest_code(), mailer.newest_token());
    mailer.advance(300);
    let expired = (400, "the verification code or magic link has expired");
    assert_eq!(message(&mailer.code(&id, &code).await), expired);
    assert_eq!(message(&mailer.link(&token, None).await), expired);
    let (_, again) = mailer.resend(&id).await;
    assert_eq!(
        (&again["auth_request_id"], &again["expires_at"]),
        (&id.as_str().into(), &"1760000600".into())
    );
    assert_eq!((mailer.newest_code(), mailer.newest_token()), (code.clone(), token));
    assert_eq!(mailer.code(&id, &code).await.0, 200);
}

#[tokio::test]
async fn new_credentials_on_resend_end_the_old_ones() {
    let mailer = Mailer::new().await;
    mailer.sandbox.mail().issue_new_credentials_on_resend(true);
    let old = mailer.send("ada@acme.test").await;
    let (old_code, old_token) = (mailer.newest_code(), mailer.newest_token());
    let (_, again) = mailer.resend(&old).await;
    let new = string(&again, "auth_request_id");
    assert_ne!(new, old);
    assert_eq!(mailer.code(&old, &old_code).await.0, 404);
    assert_eq!(message(&mailer.link(&old_token, None).await), (400, "the magic link is invalid"));
    assert_eq!(mailer.resend(&old).await.0, 404);
    let (status, verified) = mailer.code(new, &mailer.newest_code()).await;
    assert_eq!((status, &verified["state"]), (200, &"s 1&2".into()));
}

#[tokio::test]
async fn links_can_require_the_same_browser() {
    let mailer = Mailer::new().await;
    let id = mailer.send("ada@acme.test").await;
    let token = mailer.newest_token();
    let other = (400, "the magic link must be opened in the browser that requested it");
    assert_eq!(message(&mailer.link(&token, Some("another")).await), other);
    mailer.sandbox.mail().enforce_same_browser(true);
    assert_eq!(message(&mailer.link(&token, None).await), other);
    assert_eq!(mailer.link(&token, Some(&id)).await.0, 200, "nothing was used up");
}

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let mailer = Mailer::new().await;
    let many: serde_json::Map<_, _> = (0..31).map(|n| (n.to_string(), "x".into())).collect();
    let mail = |changes: Value| {
        let mut mail = value!({ "email": "a@b.test", "magiclink_auth_uri": VERIFY_PAGE });
        mail.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        mail
    };
    for (verb, body) in [
        ("send", value!([])),
        ("send", value!({})),
        ("send", mail(value!({ "email": "b.test" }))),
        ("send", mail(value!({ "email": 7 }))),
        ("send", mail(value!({ "template": "OTHER" }))),
        ("send", mail(value!({ "magiclink_auth_uri": null }))),
        ("send", mail(value!({ "magiclink_auth_uri": "javascript:alert(1)" }))),
        ("send", mail(value!({ "expires_in": -1 }))),
        ("send", mail(value!({ "expires_in": "soon" }))),
        ("send", mail(value!({ "expires_in": 86_401 }))),
        ("send", mail(value!({ "template_variables": many }))),
        ("send", mail(value!({ "template_variables": { "otp": "1" } }))),
        ("send", mail(value!({ "template_variables": { "a": 1 } }))),
        ("resend", value!({})),
        ("verify", value!({ "code": "1" })),
        ("verify", value!({ "auth_request_id": "a" })),
        ("verify", value!({ "auth_request_id": "a", "code": "1", "link_token": "t" })),
    ] {
        let (status, response) = mailer.call(verb, &body).await;
        assert_eq!((status, &response["code"]), (400, &3.into()), "{body}");
    }
    assert_eq!(mailer.resend("a").await.0, 404);
    assert_eq!(mailer.code("a", "1").await.0, 404);
    assert!(mailer.sandbox.mail().outbox().is_empty());
    let target = "/passwordless/email/send";
    assert_eq!(call(&mailer.sandbox, Method::POST, target, "").await.0, 401);
    assert_eq!(call(&mailer.sandbox, Method::GET, target, &mailer.bearer).await.0, 501);
}

#[tokio::test]
async fn the_outbox_page_shows_emails_and_changes_settings() {
    let mailer = Mailer::new().await;
    let url = format!("{}/outbox", mailer.sandbox.environment_url());
    let page = async || text(&get(&mailer.sandbox, &url, "").await).to_owned();
    assert!(page().await.contains("No e-mails yet."));
    mailer.send("<b>@acme.test").await;
    let shown = page().await;
    assert!(shown.contains("&lt;b&gt;@acme.test") && shown.contains(&mailer.newest_code()));
    let link = mailer.sandbox.mail().outbox()[0].link.clone().unwrap().replace('&', "&amp;");
    assert!(shown.contains(&format!("<a href=\"{link}\">")), "{shown}");
    assert!(shown.contains("Valid until") && !shown.contains("Expired"));
    mailer.advance(300);
    assert!(page().await.contains("Expired"));

    let form = [("type", "OTP"), ("new_credentials", "on")];
    let saved = post_form(&mailer.sandbox, "/outbox", &form).await.unwrap();
    assert_eq!((saved.status(), location(&saved)), (StatusCode::SEE_OTHER, "/outbox"));
    assert!(page().await.contains("<option value=\"OTP\" selected>"));
    let id = mailer.send("ada@acme.test").await;
    assert_eq!(mailer.sandbox.mail().outbox()[0].link, None);
    assert_ne!(mailer.resend(&id).await.1["auth_request_id"], id);
    let elsewhere = Request::post(&url)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "cross-site")
        .body(Bytes::from("type=LINK"))
        .unwrap();
    let rejected = mailer.sandbox.client().send(elsewhere).await.unwrap();
    assert_eq!(rejected.status(), StatusCode::FORBIDDEN);
    let index = get(&mailer.sandbox, &mailer.sandbox.environment_url(), "").await;
    assert!(text(&index).contains("href=\"/outbox\""));
}
