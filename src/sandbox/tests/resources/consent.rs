//! Consent of users to clients.

use super::*;

/// Signs Jane in at the page. Returns her cookie and the next redirect.
async fn sign_in(sandbox: &Sandbox, url: &str) -> (String, String) {
    let page = get(sandbox, url, "").await;
    let form = [("transaction", &*transaction_of(&page)), ("email", "jane@acme.test")];
    let response = post_form(sandbox, "/login", &form).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    (cookie.split_once(';').unwrap().0.to_owned(), location(&response).to_owned())
}

async fn open(sandbox: &Sandbox, location: &str, cookie: &str) -> Response<Bytes> {
    assert!(location.starts_with("/consent?"), "{location}");
    get(sandbox, &format!("{}{location}", sandbox.environment_url()), cookie).await
}

async fn decide(sandbox: &Sandbox, page: &Response<Bytes>, action: &str, cookie: &str) -> String {
    let form = [("transaction", &*transaction_of(page)), ("action", action)];
    let request = Request::post(format!("{}/consent", sandbox.environment_url()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::COOKIE, cookie)
        .body(Bytes::from(encoded(&form)))
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER, "{}", text(&response));
    location(&response).to_owned()
}

#[tokio::test]
async fn a_user_allows_a_client_and_its_token_is_for_the_resource_only() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    assert!(
        sandbox.mcp().set_resource_url(&id, SERVER)
            && !sandbox.mcp().set_resource_url("res_1", SERVER)
    );
    let client = McpClient::new(&sandbox, &id).await;
    let jane = sandbox.users().get("jane@acme.test").unwrap();

    let url = client.url(&[("scope", "openid profile todo:read files:read todo:read")]);
    let (cookie, consent) = sign_in(&sandbox, &url).await;
    let page = open(&sandbox, &consent, &cookie).await;
    let html = text(&page);
    for shown in ["Editor", "Todo list", "jane@acme.test", "127.0.0.1:33418", "todo:read"] {
        assert!(html.contains(shown), "{shown} is not in {html}");
    }
    assert!(!html.contains("files:read") && !html.contains("todo:write"));
    let callback = decide(&sandbox, &page, "allow", &cookie).await;
    assert!(callback.starts_with(&format!("{NATIVE}?code=")), "{callback}");
    let issuer = format!("{}/resources/{id}", sandbox.environment_url());
    assert_eq!(query_value(&callback, "iss").unwrap(), issuer);
    assert_eq!(query_value(&callback, "state").unwrap(), "s 1&2");

    let (_, tokens) = client.exchange(&query_value(&callback, "code").unwrap(), &[]).await;
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&"Bearer".into(), &300.into()));
    assert_eq!(tokens["scope"], "openid profile todo:read");
    assert!(tokens["refresh_token"].is_string() && tokens.get("id_token").is_none());
    let access = string(&tokens, "access_token");
    assert!(is_signed(&sandbox, access).await);
    let claims = claims(access);
    for (name, expected) in [
        ("iss", json!(issuer)),
        ("aud", json!([SERVER, id])),
        ("sub", json!(jane.id)),
        ("client_id", json!(client.client_id)),
        ("scope", json!("openid profile todo:read")),
    ] {
        assert_eq!(claims[name], expected, "{name}");
    }
    // The claims of the documented sample, and `oid`, which the documentation of claims names.
    let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let sample =
        ["aud", "client_id", "exp", "iat", "iss", "jti", "nbf", "oid", "scope", "sid", "sub"];
    assert_eq!(names, sample);
    assert!(
        string(&claims, "jti").starts_with("tkn_") && string(&claims, "sid").starts_with("ses_")
    );

    // The API has another audience, whatever the issuer.
    sandbox.mcp().set_resource_issuer(ResourceIssuer::Environment);
    let machine = sandbox.tokens().resource_machine_token(&id, &["todo:read"]);
    for token in [access, &machine] {
        let url = format!("{}/api/v1/users/{}/sessions", sandbox.environment_url(), jane.id);
        let request = Request::get(url)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Bytes::new())
            .unwrap();
        let response = sandbox.client().send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn consent_is_required_once_and_again_for_more_scopes() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    let client = McpClient::new(&sandbox, &id).await;
    let other = McpClient::new(&sandbox, &id).await;
    let (cookie, consent) = sign_in(&sandbox, &client.url(&[])).await;
    let without_asking = client.url(&[("prompt", "none")]);
    let response = get(&sandbox, &without_asking, &cookie).await;
    assert_eq!(query_value(location(&response), "error").unwrap(), "consent_required");
    let page = open(&sandbox, &consent, &cookie).await;
    decide(&sandbox, &page, "allow", &cookie).await;

    for (url, asks) in [
        (client.url(&[]), false),
        (without_asking, false),
        (client.url(&[("scope", "todo:read")]), false),
        (client.url(&[("scope", "todo:read todo:write")]), true),
        (client.url(&[("scope", "openid profile todo:read offline_access")]), true),
        (client.url(&[("prompt", "consent")]), true),
        (other.url(&[]), true),
    ] {
        let response = get(&sandbox, &url, &cookie).await;
        assert_eq!(response.status(), StatusCode::FOUND, "{url}");
        let next = location(&response);
        assert_eq!(next.starts_with("/consent?"), asks, "{url}: {next}");
        assert_eq!(next.starts_with(NATIVE), !asks, "{url}: {next}");
    }
}

