//! The example `bring_your_own_auth`: a login at the app's own page leads to the MCP client.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_scalekit::Sandbox;
use tower_scalekit::http_client::{HttpClient as _, ReqwestClient};
use url::Url;

use crate::app::{App, example};
use crate::browser::Browser;
use crate::processes::{Program, fresh_folder};

/// The redirect URI of a client on this machine, as of an editor.
async fn serve_client() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redirect_uri = format!("http://{}/callback", listener.local_addr().unwrap());
    let app = Router::new().route("/callback", get(|| async { "The client is authorized" }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    redirect_uri
}

#[tokio::test(flavor = "multi_thread")]
async fn each_login_leads_to_the_client() {
    let Some(browser) = Browser::open().await else { return };
    let settings = [("BIND", "127.0.0.1:0")];
    let program = Program::start(&example("bring_your_own_auth"), &[], &settings, fresh_folder());
    let app = App::listening(program);
    let sandbox = app.program.said("sandbox on ");
    let redirect_uri = serve_client().await;
    let resource = Sandbox::new().mcp().resource_id();
    let client = json!({
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code"],
        "token_endpoint_auth_method": "none",
    });
    let register = format!("{sandbox}/api/v1/resources/{resource}/clients:register");
    let register = Request::post(register).header(header::CONTENT_TYPE, "application/json");
    let register = register.body(Bytes::from(client.to_string())).unwrap();
    let client = ReqwestClient::new().unwrap().send(register).await.unwrap();
    let client: Value = serde_json::from_slice(client.body()).unwrap();
    let authorize = Url::parse_with_params(
        &format!("{sandbox}/resources/{resource}/oauth/authorize"),
        [
            ("response_type", "code"),
            ("client_id", client["client_id"].as_str().unwrap()),
            ("redirect_uri", &*redirect_uri),
            ("state", "a-state-that-nobody-guesses"),
            // That of RFC 7636, appendix B.
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("code_challenge_method", "S256"),
        ],
    );
    let authorize = authorize.unwrap();
    // Without a consent, the login page's form leads to the client by redirects only.
    for is_first in [true, false] {
        browser.go(authorize.as_str()).await;
        browser.shows(&["This is the app's own page"]).await;
        browser.type_into("#email", "jane@acme.test").await;
        browser.type_into("#password", "demo").await;
        browser.click("form button").await;
        if is_first {
            browser.click("button[value=allow]").await;
        }
        browser.shows(&["The client is authorized"]).await;
        assert!(browser.address().await.starts_with(&format!("{redirect_uri}?code=")));
    }
}
