//! Tests of both SDKs with the sandbox, through their driver scripts.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::process::Command;
use tower_scalekit::Sandbox;
use tower_scalekit::api::connected_accounts::AccountKey;
use tower_scalekit::sandbox::{SandboxServer, TokenFault};
use url::Url;

use super::support::{Browser, Program, serve};

const REDIRECT_URI: &str = "http://localhost:3000/auth/callback";
const LOGGED_OUT_URI: &str = "http://localhost:3000/bye";
const JANE: &str = "jane@acme.test";

/// A client of an SDK, in a process of its own.
pub(crate) struct Sdk {
    program: Program,
    pub(crate) sandbox: Sandbox,
    _server: SandboxServer,
}

impl Sdk {
    /// Starts a driver script with a new sandbox; `None` if its program is not installed.
    pub(crate) async fn start(command: &mut Command) -> Option<Self> {
        let sandbox = Sandbox::builder().access_token_lifetime(Duration::from_secs(299)).build();
        let server = serve(&sandbox).await;
        command
            .env("SCALEKIT_ENVIRONMENT_URL", server.environment_url())
            .env("SCALEKIT_CLIENT_ID", sandbox.client_id())
            .env("SCALEKIT_CLIENT_SECRET", sandbox.client_secret().expose());
        let program = Program::start(command)?;
        Some(Self { program, sandbox, _server: server })
    }

    async fn try_call(&mut self, name: &str, arguments: &Value) -> Result<Value, String> {
        let mut response = self.program.ask(&json!([name, arguments])).await;
        match response.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(response["ok"].take()),
        }
    }

    async fn call(&mut self, name: &str, arguments: Value) -> Value {
        self.try_call(name, &arguments).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    async fn is_valid(&mut self, token: &str, options: Value) -> bool {
        let mut arguments = options;
        arguments["token"] = token.into();
        self.call("isValid", arguments).await.as_bool().unwrap()
    }

    /// A login whose authorization URL and code exchange come from the SDK, with `pkce` as
    /// additional parameters of both. Returns the arguments of the exchange, and the profile and
    /// tokens.
    async fn log_in(&mut self, pkce: [Value; 2]) -> (Value, Value) {
        let [mut challenge, mut exchange] = pkce;
        challenge["redirectUri"] = REDIRECT_URI.into();
        challenge["scopes"] = json!(["openid", "profile", "email", "offline_access"]);
        challenge["state"] = "st ate+/=&".into();
        challenge["nonce"] = "n-0S6_WzA2Mj".into();
        let url = text(&self.call("authorizationUrl", challenge).await);
        let callback = self.sandbox.log_in(&url, JANE).unwrap();
        assert!(callback.starts_with(REDIRECT_URI), "{callback}");
        let returned = query(&callback);
        assert_eq!(returned["state"], "st ate+/=&");

        exchange["code"] = returned["code"].as_str().into();
        exchange["redirectUri"] = REDIRECT_URI.into();
        let tokens = self.call("exchange", exchange.clone()).await;
        (exchange, tokens)
    }
}

/// Declares tests of this module for an SDK, which `start` of its module starts.
macro_rules! tests {
    ($($test:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                let Some(mut sdk) = start().await else { return };
                sdk::$test(&mut sdk).await;
            }
        )+
    };
}
pub(crate) use tests;

