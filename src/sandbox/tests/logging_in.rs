use super::*;
use crate::sandbox::parameters::SESSION_COOKIE;

#[tokio::test]
async fn a_login_returns_a_code_and_the_state() {
    let sandbox = Sandbox::new();
    let callback = sandbox.log_in(&authorization_url(&sandbox, &[]), "jane@acme.test").unwrap();
    assert!(callback.starts_with("http://localhost:3000/auth/callback?code="), "{callback}");
    assert_eq!(query_value(&callback, "state").unwrap(), "s 1&2");
}

#[tokio::test]
async fn an_untrusted_client_or_redirect_uri_gets_a_page_and_no_redirect() {
    let sandbox = Sandbox::builder().loopback_redirects(false).redirect_uri(CALLBACK).build();
    for (name, value) in [
        ("client_id", ""),
        ("client_id", "skc_1"),
        ("redirect_uri", ""),
        ("redirect_uri", "http://localhost:3000/other"),
        ("redirect_uri", "https://evil.test/<script>alert(1)</script>"),
        ("redirect_uri", "http://localhost:3000/auth/callback?x=1"),
    ] {
        let response = get(&sandbox, &authorization_url(&sandbox, &[(name, value)]), "").await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name}={value}");
        assert!(!response.headers().contains_key(header::LOCATION));
        assert!(!text(&response).contains("<script"));
        assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
    }
    let twice = authorization_url(&sandbox, &[]) + "&redirect_uri=https%3A%2F%2Fevil.test";
    assert_eq!(get(&sandbox, &twice, "").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn invalid_requests_are_reported_by_redirect() {
    let sandbox = Sandbox::new();
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("response_type", "")], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge", "too-short")], "invalid_request"),
        (&[("nonce", "a"), ("nonce", "b")], "invalid_request"),
        (&[("prompt", "none")], "login_required"),
        (&[("prompt", "none login")], "invalid_request"),
        (&[("prompt", "surprise")], "invalid_request"),
        (&[("organization_id", "org_1")], "invalid_organization_id"),
        (&[("connection_id", "conn_1")], "invalid_connection_id"),
        (&[("provider", "myspace")], "invalid_connection_selector"),
    ];
    for (changes, error) in cases {
        let response = get(&sandbox, &authorization_url(&sandbox, changes), "").await;
        assert_eq!(response.status(), StatusCode::FOUND, "{changes:?}");
        let back = location(&response);
        assert!(back.starts_with(&format!("{CALLBACK}?error={error}&")), "{changes:?}: {back}");
        assert_eq!(query_value(back, "state").unwrap(), "s 1&2");
        assert!(query_value(back, "error_description").is_some());
    }
    let two_states = authorization_url(&sandbox, &[]) + "&state=other";
    assert_eq!(query_value(location(&get(&sandbox, &two_states, "").await), "state"), None);
}

#[tokio::test]
async fn a_signed_in_browser_is_redirected_at_once() {
    let sandbox = Sandbox::new();
    let page = get(&sandbox, &authorization_url(&sandbox, &[]), "").await;
    let transaction = transaction_of(&page);
    let form = [("transaction", transaction.as_str()), ("email", "jane@acme.test")];
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let set_cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    let (cookie, attributes) = set_cookie.split_once("; ").unwrap();
    assert!(cookie.starts_with(SESSION_COOKIE));
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Secure");
    let again = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(again.status(), StatusCode::BAD_REQUEST, "the transaction is single-use");

    for (change, at_once) in [
        (("state", "x"), true),
        (("prompt", "none"), true),
        (("prompt", "login"), false),
        (("prompt", "create"), false),
        (("prompt", "select_account"), false),
        (("domain", "acme.test"), true),
        (("domain_hint", "globex.test"), false),
        (("domain", "nobody.test"), true),
    ] {
        let response = get(&sandbox, &authorization_url(&sandbox, &[change]), cookie).await;
        let expected = if at_once { StatusCode::FOUND } else { StatusCode::OK };
        assert_eq!(response.status(), expected, "{change:?}");
    }

    let tokens = log_in_with_cookie(&sandbox, cookie).await;
    let session_id = claims(string(&tokens, "access_token"))["sid"].as_str().unwrap().to_owned();
    assert!(sandbox.users().revoke_session(&session_id));
    assert!(!sandbox.users().revoke_session(&session_id));
    let response = get(&sandbox, &authorization_url(&sandbox, &[]), cookie).await;
    assert_eq!(response.status(), StatusCode::OK, "an ended session requires a login");
    let (_, rejected) = refresh(&sandbox, string(&tokens, "refresh_token")).await;
    assert_eq!(rejected["error"], "invalid_grant");
}

