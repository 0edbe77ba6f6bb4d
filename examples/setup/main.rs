//! Verifies the settings: requests the environment's first organization.
//!
//! `SCALEKIT_ENVIRONMENT_URL=… SCALEKIT_CLIENT_ID=… SCALEKIT_CLIENT_SECRET=… cargo run --example
//! setup`; the three are in the dashboard at Developers > Settings > API credentials. `cargo run
//! --example setup -- --sandbox` uses an embedded sandbox.
//!
//! Problems are printed to standard error. The exit code is 2 if a setting is missing or invalid, and
//! 1 if the environment does not accept it.

#[path = "../common/mod.rs"]
mod common;

use std::env;

use tower_scalekit::Scalekit;

use crate::common::OrExit as _;

#[tokio::main]
async fn main() {
    common::init_logging();
    let (scalekit, sandbox) = match env::args().nth(1).as_deref() {
        None => (configured(), None),
        Some("--sandbox") => {
            common::embedded_environment("http://localhost:3000", |sandbox| sandbox).await
        }
        Some(unknown) => common::exit(2, format!("{unknown}: the only option is --sandbox")),
    };
    if let Some((_, server)) = &sandbox {
        println!("sandbox on {}", server.environment_url());
    }

    let url = scalekit.environment_url();
    let first = scalekit
        .api()
        .organizations()
        .list()
        .page_size(10)
        .stream()
        .next()
        .await
        .transpose()
        .map_err(|error| format!("{url}: {error}"))
        .or_exit(1);
    println!("{url} accepts the credentials of {}", scalekit.client_id());
    match first {
        Some(first) => println!("Name of the first organization: {}", first.display_name),
        None => println!("It has no organization yet: create one in the dashboard"),
    }
}

fn configured() -> Scalekit {
    let hint = "They are in the dashboard at Developers > Settings > API credentials. To try it \
                without an account: --sandbox";
    Scalekit::from_env()
        .map_err(|error| match common::is_configured() {
            true => error.to_string(),
            false => format!("{error}\n{hint}"),
        })
        .or_exit(2)
}
