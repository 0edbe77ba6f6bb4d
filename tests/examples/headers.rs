//! Security headers of all web examples.

use http::Response;
use tower_scalekit::Sandbox;

use crate::watched::Watched;

fn assert_secure<B>(response: &Response<B>, what: &str) {
    let header = |name: &str| {
        let values: Vec<_> = response.headers().get_all(name).iter().collect();
        let [value] = values[..] else { panic!("{what}: {name}: {values:?}") };
        value.to_str().unwrap()
    };
    let policy = header("content-security-policy");
    for directive in ["default-src 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{what}: {policy}");
    }
    // Scripts are files of the app.
    assert!(!policy.replace("script-src 'self'; ", "").contains("script"), "{what}: {policy}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
    assert_eq!(header("x-frame-options"), "DENY", "{what}");
    assert!(["same-origin", "no-referrer"].contains(&header("referrer-policy")), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_of_every_web_example_has_the_security_headers() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("users.sqlite").display());
    let resource = Sandbox::new().mcp().resource_id();
    let settings = [
        ("DATABASE_URL", &*database),
        ("MCP_RESOURCE_ID", &*resource),
        ("MCP_CONNECTION_ID", "conn_1"),
    ];
    for (example, arguments) in [
        ("agentkit", &["--serve"][..]),
        ("bring_your_own_auth", &[]),
        ("call_api", &[]),
        ("forward_auth", &[]),
        ("login", &[]),
        ("mcp_server", &[]),
        ("observability", &[]),
        ("passwordless", &[]),
        ("saaskit", &[]),
        ("scim", &[]),
        ("spa", &[]),
        ("sso", &[]),
    ] {
        let app = Watched::start_with(Sandbox::builder(), example, arguments, &settings).await;
        for path in ["/", "/login", "/auth/callback", "/api/me", "/mcp", "/users", "/no-such-page"]
        {
            let response = app.visitor.get(&app.address(path)).await;
            assert_secure(&response, &format!("{example} {path}"));
        }
    }
}
