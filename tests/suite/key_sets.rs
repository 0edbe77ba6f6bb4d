//! Key sets with duplicate, unusable and unusually encoded keys.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::sandbox::SandboxClient;
use tower_scalekit::token::TokenVerifier;
use tower_scalekit::{RequireToken, Sandbox};

use crate::secrets::Captured;
use crate::support::{JANE, Reading as _, request_with_token, sandbox_builder, send};

/// Replaces the sandbox's only key by these keys.
#[derive(Clone)]
struct Publishes<F> {
    client: SandboxClient,
    keys: Arc<F>,
}

impl<F> HttpClient for Publishes<F>
where
    F: Fn(Value) -> Value + Send + Sync + 'static,
{
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        Box::pin(async move {
            let mut response = self.client.send(request).await?;
            let keys = (self.keys)(response.json()["keys"][0].clone());
            *response.body_mut() = json!({ "keys": keys }).to_string().into();
            Ok(response)
        })
    }
}

/// The status of a request with a valid token, with a key set of these keys.
async fn status(
    with_kid: bool,
    keys: impl Fn(Value) -> Value + Send + Sync + 'static,
) -> StatusCode {
    let sandbox = sandbox_builder().build();
    let jwks_uri = format!("{}/keys", sandbox.environment_url());
    let client = Publishes { client: sandbox.client(), keys: Arc::new(keys) };
    let verifier = TokenVerifier::for_issuer(sandbox.environment_url(), jwks_uri, client)
        .audience(sandbox.client_id())
        .clock(sandbox.clock().clock())
        .build()
        .unwrap();
    let app = Router::new().route("/", get(|| async {})).route_layer(RequireToken::new(verifier));
    let token = token(&sandbox, with_kid);
    send(&app, request_with_token("/", &token)).await.status()
}

fn token(sandbox: &Sandbox, with_kid: bool) -> String {
    if with_kid {
        return sandbox.tokens().access_token(JANE);
    }
    let claims = sandbox.tokens().access_token_draft(JANE).claims;
    sandbox.tokens().sign_with_header(json!({"alg": "RS256", "typ": "JWT"}), claims.into())
}

/// The key with these members changed; null members are removed.
fn with(key: &Value, changes: Value) -> Value {
    let mut key = key.clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => key.as_object_mut().unwrap().remove(name),
            value => key.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    key
}

/// Other key material: the key with one digit of its modulus changed.
fn other(key: &Value) -> Value {
    let n = key["n"].as_str().unwrap();
    let (head, tail) = n.split_at(100);
    let digit = if tail.starts_with('A') { 'B' } else { 'A' };
    with(key, json!({"n": format!("{head}{digit}{}", &tail[1..])}))
}

#[tokio::test]
async fn the_same_key_twice_is_one_key() {
    assert_eq!(status(true, |key| json!([key, key])).await, StatusCode::OK);
    let undeclared = |key| json!([key, with(&key, json!({"alg": null, "use": null}))]);
    assert_eq!(status(true, undeclared).await, StatusCode::OK);
    let zero = |key: Value| {
        let n = key["n"].as_str().unwrap();
        json!([key, with(&key, json!({"n": format!("{n}==")}))])
    };
    assert_eq!(status(true, zero).await, StatusCode::OK);
    let two_names = |key| json!([with(&key, json!({"kid": "other"})), key]);
    assert_eq!(status(true, two_names).await, StatusCode::OK);
    assert_eq!(status(false, two_names).await, StatusCode::OK);
}

#[tokio::test]
async fn the_same_key_for_another_use_is_not_a_second_key() {
    let encryption = |key| json!([with(&key, json!({"use": "enc", "alg": "RSA-OAEP"})), key]);
    assert_eq!(status(true, encryption).await, StatusCode::OK);
    let wrapping = |key| json!([with(&key, json!({"use": null, "key_ops": ["wrapKey"]})), key]);
    assert_eq!(status(true, wrapping).await, StatusCode::OK);
}

#[tokio::test]
async fn two_different_matching_keys_are_ambiguous() {
    let two = |key| json!([key, other(&key)]);
    assert_eq!(status(true, two).await, StatusCode::UNAUTHORIZED);
    let two_names = |key| json!([key, with(&other(&key), json!({"kid": "other"}))]);
    assert_eq!(status(true, two_names).await, StatusCode::OK);
    assert_eq!(status(false, two_names).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn harmless_deviations_of_a_key_are_accepted() {
    // "AA" is a zero byte, and three bytes are four digits, so the rest is unchanged.
    let leading_zeros = |key: Value| {
        let n = key["n"].as_str().unwrap();
        json!([with(&key, json!({"n": format!("AAAA{n}"), "e": "AAAAAQAB"}))])
    };
    assert_eq!(status(true, leading_zeros).await, StatusCode::OK);
    let padding = |key: Value| {
        let n = key["n"].as_str().unwrap();
        json!([with(&key, json!({"n": format!("{n}==")}))])
    };
    assert_eq!(status(true, padding).await, StatusCode::OK);
    let other_alphabet = |key: Value| {
        let n = key["n"].as_str().unwrap().replace('-', "+").replace('_', "/");
        json!([with(&key, json!({ "n": n }))])
    };
    assert_eq!(status(true, other_alphabet).await, StatusCode::OK);
}

#[tokio::test]
async fn an_unusable_key_is_skipped_and_logged_with_its_kid_and_the_reason() {
    let captured = Captured::default();
    let _guard = captured.subscribe();
    let keys = |key| {
        json!([
            with(&key, json!({"kid": "numeric-alg", "alg": 256})),
            with(&key, json!({"kid": "weak", "n": "AQAB"})),
            with(&key, json!({"kid": "not-base64", "n": "?"})),
            with(&key, json!({"kid": "encryption", "use": "enc"})),
            {"kid": "symmetric", "kty": "oct", "k": "AAAA"},
            7,
            key,
        ])
    };
    assert_eq!(status(true, keys).await, StatusCode::OK);
    let log = captured.text();
    let reason_of = |kid: &str| {
        let line = log.lines().find(|line| line.contains(&format!("kid=\"{kid}\"")));
        line.unwrap_or_else(|| panic!("no line names {kid}: {log}"))
    };
    for (kid, level, reason) in [
        ("numeric-alg", "WARN", "not a JWK"),
        ("weak", "WARN", "weak"),
        ("not-base64", "WARN", "malformed"),
        ("encryption", "DEBUG", "another use"),
        ("symmetric", "DEBUG", "does not match"),
    ] {
        let line = reason_of(kid);
        assert!(line.contains(level) && line.contains(reason), "{line}");
    }
}
