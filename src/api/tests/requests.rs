use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use http::Request;

use super::*;
use crate::http_client::{HttpClient, HttpClientError, SendLimits};
use crate::sandbox::SandboxClient;

/// Records requests.
struct Recorder(SandboxClient, Arc<Mutex<Vec<Request<Bytes>>>>);

impl HttpClient for Recorder {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        self.1.lock().unwrap().push(request.clone());
        self.0.send(request)
    }
}

fn recorded() -> (Api, Arc<Mutex<Vec<Request<Bytes>>>>) {
    let sandbox = Sandbox::new();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let client = Recorder(sandbox.client(), Arc::clone(&sent));
    let (url, secret) = (sandbox.environment_url(), sandbox.client_secret().clone());
    let scalekit = Scalekit::builder(url, sandbox.client_id(), secret);
    (scalekit.http_client(client).build().unwrap().api(), sent)
}

#[tokio::test]
async fn an_identifier_is_always_one_segment() {
    let (api, sent) = recorded();
    for (id, expected) in [
        ("ses_../", "ses_..%2F"),
        ("ses_1/revoke", "ses_1%2Frevoke"),
        ("ses_1:revoke", "ses_1%3Arevoke"),
        ("ses_1?page_size=1#x", "ses_1%3Fpage_size%3D1%23x"),
        ("ses_é", "ses_%C3%A9"),
        ("ses_%2e%2e", "ses_%252e%252e"),
        ("a b\r\nHost: x", "a%20b%0D%0AHost%3A%20x"),
        ("{session_id}", "%7Bsession_id%7D"),
    ] {
        let missing = api.sessions().get(id).await.unwrap_err();
        let status = missing.response().unwrap().status;
        let expected_status = if id.starts_with("ses_") { 404 } else { 400 };
        assert_eq!(status, expected_status, "the sandbox reads the same identifier: {id}");
        let last = sent.lock().unwrap().last().unwrap().uri().clone();
        assert_eq!(last.path_and_query().unwrap().as_str(), format!("/api/v1/sessions/{expected}"));
    }
    let before = sent.lock().unwrap().len();
    for id in
        ["", ".", "..", "../../users", "ses_1/../x", "%2e%2e", "..\\", "..;", "..%2Fusers", ".. "]
    {
        let unsendable = api.sessions().get(id).await;
        assert!(matches!(unsendable, Err(ApiError::InvalidCall(_))), "{id}");
        let unsendable = api.auth_requests().callback_url(id, "state");
        assert!(matches!(unsendable, Err(ApiError::InvalidCall(_))), "{id}");
    }
    for path in [
        "/api/v1/../../keys",
        "/api/v1/%2e%2e/x",
        "/api/v1/..;/x",
        "/x?y",
        "/x#y",
        "/{id}",
        "x",
        "/a b",
        "",
    ] {
        let unsendable = api.request(Method::GET, path).send_raw().await;
        assert!(matches!(unsendable, Err(ApiError::InvalidCall(_))), "{path}");
    }
    let unknown = api.request(Method::GET, "/x").path_parameter("id", "1").send_raw().await;
    assert!(matches!(unknown, Err(ApiError::InvalidCall(_))));
    assert_eq!(sent.lock().unwrap().len(), before, "none of these was sent");
}

#[tokio::test]
async fn any_request_is_sent_with_the_same_token() {
    let (api, sent) = recorded();
    let request = api
        .request(Method::PATCH, "/api/v1/nothing/{id}")
        .path_parameter("id", "org 1")
        .query("features", "sso")
        .query("features", "a&b=c")
        .json(&serde_json::json!({ "display_name": "Acme" }))
        .timeout(Duration::from_secs(60));
    assert!(!format!("{request:?}").contains("Acme"));
    let response = request.send_raw().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED, "whatever the status");
    let unknown = api.request(Method::POST, "/api/v1/nothing").send::<Value>().await.unwrap_err();
    assert!(matches!(unknown, ApiError::NotImplemented(_)), "{unknown}");
    let message = "the sandbox does not play POST /api/v1/nothing";
    assert!(unknown.to_string().contains(message), "{unknown}");
    let sent = sent.lock().unwrap();
    assert!(sent[0].uri().path().ends_with("/oauth/token"));
    let [.., request, _] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(request.method(), Method::PATCH);
    let target = request.uri().path_and_query().unwrap().as_str();
    assert_eq!(target, "/api/v1/nothing/org%201?features=sso&features=a%26b%3Dc");
    assert_eq!(request.headers()["content-type"], "application/json");
    assert!(request.headers()["authorization"].is_sensitive());
    assert_eq!(request.body(), r#"{"display_name":"Acme"}"#);
    let limits = SendLimits::from_request(request);
    assert_eq!((limits.timeout.as_secs(), limits.max_body_bytes), (60, 1024 * 1024));
    let value: Result<Value, _> = serde_json::from_slice(response.body());
    assert!(value.is_ok());
}

#[tokio::test]
async fn the_user_of_an_own_login_page_is_serialized_as_the_reference_specifies() {
    let (api, sent) = recorded();
    let mut jane = crate::api::auth_requests::LoginUser::new("my-jane", "jane@acme.test");
    jane.given_name = Some("Jane".to_owned());
    let unknown = api.auth_requests().set_user("conn_1", "lri/1", &jane).await.unwrap_err();
    assert!(matches!(unknown, ApiError::NotFound(_)), "{unknown}");
    let sent = sent.lock().unwrap();
    let call = sent.last().unwrap();
    assert_eq!(call.uri().path(), "/api/v1/connections/conn_1/auth-requests/lri%2F1/user");
    assert_eq!(call.method(), Method::POST);
    let body: Value = serde_json::from_slice(call.body()).unwrap();
    let expected =
        serde_json::json!({"sub": "my-jane", "email": "jane@acme.test", "given_name": "Jane"});
    assert_eq!(body, expected);
}