#[tokio::test]
async fn a_denial_returns_no_code() {
    let sandbox = Sandbox::new();
    let id = sandbox.mcp().resource_id();
    let client = McpClient::new(&sandbox, &id).await;
    let issuer = format!("{}/resources/{id}", sandbox.environment_url());
    let (cookie, consent) = sign_in(&sandbox, &client.url(&[])).await;
    let page = open(&sandbox, &consent, &cookie).await;
    let callback = decide(&sandbox, &page, "deny", &cookie).await;
    assert!(callback.starts_with(&format!("{NATIVE}?error=access_denied&")), "{callback}");
    assert_eq!(query_value(&callback, "iss").unwrap(), issuer);
    let gone = open(&sandbox, &consent, &cookie).await;
    assert_eq!(gone.status(), StatusCode::BAD_REQUEST, "the consent is no longer pending");
    let again = get(&sandbox, &client.url(&[]), &cookie).await;
    assert!(location(&again).starts_with("/consent?"), "a denial is not a consent");

    // Cancelling at the login page denies too.
    let page = get(&sandbox, &client.url(&[]), "").await;
    let form = [("transaction", &*transaction_of(&page)), ("action", "cancel")];
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(query_value(location(&response), "iss").unwrap(), issuer);
}

#[tokio::test]
async fn only_the_signed_in_user_can_consent() {
    let sandbox = Sandbox::new();
    let client = McpClient::new(&sandbox, &sandbox.mcp().resource_id()).await;
    let (cookie, consent) = sign_in(&sandbox, &client.url(&[])).await;
    let (stranger, _) = sign_in(&sandbox, &client.url(&[])).await;
    let page = open(&sandbox, &consent, &cookie).await;
    for cookie in ["", &stranger] {
        assert_eq!(open(&sandbox, &consent, cookie).await.status(), StatusCode::BAD_REQUEST);
    }
    let transaction = transaction_of(&page);
    let allow = [("transaction", transaction.as_str()), ("action", "allow")];
    let response = post_form(&sandbox, "/consent", &allow).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let login = [("transaction", transaction.as_str()), ("email", "john@acme.test")];
    let response = post_form(&sandbox, "/login", &login).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "its transaction has ended");
    let request = Request::post(format!("{}/consent", sandbox.environment_url()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::COOKIE, &cookie)
        .header("sec-fetch-site", "cross-site")
        .body(Bytes::from(encoded(&allow)))
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);

    assert_eq!(sandbox.users().revoke_sessions("jane@acme.test"), 2);
    assert_eq!(open(&sandbox, &consent, &cookie).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_consent_page_shows_nothing_unescaped() {
    let sandbox = Sandbox::new();
    let hostile = "<script>alert(1)</script>";
    let id = sandbox.mcp().add_resource(NewResource::new(hostile).scopes([r#""><img/src=x>"#]));
    let metadata = json!({
        "client_name": hostile,
        "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"],
        "token_endpoint_auth_method": "none",
    });
    let client = McpClient::register(&sandbox, &id, &metadata).await;
    let redirect = ("redirect_uri", "cursor://anysphere.cursor-mcp/oauth/callback");
    let (cookie, consent) = sign_in(&sandbox, &client.url(&[redirect, ("scope", "")])).await;
    let page = open(&sandbox, &consent, &cookie).await;
    let html = text(&page);
    assert!(!html.contains("<script") && !html.contains("<img/src"), "{html}");
    assert!(html.contains("&quot;&gt;&lt;img/src=x&gt;"), "{html}");
    assert!(html.contains("cursor://anysphere.cursor-mcp"), "{html}");
    assert!(page.headers().contains_key(header::CONTENT_SECURITY_POLICY));
    let callback = decide(&sandbox, &page, "allow", &cookie).await;
    assert!(callback.starts_with("cursor://anysphere.cursor-mcp/oauth/callback?code="));
}
