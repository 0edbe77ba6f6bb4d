//! Connects the user's accounts.

use std::time::Duration;

use indicatif::ProgressBar;
use tower_scalekit::Scalekit;
use tower_scalekit::api::connected_accounts::{AccountKey, NewConnectedAccount};

use crate::terminal::{self, line};
use crate::{Failure, IDENTIFIER};

/// Returns when the account at this connection is active. Its user has to authorize the app first if
/// they have not, or if their tokens have expired.
pub async fn connect(scalekit: &Scalekit, connection: &str, yes: bool) -> Result<(), Failure> {
    let accounts = scalekit.api().connected_accounts();
    let user = AccountKey::new(connection, IDENTIFIER);
    if accounts.get_or_create(&NewConnectedAccount::new(&user)).await?.is_active() {
        return Ok(());
    }
    let link = accounts.authorization_link(&user).await?;
    if yes {
        terminal::visit(&link).await?;
    } else {
        println!("open this link to connect {}: {}", line(connection), link.url());
    }
    let progress = ProgressBar::new_spinner().with_message("waiting for the authorization");
    progress.enable_steady_tick(Duration::from_millis(120));
    let account = accounts.wait_until_active(&user).timeout(Duration::from_secs(600)).await;
    progress.finish_and_clear();
    account?;
    println!("{} is connected", line(connection));
    Ok(())
}
