use std::time::Duration;

use serde_json::json;

use super::*;
use crate::sandbox::{Endpoint, NewResource, ResourceIssuer};

pub(super) const SERVER: &str = "https://mcp.example.test/mcp";
const NATIVE: &str = "http://127.0.0.1:33418/callback";

/// A client of a resource, and what it sends.
pub(super) struct McpClient<'s> {
    sandbox: &'s Sandbox,
    resource_id: String,
    pub(super) client_id: String,
    pub(super) client_secret: Option<String>,
}

impl<'s> McpClient<'s> {
    /// Registers as MCP clients do: public, with refresh tokens.
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

    /// A client whose id is known without registration.
    pub(super) fn known(sandbox: &'s Sandbox, client_id: &str) -> Self {
        let (resource_id, client_id) = (sandbox.resource_id(), client_id.to_owned());
        Self { sandbox, resource_id, client_id, client_secret: None }
    }

    /// The usual authorization URL with other parameters; an empty value leaves one out.
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

    /// The tokens of a whole login.
    async fn log_in(&self, changes: &[(&str, &str)]) -> Value {
        let (status, tokens) = self.exchange(&self.code(changes), &[]).await;
        assert_eq!(status, StatusCode::OK, "{tokens}");
        tokens
    }
}

fn refused((status, body): (StatusCode, Value)) -> String {
    assert!(status.is_client_error(), "{status}: {body}");
    string(&body, "error").to_owned()
}

/// Signs Jane in at the page that shows: her cookie and where the browser goes next.
async fn sign_in(sandbox: &Sandbox, url: &str) -> (String, String) {
    let page = get(sandbox, url, "").await;
    let form = [("transaction", &*transaction_of(&page)), ("email", "jane@acme.test")];
    let response = post_form(sandbox, "/login", &form).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    (cookie.split_once(';').unwrap().0.to_owned(), location(&response).to_owned())
}

async fn open(sandbox: &Sandbox, location: &str, cookie: &str) -> Response<Bytes> {
    assert!(location.starts_with("/consent?"), "{location}");
    get(sandbox, &format!("{}{location}", sandbox.environment_url()), cookie).await
}

async fn decide(sandbox: &Sandbox, page: &Response<Bytes>, action: &str, cookie: &str) -> String {
    let form = [("transaction", &*transaction_of(page)), ("action", action)];
    let request = Request::post(format!("{}/consent", sandbox.environment_url()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::COOKIE, cookie)
        .body(Bytes::from(encoded(&form)))
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER, "{}", text(&response));
    location(&response).to_owned()
}

