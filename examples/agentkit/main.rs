//! An agent that reads its user's e-mails: connects a Gmail account once, then lists unread
//! e-mails.
//!
//! `cargo run --example agentkit -- --yes` runs on an embedded sandbox, or on your environment if
//! the SCALEKIT_ variables are set. `GMAIL_CONNECTION_NAME` is the connection's name as spelled in
//! AgentKit > Connections (default: `gmail`). The example prints the authorization link and waits
//! until you have authorized it; `--yes` opens the link itself, which is enough in a sandbox.
//!
//! `--serve` runs the same as a web app, with login and user verification.

#[path = "../common/mod.rs"]
mod common;
mod mails;
#[path = "../common/page.rs"]
mod page;
mod pages;
mod serve;
mod terminal;

use std::time::Duration;

use indicatif::ProgressBar;
use tower_scalekit::Scalekit;
use tower_scalekit::api::ApiError;
use tower_scalekit::api::connected_accounts::{AccountKey, ConnectedAccount, NewConnectedAccount};
use tower_scalekit::model::ConnectedAccountStatus;

use crate::common::OrExit as _;
use crate::mails::Mails;
use crate::terminal::line;

/// Your system's stable ID of the user.
const IDENTIFIER: &str = "user_123";

#[tokio::main]
async fn main() {
    let (mut yes, mut serve) = (false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--yes" => yes = true,
            "--serve" => serve = true,
            unknown => common::exit(2, format!("{unknown}: there are --yes and --serve")),
        }
    }
    let connection = common::setting("GMAIL_CONNECTION_NAME").unwrap_or_else(|| "gmail".to_owned());
    if serve {
        return serve::run(&connection).await;
    }
    common::init_logging();
    let (scalekit, sandbox) = common::environment().await;
    if let Some((_, server)) = &sandbox {
        println!("sandbox on {}", server.environment_url());
    }
    run(&scalekit, &connection, yes).await.map_err(|error| line(&error)).or_exit(1);
}

async fn run(scalekit: &Scalekit, connection: &str, yes: bool) -> Result<(), String> {
    let accounts = scalekit.api().connected_accounts();
    let user = AccountKey::new(connection, IDENTIFIER);
    let account = accounts
        .get_or_create(&NewConnectedAccount::new(&user))
        .await
        .map_err(|error| explain(connection, &error))?;
    print_status(&account);
    if !account.is_active() {
        print_status(&authorize(scalekit, &user, yes).await?);
    }
    let progress = spinner("fetching unread mails");
    let mails = Mails::unread(scalekit, &user).await;
    progress.finish_and_clear();
    print!("{}", mails.map_err(|error| error.to_string())?);
    Ok(())
}

/// Asks the user for authorization, initially and when their tokens have expired.
async fn authorize(
    scalekit: &Scalekit,
    user: &AccountKey,
    yes: bool,
) -> Result<ConnectedAccount, String> {
    let accounts = scalekit.api().connected_accounts();
    let link = accounts.authorization_link(user).await.map_err(|error| error.to_string())?;
    if yes {
        terminal::visit(&link).await?;
    } else {
        println!("open this link to connect Gmail: {}", link.url());
    }
    let progress = spinner("waiting until Gmail is connected");
    let account = accounts.wait_until_active(user).timeout(Duration::from_secs(600)).await;
    progress.finish_and_clear();
    account.map_err(|error| error.to_string())
}

/// A wrong name is the most likely mistake.
fn explain(connection: &str, error: &ApiError) -> String {
    match error {
        ApiError::NotFound(_) => format!(
            "no connection is named {connection:?}: set GMAIL_CONNECTION_NAME to the name in \
             AgentKit > Connections ({error})"
        ),
        error => error.to_string(),
    }
}

fn print_status(account: &ConnectedAccount) {
    let status = account.status.as_ref().map_or("unknown", ConnectedAccountStatus::as_str);
    println!("connected account {} is {}", line(&account.id), line(status));
}

/// Only on a terminal.
fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
