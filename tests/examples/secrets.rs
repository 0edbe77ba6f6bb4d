//! Output of the examples with `RUST_LOG=trace`, including that of all their crates, in success and
//! in failure.
//!
//! A new example gets a test of its own: start it, use it, and assert that its output contains no
//! secret.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde_json::Value;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::{DeliveryState, Endpoint, Fault, NewIdpInitiatedLogin};

use crate::noted::Secrets;
use crate::running::start;
use crate::sso::ADMINISTRATORS;
use crate::visitor::Visitor;
use crate::watched::{JANE, Watched};

#[test]
fn every_example_is_tested() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in fs::read_dir(examples).unwrap() {
        let folder = entry.unwrap();
        if folder.path().join("main.rs").is_file() {
            let name = folder.file_name().into_string().unwrap();
            // `postgres_store` calls no environment, `aws_lambda` and `quick_start` have no log.
            let sources = [
                include_str!("agent.rs"),
                include_str!("aws_lambda.rs"),
                include_str!("bring_your_own_auth.rs"),
                include_str!("grpc_service.rs"),
                include_str!("secrets.rs"),
                include_str!("postgres.rs"),
                include_str!("prometheus.rs"),
                include_str!("quick_start.rs"),
            ];
            let is_started = |source: &str| source.contains(&format!("\"{name}\", &["));
            assert!(sources.into_iter().any(is_started), "{name} is not started here");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn saaskit_prints_no_secret() {
    let saaskit = Watched::start("saaskit", &[]).await;
    fail_to_log_in(&saaskit, "/login").await;
    saaskit.log_in("/login?return_to=/dashboard").await;
    for path in ["/", "/dashboard", "/api/me", "/api/admin"] {
        assert_eq!(saaskit.visitor.get(&saaskit.address(path)).await.status(), StatusCode::OK);
    }
    saaskit.visitor.post(&saaskit.address("/auth/refresh"), &[]).await;
    assert_eq!(saaskit.sandbox.requests().refreshes(), 1);
    for fault in [Fault::Html, Fault::Status(StatusCode::BAD_GATEWAY)] {
        saaskit.sandbox.faults().add_times(Endpoint::Token, 1, fault);
        saaskit.visitor.post(&saaskit.address("/auth/refresh"), &[]).await;
    }
    deliver_webhook(&saaskit, "/webhooks/scalekit").await;
    let out = saaskit.visitor.post(&saaskit.address("/logout"), &[]).await;
    assert!(out.status().is_redirection(), "{out:?}");
    let events = ["login_failed", "login_completed", "session_refreshed", "webhook_received"];
    saaskit.assert_discreet(&events, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn login_prints_no_secret() {
    let login = Watched::start("login", &[]).await;
    fail_to_log_in(&login, "/login").await;
    login.log_in("/login?login_hint=jane@acme.test&prompt=login&return_to=/api/me").await;
    let me = login.visitor.get(&login.address("/api/me")).await;
    assert_eq!(me.status(), StatusCode::OK);
    login.visitor.post(&login.address("/auth/refresh"), &[]).await;
    assert_eq!(login.sandbox.requests().refreshes(), 1);
    login.visitor.post(&login.address("/logout"), &[]).await;
    login.assert_discreet(&["login_failed", "login_completed"], 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forward_auth_prints_no_secret() {
    let app = Watched::start("forward_auth", &[]).await;
    fail_to_log_in(&app, "/login").await;
    app.log_in("/login").await;
    let verified = app.visitor.get(&app.address("/auth/verify")).await;
    assert_eq!(verified.status(), StatusCode::INTERNAL_SERVER_ERROR, "no headers of nginx");
    app.visitor.post(&app.address("/auth/refresh"), &[]).await;
    app.visitor.post(&app.address("/logout"), &[]).await;
    app.assert_discreet(&["login_failed", "login_completed"], 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_server_prints_no_secret() {
    let server = Watched::start("mcp_server", &[]).await;
    let (url, id) = (server.address("/mcp"), server.sandbox.mcp().resource_id());
    server.sandbox.mcp().set_resource_url(&id, &url);
    let token = server.sandbox.tokens().resource_token(JANE, &id, &["todo:read", "todo:write"]);
    let weak = server.sandbox.tokens().resource_token(JANE, &id, &["todo:read"]);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_todo","arguments":{"title":"Buy milk"}}}"#;
    for (token, status) in [
        (token.as_str(), StatusCode::OK),
        (&weak, StatusCode::FORBIDDEN),
        (&format!("{token}x"), StatusCode::UNAUTHORIZED),
        ("a-token-that-is-none", StatusCode::UNAUTHORIZED),
    ] {
        let response = server.visitor.call(Method::POST, &url, token, call).await;
        assert_eq!(response.status(), status, "{response:?}");
    }
    server.assert_discreet(&["token_verified", "request_rejected", "key_set_fetched"], 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hyper_service_prints_no_secret() {
    let service = Watched::start("hyper_service", &[]).await;
    let token = service.sandbox.tokens().access_token(JANE);
    for (token, status) in
        [(token.as_str(), StatusCode::OK), ("a-token-that-is-none", StatusCode::UNAUTHORIZED)]
    {
        let response = service.visitor.call(Method::GET, &service.address("/"), token, "").await;
        assert_eq!(response.status(), status, "{response:?}");
    }
    service.assert_discreet(&["token_verified", "request_rejected"], 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scim_prints_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("users.sqlite").display());
    let scim = Watched::start("scim", &[("DATABASE_URL", &database)]).await;
    scim.program.said("synced ");
    deliver_webhook(&scim, "/webhook").await;
    assert!(!scim.visitor.get(&scim.address("/users")).await.status().is_success());
    scim.log_in("/login").await;
    assert_eq!(scim.visitor.get(&scim.address("/users")).await.status(), StatusCode::OK);
    scim.assert_discreet(&["webhook_received"], 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sso_prints_no_secret() {
    let environment = Sandbox::builder().modular_sso();
    let sso = Watched::start_at(environment, "sso", &[ADMINISTRATORS]).await;
    fail_to_log_in(&sso, "/login?domain_hint=acme.test").await;
    let found = sso.visitor.get(&sso.address("/sso?email=jane@acme.test")).await;
    assert!(found.status().is_redirection(), "{found:?}");
    let connection = &sso.sandbox.organizations().list()[0].connection_id;
    let idp_login =
        sso.sandbox.idp().login_token(NewIdpInitiatedLogin::new(connection).login_hint(JANE));
    sso.log_in(&format!("/login?idp_initiated_login={idp_login}")).await;
    for path in ["/", "/api/me", "/admin-portal"] {
        assert_eq!(sso.visitor.get(&sso.address(path)).await.status(), StatusCode::OK, "{path}");
    }
    sso.visitor.post(&sso.address("/logout"), &[]).await;
    sso.assert_discreet(&["login_failed", "login_completed"], 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwordless_prints_no_secret() {
    let app = Watched::start("passwordless", &[]).await;
    let send = app.address("/passwordless/send");
    let verify = app.address("/passwordless/verify");
    for fault in [Fault::Html, Fault::Status(StatusCode::BAD_GATEWAY)] {
        app.sandbox.faults().add_times(Endpoint::Api, 1, fault);
        app.visitor.post(&send, &[("email", JANE)]).await;
    }
    let sent = app.visitor.post(&send, &[("email", JANE), ("return_to", "/api/me")]).await;
    assert!(sent.status().is_redirection(), "{sent:?}");
    let code = app.sandbox.mail().outbox().remove(0).code.unwrap();
    app.secrets.add_word(&code);
    let again = app.visitor.post(&app.address("/passwordless/resend"), &[]).await;
    assert!(again.status().is_redirection(), "{again:?}");
    let wrong = app.visitor.post(&verify, &[("code", &format!("{code}0"))]).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    let done = app.visitor.post(&verify, &[("code", &code)]).await;
    assert!(done.status().is_redirection(), "{done:?}");

    app.visitor.post(&send, &[("email", "ada@acme.test")]).await;
    let link = app.sandbox.mail().outbox().remove(0).link.unwrap();
    app.sandbox.faults().add_times(Endpoint::Api, 1, Fault::Status(StatusCode::BAD_GATEWAY));
    assert!(app.visitor.get(&link).await.status().is_server_error());
    let done = app.visitor.get(&link).await;
    assert!(done.status().is_redirection(), "{done:?}");
    // In another browser: there is no attempt any more.
    assert_eq!(app.visitor.get(&link).await.status(), StatusCode::OK);
    let (_, token) = link.split_once("link_token=").unwrap();
    let used = app.visitor.post(&verify, &[("link_token", token), ("page", "a page")]).await;
    assert_eq!(used.status(), StatusCode::BAD_REQUEST);
    app.visitor.post(&app.address("/logout"), &[]).await;
    app.assert_discreet(&["login_failed", "login_completed", "internal_error"], 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_prints_no_secret() {
    let setup = Watched::run("setup", &[], &[]).await;
    setup.program.said("Name of the first organization: ");
    setup.assert_discreet(&[], 6).await;
}

/// The sandbox prints its settings, and no other secret.
#[tokio::test(flavor = "multi_thread")]
async fn sandbox_prints_its_settings_and_no_other_secret() {
    let settings =
        [("BIND", "127.0.0.1:0"), ("RUST_LOG", "trace"), ("WEBHOOK_URL", "http://x.test")];
    let mut program = start("sandbox", &[], &settings);
    let url = program.said("sandbox on ");
    let secrets = Secrets::default();
    let visitor = Visitor::new(secrets.clone());
    let settings = program.errors();
    let setting = |name: &str| {
        let mut lines = settings.lines();
        lines.find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap().to_owned()
    };
    let (id, secret) = (setting("SCALEKIT_CLIENT_ID"), setting("SCALEKIT_CLIENT_SECRET"));

    let asked = form_urlencoded(&[
        ("response_type", "code"),
        ("client_id", &id),
        ("redirect_uri", "http://localhost:3000/callback"),
        ("scope", "openid offline_access"),
        ("state", "a-state-that-nobody-guesses"),
        ("nonce", "a-nonce-that-nobody-guesses"),
    ]);
    let page = visitor.get(&format!("{url}/oauth/authorize?{asked}")).await;
    let page = String::from_utf8(page.into_body().to_vec()).unwrap();
    let transaction = page.split("name=\"transaction\" value=\"").nth(1).unwrap();
    let transaction = transaction.split('"').next().unwrap();
    secrets.add(transaction);
    let fields = [("transaction", transaction), ("email", JANE)];
    let back = visitor.post(&format!("{url}/login"), &fields).await;
    let back = back.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap();

    let token = |fields: &[(&str, &str)]| {
        let own = [("client_id", id.as_str()), ("client_secret", secret.as_str())];
        let form = form_urlencoded(&[&own[..], fields].concat());
        let request = Request::post(format!("{url}/oauth/token"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .unwrap();
        let responded = visitor.send(request);
        async { serde_json::from_slice::<Value>(responded.await.body()).unwrap() }
    };
    let redirect = ("redirect_uri", "http://localhost:3000/callback");
    let grant = ("grant_type", "authorization_code");
    let tokens = token(&[grant, ("code", code), redirect]).await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let grant = ("grant_type", "refresh_token");
    let tokens = token(&[grant, ("refresh_token", refresh_token)]).await;
    assert!(tokens["access_token"].is_string(), "{tokens}");
    let own = token(&[("grant_type", "client_credentials")]).await;
    let bearer = own["access_token"].as_str().unwrap();
    let organizations = format!("{url}/api/v1/organizations");
    assert_eq!(
        visitor.call(Method::GET, &organizations, bearer, "").await.status(),
        StatusCode::OK
    );

    program.terminate();
    assert_eq!(program.ended().code(), Some(0));
    let output = fs::read_to_string(program.folder().join("stdout")).unwrap();
    let (mut printed, mut rest) = (Vec::new(), Vec::new());
    for line in program.errors().lines() {
        let lines = if line.starts_with("SCALEKIT_") { &mut printed } else { &mut rest };
        lines.push(line.to_owned());
    }
    assert_eq!(printed.len(), 4, "{printed:?}");
    assert!(secrets.count() >= 10);
    assert!(secrets.shown(&printed.join("\n")).is_some(), "what is printed is found");
    secrets.add(&setting("SCALEKIT_WEBHOOK_SECRET"));
    secrets.assert_absent("standard output", &output);
    secrets.assert_absent("standard error", &rest.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn agentkit_prints_no_secret() {
    let agentkit = Watched::run("agentkit", &["--yes"], &[]).await;
    agentkit.program.said("5 unread mails");
    agentkit.assert_discreet(&[], 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agentkit_as_a_web_app_prints_no_secret() {
    let agent = Watched::start_with(Sandbox::builder(), "agentkit", &["--serve"], &[]).await;
    agent.sandbox.connected_accounts().require_user_verification(true);
    agent.log_in("/login").await;
    for forged in ["x", ""] {
        let begun = agent.visitor.post(&agent.address("/connect/gmail"), &[]).await;
        let link = begun.headers()[header::LOCATION].to_str().unwrap();
        agent.secrets.add(link.rsplit('/').next().unwrap());
        let returned = agent.sandbox.consent(link).unwrap();
        agent.visitor.get(&format!("{returned}{forged}")).await;
    }
    let home = agent.visitor.get(&agent.address("/")).await;
    assert!(String::from_utf8_lossy(home.body()).contains("unread"), "{home:?}");
    agent.assert_discreet(&["account_not_connected", "login_completed"], 20).await;
}

/// A forged callback, one whose code cannot be exchanged, and logins that the environment rejects.
async fn fail_to_log_in(app: &Watched, login: &str) {
    let stranger = "/auth/callback?code=a-code-that-nobody-gave&state=a-state-that-nobody-had";
    let rejected = app.visitor.get(&app.address(stranger)).await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
    for fault in [Fault::Html, Fault::Status(StatusCode::BAD_GATEWAY)] {
        let callback = app.authorize(login).await;
        app.sandbox.faults().add_times(Endpoint::Token, 1, fault);
        let rejected = app.visitor.get(&callback).await;
        assert!(!rejected.status().is_redirection(), "{rejected:?}");
    }
    app.visitor.get(&app.address("/login?error=access_denied&error_description=x")).await;
}

/// A duplicate event, and an unsigned one.
async fn deliver_webhook(app: &Watched, path: &str) {
    app.deliver_webhooks_to(path);
    let directory =
        app.sandbox.directories().first_id(&app.sandbox.organizations().list()[0].id).unwrap();
    app.sandbox.directories().add_user(&directory, "ada@acme.test");
    app.sandbox.webhooks().deliver_due().await;
    let delivery = app.sandbox.webhooks().deliveries().remove(0);
    assert_eq!(delivery.state, DeliveryState::Delivered);
    app.secrets.add(std::str::from_utf8(&delivery.body).unwrap());
    assert!(app.sandbox.webhooks().redeliver(&delivery.message_id));
    app.sandbox.webhooks().deliver_due().await;
    let forged = Request::post(app.address(path))
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", "1900000000")
        .header("webhook-signature", "v1,a-signature-of-somebody-else")
        .body(delivery.body);
    let rejected = app.visitor.send(forged.unwrap()).await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
}

fn form_urlencoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}
