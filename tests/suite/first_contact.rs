//! A new app without an account: the code of the example quick_start, and what it must not do.

use axum::Router;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use tower_scalekit::http_client::HttpClient as _;
use tower_scalekit::protected_resource::{ProtectedResource, ResourceId};
use tower_scalekit::webhook_verify::WebhookSecret;
use tower_scalekit::{Scalekit, SessionSecret, Sessions};

use crate::support::{JANE, NAVIGATION, Reading as _, request, send, set_cookies};

#[allow(dead_code, reason = "its main is not called")]
mod quick_start {
    include!("../../examples/quick_start/main.rs");

    pub(super) fn router(scalekit: Scalekit) -> Result<Router, ConfigError> {
        app(scalekit)
    }
}

const SANDBOX: &str = "must be on localhost, 127.0.0.1 or [::1] while the environment is a sandbox; \
                       set SCALEKIT_ENVIRONMENT_URL, SCALEKIT_CLIENT_ID and SCALEKIT_CLIENT_SECRET";

/// A browser with these cookies.
async fn get(app: &Router, url: &str, cookies: &mut Vec<String>) -> Response<Bytes> {
    let path = url.strip_prefix("http://localhost:3000").unwrap_or(url);
    let sent = cookies.join("; ");
    let host = [("host", "localhost:3000"), ("cookie", sent.as_str())];
    let response = send(app, request(Method::GET, path, &[&NAVIGATION[..], &host].concat())).await;
    let set = set_cookies(response.headers());
    cookies.extend(set.iter().map(|cookie| cookie.split(';').next().unwrap().to_owned()));
    response
}

#[tokio::test]
async fn a_new_app_logs_a_user_in_without_an_account() {
    let scalekit = Scalekit::from_env_or_sandbox().await.unwrap();
    let sandbox = scalekit.sandbox().unwrap().clone();
    let (app, mut cookies) = (quick_start::router(scalekit).unwrap(), Vec::new());
    let login = get(&app, "/", &mut cookies).await.location().to_owned();
    let authorize = get(&app, &login, &mut cookies).await.location().to_owned();
    assert!(authorize.starts_with("http://127.0.0.1:"), "{authorize}");
    let callback = sandbox.log_in(&authorize, JANE).unwrap();
    let done = get(&app, &callback, &mut cookies).await;
    assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(get(&app, "/", &mut cookies).await.text(), "Hello jane@acme.test");

    // The portals of the identity providers lead to this app.
    let connection = sandbox.connections().list().remove(0).id;
    let launch = sandbox.idp().login_url(connection.as_str()).unwrap();
    assert!(launch.starts_with("http://localhost:3000/login?"), "{launch}");
}

#[tokio::test]
async fn a_public_redirect_uri_is_rejected_with_a_started_sandbox() {
    let scalekit = Scalekit::from_env_or_sandbox().await.unwrap();
    let build = |redirect_uri: &str| {
        let builder = Sessions::builder(scalekit.clone()).redirect_uri(redirect_uri);
        builder.secret(SessionSecret::generate().unwrap()).build().map_err(|e| e.to_string())
    };
    for uri in ["https://app.example.com/cb", "https://10.0.0.1/cb", "https://localhost.test/cb"] {
        assert_eq!(build(uri).unwrap_err(), format!("redirect_uri: {SANDBOX}"));
    }
    for uri in ["http://127.0.0.1:3000/cb", "http://[::1]:3000/cb", "https://localhost/cb"] {
        assert!(build(uri).is_ok(), "{uri}");
    }
    let several = Sessions::builder(scalekit)
        .secret(SessionSecret::generate().unwrap())
        .redirect_uri("https://localhost/cb")
        .additional_redirect_uri("https://app.example.com/cb");
    let error = several.build().unwrap_err().to_string();
    assert_eq!(error, format!("additional_redirect_uri: {SANDBOX}"));
}

#[tokio::test]
async fn a_public_resource_url_is_rejected_with_a_started_sandbox() {
    let scalekit = Scalekit::from_env_or_sandbox().await.unwrap();
    let sandbox = scalekit.sandbox().unwrap();
    let id = sandbox.mcp().resource_id();
    let build = |url: &str| {
        let id = ResourceId::new(&id).unwrap();
        ProtectedResource::builder(&scalekit, url, id).build().map_err(|error| error.to_string())
    };
    let error = build("https://mcp.example.com/mcp").unwrap_err();
    assert_eq!(error, format!("resource URL: {SANDBOX}"));
    assert!(build("http://localhost:3000/mcp").is_ok());
    // The sandbox knows the URL from now on.
    let token = sandbox.tokens().resource_token(JANE, &id, &["todo:read"]);
    let verifier = build("http://localhost:3000/mcp").unwrap();
    let principal = verifier.verifier().verify(&token).await.unwrap();
    assert!(principal.raw_claims()["aud"].to_string().contains("http://localhost:3000/mcp"));
}

#[tokio::test]
async fn a_started_sandbox_has_the_resource_of_the_app() {
    let scalekit = Scalekit::from_env_or_sandbox().await.unwrap();
    let sandbox = scalekit.sandbox().unwrap();
    // The ID of the app's own environment, and scopes of its own.
    let id = ResourceId::new("res_999").unwrap();
    let resource = ProtectedResource::builder(&scalekit, "http://localhost:3000/mcp", id)
        .scopes(["notes:read"])
        .build()
        .unwrap();
    let client = scalekit.sandbox().unwrap().client();
    let metadata = async |id: &str| {
        let path = format!("/.well-known/oauth-authorization-server/resources/{id}");
        let url = format!("{}{path}", scalekit.environment_url());
        client.send(http::Request::get(url).body(Bytes::new()).unwrap()).await.unwrap()
    };
    let document: serde_json::Value =
        serde_json::from_slice(metadata("res_999").await.body()).unwrap();
    assert!(document["scopes_supported"].to_string().contains("notes:read"), "{document}");
    let token = sandbox.tokens().resource_token(JANE, "res_999", &["notes:read"]);
    let principal = resource.verifier().verify(&token).await.unwrap();
    assert!(principal.organization_id().is_some_and(|id| id.starts_with("org_")));

    let unknown = metadata("res_1").await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    let message = String::from_utf8_lossy(unknown.body()).into_owned();
    assert!(message.contains("The resources of this sandbox are: res_123456789, res_999"));
}

#[tokio::test]
async fn the_sandboxs_webhooks_are_signed_with_the_secret_of_the_app() {
    let scalekit = Scalekit::from_env_or_sandbox().await.unwrap();
    let url = "http://127.0.0.1:1/webhooks";
    let variable = "TOWER_SCALEKIT_NO_SUCH_VARIABLE";
    assert!(WebhookSecret::from_env_or_sandbox(variable, &scalekit, url).is_ok());
    scalekit.sandbox().unwrap().webhooks().emit("organization.created", serde_json::json!({}));
    assert_eq!(scalekit.sandbox().unwrap().webhooks().deliveries().len(), 1);

    let elsewhere = tower_scalekit::Sandbox::new().scalekit();
    assert!(elsewhere.sandbox().is_none());
    let unset = WebhookSecret::from_env_or_sandbox(variable, &elsewhere, url).unwrap_err();
    assert_eq!(unset.to_string(), "TOWER_SCALEKIT_NO_SUCH_VARIABLE is not set");
}

#[test]
fn a_generated_session_secret_is_for_development() {
    assert!(SessionSecret::from_env_or_generate("TOWER_SCALEKIT_NO_SUCH_VARIABLE").is_ok());
}
