//! Every web example below the path of `PUBLIC_URL`, whether or not a proxy removes the path.

use http::{Response, StatusCode, header};

use crate::noted::Secrets;
use crate::processes::fresh_folder;
use crate::running::{Environment, start};
use crate::visitor::Visitor;

/// The values of these attributes in a page.
fn links(page: &Response<bytes::Bytes>) -> Vec<String> {
    let page = std::str::from_utf8(page.body()).unwrap();
    let values = ["href=\"", "action=\""].map(|attribute| page.split(attribute).skip(1));
    let values = values.into_iter().flatten().map(|rest| rest.split('"').next().unwrap());
    values.map(str::to_owned).collect()
}

fn location(response: &Response<bytes::Bytes>) -> &str {
    response.headers()[header::LOCATION].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_link_and_login_is_below_the_path() {
    let folder = fresh_folder();
    let database = format!("sqlite://{}", folder.path().join("scim.sqlite").display());
    for (example, arguments, page, login) in [
        ("saaskit", &[][..], "/dashboard", "/app/login?return_to=%2Fapp%2Fdashboard"),
        ("login", &[], "/api/me", "/app/login?return_to=%2Fapp%2Fapi%2Fme"),
        ("sso", &[], "/api/me", "/app/login?return_to=%2Fapp%2Fapi%2Fme"),
        ("passwordless", &[], "/api/me", "/app?return_to=%2Fapp%2Fapi%2Fme"),
        ("scim", &[], "/users", "/app/login?return_to=%2Fapp%2Fusers"),
        (
            "agentkit",
            &["--serve"],
            "/connect/gmail",
            "/app/login?return_to=%2Fapp%2Fconnect%2Fgmail",
        ),
    ] {
        let environment = Environment::serve().await;
        let mut settings = environment.settings();
        // Nothing listens there: requests are sent to the app directly, with the host of this URL.
        let public_url = "http://127.0.0.1:9/app";
        settings.extend([
            ("BIND", "127.0.0.1:0"),
            ("PUBLIC_URL", public_url),
            ("DATABASE_URL", &database),
        ]);
        let program = start(example, arguments, &settings);
        let url = program.said("listening on ");
        assert_eq!(program.said("open "), public_url, "{example}");
        let visitor = Visitor::new(Secrets::default());
        // With the path, and as a proxy that removes it forwards the request.
        for base in ["/app", ""] {
            let home = visitor.get_as("127.0.0.1:9", &format!("{url}{base}/")).await;
            match example {
                "scim" => assert_eq!(location(&home), "/app/users"),
                _ => assert!(links(&home).len() > 1, "{example}: {home:?}"),
            }
            for link in links(&home) {
                let is_outbox = link.starts_with(environment.url());
                assert!(link.starts_with("/app/") || is_outbox, "{example}: {link}");
            }
            let anonymous = visitor.get_as("127.0.0.1:9", &format!("{url}{base}{page}")).await;
            assert_eq!(location(&anonymous), login, "{example} {base}");
            if example != "passwordless" {
                let login = format!("{url}{base}/login?return_to=/app{page}");
                let started = visitor.get_as("127.0.0.1:9", &login).await;
                assert!(location(&started).starts_with(environment.url()), "{example} {base}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_an_mcp_server_below_a_path_is_at_the_root() {
    let environment = Environment::serve().await;
    let id = environment.sandbox.mcp().resource_id();
    let mut settings = environment.settings();
    settings.extend([
        ("BIND", "127.0.0.1:0"),
        ("PUBLIC_URL", "http://127.0.0.1:9/app"),
        ("MCP_RESOURCE_ID", &id),
    ]);
    let program = start("mcp_server", &[], &settings);
    let url = program.said("listening on ");
    let visitor = Visitor::new(Secrets::default());
    for path in ["/app/mcp", "/mcp"] {
        let challenge = visitor.get(&format!("{url}{path}")).await;
        assert_eq!(challenge.status(), StatusCode::UNAUTHORIZED, "{path}");
        let challenge = challenge.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
        let metadata = "http://127.0.0.1:9/.well-known/oauth-protected-resource/app/mcp";
        assert!(challenge.contains(metadata), "{challenge}");
    }
    let path = "/.well-known/oauth-protected-resource/app/mcp";
    let metadata = visitor.get(&format!("{url}{path}")).await;
    assert_eq!(metadata.status(), StatusCode::OK);
    let metadata: serde_json::Value = serde_json::from_slice(metadata.body()).unwrap();
    assert_eq!(metadata["resource"], "http://127.0.0.1:9/app/mcp");
}
