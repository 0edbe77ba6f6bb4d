//! Errors of the identity provider and of the portal.

use super::*;

#[tokio::test]
async fn a_rejection_is_rendered_by_the_layer() {
    let world = World::new();
    let layer = IdpInitiatedRedirect::new(&world.sessions).on_rejection(|rejected| {
        let reason = rejected.rejection();
        let text = match reason.error() {
            LoginError::InvalidIdpInitiatedLogin { .. } => {
                "Open the app from your portal again".into()
            }
            _ => reason.message(),
        };
        let body = format!("{text}: {}", reason.retry_url().unwrap_or("nowhere"));
        let mut response = rejected.into_default_response();
        *response.body_mut() = body.into();
        response
    });
    let mut browser = world.browser().at(&app(&world.sessions).layer(layer));
    for (target, text) in [
        ("/login?idp_initiated_login=forged", "Open the app from your portal again: /login"),
        ("/login?error=access_denied", "The login was cancelled: /login"),
        ("/login?idp_initiated_login=a&idp_initiated_login=b", "The request is invalid: /login"),
    ] {
        let response = browser.open(target).await;
        assert_eq!((response.status(), response.text().as_str()), (StatusCode::BAD_REQUEST, text));
        // Any renderer's response has the rejection in its extensions, and the headers that protect
        // the address.
        let _ = login_error(&response);
        assert_no_session(&response);
    }
    let response = browser.fetch("/login?error=access_denied").await;
    assert_eq!(response.text(), "The login was cancelled: nowhere", "a script follows no link");
    // Rejections of the inner service are rendered by that service.
    let response = browser.open("/auth/callback?code=c&state=s").await;
    assert_eq!(login_error(&response), LoginError::StateMismatch);
    assert!(response.text().contains("was started in another browser"));
}

#[tokio::test]
async fn a_relay_state_of_another_site_is_ignored_and_the_login_continues() {
    let world = world();
    for (relay_state, lands_at) in [
        ("/me?tab=2#end", "/me?tab=2#end"),
        ("https://app.example.com/me", "/me"),
        ("https://evil.test/me", "/"),
        ("//evil.test", "/"),
        ("/\\evil.test", "/"),
        ("/.//evil.test", "/"),
        ("https://app.example.com.evil.test/me", "/"),
        ("https://app.example.com@evil.test/me", "/"),
        ("javascript:alert(1)", "/"),
        ("/login", "/"),
        ("/logout?now", "/"),
        ("/me?idp_initiated_login=x", "/"),
        ("/me?a=b&idp%5Finitiated_login=x#c", "/"),
        (&format!("/me?{}", "x".repeat(600)), "/"),
        ("https://app.example.com/auth/callback?code=x", "/"),
        ("b3BhcXVl", "/"),
        ("", "/"),
    ] {
        let mut browser = world.browser();
        let token = login_token_with(&world.sandbox, json!({"relay_state": relay_state}));
        let authorization = browser.start_login(&at_login(&token)).await;
        let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
        let completed = browser.open(&callback).await;
        assert_eq!(completed.status(), StatusCode::SEE_OTHER, "{relay_state}");
        assert_eq!(completed.location(), lands_at, "{relay_state}");
        world.advance(1);
    }
}

