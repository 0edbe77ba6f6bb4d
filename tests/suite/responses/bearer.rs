//! Responses to bearer tokens.

use super::*;

#[tokio::test]
async fn requests_without_a_bearer_token_are_challenged_without_an_error() {
    let sandbox = sandbox_builder().build();
    let app = bearer_app(&sandbox);
    let good = token(&sandbox, "todo:read").replace("Bearer ", "");
    let in_query = request(Method::GET, &format!("/todos?access_token={good}"), &[]);
    let mut in_body = request(Method::POST, "/todos", &[]);
    *in_body.body_mut() = format!("access_token={good}").into();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    in_body.headers_mut().insert(header::CONTENT_TYPE, form);
    let with = |value: &str| request(Method::GET, "/todos", &[("authorization", value)]);
    for rejected in [
        request(Method::GET, "/todos", &[]),
        request(Method::GET, "/todos", &NAVIGATION),
        in_query,
        in_body,
        with("Basic YTpi"),
        with(&format!("DPoP {good}")),
        with(&good),
        request(Method::GET, "/todos", &[("proxy-authorization", "Bearer x")]),
    ] {
        let shown = format!("{rejected:?}");
        let response = send(&app, rejected).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{shown}");
        let challenge = response.header("www-authenticate").unwrap();
        assert_eq!(challenge, r#"Bearer realm="todos", scope="todo:read""#, "{shown}");
        assert_eq!(response.json()["error"], "missing_token");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert!(matches!(response.extensions().get(), Some(TokenRejection::MissingToken { .. })));
    }
}

#[tokio::test]
async fn repeated_authorization_is_400() {
    let sandbox = sandbox_builder().build();
    let app = bearer_app(&sandbox);
    let good = token(&sandbox, "todo:read");
    for pair in [[good.as_str(), &good], ["Basic YTpi", &good], ["", ""]] {
        let headers = pair.map(|value| ("authorization", value));
        let response = ask(&app, &headers).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let challenge = response.header("www-authenticate").unwrap();
        assert!(challenge.contains(r#"error="invalid_request""#), "{challenge}");
        assert_eq!(response.json()["error"], "invalid_request");
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn every_invalid_token_gets_the_same_response() {
    let sandbox = sandbox_builder().build();
    let app = bearer_app(&sandbox);
    let broken = |fault: TokenFault| {
        let mut draft = sandbox.tokens().access_token_draft(JANE);
        draft.claims.insert("scope".into(), "todo:read".into());
        fault.apply(&mut draft);
        sandbox.tokens().sign_draft(&draft)
    };
    let mut tokens = vec![
        "garbage".to_owned(),
        "a.b.c".to_owned(),
        "\"".to_owned(),
        "a b".to_owned(),
        String::new(),
        sandbox.tokens().id_token(JANE, Some("n")),
        sandbox.tokens().m2m_token(&["todo:read"]),
    ];
    tokens.extend(
        [
            TokenFault::Expired,
            TokenFault::InvalidAudience,
            TokenFault::InvalidIssuer,
            TokenFault::InvalidSignature,
            TokenFault::MissingAudience,
            TokenFault::MissingExpiry,
            TokenFault::MissingIssuer,
            TokenFault::NotYetValid,
            TokenFault::SignedWithClientSecret,
            TokenFault::SignedWithPublicKey,
            TokenFault::UnknownKeyId,
            TokenFault::Unsigned,
            TokenFault::WithClaim("exp".into(), "9999999999".into()),
            TokenFault::WithClaim("events".into(), serde_json::json!({})),
        ]
        .map(broken),
    );
    let good = token(&sandbox, "todo:read");
    let mut headers: Vec<_> = tokens.iter().map(|token| format!("Bearer {token}")).collect();
    // Only spaces separate scheme and token (RFC 9110 section 11.4).
    headers.extend(["\t", " \t"].map(|space| good.replacen(' ', space, 1)));
    let mut responses = Vec::new();
    for header in &headers {
        let response = ask(&app, &[("authorization", header)]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{header}");
        let challenge = response.header("www-authenticate").unwrap().to_owned();
        assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert!(matches!(response.extensions().get(), Some(TokenRejection::InvalidToken { .. })));
        responses.push((challenge, response.text()));
    }
    responses.dedup();
    assert_eq!(responses.len(), 1, "which check failed shows outside: {responses:?}");
}

#[tokio::test]
async fn a_token_without_the_scope_gets_403_with_a_challenge_for_all_scopes() {
    let sandbox = sandbox_builder().build();
    let app = bearer_app(&sandbox);
    for (target, granted, wanted) in [
        ("/todos", "openid", "todo:read"),
        ("/todos/write", "todo:read", "todo:read todo:write"),
        ("/todos/write", "openid", "todo:read"),
    ] {
        let authorization = token(&sandbox, granted);
        let headers = [("authorization", authorization.as_str())];
        let response = send(&app, request(Method::GET, target, &headers)).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let challenge = response.header("www-authenticate").unwrap();
        assert!(challenge.starts_with(r#"Bearer realm="todos", error="insufficient_scope""#));
        assert!(challenge.contains(&format!("scope=\"{wanted}\"")), "{challenge}");
        assert_eq!(response.json()["error"], "insufficient_scope");
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    let authorization = token(&sandbox, "todo:write todo:read");
    let headers = [("authorization", authorization.as_str())];
    let response = send(&app, request(Method::GET, "/todos/write", &headers)).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn unavailable_keys_are_503_without_a_challenge() {
    for fault in [
        Fault::Unreachable,
        Fault::Html,
        Fault::ResponseLost,
        Fault::Status(StatusCode::TOO_MANY_REQUESTS),
        Fault::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::Response(Response::new(Bytes::from_static(b"{\"keys\":[]}"))),
    ] {
        let sandbox = sandbox_builder().build();
        let app = bearer_app(&sandbox);
        sandbox.faults().add(Endpoint::Keys, fault.clone());
        let authorization = token(&sandbox, "todo:read");
        let response = ask(&app, &[("authorization", &authorization)]).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        assert!(response.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(response.header("www-authenticate"), None);
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert!(matches!(response.extensions().get(), Some(TokenRejection::KeysUnavailable)));
    }
}

#[tokio::test]
async fn a_preflight_is_rejected_unless_a_cors_layer_outside_responds_to_it() {
    let app = bearer_app(&sandbox_builder().build());
    let headers = [
        ("origin", "https://client.test"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let preflight = || request(Method::OPTIONS, "/todos/write", &headers);
    let rejected = send(&app, preflight()).await;
    assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(rejected.header("access-control-allow-origin"), None);

    let app = app.layer(CorsLayer::very_permissive());
    let allowed = send(&app, preflight()).await;
    assert_eq!((allowed.status(), allowed.body().len()), (StatusCode::OK, 0));
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://client.test"));
    let post = send(&app, request(Method::POST, "/todos/write", &headers[..1])).await;
    assert_eq!(post.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(post.header("access-control-allow-origin"), Some("https://client.test"));
}
