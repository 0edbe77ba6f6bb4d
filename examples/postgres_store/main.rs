//! A shared store in PostgreSQL, as an example of a store of your own: see `store.rs`.
//!
//! `DATABASE_URL=postgres://user@host/database cargo run --example postgres_store` creates its
//! tables and checks the store against the rules of `SharedStore`.

#[path = "../common/mod.rs"]
mod common;
mod store;

use tower_scalekit::shared_store::conformance;

use self::common::OrExit as _;
use self::store::PostgresStore;

#[tokio::main]
async fn main() {
    let url = common::setting("DATABASE_URL").ok_or("DATABASE_URL is not set").or_exit(2);
    let store = PostgresStore::connect(&url).await.unwrap_or_else(|error| {
        let code = if matches!(error, sqlx::Error::Configuration(_)) { 2 } else { 1 };
        common::exit(code, format!("DATABASE_URL: {error}"))
    });
    conformance::check(&store, async |by| tokio::time::sleep(by).await).await.or_exit(1);
    conformance::check_loss(&store, async || store.clear().await.or_exit(1)).await.or_exit(1);
    println!("the store conforms");
    store.remove_expired().await.or_exit(1);
}
