use std::time::Duration;

use super::*;

fn code_of(sandbox: &Sandbox, changes: &[(&str, &str)]) -> String {
    let url = authorization_url(sandbox, changes);
    query_value(&sandbox.log_in(&url, "jane@acme.test").unwrap(), "code").unwrap()
}

#[tokio::test]
async fn a_code_returns_tokens_with_the_claims_of_the_user() {
    let sandbox = Sandbox::new();
    let jane = sandbox.users().get("jane@acme.test").unwrap();
    let now = sandbox.clock().clock().now().unix_timestamp();
    let tokens = log_in(&sandbox, "jane@acme.test").await;
    assert_eq!((&tokens["expires_in"], &tokens["token_type"]), (&300.into(), &"Bearer".into()));

    let access = string(&tokens, "access_token");
    assert!(is_signed(&sandbox, access).await);
    assert_eq!(part_of(access, 0)["typ"], "JWT");
    let claims_of_access = claims(access);
    for (name, expected) in [
        ("iss", sandbox.environment_url().into()),
        ("aud", serde_json::json!([sandbox.client_id()])),
        ("sub", jane.id.clone().into()),
        ("oid", jane.organization_id.clone().into()),
        ("client_id", sandbox.client_id().into()),
        ("roles", serde_json::json!(["admin"])),
        ("permissions", serde_json::json!(["workspace_data:read", "workspace_data:write"])),
        ("scope", "openid profile email offline_access".into()),
        ("xoid", "ext_org_123".into()),
    ] {
        assert_eq!(claims_of_access[name], expected, "{name}");
    }
    let seconds = |name: &str| claims_of_access[name].as_i64().unwrap();
    assert!((now..now + 60).contains(&seconds("iat")));
    assert_eq!((seconds("nbf"), seconds("exp")), (seconds("iat"), seconds("iat") + 300));
    assert!(string(&claims_of_access, "jti").starts_with("tkn_"));

    let id_token = string(&tokens, "id_token");
    assert!(is_signed(&sandbox, id_token).await);
    let claims_of_id = claims(id_token);
    for (name, expected) in [
        ("azp", sandbox.client_id()),
        ("nonce", "n-0S6_WzA2Mj"),
        ("email", "jane@acme.test"),
        ("name", "Jane Roe"),
        ("given_name", "Jane"),
        ("family_name", "Roe"),
        ("sid", string(&claims_of_access, "sid")),
        ("at_hash", &half_hash(access)),
    ] {
        assert_eq!(claims_of_id[name], expected, "{name}");
    }
    assert_eq!(claims_of_id["email_verified"], true);
    assert!(claims_of_id["amr"][0].as_str().unwrap().starts_with("conn_"));
    assert!(claims_of_id["c_hash"].is_string());
}

#[tokio::test]
async fn scopes_decide_which_tokens_are_issued() {
    let sandbox = Sandbox::new();
    let (_, tokens) = exchange(&sandbox, &code_of(&sandbox, &[("scope", "openid x")])).await;
    assert!(tokens.get("refresh_token").is_none());
    assert_eq!(claims(string(&tokens, "access_token"))["scope"], "openid");
    let claims = claims(string(&tokens, "id_token"));
    assert!(claims.get("email").is_none() && claims.get("name").is_none());
    let (_, tokens) = exchange(&sandbox, &code_of(&sandbox, &[("scope", "offline_access")])).await;
    assert!(tokens.get("id_token").is_none() && tokens.get("refresh_token").is_some());
}

#[tokio::test]
async fn a_code_works_once_and_a_second_use_revokes_its_tokens() {
    let sandbox = Sandbox::new();
    let code = code_of(&sandbox, &[]);
    let (_, tokens) = exchange(&sandbox, &code).await;
    let (status, rejected) = exchange(&sandbox, &code).await;
    assert_eq!((status, string(&rejected, "error")), (StatusCode::BAD_REQUEST, "invalid_grant"));
    let (_, rejected) = refresh(&sandbox, string(&tokens, "refresh_token")).await;
    assert_eq!(rejected["error"], "invalid_grant");
}

