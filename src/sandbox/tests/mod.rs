//! The environment through the in-process client and over a socket.

mod api;
mod connected_accounts;
mod connections;
mod directories;
mod faults;
mod idp_initiated;
mod logging_in;
mod logging_out;
mod organizations;
mod passwordless;
mod registration;
mod resources;
mod served;
mod single_sign_on;
mod token_grants;
mod webhooks;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::Value;
use time::OffsetDateTime;
use url::{Url, form_urlencoded};

use super::Sandbox;
use crate::clock::ManualClock;
use crate::http_client::{HttpClient as _, HttpClientError};

const CALLBACK: &str = "http://localhost:3000/auth/callback";
// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const SIGN_IN: [(&str, &str); 7] = [
    ("response_type", "code"),
    ("redirect_uri", CALLBACK),
    ("scope", "openid profile email offline_access"),
    ("state", "s 1&2"),
    ("nonce", "n-0S6_WzA2Mj"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

/// A sandbox whose clock stays at 2025-10-09T08:53:20Z.
fn at_fixed_time() -> Sandbox {
    let start = OffsetDateTime::from_unix_timestamp(1_760_000_000).unwrap();
    Sandbox::builder().clock(ManualClock::at(start)).build()
}

/// The usual authorization URL with other parameters; an empty value omits the parameter.
fn authorization_url(sandbox: &Sandbox, changes: &[(&str, &str)]) -> String {
    let mut parameters = vec![("client_id", sandbox.client_id())];
    parameters.extend(SIGN_IN);
    parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    parameters.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    format!("{}/oauth/authorize?{}", sandbox.environment_url(), encoded(&parameters))
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn query_value(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

async fn get(sandbox: &Sandbox, url: &str, cookie: &str) -> Response<Bytes> {
    let request = Request::get(url).header(header::COOKIE, cookie).body(Bytes::new()).unwrap();
    sandbox.client().send(request).await.unwrap()
}

async fn post_form(
    sandbox: &Sandbox,
    path: &str,
    form: &[(&str, &str)],
) -> Result<Response<Bytes>, HttpClientError> {
    let request = Request::post(format!("{}{path}", sandbox.environment_url()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(encoded(form)))
        .unwrap();
    sandbox.client().send(request).await
}

async fn post_json(sandbox: &Sandbox, path: &str, body: &Value) -> Response<Bytes> {
    let request = Request::post(format!("{}{path}", sandbox.environment_url()))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body.to_string()))
        .unwrap();
    sandbox.client().send(request).await.unwrap()
}

/// A token request with the client's credentials.
async fn token(sandbox: &Sandbox, form: &[(&str, &str)]) -> (StatusCode, Value) {
    let mut form = form.to_vec();
    form.push(("client_id", sandbox.client_id()));
    form.push(("client_secret", sandbox.client_secret().expose()));
    let response = post_form(sandbox, "/oauth/token", &form).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    (response.status(), json(&response))
}

async fn exchange(sandbox: &Sandbox, code: &str) -> (StatusCode, Value) {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    token(sandbox, &form).await
}

async fn refresh(sandbox: &Sandbox, refresh_token: &str) -> (StatusCode, Value) {
    token(sandbox, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
}

/// The tokens of a complete login.
async fn log_in(sandbox: &Sandbox, email: &str) -> Value {
    let callback = sandbox.log_in(&authorization_url(sandbox, &[]), email).unwrap();
    let (status, tokens) = exchange(sandbox, &query_value(&callback, "code").unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    tokens
}

fn transaction_of(page: &Response<Bytes>) -> String {
    let (_, rest) = text(page).split_once("name=\"transaction\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

fn location(response: &Response<Bytes>) -> &str {
    response.headers()[header::LOCATION].to_str().unwrap()
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

fn json(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn string<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn part_of(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn claims(token: &str) -> Value {
    part_of(token, 1)
}

/// Whether a published key signed the token, verified by the key set alone.
async fn is_signed(sandbox: &Sandbox, token: &str) -> bool {
    let url = format!("{}/keys", sandbox.environment_url());
    let keys = json(&get(sandbox, &url, "").await);
    let header = part_of(token, 0);
    let named = |key: &&Value| key["kid"] == header["kid"];
    let Some(key) = keys["keys"].as_array().unwrap().iter().find(named) else { return false };
    let number = |name| URL_SAFE_NO_PAD.decode(string(key, name)).unwrap();
    let public = aws_lc_rs::signature::RsaPublicKeyComponents { n: number("n"), e: number("e") };
    let (input, signature) = token.rsplit_once('.').unwrap();
    let scheme = &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    header["alg"] == "RS256" && public.verify(scheme, input.as_bytes(), &signature).is_ok()
}