#[tokio::test]
async fn the_metadata_is_at_every_address_clients_try() {
    let sandbox = Sandbox::builder().environment_url("https://acme.scalekit.dev").build();
    let id = sandbox.resource_id();
    // The documented sample, and what this environment adds to it.
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
        "token_endpoint_auth_methods_supported":
            ["none", "client_secret_post", "client_secret_basic"],
        "client_id_metadata_document_supported": true,
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
    assert_eq!(sandbox.requests(Endpoint::Discovery), 4);
    for path in addresses("res_1").concat() {
        let url = format!("{}{path}", sandbox.environment_url());
        assert_eq!(get(&sandbox, &url, "").await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn clients_in_web_pages_may_use_what_clients_use() {
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
    // What people or the application's own server use, web pages of others may not.
    for path in ["/oauth/token", "/resources/res_123456789/oauth/authorize", "/consent"] {
        let response = get(&sandbox, &format!("{}{path}", sandbox.environment_url()), "").await;
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn a_person_allows_a_client_and_its_token_is_for_the_resource_alone() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    assert!(sandbox.set_resource_url(&id, SERVER) && !sandbox.set_resource_url("res_1", SERVER));
    let client = McpClient::new(&sandbox, &id).await;
    let jane = sandbox.user("jane@acme.test").unwrap();

    let url = client.url(&[("scope", "openid profile todo:read files:read todo:read")]);
    let (cookie, consent) = sign_in(&sandbox, &url).await;
    let page = open(&sandbox, &consent, &cookie).await;
    let html = text(&page);
    for shown in ["Editor", "Todo list", "jane@acme.test", "127.0.0.1:33418", "todo:read"] {
        assert!(html.contains(shown), "{shown} is not in {html}");
    }
    assert!(!html.contains("files:read") && !html.contains("todo:write"));
    let callback = decide(&sandbox, &page, "allow", &cookie).await;
    assert!(callback.starts_with(&format!("{NATIVE}?code=")), "{callback}");
    let issuer = format!("{}/resources/{id}", sandbox.environment_url());
    assert_eq!(query_value(&callback, "iss").unwrap(), issuer);
    assert_eq!(query_value(&callback, "state").unwrap(), "s 1&2");

    let (_, tokens) = client.exchange(&query_value(&callback, "code").unwrap(), &[]).await;
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&"Bearer".into(), &300.into()));
    assert_eq!(tokens["scope"], "openid profile todo:read");
    assert!(tokens["refresh_token"].is_string() && tokens.get("id_token").is_none());
    let access = string(&tokens, "access_token");
    assert!(is_signed(&sandbox, access).await);
    let claims = claims(access);
    for (name, expected) in [
        ("iss", json!(issuer)),
        ("aud", json!([SERVER, id])),
        ("sub", json!(jane.id)),
        ("client_id", json!(client.client_id)),
        ("scope", json!("openid profile todo:read")),
    ] {
        assert_eq!(claims[name], expected, "{name}");
    }
    // The claims of the documented sample, no more and no less.
    let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let sample = ["aud", "client_id", "exp", "iat", "iss", "jti", "nbf", "scope", "sid", "sub"];
    assert_eq!(names, sample);
    assert!(
        string(&claims, "jti").starts_with("tkn_") && string(&claims, "sid").starts_with("ses_")
    );

    // The API has another audience, whatever the issuer.
    sandbox.resource_issuer_form(ResourceIssuer::Environment);
    let machine = sandbox.resource_machine_token(&id, &["todo:read"]);
    for token in [access, &machine] {
        let url = format!("{}/api/v1/users/{}/sessions", sandbox.environment_url(), jane.id);
        let request = Request::get(url)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Bytes::new())
            .unwrap();
        let response = sandbox.client().send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn consent_is_asked_for_once_and_for_more_again() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    let client = McpClient::new(&sandbox, &id).await;
    let other = McpClient::new(&sandbox, &id).await;
    let (cookie, consent) = sign_in(&sandbox, &client.url(&[])).await;
    let without_asking = client.url(&[("prompt", "none")]);
    let response = get(&sandbox, &without_asking, &cookie).await;
    assert_eq!(query_value(location(&response), "error").unwrap(), "consent_required");
    let page = open(&sandbox, &consent, &cookie).await;
    decide(&sandbox, &page, "allow", &cookie).await;

    for (url, asks) in [
        (client.url(&[]), false),
        (without_asking, false),
        (client.url(&[("scope", "todo:read")]), false),
        (client.url(&[("scope", "todo:read todo:write")]), true),
        (client.url(&[("scope", "openid profile todo:read offline_access")]), true),
        (client.url(&[("prompt", "consent")]), true),
        (other.url(&[]), true),
    ] {
        let response = get(&sandbox, &url, &cookie).await;
        assert_eq!(response.status(), StatusCode::FOUND, "{url}");
        let next = location(&response);
        assert_eq!(next.starts_with("/consent?"), asks, "{url}: {next}");
        assert_eq!(next.starts_with(NATIVE), !asks, "{url}: {next}");
    }
}

#[tokio::test]
async fn who_denies_gives_nothing() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    let client = McpClient::new(&sandbox, &id).await;
    let issuer = format!("{}/resources/{id}", sandbox.environment_url());
    let (cookie, consent) = sign_in(&sandbox, &client.url(&[])).await;
    let page = open(&sandbox, &consent, &cookie).await;
    let callback = decide(&sandbox, &page, "deny", &cookie).await;
    assert!(callback.starts_with(&format!("{NATIVE}?error=access_denied&")), "{callback}");
    assert_eq!(query_value(&callback, "iss").unwrap(), issuer);
    let gone = open(&sandbox, &consent, &cookie).await;
    assert_eq!(gone.status(), StatusCode::BAD_REQUEST, "the question was answered");
    let again = get(&sandbox, &client.url(&[]), &cookie).await;
    assert!(location(&again).starts_with("/consent?"), "a denial is not an allowance");

    // Who cancels at the login page denies too.
    let page = get(&sandbox, &client.url(&[]), "").await;
    let form = [("transaction", &*transaction_of(&page)), ("action", "cancel")];
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(query_value(location(&response), "iss").unwrap(), issuer);
}

#[tokio::test]
async fn only_the_person_who_was_asked_can_answer() {
    let sandbox = Sandbox::new();
    let client = McpClient::new(&sandbox, &sandbox.resource_id()).await;
    let (cookie, consent) = sign_in(&sandbox, &client.url(&[])).await;
    let (stranger, _) = sign_in(&sandbox, &client.url(&[])).await;
    let page = open(&sandbox, &consent, &cookie).await;
    for cookie in ["", &stranger] {
        assert_eq!(open(&sandbox, &consent, cookie).await.status(), StatusCode::BAD_REQUEST);
    }
    let transaction = transaction_of(&page);
    let allow = [("transaction", transaction.as_str()), ("action", "allow")];
    let response = post_form(&sandbox, "/consent", &allow).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let login = [("transaction", transaction.as_str()), ("email", "john@acme.test")];
    let response = post_form(&sandbox, "/login", &login).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "the login of it is over");
    let request = Request::post(format!("{}/consent", sandbox.environment_url()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::COOKIE, &cookie)
        .header("sec-fetch-site", "cross-site")
        .body(Bytes::from(encoded(&allow)))
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);

    assert_eq!(sandbox.end_sessions_of("jane@acme.test"), 2);
    assert_eq!(open(&sandbox, &consent, &cookie).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_consent_page_shows_nothing_unescaped() {
    let sandbox = Sandbox::new();
    let hostile = "<script>alert(1)</script>";
    let id = sandbox.add_resource(NewResource::new(hostile).scopes([r#""><img/src=x>"#]));
    let metadata = json!({
        "client_name": hostile,
        "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"],
        "token_endpoint_auth_method": "none",
    });
    let client = McpClient::register(&sandbox, &id, &metadata).await;
    let redirect = ("redirect_uri", "cursor://anysphere.cursor-mcp/oauth/callback");
    let (cookie, consent) = sign_in(&sandbox, &client.url(&[redirect, ("scope", "")])).await;
    let page = open(&sandbox, &consent, &cookie).await;
    let html = text(&page);
    assert!(!html.contains("<script") && !html.contains("<img/src"), "{html}");
    assert!(html.contains("&quot;&gt;&lt;img/src=x&gt;"), "{html}");
    assert!(html.contains("cursor://anysphere.cursor-mcp"), "{html}");
    assert!(page.headers().contains_key(header::CONTENT_SECURITY_POLICY));
    let callback = decide(&sandbox, &page, "allow", &cookie).await;
    assert!(callback.starts_with("cursor://anysphere.cursor-mcp/oauth/callback?code="));
}

#[tokio::test]
async fn an_untrusted_client_or_redirect_uri_gets_a_page_and_no_redirect() {
    let sandbox = Sandbox::new();
    let client = McpClient::new(&sandbox, &sandbox.resource_id()).await;
    let elsewhere = McpClient::new(&sandbox, &sandbox.add_resource("Notes")).await;
    for (name, value) in [
        ("client_id", ""),
        ("client_id", "m2m_1"),
        ("client_id", sandbox.client_id()),
        ("client_id", elsewhere.client_id.as_str()),
        ("redirect_uri", ""),
        // Good enough for the application, in a development environment.
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
async fn what_is_wrong_with_a_request_is_told_by_redirect() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    let other = sandbox.add_resource(NewResource::new("Notes").url("https://notes.test/mcp"));
    sandbox.set_resource_url(&id, SERVER);
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
async fn a_code_works_once_for_its_client_at_its_resource() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    let notes = sandbox.add_resource("Notes");
    let client = McpClient::new(&sandbox, &id).await;
    let other = McpClient::new(&sandbox, &id).await;
    let elsewhere = McpClient::new(&sandbox, &notes).await;
    let code = client.code(&[]);

    for thief in [&other, &elsewhere] {
        assert_eq!(refused(thief.exchange(&code, &[]).await), "invalid_grant");
    }
    let (_, of_the_app) = exchange(&sandbox, &code).await;
    assert_eq!(of_the_app["error"], "invalid_grant");
    let there = format!("/resources/{notes}/oauth/token");
    assert_eq!(refused(client.token_at(&there, &[]).await), "invalid_client");
    for (wrong, error) in [
        (("code_verifier", "x".repeat(43)), "invalid_grant"),
        (("code_verifier", String::new()), "invalid_grant"),
        (("redirect_uri", CALLBACK.to_owned()), "invalid_grant"),
        (("resource", notes.clone()), "invalid_target"),
        (("client_secret", "guess".to_owned()), "invalid_client"),
    ] {
        let changes = [(wrong.0, wrong.1.as_str())];
        assert_eq!(refused(client.exchange(&code, &changes).await), error, "{wrong:?}");
    }

    // None of that has spent it; the second use takes back what the first gave.
    let (status, tokens) = client.exchange(&code, &[]).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    assert_eq!(refused(client.exchange(&code, &[]).await), "invalid_grant");
    let refreshed = client.refresh(string(&tokens, "refresh_token"), &[]).await;
    assert_eq!(refused(refreshed), "invalid_grant");

    // Nor does a code of the application work here.
    let callback = sandbox.log_in(&authorization_url(&sandbox, &[]), "jane@acme.test").unwrap();
    let code = query_value(&callback, "code").unwrap();
    let there = client.exchange(&code, &[("redirect_uri", CALLBACK)]).await;
    assert_eq!(refused(there), "invalid_grant");
    assert_eq!(exchange(&sandbox, &code).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_token_rotates_and_is_worthless_elsewhere() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    let client = McpClient::new(&sandbox, &id).await;
    let other = McpClient::new(&sandbox, &id).await;
    let elsewhere = McpClient::new(&sandbox, &sandbox.add_resource("Notes")).await;
    let first = client.log_in(&[("scope", "todo:read todo:write")]).await;
    let old = string(&first, "refresh_token");
    for thief in [&other, &elsewhere] {
        assert_eq!(refused(thief.refresh(old, &[]).await), "invalid_grant");
    }
    assert_eq!(refresh(&sandbox, old).await.1["error"], "invalid_grant");
    let wider = client.refresh(old, &[("scope", "todo:read openid")]).await;
    assert_eq!(refused(wider), "invalid_scope");
    let notes = client.refresh(old, &[("resource", "https://notes.test/mcp")]).await;
    assert_eq!(refused(notes), "invalid_target");

    let (_, second) = client.refresh(old, &[("scope", "todo:read")]).await;
    assert_eq!(second["scope"], "todo:read");
    assert_eq!(claims(string(&second, "access_token"))["scope"], "todo:read");
    let (_, third) = client.refresh(string(&second, "refresh_token"), &[]).await;
    assert_eq!(third["scope"], "todo:read todo:write", "less was asked for that time only");
    sandbox.clock().advance(Duration::from_secs(29));
    let (_, again) = client.refresh(old, &[]).await;
    assert_eq!(again["refresh_token"], third["refresh_token"], "the grace is as anywhere");
    sandbox.clock().advance(Duration::from_secs(2));
    for token in [old, string(&third, "refresh_token")] {
        assert_eq!(refused(client.refresh(token, &[]).await), "invalid_grant");
    }
    assert_eq!(sandbox.refreshes(), 10);
}

#[tokio::test]
async fn refresh_tokens_are_for_those_who_want_them() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    let metadata = json!({ "redirect_uris": [NATIVE], "token_endpoint_auth_method": "none" });
    let plain = McpClient::register(&sandbox, &id, &metadata).await;
    assert!(plain.log_in(&[]).await.get("refresh_token").is_none());
    let asked = plain.log_in(&[("scope", "todo:read offline_access")]).await;
    let (status, _) = plain.refresh(string(&asked, "refresh_token"), &[]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn the_end_of_a_session_ends_what_clients_got_in_it() {
    let sandbox = Sandbox::new();
    let client = McpClient::new(&sandbox, &sandbox.resource_id()).await;
    let tokens = client.log_in(&[]).await;
    let sid = claims(string(&tokens, "access_token"))["sid"].as_str().unwrap().to_owned();
    assert!(sandbox.revoke_session(&sid));
    let refreshed = client.refresh(string(&tokens, "refresh_token"), &[]).await;
    assert_eq!(refused(refreshed), "invalid_grant");
}

#[tokio::test]
async fn a_resource_that_is_named_is_in_the_token() {
    let sandbox = Sandbox::new();
    let id = sandbox.add_resource(NewResource::new("Notes").url("https://notes.test"));
    let client = McpClient::new(&sandbox, &id).await;
    for (at_authorize, at_token, expected) in [
        ("", "", Value::Null),
        ("https://notes.test", "", "https://notes.test".into()),
        // As clients that parse URLs write it.
        ("https://notes.test/", "https://notes.test/", "https://notes.test".into()),
        ("", &id, "https://notes.test".into()),
    ] {
        let code = client.code(&[("scope", ""), ("resource", at_authorize)]);
        let (_, tokens) = client.exchange(&code, &[("resource", at_token)]).await;
        let claims = claims(string(&tokens, "access_token"));
        assert_eq!(claims["resource"], expected, "{at_authorize} {at_token}");
        assert_eq!(claims["aud"], json!(["https://notes.test", id]));
    }
    let code = client.code(&[("scope", ""), ("resource", "https://notes.test")]);
    let (_, tokens) = client.exchange(&code, &[]).await;
    let (_, tokens) = client.refresh(string(&tokens, "refresh_token"), &[]).await;
    assert_eq!(claims(string(&tokens, "access_token"))["resource"], "https://notes.test");
}

#[tokio::test]
async fn both_issuer_forms_can_be_had() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    let client = McpClient::new(&sandbox, &id).await;
    let url = sandbox.environment_url();
    let scoped = format!("{url}/resources/{id}");
    for (form, issuer) in [(ResourceIssuer::Environment, &url), (ResourceIssuer::Resource, &scoped)]
    {
        sandbox.resource_issuer_form(form);
        let tokens = client.log_in(&[]).await;
        assert_eq!(claims(string(&tokens, "access_token"))["iss"], **issuer);
        let token = sandbox.resource_token("jane@acme.test", &id, &["todo:read"]);
        assert_eq!(claims(&token)["iss"], **issuer);
        // The authorization server itself goes by one name.
        let callback = sandbox.log_in(&client.url(&[]), "jane@acme.test").unwrap();
        assert_eq!(query_value(&callback, "iss").unwrap(), scoped);
    }
}

#[tokio::test]
async fn a_machine_gets_a_token_with_its_secret() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    sandbox.set_resource_url(&id, SERVER);
    let metadata = json!({ "grant_types": ["client_credentials"] });
    let machine = McpClient::register(&sandbox, &id, &metadata).await;
    let ask = [("grant_type", "client_credentials"), ("scope", "todo:read files:read openid")];
    // wire.md has machines ask at the environment's own endpoint.
    for path in [format!("/resources/{id}/oauth/token"), "/oauth/token".to_owned()] {
        let (status, body) = machine.token_at(&path, &ask).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!((&body["scope"], &body["expires_in"]), (&"todo:read".into(), &300.into()));
        assert!(body.get("refresh_token").is_none());
        let access = string(&body, "access_token");
        assert!(is_signed(&sandbox, access).await);
        let claims = claims(access);
        assert_eq!(
            (&claims["sub"], &claims["client_id"]),
            (&json!(machine.client_id), &json!(machine.client_id))
        );
        assert_eq!(
            (&claims["scopes"], &claims["aud"]),
            (&json!(["todo:read"]), &json!([SERVER, id]))
        );
        assert!(claims.get("sid").is_none() && claims.get("scope").is_none());
    }
    let wrong = McpClient { client_secret: Some("guess".to_owned()), ..machine };
    assert_eq!(refused(wrong.token(&ask).await), "invalid_client");
    let none = McpClient { client_secret: None, ..wrong };
    assert_eq!(refused(none.token(&ask).await), "invalid_client");

    let metadata = json!({ "grant_types": ["client_credentials"], "redirect_uris": [NATIVE] });
    let no_browser = McpClient::register(&sandbox, &id, &metadata).await;
    let callback = sandbox.log_in(&no_browser.url(&[]), "jane@acme.test").unwrap();
    assert_eq!(query_value(&callback, "error").unwrap(), "unauthorized_client");
    let public = McpClient::new(&sandbox, &id).await;
    assert_eq!(refused(public.token(&ask).await), "unauthorized_client");
    let code = public.code(&[]);
    let form = [("grant_type", "authorization_code"), ("code", code.as_str())];
    let at_the_environment = public.token_at("/oauth/token", &form).await;
    assert_eq!(refused(at_the_environment), "unauthorized_client");
    let (status, body) = token(&sandbox, &[("grant_type", "client_credentials")]).await;
    assert_eq!(status, StatusCode::OK, "the application's own token: {body}");
    let path = format!("/resources/{id}/oauth/token");
    let of_the_app = [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret().expose()),
    ];
    let response = post_form(&sandbox, &path, &of_the_app).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "it is no client of the resource");
}

#[tokio::test]
async fn tokens_of_resources_can_be_had_without_a_login() {
    let sandbox = Sandbox::new();
    let id = sandbox.resource_id();
    let token = sandbox.resource_token("ada@acme.test", &id, &["todo:read", "todo:write"]);
    assert!(is_signed(&sandbox, &token).await);
    let person = claims(&token);
    assert_eq!((&person["aud"], &person["scope"]), (&json!([id]), &json!("todo:read todo:write")));
    assert_eq!(person["sub"], sandbox.user("ada@acme.test").unwrap().id);

    let token = sandbox.resource_machine_token(&id, &["todo:read"]);
    assert!(is_signed(&sandbox, &token).await);
    let machine = claims(&token);
    assert!(string(&machine, "client_id").starts_with("m2m_"));
    assert_eq!(
        (&machine["sub"], &machine["scopes"]),
        (&machine["client_id"], &json!(["todo:read"]))
    );

    let mut draft = sandbox.resource_token_draft("ada@acme.test", &id, &[]);
    draft.claims.insert("resource".to_owned(), SERVER.into());
    assert_eq!(claims(&sandbox.sign_draft(&draft))["resource"], SERVER);
}

#[tokio::test]
async fn the_first_page_tells_of_resources() {
    let sandbox = Sandbox::new();
    sandbox.add_resource("<Notes>");
    let page = get(&sandbox, &format!("{}/", sandbox.environment_url()), "").await;
    let metadata = r#"href="/.well-known/oauth-authorization-server/resources/res_123456789""#;
    assert!(text(&page).contains(metadata) && text(&page).contains("&lt;Notes&gt;"));
}
