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

#[tokio::main]
async fn main() {
    common::init_logging();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (scalekit, sandbox) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => (configured(), None),
        ["--sandbox"] => {
            common::embedded_environment("http://localhost:3000", |sandbox| sandbox).await
        }
        [unknown, ..] => {
            common::or_exit(2, Err(format!("{unknown}: the only option is --sandbox")))
        }
    };
    if let Some((_, server)) = &sandbox {
        println!("sandbox on {}", server.environment_url());
    }

    let organizations = scalekit.api().organizations().list().page_size(10);
    let first = organizations.stream().next().await.transpose();
    let url = scalekit.environment_url();
    let first = common::or_exit(1, first.map_err(|error| format!("{url}: {error}")));

    println!("{url} accepts the credentials of {}", scalekit.client_id());
    match first {
        Some(first) => println!("Name of the first organization: {}", first.display_name),
        None => println!("It has no organization yet: create one in the dashboard"),
    }
}

fn configured() -> Scalekit {
    let hint = "They are in the dashboard at Developers > Settings > API credentials. To try it \
                without an account: --sandbox";
    common::or_exit(
        2,
        Scalekit::from_env().map_err(|error| match common::is_configured() {
            true => error.to_string(),
            false => format!("{error}\n{hint}"),
        }),
    )
}
