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

use crate::mails::Mails;
use crate::terminal::line;

/// Your system's stable ID of the user.
const IDENTIFIER: &str = "user_123";

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let unknown =
        arguments.iter().find(|argument| !["--yes", "--serve"].contains(&argument.as_str()));
    if let Some(unknown) = unknown {
        common::or_exit::<(), _>(2, Err(format!("{unknown}: there are --yes and --serve")));
    }
    let connection = common::setting("GMAIL_CONNECTION_NAME").unwrap_or_else(|| "gmail".to_owned());
    if has("--serve") {
        return serve::run(&connection).await;
    }
    common::init_logging();
    let (scalekit, sandbox) = if common::is_configured() {
        (common::or_exit(2, Scalekit::from_env()), None)
    } else {
        common::embedded_environment("http://127.0.0.1:3000", |sandbox| sandbox).await
    };
    if let Some((_, server)) = &sandbox {
        println!("sandbox on {}", server.environment_url());
    }
    let ran = run(&scalekit, &connection, has("--yes")).await;
    common::or_exit(1, ran.map_err(|error| line(&error)));
}

async fn run(scalekit: &Scalekit, connection: &str, yes: bool) -> Result<(), String> {
    let accounts = scalekit.api().connected_accounts();
    let user = AccountKey::new(connection, IDENTIFIER);
    let account = accounts.get_or_create(&NewConnectedAccount::new(&user)).await;
    let account = account.map_err(|error| explain(connection, &error))?;
    tell(&account);
    if !account.is_active() {
        tell(&authorize(scalekit, &user, yes).await?);
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
        let visited = reqwest::get(link.url().as_str()).await;
        let visited = visited.and_then(reqwest::Response::error_for_status);
        visited.map_err(|error| format!("the authorization link: {}", error.without_url()))?;
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

fn tell(account: &ConnectedAccount) {
    let id = &account.id;
    let status = account.status.as_ref().map_or("unknown", ConnectedAccountStatus::as_str);
    println!("connected account {} is {}", line(id), line(status));
}

/// Only on a terminal.
fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