/// A login with these parameters returns a profile and valid tokens.
pub(crate) async fn a_user_logs_in(sdk: &mut Sdk, pkce: [Value; 2]) {
    let (exchange, tokens) = sdk.log_in(pkce).await;
    let jane = sdk.sandbox.users().get(JANE).unwrap();
    let profile = json!({
        "id": jane.id, "email": JANE, "emailVerified": true,
        "name": "Jane Roe", "givenName": "Jane", "familyName": "Roe",
    });
    for (name, value) in profile.as_object().unwrap() {
        assert_eq!(tokens["user"][name], *value, "{name}");
    }
    assert_eq!(tokens["expiresIn"], 299);

    let ours = json!({
        "token": tokens["idToken"], "issuer": sdk.sandbox.environment_url(),
        "audience": [sdk.sandbox.client_id()],
    });
    assert_eq!(sdk.call("claims", ours.clone()).await["nonce"], "n-0S6_WzA2Mj");
    let access_token = text(&tokens["accessToken"]);
    assert!(sdk.is_valid(&access_token, ours.clone()).await);
    let claims = sdk.call("claims", json!({ "token": access_token })).await;
    assert_eq!(claims["sub"], jane.id);
    assert_eq!(claims["oid"], jane.organization_id);
    assert_eq!(claims["client_id"], sdk.sandbox.client_id());
    assert_eq!(claims["roles"], json!(["admin"]));
    assert_eq!(claims["permissions"], json!(["workspace_data:read", "workspace_data:write"]));

    let own = text(&sdk.call("clientToken", json!({})).await);
    assert!(sdk.is_valid(&own, json!({ "issuer": sdk.sandbox.environment_url() })).await);

    // A code works once; a second use revokes the tokens of the first.
    sdk.try_call("exchange", &exchange).await.unwrap_err();
    let refresh = json!({ "refreshToken": tokens["refreshToken"] });
    sdk.try_call("refresh", &refresh).await.unwrap_err();
}

/// Tokens of the sandbox are accepted, and others rejected.
pub(crate) async fn tokens_are_validated(sdk: &mut Sdk) {
    let (sandbox, anything) = (sdk.sandbox.clone(), json!({}));
    let good = sandbox.tokens().access_token(JANE);
    assert!(sdk.is_valid(&good, anything.clone()).await);

    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = head.split_once('.').unwrap();
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    claims["roles"] = json!(["owner"]);
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    assert!(!sdk.is_valid(&format!("{header}.{claims}.{signature}"), anything.clone()).await);

    for fault in [
        TokenFault::Expired,
        TokenFault::InvalidSignature,
        TokenFault::NotYetValid,
        TokenFault::SignedWithClientSecret,
        TokenFault::SignedWithPublicKey,
        TokenFault::UnknownKeyId,
        TokenFault::Unsigned,
    ] {
        let mut draft = sandbox.tokens().access_token_draft(JANE);
        fault.apply(&mut draft);
        let token = sandbox.tokens().sign_draft(&draft);
        assert!(!sdk.is_valid(&token, anything.clone()).await, "{fault:?}");
    }

    let ours = json!({
        "issuer": sandbox.environment_url(), "audience": [sandbox.client_id()],
    });
    assert!(sdk.is_valid(&good, ours.clone()).await);
    for fault in [
        TokenFault::InvalidAudience,
        TokenFault::InvalidIssuer,
        TokenFault::MissingAudience,
        TokenFault::MissingIssuer,
    ] {
        let mut draft = sandbox.tokens().access_token_draft(JANE);
        fault.apply(&mut draft);
        let token = sandbox.tokens().sign_draft(&draft);
        assert!(sdk.is_valid(&token, anything.clone()).await, "{fault:?}");
        assert!(!sdk.is_valid(&token, ours.clone()).await, "{fault:?}");
    }
}

/// A refresh token is exchanged for a new one; late reuse revokes them all.
pub(crate) async fn tokens_are_refreshed(sdk: &mut Sdk) {
    let (_, tokens) = sdk.log_in([json!({}), json!({})]).await;
    sdk.sandbox.users().update(JANE, |jane| jane.roles = vec!["owner".to_owned()]);
    let spent = json!({ "refreshToken": tokens["refreshToken"] });
    let refreshed = sdk.call("refresh", spent.clone()).await;
    assert_ne!(refreshed["refreshToken"], tokens["refreshToken"]);
    assert_ne!(refreshed["accessToken"], tokens["accessToken"]);
    let claims = sdk.call("claims", json!({ "token": refreshed["accessToken"] })).await;
    assert_eq!(claims["roles"], json!(["owner"]));

    let newest = json!({ "refreshToken": refreshed["refreshToken"] });
    let newest = json!({ "refreshToken": sdk.call("refresh", newest).await["refreshToken"] });
    sdk.sandbox.clock().advance(Duration::from_secs(31));
    sdk.try_call("refresh", &spent).await.unwrap_err();
    sdk.try_call("refresh", &newest).await.unwrap_err();
}

