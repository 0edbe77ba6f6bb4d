//! Tokens that are bound to a key of their client (RFC 9449).

use super::*;
use crate::sandbox::DpopKey;

impl McpClient<'_> {
    fn token_endpoint(&self) -> String {
        let (url, id) = (self.sandbox.environment_url(), &self.resource_id);
        format!("{url}/resources/{id}/oauth/token")
    }

    fn proof(&self, key: &DpopKey) -> String {
        key.proof("POST", &self.token_endpoint(), None)
    }

    async fn token_with(&self, proofs: &[&str], form: &[(&str, &str)]) -> (StatusCode, Value) {
        let mut form = form.to_vec();
        form.push(("client_id", &self.client_id));
        form.extend(self.client_secret.as_deref().map(|secret| ("client_secret", secret)));
        let mut request = Request::post(self.token_endpoint())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for proof in proofs {
            request = request.header("dpop", *proof);
        }
        let request = request.body(Bytes::from(encoded(&form))).unwrap();
        let response = self.sandbox.client().send(request).await.unwrap();
        (response.status(), json(&response))
    }

    async fn exchange_with(&self, proofs: &[&str], code: &str) -> (StatusCode, Value) {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", NATIVE),
            ("code_verifier", VERIFIER),
        ];
        self.token_with(proofs, &form).await
    }

    async fn refresh_with(&self, proofs: &[&str], token: &str) -> (StatusCode, Value) {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.token_with(proofs, &form).await
    }
}

fn is_bound_to(key: &DpopKey, tokens: &Value) -> bool {
    let cnf = claims(string(tokens, "access_token"))["cnf"].clone();
    assert_eq!(tokens["token_type"] == "DPoP", !cnf.is_null());
    cnf == key.confirmation()
}

#[tokio::test]
async fn a_public_client_keeps_its_key() {
    let sandbox = Sandbox::new();
    let client = McpClient::new(&sandbox, &sandbox.mcp().resource_id()).await;
    let (key, other) = (sandbox.tokens().dpop_key(), sandbox.tokens().dpop_key());
    let (status, tokens) = client.exchange_with(&[&client.proof(&key)], &client.code(&[])).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    assert!(is_bound_to(&key, &tokens));

    let refresh_token = string(&tokens, "refresh_token");
    for proofs in [&[][..], &[&*client.proof(&other)]] {
        let refused = client.refresh_with(proofs, refresh_token).await;
        assert_eq!(rejected(refused), "invalid_dpop_proof");
    }
    let (status, tokens) = client.refresh_with(&[&client.proof(&key)], refresh_token).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    assert!(is_bound_to(&key, &tokens));
}

#[tokio::test]
async fn tokens_of_a_confidential_client_are_bound_one_by_one() {
    let sandbox = Sandbox::new();
    let metadata = json!({
        "redirect_uris": [NATIVE],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "token_endpoint_auth_method": "client_secret_post",
    });
    let id = sandbox.mcp().resource_id();
    let client = McpClient::register(&sandbox, &id, &metadata).await;
    let (key, other) = (sandbox.tokens().dpop_key(), sandbox.tokens().dpop_key());
    let (_, tokens) = client.exchange_with(&[&client.proof(&key)], &client.code(&[])).await;
    assert!(is_bound_to(&key, &tokens));
    let proof = client.proof(&other);
    let (_, tokens) = client.refresh_with(&[&proof], string(&tokens, "refresh_token")).await;
    assert!(is_bound_to(&other, &tokens));
    let (_, tokens) = client.refresh_with(&[], string(&tokens, "refresh_token")).await;
    assert_eq!(tokens["token_type"], "Bearer");

    let form = [("grant_type", "client_credentials")];
    let (_, tokens) = client.token_with(&[&client.proof(&key)], &form).await;
    assert!(is_bound_to(&key, &tokens));
}

#[tokio::test]
async fn a_client_may_register_for_bound_tokens_alone() {
    let sandbox = Sandbox::new();
    let metadata = json!({
        "redirect_uris": [NATIVE],
        "token_endpoint_auth_method": "none",
        "dpop_bound_access_tokens": true,
    });
    let client = McpClient::register(&sandbox, &sandbox.mcp().resource_id(), &metadata).await;
    let refused = client.exchange_with(&[], &client.code(&[])).await;
    assert_eq!(rejected(refused), "invalid_dpop_proof");
    let key = sandbox.tokens().dpop_key();
    let (_, tokens) = client.exchange_with(&[&client.proof(&key)], &client.code(&[])).await;
    assert!(is_bound_to(&key, &tokens));
}

#[tokio::test]
async fn a_code_may_be_bound_to_a_key() {
    let sandbox = Sandbox::new();
    let client = McpClient::new(&sandbox, &sandbox.mcp().resource_id()).await;
    let (key, other) = (sandbox.tokens().dpop_key(), sandbox.tokens().dpop_key());
    let thumbprint = key.thumbprint();
    let code = client.code(&[("dpop_jkt", thumbprint.as_str())]);
    for proofs in [&[][..], &[&*client.proof(&other)]] {
        let refused = client.exchange_with(proofs, &code).await;
        assert_eq!(rejected(refused), "invalid_dpop_proof");
    }
    let (status, tokens) = client.exchange_with(&[&client.proof(&key)], &code).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
}

#[tokio::test]
async fn invalid_proofs_are_rejected_and_leave_the_code_valid() {
    let sandbox = Sandbox::new();
    let client = McpClient::new(&sandbox, &sandbox.mcp().resource_id()).await;
    let key = sandbox.tokens().dpop_key();
    let endpoint = client.token_endpoint();
    let code = client.code(&[]);
    let with = |member: &str, value: Value| {
        key.proof_with("POST", &endpoint, None, |header, claims| {
            let target = if header.contains_key(member) { header } else { claims };
            target.insert(member.to_owned(), value);
        })
    };
    let now = sandbox.clock().clock().now().unix_timestamp();
    let mut private = key.public_jwk();
    private["d"] = json!("AAAA");
    let (one, two) = (client.proof(&key), client.proof(&key));
    for proofs in [
        &["a.b.c"][..],
        &[&one, &two],
        &[&with("typ", json!("JWT"))],
        &[&with("alg", json!("none"))],
        &[&with("alg", json!("HS256"))],
        &[&with("jwk", private)],
        &[&with("jwk", sandbox.tokens().dpop_key().public_jwk())],
        &[&with("htm", json!("GET"))],
        &[&with("htu", json!("https://evil.test/oauth/token"))],
        &[&with("iat", json!(now - 62))],
        &[&with("iat", json!(now + 63))],
        &[&with("jti", json!(""))],
    ] {
        let refused = client.exchange_with(proofs, &code).await;
        assert_eq!(rejected(refused), "invalid_dpop_proof", "{proofs:?}");
    }
    let (status, tokens) = client.exchange_with(&[&one], &code).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let replayed = client.exchange_with(&[&one], &client.code(&[])).await;
    assert_eq!(rejected(replayed), "invalid_dpop_proof");
}
