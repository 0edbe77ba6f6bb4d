//! `bring_your_own_auth`: an MCP client's user logs in at the app's own page.

use std::fs;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use crate::noted::Secrets;
use crate::running::start;
use crate::visitor::Visitor;

// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CLIENT: &str = "http://127.0.0.1:33418/callback";

fn location(response: &Response<Bytes>) -> &str {
    response.headers()[header::LOCATION].to_str().unwrap()
}

fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn parameter(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    let found = url.query_pairs().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("{name} is not in {url}")).1.into_owned()
}

/// The URL that the page after the login continues at. A redirect would be blocked once it leads to
/// the client, which `form-action` does not allow.
fn continued(response: &Response<Bytes>, sandbox: &str) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    let refresh = response.headers()[header::REFRESH].to_str().unwrap();
    let url = refresh.strip_prefix("0; url=").unwrap();
    assert!(url.starts_with(&format!("{sandbox}/sso/v1/connections/conn_")), "{url}");
    let page = String::from_utf8_lossy(response.body()).into_owned();
    assert!(page.contains(&format!("<a href=\"{url}\">Continue</a>")), "{page}");
    url.to_owned()
}

async fn post_json(visitor: &Visitor, url: &str, body: &Value) -> Response<Bytes> {
    let request = Request::post(url).header("content-type", "application/json");
    visitor.send(request.body(Bytes::from(body.to_string())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_apps_own_login_calls_a_tool() {
    let settings = [("BIND", "127.0.0.1:0"), ("RUST_LOG", "trace")];
    let mut program = start("bring_your_own_auth", &[], &settings);
    let (app, sandbox) = (program.said("listening on "), program.said("sandbox on "));
    let secrets = Secrets::default();
    let visitor = Visitor::new(secrets.clone());
    let address = |path: &str| format!("{app}{path}");

    // A client discovers the authorization server, registers there, and opens a browser.
    let challenged = post_json(&visitor, &address("/mcp"), &json!({})).await;
    assert_eq!(challenged.status(), StatusCode::UNAUTHORIZED);
    let metadata = address("/.well-known/oauth-protected-resource/mcp");
    let metadata = json_of(&visitor.get(&metadata).await);
    let server = metadata["authorization_servers"][0].as_str().unwrap();
    let id = server.rsplit('/').next().unwrap();
    let client = json!({
        "redirect_uris": [CLIENT],
        "grant_types": ["authorization_code"],
        "token_endpoint_auth_method": "none",
    });
    let register = format!("{sandbox}/api/v1/resources/{id}/clients:register");
    let client = json_of(&post_json(&visitor, &register, &client).await);
    let client_id = client["client_id"].as_str().unwrap();
    let authorize = Url::parse_with_params(
        &format!("{sandbox}/resources/{id}/oauth/authorize"),
        [
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", CLIENT),
            ("state", "a-state-that-nobody-guesses"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ],
    );
    let authorize = authorize.unwrap();
    let delegated = visitor.get(authorize.as_str()).await;
    let login = location(&delegated).to_owned();
    assert!(login.starts_with(&address("/login?login_request_id=lri_")), "{login}");

    let page = visitor.get(&login).await;
    assert_eq!(page.status(), StatusCode::OK);
    let (request_id, state) = (parameter(&login, "login_request_id"), parameter(&login, "state"));
    secrets.add(&state);
    let page = String::from_utf8_lossy(page.body()).into_owned();
    assert!(page.contains(&format!("value=\"{state}\"")) && page.contains("password"), "{page}");
    for target in ["/login", "/login?state=x", "/login?login_request_id=x&state=y&state=z"] {
        let rejected = visitor.get(&address(target)).await;
        assert_eq!(rejected.status(), StatusCode::BAD_REQUEST, "{target}");
    }
    let form = |request_id, password| {
        [
            ("login_request_id", request_id),
            ("state", &*state),
            ("email", "jane@acme.test"),
            ("password", password),
        ]
    };
    let wrong = visitor.post(&address("/login"), &form(&request_id, "guess")).await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let text = String::from_utf8_lossy(wrong.body()).into_owned();
    assert!(text.contains("is wrong") && !text.contains("guess"), "{text}");
    let unknown = visitor.post(&address("/login"), &form("lri_1", "demo")).await;
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST);
    let foreign = Request::post(address("/login")).header("origin", "https://evil.test");
    let foreign = foreign.header("content-type", "application/x-www-form-urlencoded");
    let rejected = visitor.send(foreign.body(Bytes::new()).unwrap()).await;
    assert_eq!(rejected.status(), StatusCode::FORBIDDEN);

    let returns = visitor.post(&address("/login"), &form(&request_id, "demo")).await;
    let consent = visitor.get(&continued(&returns, &sandbox)).await;
    let consent = visitor.get(&format!("{sandbox}{}", location(&consent))).await;
    let consent = String::from_utf8_lossy(consent.body()).into_owned();
    assert!(consent.contains("jane@acme.test"), "{consent}");
    let transaction = consent.split("name=\"transaction\" value=\"").nth(1).unwrap();
    let transaction = transaction.split('"').next().unwrap();
    let fields = [("transaction", transaction), ("action", "allow")];
    let allowed = visitor.post(&format!("{sandbox}/consent"), &fields).await;

    let code = parameter(location(&allowed), "code");
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", CLIENT),
        ("client_id", client_id),
        ("code_verifier", VERIFIER),
    ];
    let tokens = visitor.post(&format!("{sandbox}/resources/{id}/oauth/token"), &fields).await;
    let tokens = json_of(&tokens);
    let token = tokens["access_token"].as_str().unwrap();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami"}}"#;
    let called = visitor.call(Method::POST, &address("/mcp"), token, call).await;
    let result = json_of(&called);
    let user = result["result"]["content"][0]["text"].as_str().unwrap();
    assert!(user.starts_with("usr_"), "{result}");

    // The next login leads to the client at once.
    let login = location(&visitor.get(authorize.as_str()).await).to_owned();
    let (id, again) = (parameter(&login, "login_request_id"), parameter(&login, "state"));
    secrets.add(&again);
    let fields = [
        ("login_request_id", &*id),
        ("state", &*again),
        ("email", "jane@acme.test"),
        ("password", "demo"),
    ];
    let returns = visitor.post(&address("/login"), &fields).await;
    let back = visitor.get(&continued(&returns, &sandbox)).await;
    assert!(location(&back).starts_with(&format!("{CLIENT}?code=")), "{}", location(&back));
    secrets.add(&parameter(location(&back), "code"));

    program.terminate();
    assert_eq!(program.ended().code(), Some(0));
    let output = fs::read_to_string(program.folder().join("stdout")).unwrap();
    secrets.assert_absent("standard output", &output);
    secrets.assert_absent("standard error", &program.errors());
    assert!(secrets.count() >= 5, "hardly a secret: {}", secrets.count());
}