/// The token of an IdP-initiated login contains the login hint and the connection.
pub(crate) async fn idp_initiated_logins_are_decoded(sdk: &mut Sdk) {
    let sandbox = sdk.sandbox.clone();
    let acme = sandbox.connections().list().remove(0);
    let form =
        [("action", "login"), ("login_hint", JANE), ("relay_state", "/re ports?a=1&b=\u{fc}")];
    let portal = format!("{}/idp/{}", sandbox.environment_url(), acme.id);
    for (initiate_login_url, issuer) in [
        ("http://localhost:3000/login", "http://localhost:3000"),
        ("https://app.example.com/login?from=idp", "https://app.example.com"),
    ] {
        sandbox.idp().set_initiate_login_url(initiate_login_url);
        let browser = Browser::new();
        let response = browser.submit_once(&browser.get(&portal).await, &form).await;
        assert_eq!(response.status, 303, "{response:?}");
        let location = response.location();
        assert!(location.as_str().starts_with(initiate_login_url), "{location}");
        let token = query(location.as_str())["idp_initiated_login"].clone();
        for expected_issuer in [json!({}), json!({ "issuer": issuer })] {
            let mut arguments = expected_issuer;
            arguments["token"] = token.as_str().into();
            let claims = sdk.call("loginClaims", arguments).await;
            assert_eq!(claims["connection_id"], acme.id);
            assert_eq!(claims["organization_id"], acme.organization_id);
            assert_eq!(claims["login_hint"], JANE);
            assert_eq!(claims["relay_state"], form[2].1);
            assert_eq!(claims["iss"], issuer);
        }
        let other_issuer = json!({ "token": token, "issuer": "https://evil.test" });
        sdk.try_call("loginClaims", &other_issuer).await.unwrap_err();
    }
    for fault in [TokenFault::Expired, TokenFault::InvalidSignature, TokenFault::Unsigned] {
        let mut draft = sandbox.idp().login_token_draft(acme.id.as_str());
        fault.apply(&mut draft);
        let token = sandbox.tokens().sign_draft(&draft);
        sdk.try_call("loginClaims", &json!({ "token": token })).await.unwrap_err();
    }
}

/// The sandbox accepts the SDK's logout URL, ends the session and redirects the browser.
pub(crate) async fn a_user_logs_out(sdk: &mut Sdk) {
    let (_, tokens) = sdk.log_in([json!({}), json!({})]).await;
    let refresh = json!({ "refreshToken": tokens["refreshToken"] });
    let refresh = json!({ "refreshToken": sdk.call("refresh", refresh).await["refreshToken"] });
    let arguments = json!({
        "idTokenHint": tokens["idToken"], "postLogoutRedirectUri": LOGGED_OUT_URI,
        "state": "so long",
    });
    let url = text(&sdk.call("logoutUrl", arguments).await);
    let response = Browser::new().get(&url).await;
    assert_eq!(response.status, 302, "{response:?}");
    assert_eq!(response.location().as_str(), format!("{LOGGED_OUT_URI}?state=so+long"));
    sdk.try_call("refresh", &refresh).await.unwrap_err();
}

/// A call through the proxy returns the same response as with this crate, including errors of the
/// service.
pub(crate) async fn the_proxy_returns_the_same_responses(sdk: &mut Sdk) {
    sdk.sandbox.connected_accounts().add("gmail", "user_123");
    let tools = sdk.sandbox.scalekit().api().tools();
    let path = "/gmail/v1/users/me/messages";
    let query = json!({ "q": "is:unread from:acme", "maxResults": 3 });
    let theirs = json!({
        "connectionName": "gmail", "identifier": "user_123", "path": path, "queryParams": query,
    });
    let theirs = sdk.call("proxy", theirs).await;
    let ours = http::Request::get(format!("{path}?q=is:unread+from:acme&maxResults=3"));
    let user = AccountKey::new("gmail", "user_123");
    let ours = tools.proxy(&user, ours.body("").unwrap()).await.unwrap();
    assert_eq!(theirs["status"], ours.status().as_u16());
    assert_eq!(theirs["data"], serde_json::from_slice::<Value>(ours.body()).unwrap());
    assert_eq!(theirs["data"]["messages"].as_array().map(Vec::len), Some(3));
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn query(url: &str) -> HashMap<String, String> {
    Url::parse(url).unwrap().query_pairs().into_owned().collect()
}
