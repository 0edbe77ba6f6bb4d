//! The query parameters of a login: the page to return to, and what is forwarded to the
//! environment.

use http::StatusCode;
use tower_scalekit::sandbox::Endpoint;
use url::Url;
use url::form_urlencoded::byte_serialize;

use crate::support::{JANE, ORIGIN, Reading as _, World, parameter};

/// Where a login with this `return_to` ends; the value is used verbatim in the query.
async fn lands_at(world: &World, raw: &str) -> String {
    let mut browser = world.browser();
    let authorization = browser.start_login(&format!("/login?return_to={raw}")).await;
    let callback = world.sandbox.log_in(&authorization, JANE).unwrap();
    let completed = browser.open(&callback).await;
    assert_eq!(completed.status(), StatusCode::SEE_OTHER, "{raw}");
    completed.location().to_owned()
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn no_spelling_of_another_origin_is_accepted_as_return_to() {
    let world = World::new();
    let mut disguises: Vec<String> = [
        "https://evil.test/",
        "http:evil.test",
        "https:\\\\evil.test",
        "HTTPS://evil.test",
        "//evil.test",
        "///evil.test",
        "////evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "\\/evil.test",
        "/\\/evil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "/\r/evil.test",
        "/\r\n/evil.test",
        "\t//evil.test",
        " //evil.test",
        "/ /evil.test",
        "\u{a0}//evil.test",
        "\u{0}//evil.test",
        "/./\\evil.test",
        "/.//evil.test",
        "/..//evil.test",
        "/a/..//evil.test",
        "/a/../..//evil.test",
        "/%2e//evil.test",
        "/%2e%2e//evil.test",
        "/a/%2E.//evil.test",
        "//app.example.com@evil.test",
        "//evil.test@app.example.com",
        "@evil.test",
        ":80//evil.test",
        ".evil.test",
        "javascript:alert(1)",
        "data:text/html,x",
        "/\u{2f}evil.test",
        "/\u{ff0f}evil.test",
        "\u{3000}//evil.test",
        "/\r\nlocation: https://evil.test",
        "/\u{85}/evil.test",
        "/\u{2028}/evil.test",
        "/;//evil.test",
        "/%0a/evil.test",
        "/%09/evil.test",
        "/%5cevil.test",
        "/%2fevil.test",
    ]
    .map(encoded)
    .into();
    // Verbatim and percent-encoded twice.
    disguises.extend(
        ["//evil.test", "/%5Cevil.test", "%2F%2Fevil.test", "/%09/evil.test", "%2f%5cevil.test"]
            .map(str::to_owned),
    );
    disguises.extend(["//evil.test", "/\\evil.test"].map(|text| encoded(&encoded(text))));
    let ours = Url::parse(ORIGIN).unwrap();
    for raw in disguises {
        let location = lands_at(&world, &raw).await;
        assert!(location.starts_with('/') && !location.starts_with("//"), "{raw}: {location}");
        let there = Url::parse(CALLBACK_PAGE).unwrap().join(&location).unwrap();
        assert_eq!(there.origin(), ours.origin(), "{raw}: {location}");
        assert!(!there.path().starts_with("//"), "{raw}: {location}");
    }
}

const CALLBACK_PAGE: &str = "https://app.example.com/auth/callback?code=x";

#[tokio::test]
async fn own_pages_are_kept_with_query_and_fragment() {
    let world = World::new();
    for (wanted, location) in [
        ("/me?a=b&c=%26#top", "/me?a=b&c=%26#top"),
        ("/a/../b", "/b"),
        ("/search?q=https://evil.test", "/search?q=https://evil.test"),
        ("/gr\u{fc}n", "/gr%C3%BCn"),
        ("/loginx", "/loginx"),
        ("/login/help", "/login/help"),
    ] {
        assert_eq!(lands_at(&world, &encoded(wanted)).await, location);
    }
}

#[tokio::test]
async fn the_login_routes_and_invalid_values_fall_back_to_the_start_page() {
    let world = World::new();
    let long = format!("/{}", "a".repeat(4000));
    for wanted in [
        "",
        "me",
        "/login",
        "/login/",
        "/login?return_to=/login",
        "/login#x",
        "/x/../login",
        "/./login",
        "/logout",
        "/logout?x",
        "/a/%2e%2e/logout",
        "/auth/callback",
        "/auth/callback?code=1&state=2",
        &long,
    ] {
        assert_eq!(lands_at(&world, &encoded(wanted)).await, "/", "{wanted}");
    }
}

#[tokio::test]
async fn a_login_started_by_a_third_party_has_the_environments_issuer_and_a_page_of_the_app() {
    let world = World::new();
    let ours = encoded(&world.sandbox.environment_url());
    for (target, location) in [
        ("https://app.example.com/me?a=b#c", "/me?a=b#c"),
        ("https://app.example.com", "/"),
        ("https://app.example.com/login", "/"),
        ("https://app.example.com//evil.test", "/"),
        ("https://app.example.com@evil.test/me", "/"),
        ("https://evil.test/me", "/"),
        ("http://app.example.com/me", "/"),
        ("https://app.example.com:444/me", "/"),
        ("//app.example.com/me", "/"),
        ("/me", "/"),
    ] {
        let query = format!("&iss={ours}&target_link_uri={}", encoded(target));
        assert_eq!(lands_at(&world, &query).await, location, "{target}");
    }
    let both = format!("/admin&target_link_uri={}", encoded("https://app.example.com/me"));
    assert_eq!(lands_at(&world, &both).await, "/admin");
    for issuer in ["https://evil.test", "x"] {
        let response = world.browser().open(&format!("/login?iss={}", encoded(issuer))).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn documented_and_unknown_parameters_are_forwarded_to_the_environment() {
    let world = World::new();
    for (name, value) in [
        ("organization_id", "org_59615193906282635"),
        ("connection_id", "conn_59615255777705100"),
        ("login_hint", "jane+a@acme.test"),
        ("domain_hint", "acme.test"),
        ("provider", "google"),
        ("prompt", "create"),
        ("invitation_token", "inv_1&state=evil"),
        ("some_future_parameter", "\u{fc} \"<>#"),
    ] {
        let target = format!("/login?{name}={}", encoded(value));
        let authorization = world.browser().start_login(&target).await;
        assert_eq!(parameter(&authorization, name).as_deref(), Some(value));
        assert_eq!(parameter(&authorization, "response_type").as_deref(), Some("code"));
    }
}

#[tokio::test]
async fn parameters_that_secure_the_login_cannot_be_overridden() {
    let world = World::new();
    for name in [
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "client_id",
        "client_secret",
        "response_type",
        "response_mode",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "request",
        "request_uri",
        "id_token_hint",
        "target_link_uri",
    ] {
        for target in [
            format!("/login?{name}=evil-mark"),
            format!("/login?x=1&{name}=evil-mark&{name}=evil-mark"),
            format!("/login?%{:02X}{}=evil-mark", name.as_bytes()[0], &name[1..]),
        ] {
            // `parameter` asserts that none is repeated.
            let authorization = world.browser().start_login(&target).await;
            assert!(!authorization.contains("evil-mark"), "{target}: {authorization}");
            for own in ["state", "nonce", "code_challenge", "redirect_uri", "scope", "client_id"] {
                assert!(parameter(&authorization, own).is_some(), "{target}: {authorization}");
            }
        }
    }
    assert_eq!(world.sandbox.requests().count(Endpoint::Token), 0);
}

#[tokio::test]
async fn the_size_of_the_redirect_is_limited() {
    let world = World::new();
    let many: String = (0..500).map(|n| format!("&p{n}=v")).collect();
    let huge = format!("&huge={}", "h".repeat(20_000));
    for flood in [many, huge] {
        let authorization = world.browser().start_login(&format!("/login?x=1{flood}")).await;
        assert!(authorization.len() < 4096, "{}", authorization.len());
        assert!(world.sandbox.log_in(&authorization, JANE).is_ok());
    }
}

#[tokio::test]
async fn a_login_url_has_every_parameter_of_the_environment() {
    let world = World::new();
    let page = tower_scalekit::auth_routes::ReturnTo::parse("/me?tab=1").unwrap();
    let url = world
        .sessions
        .login_url()
        .connection_id("conn_1")
        .organization_id("org_1")
        .domain_hint("acme.test")
        .login_hint(JANE)
        .provider("google")
        .prompt("login")
        .prompt("create")
        .parameter("invitation_token", "a b&c")
        .parameter("state", "forged")
        .return_to(&page)
        .to_string();
    let authorization = world.browser().start_login(&url).await;
    for (name, value) in [
        ("connection_id", "conn_1"),
        ("organization_id", "org_1"),
        ("domain_hint", "acme.test"),
        ("login_hint", JANE),
        ("provider", "google"),
        ("prompt", "create"),
        ("invitation_token", "a b&c"),
    ] {
        assert_eq!(parameter(&authorization, name).as_deref(), Some(value), "{name}");
    }
    assert_ne!(parameter(&authorization, "state").as_deref(), Some("forged"));
    assert_eq!(parameter(&authorization, "return_to"), None);
}
