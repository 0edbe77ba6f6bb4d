use std::time::Duration;

use http::Method;
use serde_json::json as value;

use super::*;

/// A call with this `Authorization`.
pub(super) async fn call(
    sandbox: &Sandbox,
    method: Method,
    target: &str,
    authorization: &str,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}/api/v1{target}", sandbox.environment_url()))
        .header(header::AUTHORIZATION, authorization)
        .body(Bytes::new())
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    (response.status(), json(&response))
}

pub(super) async fn bearer(sandbox: &Sandbox) -> String {
    let (_, response) = token(sandbox, &[("grant_type", "client_credentials")]).await;
    format!("Bearer {}", string(&response, "access_token"))
}

#[tokio::test]
async fn only_the_clients_own_token_is_accepted() {
    let sandbox = Sandbox::new();
    let good = bearer(&sandbox).await;
    let (status, _) = call(&sandbox, Method::GET, "/sessions/ses_1", &good).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let persons = format!("Bearer {}", sandbox.tokens().access_token("jane@acme.test"));
    let other = format!("Bearer {}", string(&claims_of_other(&sandbox), "token"));
    let cut = good.get(..good.len() - 2).unwrap().to_owned();
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    let basic = good.replace("Bearer", "Basic");
    for bad in ["", "Bearer", "Bearer ", "Bearer x.y.z", &persons, &other, &cut, &unsigned, &basic]
    {
        let (status, body) = call(&sandbox, Method::GET, "/sessions/ses_1", bad).await;
        assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &16.into()), "{bad}");
        assert_eq!(body["details"][0]["error_code"], "UNAUTHENTICATED");
    }
    sandbox.clock().advance(Duration::from_secs(86_400));
    let (status, _) = call(&sandbox, Method::GET, "/sessions/ses_1", &good).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "expired");
}

/// A token that the environment signed for another client.
fn claims_of_other(sandbox: &Sandbox) -> Value {
    let claims = value!({
        "iss": sandbox.environment_url(), "sub": "skc_2", "client_id": "skc_2",
        "exp": 4_000_000_000_u64,
    });
    value!({ "token": sandbox.tokens().sign(claims) })
}

#[tokio::test]
async fn a_sessions_status_is_current() {
    let sandbox = Sandbox::new();
    let bearer = bearer(&sandbox).await;
    let tokens = log_in(&sandbox, "jane@acme.test").await;
    let id = string(&claims(string(&tokens, "access_token")), "sid").to_owned();
    let path = format!("/sessions/{id}");
    let (status, before) = call(&sandbox, Method::GET, &path, &bearer).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&before["session_id"], &before["status"]), (&id.as_str().into(), &"active".into()));
    let organization = sandbox.users().get("jane@acme.test").unwrap().organization_id;
    let client = value!({ "client_id": sandbox.client_id(), "organization_id": organization });
    assert_eq!(before["authenticated_clients"], value!([client]));
    assert_eq!(before["authenticated_organizations"], value!([organization]));
    for absent in ["expired_at", "logout_at", "device", "absolute_expires_at"] {
        assert!(before.get(absent).is_none(), "{absent}");
    }

    sandbox.clock().advance(Duration::from_secs(60));
    let (_, tokens) = refresh(&sandbox, string(&tokens, "refresh_token")).await;
    let (_, after) = call(&sandbox, Method::GET, &path, &bearer).await;
    assert_eq!(after["created_at"], before["created_at"]);
    assert_ne!(after["last_active_at"], before["last_active_at"]);

    let (_, revoked) = call(&sandbox, Method::POST, &format!("{path}/revoke"), &bearer).await;
    assert_eq!(revoked["revoked_session"]["status"], "revoked");
    assert_eq!(revoked["revoked_session"]["expired_at"], revoked["revoked_session"]["updated_at"]);
    let (_, rejected) = refresh(&sandbox, string(&tokens, "refresh_token")).await;
    assert_eq!(rejected["error"], "invalid_grant");
    let (_, again) = call(&sandbox, Method::POST, &format!("{path}/revoke"), &bearer).await;
    assert_eq!(again, revoked, "an ended session is not changed");
}

