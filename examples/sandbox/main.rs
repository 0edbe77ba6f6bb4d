//! The sandbox on a port: for browsers, other languages and other processes.
//!
//! `cargo run --example sandbox`, then open the printed URL, which shows the settings to copy. Any
//! loopback redirect URI is allowed, and `REDIRECT_URI` if set. Webhooks are sent to `WEBHOOK_URL`
//! if set. `INITIATE_LOGIN_URL` is where identity providers' portals start IdP-initiated logins;
//! with `MODULAR_SSO` set, users only sign in through single sign-on and tokens are those of
//! Modular SSO.

#[path = "../common/mod.rs"]
mod common;

use tower_scalekit::Sandbox;
use tower_scalekit::http_client::ReqwestClient;

#[tokio::main]
async fn main() {
    common::init_logging();
    // Bound and released at once, to report a port in use like the other examples.
    let address = common::or_exit(1, common::bind().await.local_addr());
    let sandbox = match common::setting("MODULAR_SSO") {
        Some(_) => Sandbox::builder().modular_sso().build(),
        None => Sandbox::new(),
    };
    if let Some(url) = common::setting("INITIATE_LOGIN_URL") {
        sandbox.idp().set_initiate_login_url(&url);
    }
    if let Some(uri) = common::setting("REDIRECT_URI") {
        sandbox.register_redirect_uri(&uri);
    }
    let endpoint = common::setting("WEBHOOK_URL").map(|url| sandbox.webhooks().add_endpoint(&url));
    sandbox.webhooks().set_client(common::or_exit(1, ReqwestClient::new()));
    sandbox.webhooks().start_delivery();
    let server = common::or_exit(1, sandbox.serve(address).await);
    let stop = common::stop_signal();
    eprintln!("SCALEKIT_ENVIRONMENT_URL={}", server.environment_url());
    eprintln!("SCALEKIT_CLIENT_ID={}", sandbox.client_id());
    eprintln!("SCALEKIT_CLIENT_SECRET={}", sandbox.client_secret().expose());
    if let Some(endpoint) = endpoint {
        eprintln!("SCALEKIT_WEBHOOK_SECRET={}", endpoint.secret().expose());
    }
    // Printed last: the settings are above this line.
    println!("listening on {}", server.environment_url());
    println!("sandbox on {}", server.environment_url());
    stop.await;
    server.shutdown().await;
}
