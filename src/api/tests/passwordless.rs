use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;

use super::played::Played;
use super::*;
use crate::api::passwordless::{
    EmailTemplate, NewEmail, PasswordlessError, PasswordlessType, SentEmail, VerifiedEmail,
};

const SENT: &str = r#"{"auth_request_id":"h5Y8kT5RVwaea5WEgW4n","expires_at":"1748696575",
    "expires_in":300,"passwordless_type":"LINK_OTP","something_new":1}"#;
const VERIFIED: &str = r#"{"email":"john.doe@example.com","state":"d62ivasry29lso",
    "template":"SIGNIN","passwordless_type":"OTP"}"#;

fn mail() -> NewEmail {
    NewEmail::new("john.doe@example.com")
}

async fn sent(response: &str) -> Result<SentEmail, PasswordlessError> {
    Played::responses([(200, response)]).1.passwordless().send(&mail()).await
}

async fn verified(status: u16, response: &str) -> Result<VerifiedEmail, PasswordlessError> {
    Played::responses([(status, response)]).1.passwordless().verify_code("a", "1").await
}

#[tokio::test]
async fn calls_are_serialized_as_the_api_specifies() {
    let responses = [(200, SENT), (200, SENT), (200, SENT), (200, VERIFIED), (200, VERIFIED)];
    let (environment, api) = Played::responses(responses.into_iter().chain([(200, VERIFIED)]));
    let passwordless = api.passwordless();
    passwordless.send(&mail()).await.unwrap();
    let mut full = mail();
    full.template = Some(EmailTemplate::SignUp);
    full.template_variables.insert("team".to_owned(), "Alpha".to_owned());
    full.expires_in = Some(Duration::from_millis(100_900));
    full.magiclink_auth_uri = Some("https://app.test/passwordless/verify".to_owned());
    full.state = Some("s".into());
    passwordless.send(&full).await.unwrap();
    passwordless.resend("a").await.unwrap();
    passwordless.verify_code("a", "123456").await.unwrap();
    passwordless.verify_link("t_l", None).await.unwrap();
    passwordless.verify_link("t_l", Some("a")).await.unwrap();

    let calls = environment.take();
    let made: Vec<(&str, Value)> = calls
        .iter()
        .map(|call| {
            assert_eq!(call.method(), Method::POST);
            let path = call.uri().path().strip_prefix("/api/v1/passwordless/email/").unwrap();
            (path, serde_json::from_slice(call.body()).unwrap())
        })
        .collect();
    let full = json!({
        "email": "john.doe@example.com", "template": "SIGNUP", "template_variables": {"team": "Alpha"},
        "expires_in": 100, "magiclink_auth_uri": "https://app.test/passwordless/verify", "state": "s",
    });
    assert_eq!(
        made,
        [
            ("send", json!({ "email": "john.doe@example.com" })),
            ("send", full),
            ("resend", json!({ "auth_request_id": "a" })),
            ("verify", json!({ "auth_request_id": "a", "code": "123456" })),
            ("verify", json!({ "link_token": "t_l" })),
            ("verify", json!({ "auth_request_id": "a", "link_token": "t_l" })),
        ]
    );
}