#[tokio::test]
async fn a_code_is_bound_to_its_request() {
    let sandbox = Sandbox::new();
    let with = |code: &str, redirect_uri: &str, verifier: &str| {
        [
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", redirect_uri.to_owned()),
            ("code_verifier", verifier.to_owned()),
        ]
    };
    let code = code_of(&sandbox, &[]);
    let without_challenge =
        code_of(&sandbox, &[("code_challenge", ""), ("code_challenge_method", "")]);
    for (form, problem) in [
        (with(&code, "http://localhost:3000/auth/callback/", VERIFIER), "redirect_uri"),
        (with(&code, CALLBACK, ""), "code_verifier"),
        (with(&code, CALLBACK, CHALLENGE), "code_verifier"),
        (with(&without_challenge, CALLBACK, VERIFIER), "code_verifier"),
        (with("unknown", CALLBACK, VERIFIER), "the code is unknown"),
    ] {
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (status, rejected) = token(&sandbox, &form).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(rejected["error"], "invalid_grant", "{form:?}");
        assert!(string(&rejected, "error_description").contains(problem), "{form:?}: {rejected}");
    }
    let form = with(&without_challenge, CALLBACK, "");
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(token(&sandbox, &form).await.0, StatusCode::OK, "PKCE is optional");

    sandbox.clock().advance(Duration::from_secs(600));
    let (_, rejected) = exchange(&sandbox, &code).await;
    assert!(string(&rejected, "error_description").contains("expired"));
}

#[tokio::test]
async fn the_client_authenticates_in_the_body_or_the_header() {
    let sandbox = Sandbox::new();
    let grant = ("grant_type", "client_credentials");
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret().expose());
    for form in [
        vec![grant],
        vec![grant, ("client_id", id)],
        vec![grant, ("client_id", id), ("client_secret", "wrong")],
        vec![grant, ("client_id", "skc_1"), ("client_secret", secret)],
    ] {
        let response = post_form(&sandbox, "/oauth/token", &form).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(json(&response)["error"], "invalid_client");
    }
    let basic = |secret: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
        Request::post(format!("{}/oauth/token", sandbox.environment_url()))
            .header("authorization", format!("Basic {pair}"))
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
    };
    let body = || Bytes::from("grant_type=client_credentials");
    let send = |request| async { sandbox.client().send(request).await.unwrap() };
    let response = send(basic(secret).body(body()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let response = send(basic("wrong").body(body()).unwrap()).await;
    assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"sandbox\"");
    let both = format!("grant_type=client_credentials&client_secret={secret}");
    let response = send(basic(secret).body(both.into()).unwrap()).await;
    assert_eq!(json(&response)["error"], "invalid_request");
}

#[tokio::test]
async fn a_machine_gets_a_token_for_itself() {
    let sandbox = Sandbox::new();
    let form = [("grant_type", "client_credentials"), ("scope", "todo:read todo:write")];
    let (status, body) = token(&sandbox, &form).await;
    assert_eq!((status, &body["expires_in"]), (StatusCode::OK, &86399.into()));
    assert_eq!(
        (string(&body, "scope"), string(&body, "token_type")),
        ("todo:read todo:write", "Bearer")
    );
    let claims_of_client = claims(string(&body, "access_token"));
    assert_eq!(claims_of_client["sub"], sandbox.client_id());
    assert_eq!(claims_of_client["scopes"], serde_json::json!(["todo:read", "todo:write"]));

    let m2m = sandbox.tokens().m2m_token(&["deploy:applications"]);
    assert!(is_signed(&sandbox, &m2m).await);
    let claims = claims(&m2m);
    assert_eq!(claims["sub"], claims["client_id"]);
    assert!(claims.get("aud").is_none() && claims["oid"].is_string());
}

#[tokio::test]
async fn malformed_token_requests_are_rejected_with_an_error_code() {
    let sandbox = Sandbox::new();
    for (form, error) in [
        (vec![], "invalid_request"),
        (vec![("grant_type", "password")], "unsupported_grant_type"),
        (vec![("grant_type", "refresh_token")], "invalid_request"),
        (vec![("grant_type", "authorization_code"), ("code", "x")], "invalid_request"),
        (vec![("grant_type", "a"), ("grant_type", "b")], "invalid_request"),
    ] {
        let (status, rejected) = token(&sandbox, &form).await;
        assert_eq!(
            (status, string(&rejected, "error")),
            (StatusCode::BAD_REQUEST, error),
            "{form:?}"
        );
    }
    let request = Request::post(format!("{}/oauth/token", sandbox.environment_url()))
        .header("content-type", "application/json")
        .body(Bytes::from("{}"))
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    assert_eq!(json(&response)["error"], "invalid_request");
}

