use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use serde_json::json;

use super::resources::McpClient;
use super::*;
use crate::http_client::{HttpClient, HttpClientError};

const REGISTER: &str = "/api/v1/resources/res_123456789/clients:register";
const DOCUMENT: &str = "https://editor.test/client.json";
const NATIVE: &str = "http://127.0.0.1:33418/callback";

#[tokio::test]
async fn a_client_registers_and_gets_its_metadata() {
    let sandbox = Sandbox::new();
    let now = sandbox.clock().clock().now().unix_timestamp();
    let body = json!({
        "client_name": "Editor",
        "client_uri": "https://editor.test",
        "redirect_uris": ["https://editor.test/cb", "http://localhost/", "cursor://app/cb"],
        "grant_types": [
            "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"
        ],
        "response_types": ["code"],
        "scope": "todo:read",
        "token_endpoint_auth_method": "none",
    });
    let response = post_json(&sandbox, REGISTER, &body).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let registered = json(&response);
    assert!(string(&registered, "client_id").starts_with("m2m_"));
    assert!((now..now + 60).contains(&registered["client_id_issued_at"].as_i64().unwrap()));
    for name in
        ["client_name", "redirect_uris", "response_types", "scope", "token_endpoint_auth_method"]
    {
        assert_eq!(registered[name], body[name], "{name}");
    }
    assert_eq!(registered["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert!(registered.get("client_secret").is_none());

    // RFC 7591: the default is a confidential client with codes.
    let least = json!({ "redirect_uris": ["https://editor.test/cb"] });
    let registered = json(&post_json(&sandbox, REGISTER, &least).await);
    assert_eq!(registered["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(registered["grant_types"], json!(["authorization_code"]));
    assert_eq!(registered["client_secret_expires_at"], 0);
    assert!(string(&registered, "client_secret").len() > 40);
}

#[tokio::test]
async fn invalid_registrations_are_rejected() {
    let sandbox = Sandbox::new();
    let cb = "https://editor.test/cb";
    for (body, error) in [
        (json!([]), "invalid_client_metadata"),
        (json!({}), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": cb }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [1] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": vec![cb; 21] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["http://editor.test/cb"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [cb, "javascript:alert(1)"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://editor.test/cb#x"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [cb], "client_name": 1 }), "invalid_client_metadata"),
        (
            json!({ "redirect_uris": [cb], "client_name": "x".repeat(1001) }),
            "invalid_client_metadata",
        ),
        (json!({ "redirect_uris": [cb], "scope": ["todo:read"] }), "invalid_client_metadata"),
        (json!({ "redirect_uris": [cb], "grant_types": "code" }), "invalid_client_metadata"),
        (json!({ "redirect_uris": [cb], "grant_types": ["implicit"] }), "invalid_client_metadata"),
        (json!({ "redirect_uris": [cb], "response_types": ["token"] }), "invalid_client_metadata"),
        (
            json!({ "redirect_uris": [cb], "token_endpoint_auth_method": "private_key_jwt" }),
            "invalid_client_metadata",
        ),
        (
            json!({ "grant_types": ["client_credentials"], "token_endpoint_auth_method": "none" }),
            "invalid_client_metadata",
        ),
    ] {
        let response = post_json(&sandbox, REGISTER, &body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        let rejected = json(&response);
        assert_eq!(rejected["error"], error, "{body}: {rejected}");
        assert!(rejected["error_description"].is_string());
    }
    let request = Request::post(format!("{}{REGISTER}", sandbox.environment_url()));
    let request = request.body(Bytes::from_static(b"{")).unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    assert_eq!(json(&response)["error"], "invalid_client_metadata");
    let url = format!("{}{REGISTER}", sandbox.environment_url());
    assert_eq!(get(&sandbox, &url, "").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let nowhere = "/api/v1/resources/res_1/clients:register";
    assert_eq!(post_json(&sandbox, nowhere, &json!({})).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn too_many_clients_are_rejected_and_none_is_dropped() {
    let sandbox = Sandbox::new();
    let body = json!({ "redirect_uris": [NATIVE], "token_endpoint_auth_method": "none" });
    let first = McpClient::register(&sandbox, &sandbox.mcp().resource_id(), &body).await;
    for _ in 1..1000 {
        McpClient::register(&sandbox, &sandbox.mcp().resource_id(), &body).await;
    }
    let response = post_json(&sandbox, REGISTER, &body).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(json(&response)["error"], "temporarily_unavailable");
    let (status, _) = first.exchange(&first.code(&[]), &[]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_confidential_client_authenticates_with_its_secret() {
    let sandbox = Sandbox::new();
    let body = json!({ "redirect_uris": [NATIVE], "scope": "todo:write" });
    let client = McpClient::register(&sandbox, &sandbox.mcp().resource_id(), &body).await;
    let code = client.code(&[("scope", "")]);
    let stranger = McpClient::known(&sandbox, &client.client_id);
    let (status, rejected) = stranger.exchange(&code, &[]).await;
    assert_eq!((status, string(&rejected, "error")), (StatusCode::UNAUTHORIZED, "invalid_client"));
    let (_, tokens) = client.exchange(&code, &[]).await;
    assert_eq!(tokens["scope"], "todo:write", "the registered scope, by default");

    // In the header as well, whichever of the two it registered.
    let code = client.code(&[("scope", "")]);
    let credentials = format!("{}:{}", client.client_id, client.client_secret.unwrap());
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", NATIVE),
        ("code_verifier", VERIFIER),
    ];
    let url = format!("{}/resources/res_123456789/oauth/token", sandbox.environment_url());
    let request = |credentials: &str| {
        let basic = base64::engine::general_purpose::STANDARD.encode(credentials);
        Request::post(&url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, format!("Basic {basic}"))
            .body(Bytes::from(encoded(&form)))
            .unwrap()
    };
    let wrong = sandbox.client().send(request(&format!("{credentials}x"))).await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(wrong.headers().contains_key(header::WWW_AUTHENTICATE));
    let right = sandbox.client().send(request(&credentials)).await.unwrap();
    assert_eq!(right.status(), StatusCode::OK, "{}", text(&right));
}

#[tokio::test]
async fn the_url_of_a_document_is_a_client_id() {
    let sandbox = Sandbox::new();
    for url in [DOCUMENT, "http://127.0.0.1:4000/client.json"] {
        let document = json!({
            "client_id": url,
            "client_name": "Editor",
            "redirect_uris": ["http://127.0.0.1/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
        });
        let client = McpClient::known(&sandbox, url);
        let unknown = sandbox.log_in(&client.url(&[]), "jane@acme.test").unwrap_err();
        assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
        assert!(unknown.reason.contains("invalid_client_metadata_url"), "{unknown}");

        sandbox.mcp().add_client_metadata_document(url, document);
        let (status, tokens) = client.exchange(&client.code(&[]), &[]).await;
        assert_eq!(status, StatusCode::OK, "{tokens}");
        assert!(tokens["refresh_token"].is_string());
        assert_eq!(claims(string(&tokens, "access_token"))["client_id"], url);
    }
}

#[tokio::test]
async fn invalid_documents_are_rejected() {
    let sandbox = Sandbox::new();
    let good = json!({ "client_id": DOCUMENT, "redirect_uris": [NATIVE] });
    for (name, value) in [
        ("client_id", json!("https://editor.test/other.json")),
        ("client_id", Value::Null),
        ("redirect_uris", json!(["http://editor.test/callback"])),
        ("redirect_uris", json!([])),
        ("client_secret", json!("everybody knows")),
        ("token_endpoint_auth_method", json!("client_secret_post")),
        ("token_endpoint_auth_method", json!("private_key_jwt")),
        ("grant_types", json!(["client_credentials"])),
    ] {
        let mut document = good.clone();
        document[name] = value;
        sandbox.mcp().add_client_metadata_document(DOCUMENT, document.clone());
        let url = McpClient::known(&sandbox, DOCUMENT).url(&[]);
        let rejected = sandbox.log_in(&url, "jane@acme.test").unwrap_err();
        assert!(rejected.reason.contains("is invalid"), "{document}: {rejected}");
    }
    // IDs that are ambiguous, or whose document anyone could serve, are rejected.
    for url in [
        "https://editor.test",
        "https://editor.test/",
        "https://editor.test/a/../client.json",
        "https://EDITOR.test/client.json",
        "https://editor.test/client.json#x",
        "https://user@editor.test/client.json",
        "http://editor.test/client.json",
    ] {
        let document = json!({ "client_id": url, "redirect_uris": [NATIVE] });
        sandbox.mcp().add_client_metadata_document(url, document);
        let opened = McpClient::known(&sandbox, url).url(&[]);
        let rejected = sandbox.log_in(&opened, "jane@acme.test").unwrap_err();
        assert!(rejected.reason.contains("is unknown"), "{url}: {rejected}");
    }
}

/// A site with one response, which counts its requests.
#[derive(Clone)]
struct Site {
    response: Arc<Mutex<(u16, &'static str, String)>>,
    requests: Arc<AtomicUsize>,
}

impl Site {
    fn new(document: &Value) -> Self {
        let response = (200, "application/json; charset=utf-8", document.to_string());
        Self { response: Arc::new(Mutex::new(response)), requests: Arc::default() }
    }
}

impl HttpClient for Site {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        assert_eq!(request.uri().to_string(), DOCUMENT);
        self.requests.fetch_add(1, Ordering::SeqCst);
        let (status, content_type, body) = self.response.lock().unwrap().clone();
        let response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::LOCATION, "https://editor.test/elsewhere.json")
            .body(Bytes::from(body));
        Box::pin(async move { Ok(response.unwrap()) })
    }
}

/// The text of the page that the authorization request of this client gets.
async fn authorize(sandbox: &Sandbox, client_id: &str) -> String {
    let url = McpClient::known(sandbox, client_id).url(&[]);
    let page = get(sandbox, &url, "").await;
    format!("{} {}", page.status(), text(&page))
}

#[tokio::test]
async fn documents_are_fetched_once_and_checked() {
    let sandbox = Sandbox::new();
    let document = json!({ "client_id": DOCUMENT, "redirect_uris": [NATIVE] });
    let site = Site::new(&document);
    let metadata = "/.well-known/oauth-authorization-server/resources/res_123456789";
    let metadata = format!("{}{metadata}", sandbox.environment_url());
    let supported = async || {
        json(&get(&sandbox, &metadata, "").await)["client_id_metadata_document_supported"] == true
    };
    assert!(!supported().await);
    sandbox.mcp().fetch_client_metadata_documents(site.clone());
    assert!(supported().await);

    for _ in 0..3 {
        assert!(authorize(&sandbox, DOCUMENT).await.starts_with("200"));
    }
    assert_eq!(site.requests.load(Ordering::SeqCst), 1);
    let client = McpClient::known(&sandbox, DOCUMENT);
    let (status, tokens) = client.exchange(&client.code(&[]), &[]).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    sandbox.clock().advance(std::time::Duration::from_secs(5 * 60));
    assert!(authorize(&sandbox, DOCUMENT).await.starts_with("200"));
    assert_eq!(site.requests.load(Ordering::SeqCst), 2);

    // Other IDs are not requested: the site would panic.
    for id in ["m2m_1", "http://editor.test/client.json", "https://editor.test/"] {
        assert!(authorize(&sandbox, id).await.contains("is unknown"), "{id}");
    }
}

#[tokio::test]
async fn responses_that_are_no_document_are_rejected_and_not_cached() {
    let sandbox = Sandbox::new();
    let document = json!({ "client_id": DOCUMENT, "redirect_uris": [NATIVE] });
    let site = Site::new(&document);
    sandbox.mcp().fetch_client_metadata_documents(site.clone());
    let good = document.to_string();
    let large = json!({ "client_id": DOCUMENT, "redirect_uris": [NATIVE], "x": "x".repeat(5120) });
    for (status, content_type, body, reason) in [
        (301, "application/json", good.as_str(), "redirects are not followed"),
        (404, "application/json", &good, "404"),
        (204, "application/json", "", "204"),
        (200, "text/html", &good, "not application/json"),
        (200, "application/json", "{", "not JSON"),
        (200, "application/json", &large.to_string(), "invalid_client_metadata_url"),
    ] {
        *site.response.lock().unwrap() = (status, content_type, body.to_owned());
        let page = authorize(&sandbox, DOCUMENT).await;
        assert!(page.starts_with("400") && page.contains(reason), "{reason}: {page}");
    }
    *site.response.lock().unwrap() = (200, "application/cimd+json", good);
    assert!(authorize(&sandbox, DOCUMENT).await.starts_with("200"));
}