#[tokio::test]
async fn an_error_of_an_idp_initiated_login_shows_no_text_of_the_query() {
    let world = world();
    let foreign = "error_description=%3Cscript%3ECall%20555";
    for (target, error) in [
        ("/login?error=invalid_saml_response", Some(SsoError::InvalidSamlResponse)),
        ("/login?error=%3Cb%3Eboo", None),
        ("/auth/callback?error=access_denied", Some(SsoError::AccessDenied)),
    ] {
        let response = world.browser().open(&format!("{target}&{foreign}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(login_error(&response), LoginError::AuthorizationFailed { error });
        assert!(!response.text().contains("555") && !response.text().contains("boo"));
        assert_no_session(&response);
    }
    // Pages of the app may use the parameter `error`.
    let page = world.browser().open("/maybe?error=invalid_saml_response").await;
    assert_eq!((page.status(), page.text().as_str()), (StatusCode::OK, "nobody"));
    // With a `state`, the callback handles it and ends the attempt.
    let mut browser = world.browser();
    let url = browser.start_login("/login").await;
    let state = parameter(&url, "state").unwrap();
    browser.open(&format!("/auth/callback?error=access_denied&state={state}")).await;
    assert_eq!(browser.names(), [""; 0]);
}

#[tokio::test]
async fn an_error_is_matched_by_the_whole_path_in_a_nested_router() {
    let world = World::new();
    let page = |path| {
        let router = Router::new().route(path, get(|| async { "a page" }));
        router.layer(IdpInitiatedRedirect::new(&world.sessions))
    };
    let app = Router::new()
        .nest("/auth", page("/callback"))
        .nest("/help", page("/login"))
        .nest("/help/auth", page("/callback"));
    let mut browser = world.browser().at(&app);
    let response = browser.open("/auth/callback?error=access_denied").await;
    let error = Some(SsoError::AccessDenied);
    assert_eq!(login_error(&response), LoginError::AuthorizationFailed { error });
    assert_no_session(&response);
    // A path that only ends in the same way does not match.
    for target in ["/help/login?error=access_denied", "/help/auth/callback?error=access_denied"] {
        let response = browser.open(target).await;
        assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "a page"));
    }
}

#[tokio::test]
async fn an_error_at_an_unknown_path_reaches_the_inner_service() {
    let world = World::new();
    for (redirect_uri, expected) in [
        ("https://app.example.com/done", StatusCode::OK),
        ("https://app.example.com/help/auth/callback", StatusCode::BAD_REQUEST),
        ("https://app.example.com/auth/callback", StatusCode::BAD_REQUEST),
    ] {
        let sessions = world.replica(|sessions| sessions.redirect_uri(redirect_uri));
        let service =
            IdpInitiatedRedirect::new(&sessions).layer(service_fn(|_: Request<Body>| async {
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }));
        let request = request(Method::GET, "/login?error=access_denied", &[]);
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected, "{redirect_uri}");
    }
}

#[tokio::test]
async fn an_idp_initiated_login_completes_only_in_the_browser_that_it_began_in() {
    let world = world();
    let mut browser = world.browser();
    let authorization =
        browser.start_login(&at_login(&login_token_with(&world.sandbox, json!({})))).await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let mut stranger = world.browser();
    stranger.open("/login").await;
    let response = stranger.open(&callback).await;
    assert_eq!(login_error(&response), LoginError::StateMismatch);
    assert_no_session(&response);
    let without_state = callback.split("&state").next().unwrap();
    assert_eq!(login_error(&browser.open(without_state).await), LoginError::InvalidRequest);
    assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_redirect_loop_of_a_portal_is_stopped() {
    let world = world();
    let mut browser = world.browser();
    // Even with the longest page in `relay_state`.
    let page = format!("/me?{}", "x".repeat(1500));
    let target = |number: u32| {
        at_login(&login_token_with(&world.sandbox, json!({"n": number, "relay_state": page})))
    };
    for number in 0..3 {
        let started = browser.open(&target(number)).await;
        assert_eq!(started.status(), StatusCode::FOUND, "{number}");
        world.advance(1);
    }
    let last = target(3);
    let stopped = browser.open(&last).await;
    assert_eq!(stopped.status(), StatusCode::BAD_REQUEST);
    assert_eq!(login_error(&stopped), LoginError::RedirectLoop);
    assert_no_session(&stopped);
    world.advance(60);
    // The rejected token was not spent; it is spent now.
    assert!(browser.start_login(&last).await.contains("connection_id="));
    assert_eq!(browser.open(&last).await.location(), "/login");
    // A browser whose logins complete may start any number of them.
    for number in 4..14 {
        let authorization = browser.start_login(&target(number)).await;
        let completed = browser.open(&world.sandbox.log_in(&authorization, JANE).unwrap()).await;
        assert_eq!(completed.status(), StatusCode::SEE_OTHER, "{number}");
    }
}
