//! Logs and spans at the level `TRACE` of a mix of all flows: no secret, no e-mail address, no
//! address of a client.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tower_scalekit::api::api_keys::NewApiKey;
use tower_scalekit::sandbox::NewIdpInitiatedLogin;
use tower_scalekit::session::Deprovisioning;
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{
    ConnectAccount, IdpInitiatedRedirect, PasswordlessLogin, RequireToken, WebhookVerify,
};
use url::form_urlencoded;

use super::{Captured, Setting};
use crate::backchannel::logout_token;
use crate::deprovisioning::event;
use crate::support::{Browser, FETCH, JANE, JOHN, NAVIGATION, Reading as _, parameter, send};
use crate::webhooks::{self, signed};

/// The addresses of the client, and of a proxy.
const ADDRESSES: [&str; 2] = ["203.0.113.77", "198.51.100.88"];
const FORM: [(&str, &str); 4] = [
    ("accept", "text/html"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("content-type", "application/x-www-form-urlencoded"),
];

/// Sends a request through a proxy, as the server sees it.
async fn proxied(browser: &mut Browser, mut request: Request<Body>) -> Response<Bytes> {
    let [client, proxy] = ADDRESSES;
    let headers = request.headers_mut();
    headers.insert("x-forwarded-for", client.parse().unwrap());
    headers.insert("x-real-ip", client.parse().unwrap());
    headers.insert("forwarded", format!("for={client}").parse().unwrap());
    let peer: SocketAddr = format!("{proxy}:4711").parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = send(browser.app(), request).await;
    browser.store_cookies(&response);
    response
}

async fn open(browser: &mut Browser, target: &str) -> Response<Bytes> {
    let request = browser.request(Method::GET, target, &NAVIGATION);
    proxied(browser, request).await
}

async fn submit(browser: &mut Browser, path: &str, form: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = browser.request(Method::POST, path, &FORM);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    *request.body_mut() = body.into();
    proxied(browser, request).await
}

#[tokio::test]
async fn no_flow_logs_a_secret_an_email_address_or_the_address_of_a_client() {
    let captured = Captured::default();
    let _guard = captured.subscribe();
    let setting = Setting::new();
    let Setting { sandbox, sessions, secrets, .. } = &setting;
    sandbox.connected_accounts().require_user_verification(true);
    let passwordless =
        PasswordlessLogin::builder(sessions).start_page("/in").code_page("/code").build().unwrap();
    let connect = ConnectAccount::builder(sessions, "gmail").build().unwrap();
    let scalekit = sessions.scalekit();
    let verifier = scalekit.token_verifier().audience(sandbox.client_id()).build().unwrap();
    let keys = tower_scalekit::require_token::ApiKeyVerifier::new(scalekit);
    let api = get(async || "in").layer(RequireToken::new(verifier).api_keys(&keys));
    let verified = WebhookVerify::new(webhooks::secret(1)).clock(sandbox.clock().clock());
    let hook = post(async |_: WebhookEvent| ()).layer(verified);
    let app = setting
        .app
        .clone()
        .merge(passwordless.routes())
        .merge(connect.routes())
        .route("/api", api)
        .route("/webhook", hook)
        .layer(IdpInitiatedRedirect::new(sessions));

    // Logins: with a hint, at another state, by an identity provider.
    let mut jane = Browser::new(&app, sandbox);
    let begun = open(&mut jane, &format!("/login?login_hint={JANE}&return_to=/me")).await;
    let authorization = begun.location().to_owned();
    for name in ["state", "nonce"] {
        secrets.add(&parameter(&authorization, name).unwrap());
    }
    setting.add_cookies(&jane);
    let callback = sandbox.log_in(&authorization, JANE).unwrap();
    secrets.add(&parameter(&callback, "code").unwrap());
    assert_eq!(open(&mut Browser::new(&app, sandbox), &callback).await.status(), 400);
    assert_eq!(open(&mut jane, &callback).await.status(), StatusCode::SEE_OTHER);
    setting.add_cookies(&jane);
    let connection = &sandbox.organizations().list()[0].connection_id;
    let initiated =
        sandbox.idp().login_token(NewIdpInitiatedLogin::new(connection).login_hint(JOHN));
    secrets.add(&initiated);
    for _ in 0..2 {
        let mut john = Browser::new(&app, sandbox);
        open(&mut john, &format!("/login?idp_initiated_login={initiated}")).await;
        open(&mut john, &format!("/login?idp_initiated_login={initiated}x")).await;
    }

    // By e-mail: a wrong code, then the right one; a link in another browser.
    let mut ada = Browser::new(&app, sandbox);
    let sent = submit(&mut ada, passwordless.send_path(), &[("email", "ada@acme.test")]).await;
    let attempt = parameter(sent.location(), "attempt").unwrap();
    let mail = sandbox.mail().outbox().remove(0);
    secrets.add_word(mail.code.as_deref().unwrap());
    let link = mail.link.unwrap();
    secrets.add(link.split_once("link_token=").unwrap().1);
    setting.add_cookies(&ada);
    for code in ["000000x", mail.code.as_deref().unwrap()] {
        let form = [("code", code), ("attempt", &attempt)];
        submit(&mut ada, passwordless.verify_path(), &form).await;
    }
    setting.add_cookies(&ada);
    open(&mut Browser::new(&app, sandbox), link.strip_prefix("https://app.example.com").unwrap())
        .await;

    // A connected account, and another user's callback.
    let begun = submit(&mut jane, "/connect/gmail", &[]).await;
    let callback = sandbox.consent(begun.location()).unwrap();
    secrets.add(&parameter(&callback, "state").unwrap());
    open(&mut jane, &callback).await;
    open(&mut ada, &callback).await;

    // Bearer tokens and API keys.
    let user = sandbox.users().get(JANE).unwrap();
    let mut new = NewApiKey::new(&user.organization_id);
    new.user_id = Some(user.id);
    let key = scalekit.api().api_keys().create(&new).await.unwrap();
    let token = sandbox.tokens().access_token(JANE);
    for credential in [key.token.expose(), &token, &format!("{token}x"), "no-key-of-anybody-here"] {
        secrets.add(credential);
        let header = format!("Bearer {credential}");
        let request = jane.request(Method::GET, "/api", &[("authorization", &header)]);
        proxied(&mut jane, request).await;
    }

    // Webhooks, and what they end.
    let now = sandbox.clock().clock().now().unix_timestamp();
    let deleted =
        event("organization.directory.user_deleted", &json!({ "id": "u", "email": JOHN }));
    for (body, key) in [(deleted.to_string(), 1), (deleted.to_string(), 2), (JOHN.to_owned(), 1)] {
        proxied(&mut jane, signed("webhook", "msg_1", now, &body, key)).await;
    }
    let deprovisioning = Deprovisioning::new(sessions);
    deprovisioning
        .apply(&WebhookEvent::parse(deleted.to_string().as_bytes()).unwrap())
        .await
        .unwrap();
    sessions.revoke_email(JOHN, None).await.unwrap();
    let ended = logout_token(sandbox, "t1", &json!({ "sub": JOHN }));
    secrets.add(&ended);
    for token in [&ended, &ended, &format!("{ended}x")] {
        submit(&mut jane, sessions.backchannel_logout_path(), &[("logout_token", token)]).await;
    }

    // A refresh, a request of another site, a logout.
    setting.advance(301);
    let request = jane.request(Method::GET, "/me", &FETCH);
    assert_eq!(proxied(&mut jane, request).await.status(), StatusCode::OK);
    setting.add_cookies(&jane);
    let request = jane.request(Method::POST, "/me", &[("origin", "https://evil.test")]);
    assert_eq!(proxied(&mut jane, request).await.status(), StatusCode::FORBIDDEN);
    let out = open(&mut jane, sessions.logout_path()).await;
    secrets.add(&parameter(out.location(), "id_token_hint").unwrap());

    let traces = captured.text();
    for part in [
        "login_completed",
        "login_failed",
        "account_connected",
        "account_not_connected",
        "token_verified",
        "token_rejected",
        "webhook_received",
        "check_failed",
        "deprovisioned",
        "logout_token_accepted",
        "invalid_logout_token",
        "session_refreshed",
        "request_rejected",
        "http_request",
        "shared_store",
    ] {
        assert!(traces.contains(part), "{part} is missing:\n{traces}");
    }
    assert!(secrets.count() > 20);
    secrets.assert_absent("a trace", &traces);
    for address in [JANE, JOHN, "ada@acme.test", "ada%40acme"].into_iter().chain(ADDRESSES) {
        assert!(!traces.contains(address), "{address} is in:\n{traces}");
    }
}
