//! The sandbox on a port: for browsers, other languages and other processes.
//!
//! `cargo run --example sandbox`, then open the printed URL: the page has the settings of the
//! environment to copy, and lists those below with their values. Without a clone: `cargo install
//! tower-scalekit --example sandbox --features redis,sandbox`.
//!
//! | variable | sets |
//! |---|---|
//! | `REDIRECT_URI`, `POST_LOGOUT_REDIRECT_URI` | allowed addresses, in addition to `http` on loopback |
//! | `INITIATE_LOGIN_URL` | where the portals of identity providers start logins |
//! | `WEBHOOK_URL` | endpoints that get webhooks |
//! | `MCP_RESOURCE_URL` | the URL of the MCP server, for the `aud` of its tokens |
//! | `MACHINE_AUDIENCE` | a machine client for each audience; `none` for one without |
//! | `MACHINE_SCOPES` | the scopes of these clients |
//! | `MODULAR_SSO` | any value: users only sign in through single sign-on |
//!
//! Several values are separated by commas.

#[path = "../common/mod.rs"]
mod common;

use axum::http::Uri;
use tower_scalekit::Sandbox;
use tower_scalekit::http_client::ReqwestClient;
use tower_scalekit::sandbox::NewMachineClient;

use crate::common::OrExit as _;

#[tokio::main]
async fn main() {
    common::init_logging();
    let mut settings = Sandbox::builder();
    if common::setting("MODULAR_SSO").is_some() {
        settings = settings.modular_sso();
    }
    for uri in urls("REDIRECT_URI") {
        settings = settings.redirect_uri(&uri);
    }
    for uri in urls("POST_LOGOUT_REDIRECT_URI") {
        settings = settings.post_logout_redirect_uri(&uri);
    }
    for url in urls("INITIATE_LOGIN_URL") {
        settings = settings.initiate_login_url(&url);
    }
    let sandbox = settings.build();
    let resource_id = sandbox.mcp().resource_id();
    for url in urls("MCP_RESOURCE_URL") {
        sandbox.mcp().add_resource_url(&resource_id, &url);
    }
    let endpoints: Vec<_> =
        urls("WEBHOOK_URL").iter().map(|url| sandbox.webhooks().add_endpoint(url)).collect();
    let acme = sandbox.organizations().list().remove(0).id;
    let machines: Vec<_> = values("MACHINE_AUDIENCE")
        .iter()
        .map(|audience| match audience.as_str() {
            "none" => NewMachineClient::new(),
            audience => NewMachineClient::new().audience(audience),
        })
        .map(|client| client.scopes(values("MACHINE_SCOPES")))
        .map(|client| sandbox.organizations().add_machine_client(&acme, client))
        .collect();

    // Bound and released at once, to report a port in use like the other examples.
    let address = common::bind().await.local_addr().or_exit(1);
    sandbox.webhooks().set_client(ReqwestClient::new().or_exit(1));
    sandbox.webhooks().start_delivery();
    sandbox.mcp().fetch_client_metadata_documents(ReqwestClient::new().or_exit(1));
    let server = sandbox.serve(address).await.or_exit(1);
    let stop = common::stop_signal();
    eprintln!("SCALEKIT_ENVIRONMENT_URL={}", server.environment_url());
    eprintln!("SCALEKIT_CLIENT_ID={}", sandbox.client_id());
    eprintln!("SCALEKIT_CLIENT_SECRET={}", sandbox.client_secret().expose());
    eprintln!("MCP_RESOURCE_ID={resource_id}");
    for endpoint in endpoints {
        eprintln!("SCALEKIT_WEBHOOK_SECRET={}", endpoint.secret().expose());
    }
    for machine in machines {
        eprintln!("machine client {} with secret {}", machine.id, machine.secret.expose());
    }
    // Printed last: the settings are above this line.
    println!("listening on {}", server.environment_url());
    println!("sandbox on {}", server.environment_url());
    stop.await;
    server.shutdown().await;
}

/// The values of a variable.
fn values(name: &'static str) -> Vec<String> {
    common::setting(name)
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The same, each of which must be a URL.
fn urls(name: &'static str) -> Vec<String> {
    let urls = values(name);
    for url in &urls {
        if !url.parse::<Uri>().is_ok_and(|url| url.scheme().is_some() && url.host().is_some()) {
            common::exit(2, format!("{name}: not a URL such as http://localhost:3000/path"));
        }
    }
    urls
}
