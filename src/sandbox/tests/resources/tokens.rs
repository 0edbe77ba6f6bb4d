//! Token responses for codes, refresh tokens and client secrets.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_code_works_once_for_its_client_at_its_resource() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    let notes = sandbox.mcp().add_resource("Notes");
    let client = McpClient::new(&sandbox, &id).await;
    let other = McpClient::new(&sandbox, &id).await;
    let elsewhere = McpClient::new(&sandbox, &notes).await;
    let code = client.code(&[]);

    for thief in [&other, &elsewhere] {
        assert_eq!(rejected(thief.exchange(&code, &[]).await), "invalid_grant");
    }
    let (_, of_the_app) = exchange(&sandbox, &code).await;
    assert_eq!(of_the_app["error"], "invalid_grant");
    let there = format!("/resources/{notes}/oauth/token");
    assert_eq!(rejected(client.token_at(&there, &[]).await), "invalid_client");
    for (wrong, error) in [
        (("code_verifier", "x".repeat(43)), "invalid_grant"),
        (("code_verifier", String::new()), "invalid_grant"),
        (("redirect_uri", CALLBACK.to_owned()), "invalid_grant"),
        (("resource", notes.clone()), "invalid_target"),
        (("client_secret", "guess".to_owned()), "invalid_client"),
    ] {
        let changes = [(wrong.0, wrong.1.as_str())];
        assert_eq!(rejected(client.exchange(&code, &changes).await), error, "{wrong:?}");
    }

    // None of these requests has spent it; the second use revokes the tokens of the first.
    let (status, tokens) = client.exchange(&code, &[]).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    assert_eq!(rejected(client.exchange(&code, &[]).await), "invalid_grant");
    let refreshed = client.refresh(string(&tokens, "refresh_token"), &[]).await;
    assert_eq!(rejected(refreshed), "invalid_grant");

    // A code of the application does not work here either.
    let callback = sandbox.log_in(&authorization_url(&sandbox, &[]), "jane@acme.test").unwrap();
    let code = query_value(&callback, "code").unwrap();
    let there = client.exchange(&code, &[("redirect_uri", CALLBACK)]).await;
    assert_eq!(rejected(there), "invalid_grant");
    assert_eq!(exchange(&sandbox, &code).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_token_rotates_and_works_only_for_its_client() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    let client = McpClient::new(&sandbox, &id).await;
    let other = McpClient::new(&sandbox, &id).await;
    let elsewhere = McpClient::new(&sandbox, &sandbox.mcp().add_resource("Notes")).await;
    let first = client.log_in(&[("scope", "todo:read todo:write")]).await;
    let old = string(&first, "refresh_token");
    for thief in [&other, &elsewhere] {
        assert_eq!(rejected(thief.refresh(old, &[]).await), "invalid_grant");
    }
    assert_eq!(refresh(&sandbox, old).await.1["error"], "invalid_grant");
    let wider = client.refresh(old, &[("scope", "todo:read openid")]).await;
    assert_eq!(rejected(wider), "invalid_scope");
    let notes = client.refresh(old, &[("resource", "https://notes.test/mcp")]).await;
    assert_eq!(rejected(notes), "invalid_target");

    let (_, second) = client.refresh(old, &[("scope", "todo:read")]).await;
    assert_eq!(second["scope"], "todo:read");
    assert_eq!(claims(string(&second, "access_token"))["scope"], "todo:read");
    let (_, third) = client.refresh(string(&second, "refresh_token"), &[]).await;
    assert_eq!(third["scope"], "todo:read todo:write", "less was requested for that exchange only");
    sandbox.clock().advance(Duration::from_secs(29));
    let (_, again) = client.refresh(old, &[]).await;
    assert_eq!(again["refresh_token"], third["refresh_token"], "the grace period applies too");
    sandbox.clock().advance(Duration::from_secs(2));
    for token in [old, string(&third, "refresh_token")] {
        assert_eq!(rejected(client.refresh(token, &[]).await), "invalid_grant");
    }
    assert_eq!(sandbox.requests().refreshes(), 10);
}

#[tokio::test]
async fn refresh_tokens_are_issued_on_request_only() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    let metadata = json!({ "redirect_uris": [NATIVE], "token_endpoint_auth_method": "none" });
    let plain = McpClient::register(&sandbox, &id, &metadata).await;
    assert!(plain.log_in(&[]).await.get("refresh_token").is_none());
    let asked = plain.log_in(&[("scope", "todo:read offline_access")]).await;
    let (status, _) = plain.refresh(string(&asked, "refresh_token"), &[]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn the_end_of_a_session_revokes_the_grants_of_its_clients() {
    let sandbox = Sandbox::new();
    let client = McpClient::new(&sandbox, &sandbox.mcp().resource_id()).await;
    let tokens = client.log_in(&[]).await;
    let sid = claims(string(&tokens, "access_token"))["sid"].as_str().unwrap().to_owned();
    assert!(sandbox.users().revoke_session(&sid));
    let refreshed = client.refresh(string(&tokens, "refresh_token"), &[]).await;
    assert_eq!(rejected(refreshed), "invalid_grant");
}

#[tokio::test]
async fn the_resource_parameter_is_in_the_token() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().add_resource(NewResource::new("Notes").url("https://notes.test"));
    let client = McpClient::new(&sandbox, &id).await;
    for (at_authorize, at_token, expected) in [
        ("", "", Value::Null),
        ("https://notes.test", "", "https://notes.test".into()),
        // As serialized by clients that parse URLs.
        ("https://notes.test/", "https://notes.test/", "https://notes.test".into()),
        ("", &id, "https://notes.test".into()),
    ] {
        let code = client.code(&[("scope", ""), ("resource", at_authorize)]);
        let (_, tokens) = client.exchange(&code, &[("resource", at_token)]).await;
        let claims = claims(string(&tokens, "access_token"));
        assert_eq!(claims["resource"], expected, "{at_authorize} {at_token}");
        assert_eq!(claims["aud"], json!(["https://notes.test", id]));
    }
    let code = client.code(&[("scope", ""), ("resource", "https://notes.test")]);
    let (_, tokens) = client.exchange(&code, &[]).await;
    let (_, tokens) = client.refresh(string(&tokens, "refresh_token"), &[]).await;
    assert_eq!(claims(string(&tokens, "access_token"))["resource"], "https://notes.test");
}