#[tokio::test]
async fn the_page_shows_who_may_sign_in_and_nothing_unescaped() {
    let sandbox = Sandbox::new();
    sandbox.users().add(r#""><img/src=x>@acme.test"#);
    let changes =
        [("organization_id", "org_59615193906282635"), ("login_hint", "\"><script>x</script>")];
    let page = get(&sandbox, &authorization_url(&sandbox, &changes), "").await;
    let html = text(&page);
    assert!(html.contains("jane@acme.test") && !html.contains("gita@globex.test"));
    assert!(!html.contains("<script") && !html.contains("<img/src"));
    assert!(html.contains("value=\"&quot;&gt;&lt;script&gt;x&lt;/script&gt;\""));
    assert_eq!(page.headers()["cache-control"], "no-store");
    assert_eq!(page.headers()["referrer-policy"], "no-referrer");
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"));

    let typed = [("transaction", &*transaction_of(&page)), ("email", "<b>no address</b>")];
    let rejected = post_form(&sandbox, "/login", &typed).await.unwrap();
    assert_eq!(rejected.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(&rejected).contains("&lt;b&gt;no address&lt;/b&gt;"));
    let stranger = [("transaction", &*transaction_of(&page)), ("email", "gita@globex.test")];
    let rejected = post_form(&sandbox, "/login", &stranger).await.unwrap();
    assert!(text(&rejected).contains("is not a member of the organization"));
}

#[tokio::test]
async fn a_user_can_sign_up_or_cancel() {
    let sandbox = Sandbox::new();
    let page = get(&sandbox, &authorization_url(&sandbox, &[("prompt", "create")]), "").await;
    assert!(text(&page).contains("Create your account"));
    let transaction = transaction_of(&page);
    let form = [
        ("transaction", transaction.as_str()),
        ("email", "Ada@Initech.test"),
        ("given_name", "Ada"),
        ("family_name", "Byron"),
    ];
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    let (_, tokens) = exchange(&sandbox, &query_value(location(&response), "code").unwrap()).await;
    let claims = claims(string(&tokens, "id_token"));
    assert_eq!(
        (&claims["email"], &claims["name"]),
        (&"ada@initech.test".into(), &"Ada Byron".into())
    );
    let ada = sandbox.users().get("ada@initech.test").unwrap();
    assert_eq!((ada.roles, ada.organization_name), (vec!["member".to_owned()], "Initech".into()));

    let page = get(&sandbox, &authorization_url(&sandbox, &[]), "").await;
    let form = [("transaction", &*transaction_of(&page)), ("action", "cancel")];
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(query_value(location(&response), "error").unwrap(), "access_denied");
}

#[tokio::test]
async fn a_login_page_expires_and_rejects_forms_of_other_sites() {
    let sandbox = Sandbox::new();
    let page = get(&sandbox, &authorization_url(&sandbox, &[]), "").await;
    let transaction = transaction_of(&page);
    let form = [("transaction", transaction.as_str()), ("email", "jane@acme.test")];
    let request = Request::post(format!("{}/login", sandbox.environment_url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "cross-site")
        .body(Bytes::from(encoded(&form)))
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);

    let other_form =
        format!("{}/login?screen=sign-up&transaction={transaction}", sandbox.environment_url());
    assert!(text(&get(&sandbox, &other_form, "").await).contains("Create your account"));
    sandbox.clock().advance(std::time::Duration::from_secs(601));
    assert_eq!(get(&sandbox, &other_form, "").await.status(), StatusCode::BAD_REQUEST);
    let late = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(late.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_failed_login_is_an_error_of_the_test() {
    let sandbox = Sandbox::new();
    let elsewhere = sandbox.log_in("https://other.test/oauth/authorize", "jane@acme.test");
    assert_eq!(elsewhere.unwrap_err().status, StatusCode::MISDIRECTED_REQUEST);
    let url = authorization_url(&sandbox, &[("redirect_uri", "https://evil.test/cb")]);
    let rejected = sandbox.log_in(&url, "jane@acme.test").unwrap_err();
    assert!(rejected.to_string().contains("https://evil.test/cb is not allowed"), "{rejected}");
    let error = sandbox.log_in(&authorization_url(&sandbox, &[("prompt", "none")]), "x").unwrap();
    assert!(error.contains("error=login_required"));
}

async fn log_in_with_cookie(sandbox: &Sandbox, cookie: &str) -> Value {
    let response = get(sandbox, &authorization_url(sandbox, &[]), cookie).await;
    exchange(sandbox, &query_value(location(&response), "code").unwrap()).await.1
}
