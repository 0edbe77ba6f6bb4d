//! MCP resources: their authorization server, from the client's side.

mod consent;
mod dpop;
mod own_login;
mod tokens;

use serde_json::json;

use super::*;
use crate::sandbox::{Endpoint, NewResource, ResourceIssuer};

pub(super) const SERVER: &str = "https://mcp.example.test/mcp";
const NATIVE: &str = "http://127.0.0.1:33418/callback";

/// A client of a resource, and its parameters.
pub(super) struct McpClient<'s> {
    sandbox: &'s Sandbox,
    resource_id: String,
    pub(super) client_id: String,
    pub(super) client_secret: Option<String>,
}

impl<'s> McpClient<'s> {
    /// Registers like an MCP client: public, with refresh tokens.
    async fn new(sandbox: &'s Sandbox, resource_id: &str) -> Self {
        let metadata = json!({
            "client_name": "Editor",
            "redirect_uris": [NATIVE],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        });
        Self::register(sandbox, resource_id, &metadata).await
    }

    pub(super) async fn register(
        sandbox: &'s Sandbox,
        resource_id: &str,
        metadata: &Value,
    ) -> Self {
        let path = format!("/api/v1/resources/{resource_id}/clients:register");
        let response = post_json(sandbox, &path, metadata).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{}", text(&response));
        let registered = json(&response);
        Self {
            sandbox,
            resource_id: resource_id.to_owned(),
            client_id: string(&registered, "client_id").to_owned(),
            client_secret: registered["client_secret"].as_str().map(str::to_owned),
        }
    }

    /// A client whose ID is known without registration.
    pub(super) fn known(sandbox: &'s Sandbox, client_id: &str) -> Self {
        let (resource_id, client_id) = (sandbox.mcp().resource_id(), client_id.to_owned());
        Self { sandbox, resource_id, client_id, client_secret: None }
    }

    /// The usual authorization URL with other parameters; an empty value omits one.
    pub(super) fn url(&self, changes: &[(&str, &str)]) -> String {
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", self.client_id.as_str()),
            ("redirect_uri", NATIVE),
            ("scope", "openid profile todo:read"),
            ("state", "s 1&2"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        parameters.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        let (url, id) = (self.sandbox.environment_url(), &self.resource_id);
        format!("{url}/resources/{id}/oauth/authorize?{}", encoded(&parameters))
    }

    pub(super) fn code(&self, changes: &[(&str, &str)]) -> String {
        let callback = self.sandbox.log_in(&self.url(changes), "jane@acme.test").unwrap();
        query_value(&callback, "code").unwrap_or_else(|| panic!("no code in {callback}"))
    }

    pub(super) async fn token(&self, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let path = format!("/resources/{}/oauth/token", self.resource_id);
        self.token_at(&path, form).await
    }

    async fn token_at(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let mut form = form.to_vec();
        form.push(("client_id", &self.client_id));
        form.extend(self.client_secret.as_deref().map(|secret| ("client_secret", secret)));
        let response = post_form(self.sandbox, path, &form).await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        (response.status(), json(&response))
    }

    pub(super) async fn exchange(
        &self,
        code: &str,
        changes: &[(&str, &str)],
    ) -> (StatusCode, Value) {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", NATIVE),
            ("code_verifier", VERIFIER),
        ];
        form.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        form.extend(changes);
        self.token(&form).await
    }

    async fn refresh(&self, token: &str, more: &[(&str, &str)]) -> (StatusCode, Value) {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.token(&[&form, more].concat()).await
    }

    /// The tokens of a complete login.
    async fn log_in(&self, changes: &[(&str, &str)]) -> Value {
        let (status, tokens) = self.exchange(&self.code(changes), &[]).await;
        assert_eq!(status, StatusCode::OK, "{tokens}");
        tokens
    }
}

fn rejected((status, body): (StatusCode, Value)) -> String {
    assert!(status.is_client_error(), "{status}: {body}");
    string(&body, "error").to_owned()
}

