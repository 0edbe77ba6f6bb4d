//! The log says which check has rejected a request, and what it expected and found. Responses do
//! not, and no line contains a secret or an address.

use axum::Router;
use axum::routing::{get, post};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower_scalekit::clock::ManualClock;
use tower_scalekit::sandbox::{TokenFault, TokenKind};
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{IdpInitiatedRedirect, RequireToken, Sandbox, WebhookVerify};

use crate::secrets::Captured;
use crate::support::{JANE, NAVIGATION, World, app, parameter, request, send, with_parameters};
use crate::webhooks::{secret, signed};

/// The latest line about this check, without the time and the level.
fn diagnosis(log: &Captured, check: &str) -> String {
    let (log, check) = (log.text(), format!("check=\"{check}\""));
    let mut lines =
        log.lines().filter(|line| line.contains("check_failed") && line.contains(&check));
    let line = lines.next_back().unwrap_or_else(|| panic!("no {check} in:\n{log}"));
    line.split_once("check_failed ").unwrap().1.to_owned()
}

fn assert_diagnosis(log: &Captured, check: &str, parts: &[&str]) {
    let line = diagnosis(log, check);
    parts.iter().for_each(|part| assert!(line.contains(part), "{part} is not in: {line}"));
}

fn api(sandbox: &Sandbox) -> Router {
    let verifier = sandbox.scalekit().token_verifier().audience("https://api.example.com");
    Router::new()
        .route("/", get(async || "in"))
        .route_layer(RequireToken::new(verifier.client_id("skc_1").build().unwrap()))
}

async fn rejected(app: &Router, authorization: &str) {
    let request = request(Method::GET, "/", &[("authorization", authorization)]);
    // 503: keys are not fetched for each unknown `kid`.
    assert_ne!(send(app, request).await.status(), StatusCode::OK, "{authorization}");
}

#[tokio::test]
async fn each_check_of_a_bearer_token_is_logged() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    let (sandbox, app) = (&world.sandbox, api(&world.sandbox));
    let tokens = sandbox.tokens();
    let environment = sandbox.environment_url();
    let keys = format!("{environment}/keys");
    let now = sandbox.clock().clock().now().unix_timestamp();
    let with = |claim: &str, value: Value| {
        let mut draft = tokens.access_token_draft(JANE);
        draft.claims.insert("aud".into(), "https://api.example.com".into());
        draft.claims.insert("client_id".into(), "skc_1".into());
        draft.claims.insert(claim.into(), value);
        tokens.sign_draft(&draft)
    };
    let fault = |fault: TokenFault| {
        let mut draft = tokens.access_token_draft(JANE);
        fault.apply(&mut draft);
        tokens.sign_draft(&draft)
    };
    let mut es256 = tokens.access_token_draft(JANE);
    es256.header.insert("alg".into(), "ES256".into());
    let es256 = tokens.sign_draft(&es256);
    let elsewhere = Sandbox::builder().environment_url("https://other.scalekit.test").build();
    let mut draft = elsewhere.tokens().access_token_draft(JANE);
    TokenFault::UnknownKeyId.apply(&mut draft);
    let of_other_environment = elsewhere.tokens().sign_draft(&draft);
    for (token, check, parts) in [
        (
            "opaque".to_owned(),
            "format",
            &["malformed", "three canonical base64url", "found=1;"][..],
        ),
        ("a.b.c".to_owned(), "format", &["no canonical base64url"]),
        (
            with("iss", json!("https://x.test")),
            "iss",
            &["invalid_issuer", &environment, "\"https://x.test\""],
        ),
        (with("iss", Value::Null), "iss", &["found=none"]),
        (
            with("nonce", json!("n")),
            "token type",
            &["wrong_token_type", "an access token", "found=an ID token"],
        ),
        (tokens.id_token(JANE, None), "token type", &["expected=an access token"]),
        (
            with("aud", json!("https://b.test")),
            "aud",
            &["invalid_audience", "\"https://api.example.com\"", "\"https://b.test\""],
        ),
        (with("aud", json!(["a", "b"])), "aud", &["found=[\"a\", \"b\"]"]),
        (tokens.m2m_token(&[]), "aud", &["machine_tokens()"]),
        (with("aud", json!(7)), "aud", &["invalid_claim", "found=a number"]),
        (
            with("client_id", json!("skc_2")),
            "client_id",
            &["invalid_claim", "\"skc_1\"", "\"skc_2\""],
        ),
        (
            with("exp", json!(now - 60)),
            "exp",
            &["expired", "later than 2030-03-17 17:46:40", "found=2030-03-17 17:45:40"],
        ),
        (with("exp", json!("soon")), "exp", &["invalid_claim", "a number", "found=a string"]),
        (with("exp", Value::Null), "exp", &["invalid_claim", "found=none"]),
        (with("nbf", json!(now + 90)), "nbf", &["not_yet_valid", "at most", "17:48:10"]),
        (with("iat", json!(now + 90)), "iat", &["not_yet_valid"]),
        (with("sub", json!("")), "sub", &["invalid_claim", "found=an empty string"]),
        (fault(TokenFault::InvalidSignature), "signature", &["invalid_signature", &keys]),
        (fault(TokenFault::UnknownKeyId), "kid", &["no_matching_key", &keys, &environment]),
        (of_other_environment, "kid", &["it is of \"https://other.scalekit.test\""]),
        (
            fault(TokenFault::SignedWithClientSecret),
            "alg",
            &["invalid_algorithm", "asymmetric", "\"HS256\""],
        ),
        (es256, "alg", &["invalid_algorithm", "expected=[RS256]", "found=ES256"]),
        (fault(TokenFault::Unsigned), "alg", &["invalid_algorithm", "\"none\""]),
    ] {
        rejected(&app, &format!("Bearer {token}")).await;
        assert_diagnosis(&log, check, parts);
    }
    let token = with("iss", json!(environment));
    for (header, part) in [
        ("Bearer", "no token"),
        ("Basic YTpi", "another scheme, or a token without a scheme"),
        (&token, "another scheme, or a token without a scheme"),
    ] {
        rejected(&app, header).await;
        assert_diagnosis(&log, "Authorization", &["Authorization: Bearer TOKEN", part]);
    }
    let headers = [("authorization", "Bearer a"), ("authorization", "Bearer a")];
    send(&app, request(Method::GET, "/", &headers)).await;
    assert_diagnosis(&log, "Authorization", &["invalid_request", "one header", "found=several"]);
}

