//! Verifies the settings: requests the environment's first organization.
//!
//! `SCALEKIT_ENVIRONMENT_URL=… SCALEKIT_CLIENT_ID=… SCALEKIT_CLIENT_SECRET=… cargo run --example
//! setup`; the three are in the dashboard at Developers > Settings > API credentials. Without them
//! it uses an embedded sandbox.
//!
//! Problems are printed on one line. The exit code is 2 if a setting is missing, and 1 if one does
//! not work.

#[path = "../common/mod.rs"]
mod common;

use tower_scalekit::Scalekit;
use tower_scalekit::error::{ConfigError, ConfigProblem};

#[tokio::main]
async fn main() {
    common::init_logging();
    let (scalekit, sandbox) = if common::is_configured() {
        let configured = Scalekit::from_env();
        let code = configured.as_ref().err().map_or(0, exit_code);
        (common::or_exit(code, configured), None)
    } else {
        common::embedded_environment("http://localhost:3000", |sandbox| sandbox).await
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

fn exit_code(error: &ConfigError) -> i32 {
    let is_missing = |problem: &ConfigProblem| matches!(problem, ConfigProblem::Missing { .. });
    if error.problems().iter().any(is_missing) { 2 } else { 1 }
}
