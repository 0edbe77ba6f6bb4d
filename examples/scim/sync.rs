//! The full sync: the current users of the organization's directories.

use std::error::Error;
use std::time::Duration;

use futures::TryStreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use time::OffsetDateTime;
use tower_scalekit::api::Api;

use crate::blocking;
use crate::table::{Listed, Table};

/// The environment's maximum page size.
const PAGE: u32 = 30;

type Failure = Box<dyn Error + Send + Sync>;

/// Syncs once, with retries.
pub async fn run(api: Api, organization_id: Option<String>, table: Table) {
    let mut pause = Duration::from_secs(1);
    loop {
        match full(&api, organization_id.as_deref(), &table).await {
            Ok(users) => return println!("synced {users} users"),
            Err(error) => {
                tracing::warn!("the sync failed, next attempt in {} s: {error}", pause.as_secs());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}

async fn full(api: &Api, organization: Option<&str>, table: &Table) -> Result<u64, Failure> {
    let organization = match organization {
        Some(id) => id.to_owned(),
        None => first_organization(api).await?,
    };
    let directories = api.directories().list(&organization).await?;
    if directories.is_empty() {
        // The directory may not be set up yet.
        tracing::warn!("{organization} has no directory");
        return Ok(0);
    }
    let sync = blocking(table, |table| table.begin_sync(OffsetDateTime::now_utc())).await?;
    let progress = progress(directories.iter().filter_map(|one| one.total_users).sum())?;
    for directory in directories {
        let mut pages = api
            .directories()
            .users(&organization, &directory.id)
            .page_size(PAGE)
            .include_detail(true)
            .stream()
            .map_ok(Listed::from)
            .try_chunks(PAGE as usize);
        while let Some(page) = pages.try_next().await.map_err(|failed| failed.1)? {
            let organization = organization.clone();
            progress.inc(page.len() as u64);
            blocking(table, move |table| table.take_page(sync, &organization, page)).await?;
        }
    }
    let gone = blocking(table, move |table| table.finish_sync(sync, &organization)).await?;
    progress.finish_and_clear();
    tracing::info!(users = progress.position(), gone, "synced");
    Ok(progress.position())
}

async fn first_organization(api: &Api) -> Result<String, Failure> {
    let first = api.organizations().list().stream().next().await;
    Ok(first.ok_or("the environment has no organization")??.id)
}

/// Only on a terminal.
fn progress(total: u64) -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template("syncing {bar:40} {pos}/{len} users, {eta} left")?;
    Ok(ProgressBar::new(total).with_style(style))
}
