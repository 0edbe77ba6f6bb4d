//! Connected accounts and tools, as agents use them.

mod lists;
mod services;
mod tools;
mod toolsets;
mod waiting;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::{Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::Barrier;
use tower_scalekit::api::connected_accounts::{
    AccountKey, ConnectedAccountsApi, Credentials, NewConnectedAccount, OAuthCredentials,
};
use tower_scalekit::api::tools::ToolCall;
use tower_scalekit::api::{Api, ApiError};
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::model::ConnectedAccountStatus;
use tower_scalekit::sandbox::{Endpoint, Fault, SandboxClient};
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{Sandbox, Scalekit};

use crate::support::sandbox_builder;

fn environment() -> (Sandbox, Api, ConnectedAccountsApi) {
    let sandbox = sandbox_builder().build();
    let api = sandbox.scalekit().api();
    (sandbox, api.clone(), api.connected_accounts())
}

fn user() -> AccountKey {
    AccountKey::new("gmail", "user_123")
}

async fn ready(accounts: &ConnectedAccountsApi) {
    accounts.get_or_create(&NewConnectedAccount::new(&user())).await.unwrap();
}

fn fetch(max_results: u32) -> ToolCall {
    ToolCall::new("gmail_fetch_mails", &user())
        .parameter("query", "is:unread")
        .parameter("max_results", max_results)
}

#[tokio::test]
async fn an_account_is_created_connected_and_deleted() {
    let (sandbox, _, accounts) = environment();
    let made = accounts.get_or_create(&NewConnectedAccount::new(&user())).await.unwrap();
    assert_eq!(made.status, Some(ConnectedAccountStatus::PendingAuth));
    assert_eq!(made.connector.as_deref(), Some("gmail"));
    assert!(accounts.credentials(&user()).await.unwrap().is_none());

    let link = accounts.authorization_link(&user()).await.unwrap();
    assert!(link.expires_at().unwrap() > sandbox.clock().clock().now());
    assert!(sandbox.consent(link.url().as_str()).unwrap().ends_with("/connected"));
    assert!(sandbox.consent(link.url().as_str()).is_err(), "a link works once");
    let id = AccountKey::id(made.id.clone());
    let account = accounts.get(&id).await.unwrap();
    assert!(account.is_active());
    assert_eq!(account.id, made.id);

    let Some(Credentials::OAuth(tokens)) = accounts.credentials(&id).await.unwrap() else {
        panic!("no tokens")
    };
    assert!(tokens.access_token.unwrap().expose().starts_with("ya29."));
    assert_eq!(tokens.scopes.len(), 1);

    accounts.delete(&id).await.unwrap();
    assert!(matches!(accounts.get(&id).await, Err(ApiError::NotFound(_))));
    assert!(matches!(accounts.delete(&user()).await, Err(ApiError::NotFound(_))));
}

/// Delays the first responses about accounts until all have been requested, so that no account
/// exists by then.
struct Together {
    sandbox: SandboxClient,
    looked: AtomicUsize,
    all: Barrier,
}

impl HttpClient for Together {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        let looks = request.uri().path().ends_with("/details");
        Box::pin(async move {
            let response = self.sandbox.send(request).await;
            if looks && self.looked.fetch_add(1, Ordering::SeqCst) < 50 {
                self.all.wait().await;
            }
            response
        })
    }
}

#[tokio::test]
async fn fifty_concurrent_calls_get_one_account() {
    let sandbox = sandbox_builder().build();
    let together =
        Together { sandbox: sandbox.client(), looked: AtomicUsize::new(0), all: Barrier::new(50) };
    let secret = sandbox.client_secret().clone();
    let scalekit = Scalekit::builder(sandbox.environment_url(), sandbox.client_id(), secret)
        .clock(sandbox.clock().clock())
        .http_client(together)
        .build()
        .unwrap();
    let accounts = scalekit.api().connected_accounts();
    let new = NewConnectedAccount::new(&user());
    let found = join_all((0..50).map(|_| accounts.get_or_create(&new))).await;
    let ids: BTreeSet<_> = found.into_iter().map(|account| account.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(sandbox.connected_accounts().list().len(), 1);
    let calls = sandbox.requests().count(Endpoint::Api);
    assert_eq!(calls, 50 + 50 + 49, "all look up, all create, and all but one look up again");
}

#[tokio::test]
async fn a_lost_race_is_resolved_by_reading_again() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    // The first lookup was before the other caller created it.
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Status(StatusCode::NOT_FOUND));
    let before = sandbox.requests().count(Endpoint::Api);
    let found = accounts.get_or_create(&NewConnectedAccount::new(&user())).await.unwrap();
    assert_eq!(found.identifier.as_deref(), Some("user_123"));
    assert_eq!(sandbox.requests().count(Endpoint::Api) - before, 3, "look, create, look");
    let created = accounts.create(&NewConnectedAccount::new(&user())).await;
    assert!(matches!(created, Err(ApiError::Conflict(_))));
}

