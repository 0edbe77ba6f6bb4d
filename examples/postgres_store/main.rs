//! A shared store in PostgreSQL, as an example of a store of your own: see `store.rs`.
//!
//! `DATABASE_URL=postgres://user@host/database cargo run --example postgres_store` creates its
//! tables and checks the store against the rules of `SharedStore`.

#[path = "../common/mod.rs"]
mod common;
mod store;

use tower_scalekit::shared_store::conformance;

use self::store::PostgresStore;

#[tokio::main]
async fn main() {
    let Some(url) = common::setting("DATABASE_URL") else {
        common::or_exit::<(), _>(2, Err("DATABASE_URL is not set"));
        return;
    };
    let store = PostgresStore::connect(&url).await;
    let is_invalid = matches!(store, Err(sqlx::Error::Configuration(_)));
    let store = store.map_err(|error| format!("DATABASE_URL: {error}"));
    let store = common::or_exit(if is_invalid { 2 } else { 1 }, store);
    let checked = conformance::check(&store, async |by| tokio::time::sleep(by).await).await;
    common::or_exit(1, checked);
    let lost = conformance::check_loss(&store, async || {
        common::or_exit(1, store.clear().await);
    });
    common::or_exit(1, lost.await);
    println!("the store conforms");
    common::or_exit(1, store.remove_expired().await);
}
