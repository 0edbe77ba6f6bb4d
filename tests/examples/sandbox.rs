//! `sandbox`, the environment alone: for another process, with every setting.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::running::start;

const RESOURCE: &str = "http://127.0.0.1:3000/mcp";

/// The value of a line of standard error.
fn value(errors: &str, name: &str) -> String {
    let mut lines = errors.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.next().unwrap_or_else(|| panic!("{name} is not in {errors}")).to_owned()
}

async fn form(url: &str, fields: &[(&str, &str)]) -> Value {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = reqwest::Client::new().post(url).body(body);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{url}");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mcp_server_in_another_process_accepts_its_tokens() {
    let sandbox = start("sandbox", &[], &[("BIND", "127.0.0.1:0"), ("MCP_RESOURCE_URL", RESOURCE)]);
    let url = sandbox.said("listening on ");
    let errors = sandbox.errors();
    let [id, secret, resource] =
        ["SCALEKIT_CLIENT_ID", "SCALEKIT_CLIENT_SECRET", "MCP_RESOURCE_ID"]
            .map(|name| value(&errors, name));
    let server = start(
        "mcp_server",
        &[],
        &[
            ("SCALEKIT_ENVIRONMENT_URL", &url),
            ("SCALEKIT_CLIENT_ID", &id),
            ("SCALEKIT_CLIENT_SECRET", &secret),
            ("MCP_RESOURCE_ID", &resource),
            ("BIND", "127.0.0.1:0"),
            ("PUBLIC_URL", "http://127.0.0.1:3000"),
        ],
    );
    let mcp = format!("{}/mcp", server.said("listening on "));

    // As a client discovers it, registers there, and gets a token.
    let issuer = format!("{url}/resources/{resource}");
    let metadata = format!("{issuer}/.well-known/oauth-authorization-server");
    let metadata = reqwest::get(metadata).await.unwrap().bytes().await.unwrap();
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
    let registration = json!({"client_name": "test", "grant_types": ["client_credentials"]});
    let registered = reqwest::Client::new()
        .post(metadata["registration_endpoint"].as_str().unwrap())
        .header("content-type", "application/json")
        .body(registration.to_string());
    let registered = registered.send().await.unwrap().bytes().await.unwrap();
    let registered: Value = serde_json::from_slice(&registered).unwrap();
    let token = form(
        metadata["token_endpoint"].as_str().unwrap(),
        &[
            ("grant_type", "client_credentials"),
            ("client_id", registered["client_id"].as_str().unwrap()),
            ("client_secret", registered["client_secret"].as_str().unwrap()),
            ("scope", "todo:read"),
            ("resource", RESOURCE),
        ],
    )
    .await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_todos"}}"#;
    let request = reqwest::Client::new()
        .request(Method::POST, &mcp)
        .bearer_auth(token["access_token"].as_str().unwrap())
        .header("host", "127.0.0.1:3000")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(call);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{}", server.errors());
    assert!(response.text().await.unwrap().contains("Nothing to do"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_is_on_its_page() {
    let settings = [
        ("BIND", "127.0.0.1:0"),
        ("REDIRECT_URI", "https://one.example.com/cb, https://two.example.com/cb"),
        ("POST_LOGOUT_REDIRECT_URI", "https://one.example.com/out"),
        ("INITIATE_LOGIN_URL", "https://one.example.com/login"),
        ("WEBHOOK_URL", "http://127.0.0.1:1/webhooks"),
        ("MCP_RESOURCE_URL", "https://one.example.com/mcp"),
        ("MACHINE_AUDIENCE", "https://api.example.com,none"),
        ("MACHINE_SCOPES", "read:items, write:items"),
        ("MODULAR_SSO", "1"),
    ];
    let sandbox = start("sandbox", &[], &settings);
    let url = sandbox.said("listening on ");
    let page = reqwest::get(&url).await.unwrap().text().await.unwrap();
    for value in [
        "https://one.example.com/cb",
        "https://two.example.com/cb",
        "https://one.example.com/out",
        "https://one.example.com/login",
        "http://127.0.0.1:1/webhooks",
        "https://one.example.com/mcp (res_123456789)",
        "<code>on</code>",
    ] {
        assert!(page.contains(value), "{value}: {page}");
    }
    assert!(!page.contains("Not set"), "{page}");

    // The machine clients get tokens, one of them without an audience.
    let errors = sandbox.errors();
    let machines = errors.lines().filter_map(|line| line.strip_prefix("machine client "));
    let mut audiences = Vec::new();
    for (id, secret) in machines.map(|line| line.split_once(" with secret ").unwrap()) {
        assert!(page.contains(id) && page.contains(secret), "{page}");
        let token = form(
            &format!("{url}/oauth/token"),
            &[("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)],
        )
        .await;
        let token = claims(token["access_token"].as_str().unwrap());
        assert_eq!(token["scopes"], json!(["read:items", "write:items"]), "{token}");
        audiences.push(token["aud"].clone());
    }
    assert_eq!(audiences, [json!(["https://api.example.com"]), Value::Null]);

    let plain = start("sandbox", &[], &[("BIND", "127.0.0.1:0")]);
    let page = reqwest::get(plain.said("listening on ")).await.unwrap().text().await.unwrap();
    for (name, _) in &settings[1..] {
        assert!(page.contains(&format!("{name}=")), "{name}: {page}");
    }
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}
