//! `hyper_service`: sessions, login routes and webhooks without axum.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;
use time::OffsetDateTime;

use crate::watched::Watched;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_until_the_directory_removes_them() {
    let key = [7; 32];
    let secret = format!("whsec_{}", STANDARD.encode(key));
    let service = Watched::start("hyper_service", &[("SCALEKIT_WEBHOOK_SECRET", &secret)]).await;
    let (sandbox, visitor) = (&service.sandbox, &service.visitor);
    let location = async |url: &str| {
        let response = visitor.get(url).await;
        let location = response.headers().get("location").map(|it| it.to_str().unwrap().to_owned());
        location.unwrap_or_else(|| panic!("{}", response.status()))
    };
    let login = location(&service.address("/account")).await;
    let authorize = location(&service.address(&login)).await;
    let callback = sandbox.log_in(&authorize, "jane@acme.test").unwrap();
    assert_eq!(location(&callback).await, "/account");
    let page = visitor.get(&service.address("/account")).await;
    assert_eq!(
        (page.status(), page.body()),
        (StatusCode::OK, &Bytes::from("Hello, jane@acme.test\n"))
    );
    assert_eq!(visitor.get(&service.address("/nowhere")).await.status(), StatusCode::NOT_FOUND);

    let jane = sandbox.users().get("jane@acme.test").unwrap();
    let body = json!({
        "id": "evt_1", "type": "organization.deleted", "object": "Organization",
        "environment_id": sandbox.environment_id(), "occurred_at": "2030-01-01T00:00:00Z",
        "organization_id": jane.organization_id, "data": { "id": jane.organization_id },
    })
    .to_string();
    let sent = async |signed_with: [u8; 32]| {
        let at = OffsetDateTime::now_utc().unix_timestamp();
        let mac = hmac::Key::new(hmac::HMAC_SHA256, &signed_with);
        let mac = hmac::sign(&mac, format!("msg_1.{at}.{body}").as_bytes());
        let request = Request::post(service.address("/webhooks/scalekit"))
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", at)
            .header("webhook-signature", format!("v1,{}", STANDARD.encode(mac)))
            .header("content-type", "application/json");
        let request = request.body(Bytes::from(body.clone())).unwrap();
        visitor.copy().send(request).await.status()
    };
    assert_eq!(sent([8; 32]).await, StatusCode::BAD_REQUEST);
    assert_eq!(visitor.get(&service.address("/account")).await.status(), StatusCode::OK);
    assert_eq!(sent(key).await, StatusCode::NO_CONTENT);
    assert_eq!(visitor.get(&service.address("/account")).await.status(), StatusCode::FOUND);
}