#[tokio::test]
async fn the_metadata_is_at_every_url_clients_try() {
    let sandbox = Sandbox::builder().environment_url("https://acme.scalekit.dev").build();
    let id = sandbox.mcp().resource_id();
    // The documented sample, and the environment's additions.
    let mut expected = json!({
        "issuer": "https://acme.scalekit.dev/resources/res_123456789",
        "authorization_endpoint":
            "https://acme.scalekit.dev/resources/res_123456789/oauth/authorize",
        "token_endpoint": "https://acme.scalekit.dev/resources/res_123456789/oauth/token",
        "jwks_uri": "https://acme.scalekit.dev/keys",
        "registration_endpoint":
            "https://acme.scalekit.dev/api/v1/resources/res_123456789/clients:register",
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported":
            ["none", "client_secret_post", "client_secret_basic"],
        // Until a document is added.
        "client_id_metadata_document_supported": false,
    });
    expected["authorization_response_iss_parameter_supported"] = true.into();
    expected["scopes_supported"] =
        json!(["openid", "profile", "email", "offline_access", "todo:read", "todo:write"]);
    let addresses = |id: &str| {
        ["oauth-authorization-server", "openid-configuration"].map(|name| {
            [
                format!("/.well-known/{name}/resources/{id}"),
                format!("/resources/{id}/.well-known/{name}"),
            ]
        })
    };
    for path in addresses(&id).concat() {
        let url = format!("{}{path}", sandbox.environment_url());
        let response = get(&sandbox, &url, "").await;
        assert_eq!(json(&response), expected, "{path}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
    }
    assert_eq!(sandbox.requests().count(Endpoint::Discovery), 4);
    for path in addresses("res_1").concat() {
        let url = format!("{}{path}", sandbox.environment_url());
        assert_eq!(get(&sandbox, &url, "").await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn client_endpoints_allow_cors() {
    let sandbox = Sandbox::new();
    for (path, method) in [
        ("/.well-known/oauth-authorization-server/resources/res_123456789", "GET"),
        ("/resources/res_123456789/.well-known/openid-configuration", "GET"),
        ("/api/v1/resources/res_123456789/clients:register", "POST"),
        ("/resources/res_123456789/oauth/token", "POST"),
    ] {
        let request = Request::options(format!("{}{path}", sandbox.environment_url()))
            .header("origin", "http://localhost:6274")
            .header("access-control-request-method", method)
            .body(Bytes::new())
            .unwrap();
        let response = sandbox.client().send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{path}");
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["access-control-allow-methods"], format!("{method}, OPTIONS"));
        assert_eq!(headers["access-control-allow-headers"], "authorization, *");
    }
    // Endpoints of users and of the application's own server have no CORS.
    for path in ["/oauth/token", "/resources/res_123456789/oauth/authorize", "/consent"] {
        let response = get(&sandbox, &format!("{}{path}", sandbox.environment_url()), "").await;
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn an_untrusted_client_or_redirect_uri_gets_a_page_and_no_redirect() {
    let sandbox = Sandbox::new();
    let client = McpClient::new(&sandbox, &sandbox.mcp().resource_id()).await;
    let elsewhere = McpClient::new(&sandbox, &sandbox.mcp().add_resource("Notes")).await;
    for (name, value) in [
        ("client_id", ""),
        ("client_id", "m2m_1"),
        ("client_id", sandbox.client_id()),
        ("client_id", elsewhere.client_id.as_str()),
        ("redirect_uri", ""),
        // Allowed for the application, in a development environment.
        ("redirect_uri", CALLBACK),
        ("redirect_uri", "http://127.0.0.1:33418/callback/"),
        ("redirect_uri", "http://127.0.0.1:33418/callback?x=1"),
        ("redirect_uri", "https://evil.test/callback"),
    ] {
        let response = get(&sandbox, &client.url(&[(name, value)]), "").await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name}={value}");
        assert!(!response.headers().contains_key(header::LOCATION));
    }
    let of_the_app = authorization_url(&sandbox, &[("client_id", &client.client_id)]);
    assert_eq!(get(&sandbox, &of_the_app, "").await.status(), StatusCode::BAD_REQUEST);

    let other_port = [("redirect_uri", "http://127.0.0.1:50000/callback")];
    let (status, tokens) = client.exchange(&client.code(&other_port), &other_port).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
}

#[tokio::test]
async fn invalid_requests_are_reported_by_redirect() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    let other = sandbox.mcp().add_resource(NewResource::new("Notes").url("https://notes.test/mcp"));
    sandbox.mcp().set_resource_url(&id, SERVER);
    let client = McpClient::new(&sandbox, &id).await;
    let issuer = format!("{}/resources/{id}", sandbox.environment_url());
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("code_challenge", ""), ("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("prompt", "none consent")], "invalid_request"),
        (&[("prompt", "none")], "login_required"),
        (&[("resource", "https://notes.test/mcp")], "invalid_target"),
        (&[("resource", &other)], "invalid_target"),
        (&[("resource", "https://mcp.example.test/mcp/")], "invalid_target"),
        (&[("resource", "https://mcp.example.test/mcp#x")], "invalid_target"),
        (&[("resource", "not a url")], "invalid_target"),
        (&[("resource", SERVER), ("resource", &other)], "invalid_request"),
    ];
    for (changes, error) in cases {
        let response = get(&sandbox, &client.url(changes), "").await;
        assert_eq!(response.status(), StatusCode::FOUND, "{changes:?}");
        let back = location(&response);
        assert!(back.starts_with(&format!("{NATIVE}?error={error}&")), "{changes:?}: {back}");
        assert_eq!(query_value(back, "iss").unwrap(), issuer);
        assert_eq!(query_value(back, "state").unwrap(), "s 1&2");
    }
}

#[tokio::test]
async fn the_first_page_lists_resources() {
    let sandbox = Sandbox::new();
    sandbox.mcp().add_resource("<Notes>");
    let page = get(&sandbox, &format!("{}/", sandbox.environment_url()), "").await;
    let metadata = r#"href="/.well-known/oauth-authorization-server/resources/res_123456789""#;
    assert!(text(&page).contains(metadata) && text(&page).contains("&lt;Notes&gt;"));
}