#[tokio::test]
async fn both_issuer_forms_are_supported() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    let client = McpClient::new(&sandbox, &id).await;
    let url = sandbox.environment_url();
    let scoped = format!("{url}/resources/{id}");
    for (form, issuer) in [(ResourceIssuer::Environment, &url), (ResourceIssuer::Resource, &scoped)]
    {
        sandbox.mcp().set_resource_issuer(form);
        let tokens = client.log_in(&[]).await;
        assert_eq!(claims(string(&tokens, "access_token"))["iss"], **issuer);
        let token = sandbox.tokens().resource_token("jane@acme.test", &id, &["todo:read"]);
        assert_eq!(claims(&token)["iss"], **issuer);
        // The authorization server itself has one issuer.
        let callback = sandbox.log_in(&client.url(&[]), "jane@acme.test").unwrap();
        assert_eq!(query_value(&callback, "iss").unwrap(), scoped);
    }
}

#[tokio::test]
async fn a_machine_gets_a_token_with_its_secret() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    sandbox.mcp().set_resource_url(&id, SERVER);
    let metadata = json!({ "grant_types": ["client_credentials"] });
    let machine = McpClient::register(&sandbox, &id, &metadata).await;
    let ask = [("grant_type", "client_credentials"), ("scope", "todo:read files:read openid")];
    // wire.md: machines use the environment's own endpoint.
    for path in [format!("/resources/{id}/oauth/token"), "/oauth/token".to_owned()] {
        let (status, body) = machine.token_at(&path, &ask).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!((&body["scope"], &body["expires_in"]), (&"todo:read".into(), &300.into()));
        assert!(body.get("refresh_token").is_none());
        let access = string(&body, "access_token");
        assert!(is_signed(&sandbox, access).await);
        let claims = claims(access);
        assert_eq!(
            (&claims["sub"], &claims["client_id"]),
            (&json!(machine.client_id), &json!(machine.client_id))
        );
        assert_eq!(
            (&claims["scopes"], &claims["aud"]),
            (&json!(["todo:read"]), &json!([SERVER, id]))
        );
        assert!(claims.get("sid").is_none() && claims.get("scope").is_none());
    }
    let wrong = McpClient { client_secret: Some("guess".to_owned()), ..machine };
    assert_eq!(rejected(wrong.token(&ask).await), "invalid_client");
    let none = McpClient { client_secret: None, ..wrong };
    assert_eq!(rejected(none.token(&ask).await), "invalid_client");

    let metadata = json!({ "grant_types": ["client_credentials"], "redirect_uris": [NATIVE] });
    let no_browser = McpClient::register(&sandbox, &id, &metadata).await;
    let callback = sandbox.log_in(&no_browser.url(&[]), "jane@acme.test").unwrap();
    assert_eq!(query_value(&callback, "error").unwrap(), "unauthorized_client");
    let public = McpClient::new(&sandbox, &id).await;
    assert_eq!(rejected(public.token(&ask).await), "unauthorized_client");
    let code = public.code(&[]);
    let form = [("grant_type", "authorization_code"), ("code", code.as_str())];
    let at_the_environment = public.token_at("/oauth/token", &form).await;
    assert_eq!(rejected(at_the_environment), "unauthorized_client");
    let (status, body) = token(&sandbox, &[("grant_type", "client_credentials")]).await;
    assert_eq!(status, StatusCode::OK, "the application's own token: {body}");
    let path = format!("/resources/{id}/oauth/token");
    let of_the_app = [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret().expose()),
    ];
    let response = post_form(&sandbox, &path, &of_the_app).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "it is not a client of the resource");
}

#[tokio::test]
async fn tokens_of_resources_can_be_issued_without_a_login() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    let token = sandbox.tokens().resource_token("ada@acme.test", &id, &["todo:read", "todo:write"]);
    assert!(is_signed(&sandbox, &token).await);
    let person = claims(&token);
    assert_eq!((&person["aud"], &person["scope"]), (&json!([id]), &json!("todo:read todo:write")));
    assert_eq!(person["sub"], sandbox.users().get("ada@acme.test").unwrap().id);

    let token = sandbox.tokens().resource_machine_token(&id, &["todo:read"]);
    assert!(is_signed(&sandbox, &token).await);
    let machine = claims(&token);
    assert!(string(&machine, "client_id").starts_with("m2m_"));
    assert_eq!(
        (&machine["sub"], &machine["scopes"]),
        (&machine["client_id"], &json!(["todo:read"]))
    );

    let mut draft = sandbox.tokens().resource_token_draft("ada@acme.test", &id, &[]);
    draft.claims.insert("resource".to_owned(), SERVER.into());
    assert_eq!(claims(&sandbox.tokens().sign_draft(&draft))["resource"], SERVER);
}