#[tokio::test]
async fn each_check_of_a_webhook_is_logged() {
    const NOW: i64 = 1_900_000_000;
    let log = Captured::default();
    let _guard = log.subscribe();
    let start = time::OffsetDateTime::from_unix_timestamp(NOW).unwrap();
    let layer = |layer: WebhookVerify| {
        let layer = layer.clock(ManualClock::at(start).clock());
        Router::new().route("/webhook", post(async || ())).route_layer(layer)
    };
    let webhooks = layer(WebhookVerify::new(secret(1)));
    let interceptors = layer(WebhookVerify::interceptor(secret(1)));
    let events = Router::new()
        .route("/webhook", post(async |_: WebhookEvent| ()))
        .route_layer(WebhookVerify::new(secret(1)).clock(ManualClock::at(start).clock()));
    let good = || signed("webhook", "msg_1", NOW, "{}", 1);
    let with = |name: &'static str, value: &str| {
        let mut request = good();
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let without = |name: &str| {
        let mut request = good();
        request.headers_mut().remove(name);
        request
    };
    let twice = {
        let mut request = good();
        request.headers_mut().append("webhook-id", "msg_1".parse().unwrap());
        request
    };
    for (app, request, check, parts) in [
        (&webhooks, without("webhook-id"), "webhook-id", &["malformed", "found=none"][..]),
        (&webhooks, without("webhook-signature"), "webhook-signature", &["found=none"]),
        (&webhooks, twice, "webhook-id", &["one header", "found=several"]),
        (&webhooks, with("webhook-id", &"i".repeat(257)), "webhook-id", &["found=257 bytes"]),
        (
            &webhooks,
            with("webhook-timestamp", "soon"),
            "webhook-timestamp",
            &["in digits", "\"soon\""],
        ),
        (
            &webhooks,
            signed("webhook", "m", NOW - 301, "{}", 1),
            "webhook-timestamp",
            &["timestamp_outside_tolerance", "within 300 s", "301 s before"],
        ),
        (
            &webhooks,
            with("webhook-signature", "v0,AAAA"),
            "webhook-signature",
            &["invalid_signature", "no such signature"],
        ),
        (
            &webhooks,
            signed("webhook", "m", NOW, "{}", 2),
            "webhook-signature",
            &["one of 1 secrets", "1 by others", "2 bytes", "the secret is that of this endpoint"],
        ),
        (
            &webhooks,
            signed("interceptor", "m", NOW, "{}", 1),
            "webhook-id",
            &["WebhookVerify::interceptor"],
        ),
        (&interceptors, good(), "interceptor-id", &["WebhookVerify::new"]),
        (
            &webhooks,
            signed("webhook", "m", NOW, r#"{"trigger_point":"x"}"#, 1),
            "body",
            &["wrong_kind", "WebhookVerify::interceptor"],
        ),
        (
            &events,
            signed("webhook", "m", NOW, r#"{"type":"user.login","data":{}}"#, 1),
            "body",
            &["malformed", "an event of Scalekit", "the body has no id"],
        ),
        (&events, signed("webhook", "m", NOW, "hello", 1), "body", &["not a JSON object"]),
    ] {
        assert_eq!(send(app, request).await.status(), StatusCode::BAD_REQUEST, "{check}");
        assert_diagnosis(&log, check, parts);
    }
}

#[tokio::test]
async fn each_check_of_an_idp_initiated_login_is_logged() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    let app = app(&world.sessions)
        .layer(IdpInitiatedRedirect::new(&world.sessions).issuer("https://portal.test"));
    let now = world.sandbox.clock().clock().now().unix_timestamp();
    let token = |changes: Value| {
        let mut claims =
            json!({"iss": "https://portal.test", "connection_id": "conn_1", "exp": now + 300});
        changes.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        world.sandbox.tokens().sign(claims)
    };
    for (changes, check, parts) in [
        (
            json!({"iss": "https://x.test"}),
            "iss",
            &["invalid_issuer", "https://portal.test", "https://x.test"][..],
        ),
        (
            json!({"sub": "usr_1"}),
            "token type",
            &["wrong_token_type", "an IdP-initiated login", "found=an access token"],
        ),
        (json!({"aud": "skc_2"}), "aud", &["invalid_audience", "\"skc_2\""]),
        (json!({"exp": now}), "exp", &["expired"]),
        (json!({"exp": now + 3601}), "exp", &["invalid_claim", "at most an hour"]),
        (json!({"connection_id": ""}), "connection_id", &["an `organization_id`"]),
    ] {
        let target = format!("/login?idp_initiated_login={}", token(changes));
        let response = send(&app, request(Method::GET, &target, &NAVIGATION)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{check}");
        assert_diagnosis(&log, check, parts);
    }
    let target = "/login?idp_initiated_login=a&idp_initiated_login=b";
    send(&app, request(Method::GET, target, &NAVIGATION)).await;
    assert_diagnosis(&log, "idp_initiated_login", &["one token", "several"]);
}

#[tokio::test]
async fn each_check_of_a_callback_is_logged() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    let environment = world.sandbox.environment_url();
    for (query, check, parts) in [
        ("", "query", &["invalid_request", "a code or an error", "none"][..]),
        ("?code=1&error=2&state=3", "query", &["both"]),
        ("?code=1&code=2&state=3", "query", &["at most once"]),
        ("?code=1", "state", &["invalid_request", "not started by this app"]),
        (
            "?code=1&state=2",
            "state",
            &["state_mismatch", "no such cookie", "another host or scheme"],
        ),
    ] {
        let target = format!("/auth/callback{query}");
        send(&world.app, request(Method::GET, &target, &NAVIGATION)).await;
        assert_diagnosis(&log, check, parts);
    }

    // With the cookie of the login.
    let mut browser = world.browser();
    let callback = world.sandbox.log_in(&browser.start_login("/login").await, JANE).unwrap();
    let name = browser.names_with("login").remove(0);
    let mut expired = browser.clone();
    expired.keep_expired(&name);
    browser.open(&with_parameters(&callback, &[("iss", "https://x.test")])).await;
    assert_diagnosis(&log, "iss", &["issuer_mismatch", &environment, "https://x.test"]);
    world.advance(601);
    expired.open(&callback).await;
    assert_diagnosis(&log, "state", &["expired, or was sealed with another secret"]);

    // With tokens that are rejected.
    for (kind, fault, check, parts) in [
        (
            TokenKind::IdToken,
            TokenFault::InvalidAudience,
            "aud",
            &["expected=only", world.sandbox.client_id()][..],
        ),
        (TokenKind::IdToken, TokenFault::InvalidAuthorizedParty, "azp", &["invalid_audience"]),
        (
            TokenKind::IdToken,
            TokenFault::InvalidNonce,
            "nonce",
            &["that of this login", "found=a string"],
        ),
        (
            TokenKind::IdToken,
            TokenFault::InvalidAccessTokenHash,
            "at_hash",
            &["the hash of the access token"],
        ),
        (TokenKind::IdToken, TokenFault::InvalidIssuer, "iss", &["invalid_issuer", &environment]),
        (
            TokenKind::AccessToken,
            TokenFault::WithClaim("sub".into(), "usr_9".into()),
            "sub",
            &["the user of the ID token"],
        ),
    ] {
        world.sandbox.tokens().clear_faults();
        world.sandbox.tokens().add_fault(kind, fault);
        let rejected = world.browser().log_in(&world.sandbox, JANE).await;
        assert_eq!(rejected.status(), StatusCode::BAD_REQUEST, "{check}");
        assert_diagnosis(&log, check, parts);
    }
}

#[tokio::test]
async fn no_line_contains_a_token_a_cookie_a_code_or_an_address() {
    let log = Captured::default();
    let _guard = log.subscribe();
    let world = World::new();
    let (sandbox, api) = (&world.sandbox, api(&world.sandbox));
    let mut secrets = vec![JANE.to_owned()];
    // Tokens and addresses where they do not belong.
    let inner = sandbox.tokens().access_token(JANE);
    for claim in ["iss", "aud", "client_id", "sub", "exp", "nonce", "resource"] {
        for value in [JANE, &inner] {
            let mut draft = sandbox.tokens().access_token_draft(JANE);
            draft.claims.insert("aud".into(), "https://api.example.com".into());
            draft.claims.insert(claim.into(), value.into());
            let mut unknown = draft.clone();
            unknown.header.insert("kid".into(), value[..value.len().min(200)].into());
            for token in
                [sandbox.tokens().sign_draft(&draft), sandbox.tokens().sign_draft(&unknown)]
            {
                rejected(&api, &format!("Bearer {token}")).await;
                rejected(&api, &token).await;
                rejected(&api, &format!("Bearer {token}x")).await;
                secrets.push(token);
            }
        }
    }
    let login = format!("/login?iss={inner}&login_hint={JANE}");
    send(&world.app, request(Method::GET, &login, &NAVIGATION)).await;
    let mut browser = world.browser();
    let callback = sandbox.log_in(&browser.start_login("/login").await, JANE).unwrap();
    let cookies = browser.names_and_values();
    secrets.extend(cookies.split("; ").map(|pair| pair.split_once('=').unwrap().1.to_owned()));
    secrets.extend(["code", "state"].map(|name| parameter(&callback, name).unwrap()));
    secrets.push(inner);
    for changed in [
        with_parameters(&callback, &[("iss", JANE)]),
        with_parameters(&callback, &[("state", "unknown-and-long")]),
        format!("{callback}&code=again"),
    ] {
        browser.open(&changed).await;
    }
    let webhooks = Router::new()
        .route("/webhook", post(async || ()))
        .route_layer(WebhookVerify::new(secret(1)));
    let forged = signed("webhook", JANE, 1_900_000_000, &format!("{{\"email\":\"{JANE}\"}}"), 2);
    let signature = forged.headers()["webhook-signature"].to_str().unwrap().to_owned();
    secrets.push(signature.split_once(',').unwrap().1.to_owned());
    send(&webhooks, forged).await;

    let text = log.text();
    assert!(text.matches("check_failed").count() > 30, "{text}");
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret} is in the log");
    }
}