#[tokio::test]
async fn an_apps_own_credentials_become_those_of_the_account() {
    let (_, _, accounts) = environment();
    let new =
        |token: &str| NewConnectedAccount::new(&user()).credentials(OAuthCredentials::new(token));
    let token = async || match accounts.credentials(&user()).await.unwrap() {
        Some(Credentials::OAuth(tokens)) => tokens.access_token.unwrap().expose().to_owned(),
        other => panic!("{other:?}"),
    };
    assert!(accounts.get_or_create(&new("the-first-token")).await.unwrap().is_active());
    assert_eq!(token().await, "the-first-token");
    accounts.get_or_create(&new("the-second-token")).await.unwrap();
    assert_eq!(token().await, "the-second-token");
    accounts.get_or_create(&NewConnectedAccount::new(&user())).await.unwrap();
    assert_eq!(token().await, "the-second-token", "nothing is overwritten");

    let mut config = serde_json::Map::new();
    config.insert("rate_limit".to_owned(), json!(5));
    let updated = accounts.update(&user(), None, Some(&config)).await.unwrap();
    assert_eq!(updated.api_config, config);
    assert_eq!(token().await, "the-second-token");
}

#[tokio::test]
async fn errors_name_what_is_missing() {
    let (_, _, accounts) = environment();
    let wrong = AccountKey::new("Gmail", "user_123");
    let missing = accounts.get_or_create(&NewConnectedAccount::new(&wrong)).await.unwrap_err();
    assert!(missing.to_string().contains("there is no connection named Gmail"), "{missing}");
    for key in [AccountKey::new("", "user_123"), AccountKey::new("gmail", ""), AccountKey::id("")] {
        assert!(matches!(accounts.get(&key).await, Err(ApiError::InvalidCall(_))), "{key:?}");
        assert!(matches!(accounts.delete(&key).await, Err(ApiError::InvalidCall(_))), "{key:?}");
        let link = accounts.authorization_link(&key).await;
        assert!(matches!(link, Err(ApiError::InvalidCall(_))), "{key:?}");
    }
    let by_id = accounts.create(&NewConnectedAccount::new(&AccountKey::id("ca_1"))).await;
    assert!(matches!(by_id, Err(ApiError::InvalidCall(_))));
}

#[tokio::test]
async fn an_expired_account_can_be_reconnected() {
    let (sandbox, api, accounts) = environment();
    let id = sandbox.connected_accounts().add("gmail", "user_123");
    assert!(sandbox.connected_accounts().expire(&id));
    assert!(!sandbox.connected_accounts().expire(&id));
    let account = accounts.get_or_create(&NewConnectedAccount::new(&user())).await.unwrap();
    assert_eq!(account.status, Some(ConnectedAccountStatus::Expired));
    let link = accounts.authorization_link(&user()).await.unwrap();
    assert_eq!(
        sandbox.connected_accounts().get("gmail", "user_123").unwrap().status,
        "PENDING_AUTH"
    );
    sandbox.consent(link.url().as_str()).unwrap();
    assert!(api.tools().execute(&fetch(5)).await.is_ok());
}

#[tokio::test]
async fn tokens_of_the_service_are_refreshed_by_the_environment() {
    let (sandbox, api, accounts) = environment();
    sandbox.webhooks().add_endpoint("https://app.example.com/webhook");
    sandbox.connected_accounts().add("gmail", "user_123");
    let expiry = accounts.get(&user()).await.unwrap().token_expires_at.unwrap();
    sandbox.clock().advance(Duration::from_secs(2 * 60 * 60));
    assert!(api.tools().execute(&fetch(5)).await.is_ok());
    let account = accounts.get(&user()).await.unwrap();
    assert!(account.token_expires_at.unwrap() > expiry && account.last_used_at.is_some());
    let types: Vec<_> =
        sandbox.webhooks().deliveries().into_iter().map(|sent| sent.event_type).collect();
    assert_eq!(types, ["connected_account.token_refresh_succeeded"]);
}

#[tokio::test]
async fn each_change_is_an_event() {
    let (sandbox, _, accounts) = environment();
    sandbox.webhooks().add_endpoint("https://app.example.com/webhook");
    ready(&accounts).await;
    let link = accounts.authorization_link(&user()).await.unwrap();
    sandbox.consent(link.url().as_str()).unwrap();
    let id = sandbox.connected_accounts().list()[0].id.clone();
    sandbox.connected_accounts().expire(&id);
    accounts.delete(&AccountKey::id(&id)).await.unwrap();
    let events: Vec<_> = sandbox
        .webhooks()
        .deliveries()
        .iter()
        .map(|sent| {
            let event = WebhookEvent::parse(&sent.body).unwrap();
            let account = event.payload().connected_account().expect("an account");
            assert_eq!(account.id.as_deref(), Some(id.as_str()));
            assert_eq!(account.connection_name.as_deref(), Some("gmail"));
            let name = sent.event_type.strip_prefix("connected_account.").unwrap();
            format!("{name} {}", account.status.as_ref().unwrap())
        })
        .collect();
    assert_eq!(
        events,
        [
            "created PENDING_AUTH",
            "magic_link_generated PENDING_AUTH",
            "oauth_tokens_fetched PENDING_AUTH",
            "status_updated ACTIVE",
            "oauth_succeeded ACTIVE",
            "token_refresh_failed ACTIVE",
            "status_updated EXPIRED",
            "deleted EXPIRED",
        ],
    );
}

#[tokio::test]
async fn debug_prints_no_user_data() {
    let (sandbox, api, accounts) = environment();
    sandbox.connected_accounts().add("gmail", "user_123");
    let credentials = accounts.credentials(&user()).await.unwrap();
    let link = accounts.authorization_link(&user()).await.unwrap();
    let call = fetch(5).parameter("query", "from:priya");
    let result = api.tools().execute(&call).await.unwrap();
    let shown = format!("{credentials:?} {link:?} {call:?} {result:?} {credentials:#?}");
    let token = link.url().path().rsplit('/').next().unwrap();
    for secret in ["ya29.", "1//", token, "priya", "Launch checklist"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}