#[tokio::test]
async fn responses_are_deserialized() {
    let mail = sent(SENT).await.unwrap();
    assert_eq!(mail.auth_request_id.expose(), "h5Y8kT5RVwaea5WEgW4n");
    assert_eq!(mail.expires_at.unwrap().unix_timestamp(), 1_748_696_575);
    assert_eq!(mail.expires_in, Some(Duration::from_secs(300)));
    let kind = mail.passwordless_type.unwrap();
    assert!(kind == PasswordlessType::LinkOtp && kind.has_code() && kind.has_link());
    assert!(!PasswordlessType::Link.has_code() && !PasswordlessType::Otp.has_link());

    let bare = sent(r#"{"auth_request_id":"a","expires_at":1,"expires_in":"7"}"#).await.unwrap();
    assert_eq!(bare.expires_at, OffsetDateTime::from_unix_timestamp(1).ok());
    assert_eq!((bare.expires_in, bare.passwordless_type), (Some(Duration::from_secs(7)), None));
    for nothing in
        ["{}", r#"{"auth_request_id":""}"#, r#"{"auth_request_id":"a","expires_at":"x"}"#]
    {
        let error = sent(nothing).await.unwrap_err();
        let unexpected =
            matches!(error, PasswordlessError::Api(ApiError::UnexpectedResponse { .. }));
        assert!(unexpected, "{nothing}: {error}");
    }

    let john = verified(200, VERIFIED).await.unwrap();
    assert_eq!(john.email, "john.doe@example.com");
    assert_eq!(john.state.unwrap().expose(), "d62ivasry29lso");
    assert_eq!(john.template, Some(EmailTemplate::SignIn));
    assert_eq!(john.passwordless_type, Some(PasswordlessType::Otp));
    let incomplete = verified(200, r#"{"state":"s"}"#).await;
    assert!(matches!(incomplete, Err(PasswordlessError::Api(ApiError::UnexpectedResponse { .. }))));
}

#[tokio::test]
async fn limits_are_distinguished() {
    let general = r#"{"code":8,"message":"requests","details":[{"error_code":"RATE_LIMITED"}]}"#;
    let own = r#"{"error_code":"RATE_LIMITED","message":"Too many OTP attempts, or emails"}"#;
    for (body, is_own) in
        [("", true), ("{}", true), ("<html>", true), (own, true), (general, false)]
    {
        let (_, api) = Played::responses([(429, body), (429, body), (429, body)]);
        let passwordless = api.passwordless();
        for error in [
            passwordless.send(&mail()).await.unwrap_err(),
            passwordless.resend("a").await.unwrap_err(),
        ] {
            assert_eq!(matches!(error, PasswordlessError::TooManyEmails { .. }), is_own, "{error}");
        }
        let error = passwordless.verify_code("a", "1").await.unwrap_err();
        assert_eq!(matches!(error, PasswordlessError::TooManyAttempts(_)), is_own, "{error}");
        if !is_own {
            assert!(matches!(error, PasswordlessError::Api(ApiError::RateLimited { .. })));
        }
    }
    let message = verified(429, "{}").await.unwrap_err().to_string();
    assert!(message.contains("start again with a new e-mail"), "{message}");
}

#[tokio::test]
async fn rejections_are_distinguished_from_failures() {
    for status in [400, 404, 409, 410, 422] {
        let rejected = verified(status, r#"{"code":3,"message":"invalid otp"}"#).await;
        assert!(matches!(rejected, Err(PasswordlessError::Rejected(_))), "{status}");
        let expired = verified(status, r#"{"code":9,"message":"The OTP has Expired"}"#).await;
        assert!(matches!(expired, Err(PasswordlessError::Expired(_))), "{status}");
    }
    let of_grpc = r#"{"code":5,"message":"invalid otp"}"#;
    for (status, body) in [
        (500, "{}"),
        (503, ""),
        (404, "<html>"),
        (404, ""),
        (404, r#"{"message":"Not Found"}"#),
        (302, ""),
        (403, of_grpc),
        (405, of_grpc),
        (408, of_grpc),
        (425, of_grpc),
        (499, of_grpc),
    ] {
        let failed = verified(status, body).await;
        assert!(matches!(failed, Err(PasswordlessError::Api(_))), "{status} {body}");
    }
    let invalid = Played::responses([(400, r#"{"code":3,"message":"expired"}"#)]).1;
    let invalid = invalid.passwordless().send(&mail()).await;
    assert!(matches!(invalid, Err(PasswordlessError::Api(ApiError::InvalidRequest(_)))));
    let over = Played::responses([(404, r#"{"code":5}"#)]).1.passwordless().resend("a").await;
    assert!(matches!(over, Err(PasswordlessError::Rejected(_))));
}

#[tokio::test]
async fn invalid_requests_are_not_sent() {
    let (environment, api) = Played::responses([]);
    let mut many = mail();
    many.template_variables = (0..31).map(|n| (n.to_string(), String::new())).collect();
    let mut hasty = mail();
    hasty.expires_in = Some(Duration::from_millis(999));
    let mut bad = vec![NewEmail::new(""), many, hasty];
    for name in ["otp", "link", "expire_time", "expiry_time", "expiry_time_relative"] {
        let mut reserved = mail();
        reserved.template_variables.insert(name.to_owned(), String::new());
        bad.push(reserved);
    }
    for mail in bad {
        let error = api.passwordless().send(&mail).await.unwrap_err();
        assert!(matches!(error, PasswordlessError::Api(ApiError::InvalidCall(_))), "{error}");
    }
    assert_eq!(environment.requests(), [""; 0]);
}

#[tokio::test]
async fn debug_prints_no_credentials() {
    let mut secret = mail();
    secret.state = Some("the state".into());
    let sent = sent(SENT).await.unwrap();
    let verified = verified(200, VERIFIED).await.unwrap();
    let shown = format!("{secret:?} {sent:?} {verified:?}");
    for hidden in ["the state", "john.doe", "h5Y8kT5RVwaea5WEgW4n", "d62ivasry29lso"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}