#[tokio::test]
async fn sessions_have_the_user_agent_and_the_logout_time() {
    let sandbox = Sandbox::new();
    let bearer = bearer(&sandbox).await;
    let opened = get(&sandbox, &authorization_url(&sandbox, &[]), "").await;
    let (_, rest) = text(&opened).split_once(r#"name="transaction" value=""#).unwrap();
    let transaction = rest.split('"').next().unwrap();
    let form = encoded(&[("transaction", transaction), ("email", "jane@acme.test")]);
    let request = Request::post(format!("{}/login", sandbox.environment_url()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::USER_AGENT, "Mozilla/5.0")
        .body(Bytes::from(form))
        .unwrap();
    let signed_in = sandbox.client().send(request).await.unwrap();
    let cookie = signed_in.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    let jane = sandbox.users().get("jane@acme.test").unwrap().id;
    let list = format!("/users/{jane}/sessions");
    let (_, listed) = call(&sandbox, Method::GET, &list, &bearer).await;
    assert_eq!(listed["sessions"][0]["device"], value!({ "user_agent": "Mozilla/5.0" }));

    let logout = format!("{}/oidc/logout", sandbox.environment_url());
    get(&sandbox, &logout, cookie.split(';').next().unwrap()).await;
    let (_, listed) = call(&sandbox, Method::GET, &list, &bearer).await;
    let session = &listed["sessions"][0];
    assert_eq!(session["status"], "logout");
    assert!(session["logout_at"].is_string() && session.get("expired_at").is_none());
    let (_, none) = call(&sandbox, Method::POST, &format!("{list}/revoke"), &bearer).await;
    assert_eq!(none, value!({ "revoked_sessions": [], "total_revoked": 0 }), "only active ones");
}

#[tokio::test]
async fn pages_lead_forward_and_back() {
    let sandbox = Sandbox::new();
    let bearer = bearer(&sandbox).await;
    for _ in 0..5 {
        let _ = sandbox.tokens().access_token("jane@acme.test");
    }
    let _ = sandbox.tokens().access_token("john@acme.test");
    let jane = sandbox.users().get("jane@acme.test").unwrap().id;
    let page = async |token: &str| {
        let target = format!("/users/{jane}/sessions?page_size=2&page_token={token}");
        call(&sandbox, Method::GET, &target, &bearer).await.1
    };
    let first = page("").await;
    let second = page(string(&first, "next_page_token")).await;
    let third = page(string(&second, "next_page_token")).await;
    for (page, count) in [(&first, 2), (&second, 2), (&third, 1)] {
        assert_eq!(page["sessions"].as_array().unwrap().len(), count);
        assert_eq!(page["total_size"], 5);
    }
    assert_eq!((&first["prev_page_token"], &third["next_page_token"]), (&"".into(), &"".into()));
    assert_eq!(page(string(&third, "prev_page_token")).await, second);
    assert_eq!(page(string(&second, "prev_page_token")).await, first);
}

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let sandbox = Sandbox::new();
    let bearer = bearer(&sandbox).await;
    let jane = sandbox.users().get("jane@acme.test").unwrap().id;
    let sessions = format!("/users/{jane}/sessions");
    let later_than_itself =
        "filter.start_time=2026-01-02T00:00:00Z&filter.end_time=2026-01-01T00:00:00Z";
    for (method, target, expected) in [
        (Method::GET, "/sessions/x".to_owned(), 400),
        (Method::GET, "/sessions/%ff".to_owned(), 400),
        (Method::POST, "/sessions/ses_1/revoke".to_owned(), 404),
        (Method::GET, "/users/ses_1/sessions".to_owned(), 400),
        (Method::GET, "/users/usr_1/sessions".to_owned(), 404),
        (Method::POST, "/users/usr_1/sessions/revoke".to_owned(), 404),
        (Method::GET, format!("{sessions}?page_size=-1"), 400),
        (Method::GET, format!("{sessions}?page_token=x"), 400),
        (Method::GET, format!("{sessions}?page_token=c2VzXzE"), 400),
        (Method::GET, format!("{sessions}?filter.status=frozen"), 400),
        (Method::GET, format!("{sessions}?filter.start_time=yesterday"), 400),
        (Method::GET, format!("{sessions}?{later_than_itself}"), 400),
        (Method::POST, sessions.clone(), 501),
        (Method::GET, "/nothing".to_owned(), 501),
    ] {
        let (status, body) = call(&sandbox, method, &target, &bearer).await;
        assert_eq!(status, expected, "{target}");
        assert!(body["code"].is_number() && body["message"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn an_operation_that_is_not_played_is_named() {
    let sandbox = Sandbox::new();
    let bearer = bearer(&sandbox).await;
    for (method, target) in [
        (Method::GET, "/webauthn/credentials"),
        (Method::DELETE, "/users"),
        (Method::PUT, "/organizations"),
        (Method::POST, "/organizations/org_1/connections"),
    ] {
        let (status, body) = call(&sandbox, method.clone(), target, &bearer).await;
        let message = format!("the sandbox does not play {method} /api/v1{target}");
        assert_eq!((status.as_u16(), body["message"].as_str()), (501, Some(&*message)));
        assert_eq!(call(&sandbox, method.clone(), target, "").await.0, StatusCode::UNAUTHORIZED);

        let path = format!("/api/v1{target}");
        let error = sandbox.scalekit().api().request(method, &path).send::<Value>().await;
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with(&message) && !text.contains("again"), "{text}");
    }
}
