use super::*;

fn logout_url(sandbox: &Sandbox, parameters: &[(&str, &str)]) -> String {
    format!("{}/oidc/logout?{}", sandbox.environment_url(), encoded(parameters))
}

#[tokio::test]
async fn logging_out_ends_the_session_and_redirects() {
    let sandbox = Sandbox::new();
    let tokens = log_in(&sandbox, "jane@acme.test").await;
    // The hint may have expired.
    sandbox.clock().advance(std::time::Duration::from_secs(86_400));
    let url = logout_url(
        &sandbox,
        &[
            ("id_token_hint", string(&tokens, "id_token")),
            ("post_logout_redirect_uri", "http://localhost:3000/bye"),
            ("state", "a b"),
        ],
    );
    let response = get(&sandbox, &url, "").await;
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(location(&response), "http://localhost:3000/bye?state=a+b");
    assert!(response.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let (_, rejected) = refresh(&sandbox, string(&tokens, "refresh_token")).await;
    assert_eq!(rejected["error"], "invalid_grant");
}

#[tokio::test]
async fn only_its_own_id_token_is_accepted_as_hint() {
    let sandbox = Sandbox::new();
    let tokens = log_in(&sandbox, "jane@acme.test").await;
    let genuine = string(&tokens, "id_token");
    let mut draft = sandbox.tokens().id_token_draft("jane@acme.test", None);
    crate::sandbox::TokenFault::InvalidSignature.apply(&mut draft);
    let (input, _) = genuine.rsplit_once('.').unwrap();
    for hint in [
        string(&tokens, "access_token").to_owned(),
        sandbox.tokens().sign_draft(&draft),
        format!("{input}."),
        "x.y.z".to_owned(),
        "x".to_owned(),
    ] {
        let response = get(&sandbox, &logout_url(&sandbox, &[("id_token_hint", &hint)]), "").await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{hint}");
    }
    assert_eq!(refresh(&sandbox, string(&tokens, "refresh_token")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn logout_redirects_to_registered_uris_only() {
    let sandbox = Sandbox::builder()
        .loopback_redirects(false)
        .post_logout_redirect_uri("https://app.example.com/bye")
        .build();
    let back_to = |uri| logout_url(&sandbox, &[("post_logout_redirect_uri", uri)]);
    let response = get(&sandbox, &back_to("https://app.example.com/bye"), "").await;
    assert_eq!(location(&response), "https://app.example.com/bye");
    for uri in ["https://evil.test/", "http://localhost:3000/bye", "//evil.test"] {
        let response = get(&sandbox, &back_to(uri), "").await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{uri}");
    }
    let response = get(&sandbox, &logout_url(&sandbox, &[]), "").await;
    assert!(text(&response).contains("You are signed out"));
}
