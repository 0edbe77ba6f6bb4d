//! Lists of accounts and tools: pages and filters.

use futures::{Stream, TryStreamExt as _};
use http::{Method, StatusCode};
use tower_scalekit::api::ApiError;
use tower_scalekit::sandbox::Endpoint;

use super::environment;

#[tokio::test]
async fn lists_and_searches_are_paginated() {
    let (sandbox, _, accounts) = environment();
    sandbox.connected_accounts().add_connection("Gmail of Acme", "GMAIL");
    for number in 0..5 {
        sandbox.connected_accounts().add("gmail", &format!("user_{number}"));
    }
    sandbox.connected_accounts().add("Gmail of Acme", "user_0");
    let count = async |list: tower_scalekit::api::connected_accounts::ConnectedAccounts| {
        list.page_size(2).stream().try_collect::<Vec<_>>().await.unwrap().len()
    };
    assert_eq!(count(accounts.list()).await, 6);
    assert_eq!(count(accounts.list().identifier("user_0")).await, 2);
    assert_eq!(count(accounts.list().connection_name("Gmail of Acme")).await, 1);
    let both = accounts.list().connection_name("Gmail of Acme").connection_name("gmail");
    assert_eq!(count(both).await, 6);
    assert_eq!(count(accounts.list().connector("gmail").matching("_3")).await, 1);
    assert_eq!(count(accounts.list().provider("gmail")).await, 6);
    assert_eq!(count(accounts.list().provider("SLACK")).await, 0);
    assert_eq!(count(accounts.list().organization_id("org_1")).await, 0);
    assert_eq!(count(accounts.list().user_id("usr_1")).await, 0);

    let found: Vec<_> = accounts.search("ser_").page_size(4).stream().try_collect().await.unwrap();
    assert_eq!(found.len(), 6);
    let id = found[5].connection_id.clone().unwrap();
    let one = accounts.search("user").connection_id(&id).stream();
    assert_eq!(one.try_collect::<Vec<_>>().await.unwrap().len(), 1);
    let short = accounts.search("us").stream().try_next().await;
    assert!(matches!(short, Err(ApiError::InvalidRequest(_))));
}

/// Number of items, of any type.
async fn count<T>(list: impl Stream<Item = Result<T, ApiError>> + Send) -> Result<usize, ApiError> {
    list.try_fold(0, async |count, _| Ok(count + 1)).await
}

#[tokio::test]
async fn empty_filters_are_not_sent() {
    let (sandbox, api, accounts) = environment();
    sandbox.connected_accounts().add("gmail", "user_123");
    let (list, tools, connections) = (|| accounts.list(), api.tools(), api.connections());
    for (number, counted) in [
        count(list().connection_name("").stream()).await,
        count(list().connector("").stream()).await,
        count(list().identifier("").stream()).await,
        count(list().organization_id("").stream()).await,
        count(list().provider("").stream()).await,
        count(list().user_id("").stream()).await,
        count(accounts.search("user").connection_id("").stream()).await,
        count(tools.list().connected_account_id("").stream()).await,
        count(tools.list().connector("").stream()).await,
        count(tools.list().identifier("").names()).await,
        count(tools.list().organization_id("").stream()).await,
        count(tools.list().provider("").stream()).await,
        count(tools.list().tool_name("").stream()).await,
        count(tools.list().user_id("").stream()).await,
        count(tools.scoped("").stream()).await,
        count(tools.scoped("user_123").connection_name("").stream()).await,
        count(tools.scoped("user_123").provider("").stream()).await,
        count(tools.scoped("user_123").tool_name("").stream()).await,
        count(tools.available("").stream()).await,
        count(api.organizations().list().external_id("").stream()).await,
        count(api.directories().users("org_1", "dir_1").directory_group_id("").stream()).await,
        connections.list_by_organization("").await.map(|found| found.len()),
        connections.list_by_domain("").await.map(|found| found.len()),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(matches!(counted, Err(ApiError::InvalidCall(_))), "{number}: {counted:?}");
    }
    assert_eq!(sandbox.requests().count(Endpoint::Api), 0);
    // Every item matches an empty text.
    assert_eq!(count(list().matching("").stream()).await.unwrap(), 1);
    assert_eq!(count(tools.list().matching("").stream()).await.unwrap(), 8);
}

#[tokio::test]
async fn connection_names_are_at_most_twenty_and_exclude_a_connector() {
    let (sandbox, api, accounts) = environment();
    sandbox.connected_accounts().add("gmail", "user_123");
    let named = |names: usize| {
        (0..names).fold(accounts.list(), |list, n| list.connection_name(&format!("gmail {n}")))
    };
    for wrong in [
        named(21),
        named(21).connector("gmail"),
        named(1).connector("gmail"),
        accounts.list().connector("gmail").connection_name("gmail"),
    ] {
        let rejected = count(wrong.stream()).await;
        assert!(matches!(rejected, Err(ApiError::InvalidCall(_))), "{rejected:?}");
    }
    assert_eq!(sandbox.requests().count(Endpoint::Api), 0);
    assert_eq!(count(named(19).connection_name("gmail").stream()).await.unwrap(), 1);

    // The sandbox would also reject them.
    let list = || api.request(Method::GET, "/api/v1/connected_accounts");
    let many = (0..21).fold(list(), |list, _| list.query("connection_names", "gmail"));
    let both = list().query("connection_names", "gmail").query("connector", "gmail");
    for wrong in [many, both] {
        let rejected = wrong.send_raw().await.unwrap();
        assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
    }
}