#[tokio::test]
async fn a_refresh_rotates_and_returns_current_claims() {
    let sandbox = Sandbox::builder().access_token_lifetime(Duration::from_secs(60)).build();
    let first = log_in(&sandbox, "jane@acme.test").await;
    sandbox.users().update("jane@acme.test", |jane| jane.roles = vec!["viewer".into()]);
    sandbox.clock().advance(Duration::from_secs(3600));
    let (status, second) = refresh(&sandbox, string(&first, "refresh_token")).await;
    assert_eq!((status, &second["expires_in"]), (StatusCode::OK, &60.into()));
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let (before, after) =
        (claims(string(&first, "access_token")), claims(string(&second, "access_token")));
    assert_eq!(after["roles"], serde_json::json!(["viewer"]));
    assert_eq!((&before["sub"], &before["sid"]), (&after["sub"], &after["sid"]));
    let id_token = claims(string(&second, "id_token"));
    assert!(id_token.get("nonce").is_none() && id_token.get("c_hash").is_none());
    assert_eq!(id_token["at_hash"], half_hash(string(&second, "access_token")));
    assert_eq!(sandbox.requests().refreshes(), 1);
}

#[tokio::test]
async fn within_the_grace_a_rotated_token_returns_the_newest() {
    let sandbox = Sandbox::new();
    let first = log_in(&sandbox, "jane@acme.test").await;
    let old = string(&first, "refresh_token");
    let (_, second) = refresh(&sandbox, old).await;
    sandbox.clock().advance(Duration::from_secs(29));
    let (status, again) = refresh(&sandbox, old).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(again["refresh_token"], second["refresh_token"]);
    assert_ne!(again["access_token"], second["access_token"]);
    let (status, third) = refresh(&sandbox, string(&second, "refresh_token")).await;
    assert_eq!(status, StatusCode::OK, "the newest still works");

    sandbox.clock().advance(Duration::from_secs(2));
    let (_, rejected) = refresh(&sandbox, old).await;
    assert_eq!(rejected["error"], "invalid_grant");
    let (_, rejected) = refresh(&sandbox, string(&third, "refresh_token")).await;
    assert_eq!(rejected["error"], "invalid_grant", "reuse revokes the family");
}

#[tokio::test]
async fn without_a_grace_the_second_use_revokes_the_family() {
    let sandbox = Sandbox::builder().refresh_grace(Duration::ZERO).build();
    let first = log_in(&sandbox, "jane@acme.test").await;
    let other = log_in(&sandbox, "jane@acme.test").await;
    let (_, second) = refresh(&sandbox, string(&first, "refresh_token")).await;
    for token in [&first, &second] {
        let (status, rejected) = refresh(&sandbox, string(token, "refresh_token")).await;
        assert_eq!(
            (status, string(&rejected, "error")),
            (StatusCode::BAD_REQUEST, "invalid_grant")
        );
    }
    let (status, _) = refresh(&sandbox, string(&other, "refresh_token")).await;
    assert_eq!(status, StatusCode::OK, "another login of the same user is another family");
}

#[tokio::test]
async fn a_removed_user_cannot_refresh() {
    let sandbox = Sandbox::new();
    let jane = log_in(&sandbox, "jane@acme.test").await;
    let john = log_in(&sandbox, "john@acme.test").await;
    assert_eq!(sandbox.users().revoke_sessions("john@acme.test"), 1);
    sandbox.users().remove("jane@acme.test");
    for tokens in [jane, john] {
        let (_, rejected) = refresh(&sandbox, string(&tokens, "refresh_token")).await;
        assert_eq!(rejected["error"], "invalid_grant");
    }
}

#[tokio::test]
async fn tokens_can_be_issued_without_a_login() {
    let sandbox = Sandbox::new();
    sandbox.users().add(crate::sandbox::NewUser::new("ada@acme.test").claim("plan", "pro"));
    let access = sandbox.tokens().access_token("ada@acme.test");
    assert!(is_signed(&sandbox, &access).await);
    assert_eq!(claims(&access)["plan"], "pro");
    let id_token = sandbox.tokens().id_token("new@initech.test", Some("n"));
    assert!(is_signed(&sandbox, &id_token).await);
    assert_eq!(
        (&claims(&id_token)["nonce"], &claims(&id_token)["email"]),
        (&"n".into(), &"new@initech.test".into())
    );
    let forged = sandbox
        .tokens()
        .sign_with_header(serde_json::json!({"alg": "ES256"}), serde_json::json!({"a": 1}));
    assert_eq!(
        (part_of(&forged, 0)["alg"].as_str(), claims(&forged)["a"].as_i64()),
        (Some("ES256"), Some(1))
    );
    assert!(is_signed(&sandbox, &sandbox.tokens().sign(serde_json::json!({ "sub": "x" }))).await);
}

fn half_hash(token: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
}
