//! Connected accounts and tools, as agents use them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::Barrier;
use tower_scalekit::api::connected_accounts::{
    AccountEvents, AccountKey, ConnectedAccountStatus, ConnectedAccounts, ConnectedAccountsApi,
    Credentials, NewConnectedAccount, OAuthCredentials, WaitError,
};
use tower_scalekit::api::tools::{ExecuteError, ScopedTools, ToolCall, Tools};
use tower_scalekit::api::{Api, ApiError};
use tower_scalekit::http_client::{HttpClient, HttpClientError};
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
    AccountKey::of("gmail", "user_123")
}

async fn ready(accounts: &ConnectedAccountsApi) {
    accounts.get_or_create(&NewConnectedAccount::new(&user())).await.unwrap();
}

#[tokio::test]
async fn an_account_is_made_connected_and_taken_away() {
    let (sandbox, _, accounts) = environment();
    let made = accounts.get_or_create(&NewConnectedAccount::new(&user())).await.unwrap();
    assert_eq!(made.status, Some(ConnectedAccountStatus::PendingAuth));
    assert_eq!(made.connector.as_deref(), Some("gmail"));
    assert!(accounts.credentials(&user()).await.unwrap().is_none());

    let link = accounts.authorization_link(&user()).await.unwrap();
    assert!(link.expires_at().unwrap() > sandbox.clock().clock().now());
    assert!(sandbox.consent(link.url().as_str()).unwrap().ends_with("/connected"));
    assert!(sandbox.consent(link.url().as_str()).is_err(), "a link is good once");
    let id = AccountKey::id(made.id.clone().unwrap());
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

/// Gives its first answers about accounts all at once, so that nobody has created one by then.
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
            let answer = self.sandbox.send(request).await;
            if looks && self.looked.fetch_add(1, Ordering::SeqCst) < 50 {
                self.all.wait().await;
            }
            answer
        })
    }
}

#[tokio::test]
async fn fifty_at_once_get_one_account() {
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
    assert_eq!(sandbox.connected_accounts().len(), 1);
    let calls = sandbox.requests(Endpoint::Api);
    assert_eq!(calls, 50 + 50 + 49, "all look, all create, and who was late looks again");
}

#[tokio::test]
async fn a_lost_race_is_resolved_by_reading_again() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    // The first look was before the other one had created it.
    sandbox.fail_times(Endpoint::Api, 1, Fault::Status(StatusCode::NOT_FOUND));
    let before = sandbox.requests(Endpoint::Api);
    let found = accounts.get_or_create(&NewConnectedAccount::new(&user())).await.unwrap();
    assert_eq!(found.identifier.as_deref(), Some("user_123"));
    assert_eq!(sandbox.requests(Endpoint::Api) - before, 3, "look, create, look");
    let created = accounts.create(&NewConnectedAccount::new(&user())).await;
    assert!(matches!(created, Err(ApiError::Conflict(_))));
}

#[tokio::test]
async fn credentials_that_an_app_has_are_those_of_the_account() {
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
    assert_eq!(token().await, "the-second-token", "nothing is overwritten with nothing");

    let mut config = serde_json::Map::new();
    config.insert("rate_limit".to_owned(), json!(5));
    let updated = accounts.update(&user(), None, Some(&config)).await.unwrap();
    assert_eq!(updated.api_config, config);
    assert_eq!(token().await, "the-second-token");
}

#[tokio::test]
async fn lists_and_searches_come_in_pages() {
    let (sandbox, _, accounts) = environment();
    sandbox.add_gmail_connection("Gmail of Acme");
    for number in 0..5 {
        sandbox.add_connected_account("gmail", &format!("user_{number}"));
    }
    sandbox.add_connected_account("Gmail of Acme", "user_0");
    let count = async |list: tower_scalekit::api::connected_accounts::ConnectedAccounts| {
        list.page_size(2).stream().try_collect::<Vec<_>>().await.unwrap().len()
    };
    assert_eq!(count(accounts.list()).await, 6);
    assert_eq!(count(accounts.list().identifier("user_0")).await, 2);
    assert_eq!(count(accounts.list().connection_name("Gmail of Acme")).await, 1);
    let both = accounts.list().connection_name("Gmail of Acme").connection_name("gmail");
    assert_eq!(count(both).await, 6);
    assert_eq!(count(accounts.list().connector("gmail").matching("_3")).await, 1);
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

#[tokio::test]
async fn a_filter_that_would_let_everybody_through_is_not_sent() {
    let (sandbox, api, accounts) = environment();
    sandbox.add_connected_account("gmail", "user_123");
    let tools = api.tools();
    let accounts_of = |list: ConnectedAccounts| list.stream().map_ok(drop).boxed();
    let tools_of = |list: Tools| list.stream().map_ok(drop).boxed();
    let scoped = |list: ScopedTools| list.stream().map_ok(drop).boxed();
    for (number, mut empty) in [
        accounts_of(accounts.list().connection_name("")),
        accounts_of(accounts.list().connector("")),
        accounts_of(accounts.list().identifier("")),
        accounts_of(accounts.list().organization_id("")),
        accounts_of(accounts.list().provider("")),
        accounts_of(accounts.list().user_id("")),
        accounts.search("user").connection_id("").stream().map_ok(drop).boxed(),
        tools_of(tools.list().connected_account_id("")),
        tools_of(tools.list().connector("")),
        tools_of(tools.list().identifier("")),
        tools_of(tools.list().organization_id("")),
        tools_of(tools.list().provider("")),
        tools_of(tools.list().tool_name("")),
        tools_of(tools.list().user_id("")),
        scoped(tools.scoped("")),
        scoped(tools.scoped("user_123").connection_name("")),
        scoped(tools.scoped("user_123").provider("")),
        scoped(tools.scoped("user_123").tool_name("")),
        tools.available("").stream().map_ok(drop).boxed(),
        api.organizations().list().external_id("").stream().map_ok(drop).boxed(),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = empty.try_next().await;
        assert!(matches!(refused, Err(ApiError::InvalidCall(_))), "{number}: {refused:?}");
    }
    let named = |count: usize| {
        (0..count).fold(accounts.list(), |list, n| list.connection_name(&format!("gmail {n}")))
    };
    for wrong in [
        named(21),
        named(1).connector("gmail"),
        accounts.list().connector("a").connection_name("b"),
    ] {
        let refused = accounts_of(wrong).try_next().await;
        assert!(matches!(refused, Err(ApiError::InvalidCall(_))), "{refused:?}");
    }
    let connections = api.connections();
    for refused in
        [connections.list_by_organization("").await, connections.list_by_domain("").await]
    {
        assert!(matches!(refused, Err(ApiError::InvalidCall(_))), "{refused:?}");
    }
    assert_eq!(sandbox.requests(Endpoint::Api), 0);

    // Everything has an empty text in it, and twenty names are not too many.
    assert_eq!(accounts_of(accounts.list().matching("")).count().await, 1);
    assert_eq!(tools_of(tools.list().matching("")).count().await, 2);
    assert_eq!(accounts_of(named(19).connection_name("gmail")).count().await, 1);
    // The environment would not have taken the others either.
    for query in ["connector=gmail&connection_names=gmail", &"&connection_names=gmail".repeat(21)] {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let request = pairs.fold(
            api.request(Method::GET, "/api/v1/connected_accounts"),
            |request, (name, value)| {
                let name = if name == "connector" { "connector" } else { "connection_names" };
                request.query(name, value)
            },
        );
        assert_eq!(request.send_raw().await.unwrap().status(), StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let (_, _, accounts) = environment();
    let wrong = AccountKey::of("Gmail", "user_123");
    let missing = accounts.get_or_create(&NewConnectedAccount::new(&wrong)).await.unwrap_err();
    assert!(missing.to_string().contains("there is no connection named Gmail"), "{missing}");
    for key in [AccountKey::of("", "user_123"), AccountKey::of("gmail", ""), AccountKey::id("")] {
        assert!(matches!(accounts.get(&key).await, Err(ApiError::InvalidCall(_))), "{key:?}");
        assert!(matches!(accounts.delete(&key).await, Err(ApiError::InvalidCall(_))), "{key:?}");
        let link = accounts.authorization_link(&key).await;
        assert!(matches!(link, Err(ApiError::InvalidCall(_))), "{key:?}");
    }
    let by_id = accounts.create(&NewConnectedAccount::new(&AccountKey::id("ca_1"))).await;
    assert!(matches!(by_id, Err(ApiError::InvalidCall(_))));
}

fn fetch(max_results: u32) -> ToolCall {
    ToolCall::new("gmail_fetch_mails", &user())
        .parameter("query", "is:unread")
        .parameter("max_results", max_results)
}

#[tokio::test]
async fn a_tool_brings_structured_mail() {
    let (sandbox, api, _) = environment();
    let id = sandbox.add_connected_account("gmail", "user_123");
    for call in [
        fetch(5),
        ToolCall::new("gmail_fetch_mails", &AccountKey::id(&id)).parameter("max_results", 5),
    ] {
        let result = api.tools().execute(&call.agent_run_id("run_1")).await.unwrap();
        assert!(result.execution_id.is_some());
        let mails = result.data["messages"].as_array().unwrap();
        assert_eq!(mails.len(), 5);
        for mail in mails {
            let mut names: Vec<_> = mail.as_object().unwrap().keys().collect();
            names.sort_unstable();
            assert_eq!(names, ["date", "from", "id", "snippet", "subject"]);
        }
    }
    let first = &api.tools().execute(&fetch(1)).await.unwrap().data["messages"][0];
    let get = ToolCall::new("gmail_get_message_by_id", &user());
    let one = api.tools().execute(&get.parameter("message_id", first["id"].clone())).await.unwrap();
    assert_eq!(&one.data["subject"], &first["subject"]);
}

#[tokio::test]
async fn tool_errors_are_told_apart_from_scalekits() {
    let (sandbox, api, _) = environment();
    let tools = api.tools();
    let missing = tools.execute(&fetch(5)).await;
    assert!(matches!(missing, Err(ExecuteError::Api(ApiError::NotFound(_)))), "{missing:?}");
    let id = sandbox.add_connected_account("gmail", "user_123");
    let unknown = tools.execute(&ToolCall::new("gmail_fly", &user())).await;
    assert!(matches!(unknown, Err(ExecuteError::Api(ApiError::NotFound(_)))), "{unknown:?}");

    let token_requests = sandbox.requests(Endpoint::Token);
    for (status, code) in [
        (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
    ] {
        sandbox.fail_provider("gmail", 1, status);
        let before = sandbox.requests(Endpoint::Api);
        let Err(ExecuteError::Tool(error)) = tools.execute(&fetch(5)).await else {
            panic!("{status} is no tool's error")
        };
        assert_eq!(error.code.as_deref(), Some(code));
        let execution_id = error.execution_id.clone().unwrap();
        assert!(error.to_string().contains(&execution_id), "{error}");
        assert_eq!(sandbox.requests(Endpoint::Api) - before, 1, "a tool is never run again");
    }
    assert_eq!(sandbox.requests(Endpoint::Token), token_requests, "our token is not at fault");
    let wrong = tools.execute(&fetch(5).parameter("max_results", "many")).await;
    assert!(matches!(wrong, Err(ExecuteError::Tool(_))), "{wrong:?}");

    assert!(sandbox.expire_connected_account(&id));
    let Err(ExecuteError::Api(ApiError::InvalidRequest(answer))) = tools.execute(&fetch(5)).await
    else {
        panic!("an expired account is not used")
    };
    assert!(answer.message.unwrap().contains("EXPIRED"));
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_run_once_whatever_happens() {
    let (sandbox, api, _) = environment();
    sandbox.add_connected_account("gmail", "user_123");
    for fault in [
        Fault::Unreachable,
        Fault::ResponseLost,
        Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
        Fault::Status(StatusCode::TOO_MANY_REQUESTS),
    ] {
        sandbox.fail_times(Endpoint::Api, 1, fault.clone());
        let before = sandbox.requests(Endpoint::Api);
        let failed = api.tools().execute(&fetch(5)).await;
        assert!(matches!(failed, Err(ExecuteError::Api(_))), "{fault:?}");
        assert_eq!(sandbox.requests(Endpoint::Api) - before, 1, "{fault:?}");
    }
    // It has a minute.
    sandbox.fail_times(Endpoint::Api, 1, Fault::Delay(Duration::from_secs(59)));
    assert!(api.tools().execute(&fetch(5)).await.is_ok());
    sandbox.fail_times(Endpoint::Api, 1, Fault::Delay(Duration::from_secs(61)));
    assert!(api.tools().execute(&fetch(5)).await.is_err());
}

#[tokio::test]
async fn tools_are_listed() {
    let (sandbox, api, _) = environment();
    sandbox.add_gmail_connection("second");
    let first = sandbox.add_connected_account("gmail", "user_123");
    sandbox.add_connected_account("second", "user_123");
    let tools = api.tools();
    let all: Vec<_> = tools.list().page_size(1).stream().try_collect().await.unwrap();
    let names: Vec<_> = tools.list().names().try_collect().await.unwrap();
    assert_eq!(all.iter().map(|tool| tool.name().unwrap()).collect::<Vec<_>>(), names);
    assert_eq!(names, ["gmail_fetch_mails", "gmail_get_message_by_id"]);
    let one = tools.list().tool_name("gmail_fetch_mails").provider("GMAIL").matching("emails");
    assert_eq!(one.stream().count().await, 1);
    assert_eq!(tools.list().provider("SLACK").stream().count().await, 0);

    let scoped: Vec<_> =
        tools.scoped("user_123").page_size(3).stream().try_collect().await.unwrap();
    assert_eq!(scoped.len(), 4);
    assert_eq!(scoped[0].connected_account_id.as_ref(), Some(&first));
    let narrow = tools.scoped("user_123").connection_name("second").tool_name("gmail_fetch_mails");
    assert_eq!(narrow.provider("GMAIL").stream().count().await, 1);
    assert_eq!(tools.available("user_123").page_size(1).stream().count().await, 2);
}

#[tokio::test]
async fn the_proxy_passes_on_what_the_service_says() {
    let (sandbox, api, _) = environment();
    sandbox.add_connected_account("gmail", "user_123");
    let send = async |target: &str| {
        let request = Request::get(target).body("").unwrap();
        api.tools().proxy(&user(), request).await
    };
    let found = send("/gmail/v1/users/me/messages?q=is%3Aunread&maxResults=2").await.unwrap();
    let found: serde_json::Value = serde_json::from_slice(found.body()).unwrap();
    assert_eq!(found["messages"].as_array().map(Vec::len), Some(2));
    let id = found["messages"][0]["id"].as_str().unwrap();
    let mail = send(&format!("/gmail/v1/users/me/messages/{id}")).await.unwrap();
    let mail: serde_json::Value = serde_json::from_slice(mail.body()).unwrap();
    assert_eq!(mail["labelIds"], json!(["INBOX", "UNREAD"]));
    let none = send("/gmail/v1/users/me/messages/none").await.unwrap();
    assert_eq!(none.status(), StatusCode::NOT_FOUND);

    // A 401 of the service's is no word about our own token.
    let (tokens, calls) = (sandbox.requests(Endpoint::Token), sandbox.requests(Endpoint::Api));
    sandbox.fail_provider("gmail", 1, StatusCode::UNAUTHORIZED);
    let refused = send("/gmail/v1/users/me/profile").await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.requests(Endpoint::Token), tokens);
    assert_eq!(sandbox.requests(Endpoint::Api) - calls, 1);

    // The environment's own 401 is.
    sandbox.clock().advance(Duration::from_secs(24 * 60 * 60));
    let profile = send("/gmail/v1/users/me/profile").await.unwrap();
    assert_eq!(profile.status(), StatusCode::OK);
    for outside in ["/../api/v1/organizations", "/%2e%2e/keys", "https://evil.test/"] {
        assert!(matches!(send(outside).await, Err(ApiError::InvalidCall(_))), "{outside}");
    }
}

#[tokio::test]
async fn what_has_side_effects_is_not_sent_again_on_doubt() {
    let (sandbox, api, _) = environment();
    sandbox.add_connected_account("gmail", "user_123");
    let refused = |body: &'static str| {
        let answer = Response::builder().status(StatusCode::UNAUTHORIZED);
        Fault::Answer(answer.body(Bytes::from(body)).unwrap())
    };
    // The gateway's words, which are also those of other gateways.
    let gateway = r#"{"code":16,"message":"m","details":[]}"#;
    let tools = api.tools();
    for (method, sent) in [
        (Method::POST, 1),
        (Method::PATCH, 1),
        (Method::GET, 2),
        (Method::PUT, 2),
        (Method::DELETE, 2),
    ] {
        let before = (sandbox.requests(Endpoint::Token), sandbox.requests(Endpoint::Api));
        sandbox.fail_times(Endpoint::Api, 1, refused(gateway));
        let request = Request::builder().method(&method).uri("/gmail/v1/users/me/profile");
        let answer = tools.proxy(&user(), request.body("").unwrap()).await.unwrap();
        assert_eq!(answer.status() == StatusCode::UNAUTHORIZED, sent == 1, "{method}");
        assert_eq!(sandbox.requests(Endpoint::Api) - before.1, sent, "{method}");
        // In case it was about ours, the next call has another.
        assert!(sandbox.requests(Endpoint::Token) > before.0, "{method}");
        let tokens = sandbox.requests(Endpoint::Token);
        let request = Request::get("/gmail/v1/users/me/profile").body("").unwrap();
        assert_eq!(tools.proxy(&user(), request).await.unwrap().status(), StatusCode::OK);
        assert_eq!(sandbox.requests(Endpoint::Token), tokens, "{method}");
    }
    // No token at all is no reason to withhold an answer.
    sandbox.fail_times(Endpoint::Api, 1, refused(gateway));
    sandbox.fail_times(Endpoint::Token, 1, Fault::Unreachable);
    let request = Request::post("/gmail/v1/users/me/messages/send").body("{}").unwrap();
    let answer = tools.proxy(&user(), request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);

    // A tool is run again only where the environment itself says that it was not run.
    for (body, sent) in [(gateway, 2), ("", 1), ("<html>", 1), ("{}", 1)] {
        let before = sandbox.requests(Endpoint::Api);
        sandbox.fail_times(Endpoint::Api, 1, refused(body));
        let ran = tools.execute(&fetch(1)).await;
        assert_eq!(ran.is_ok(), sent == 2, "{body}: {ran:?}");
        assert_eq!(sandbox.requests(Endpoint::Api) - before, sent, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_the_account_is_active() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    let link = accounts.authorization_link(&user()).await.unwrap();
    let waiting = tokio::spawn(accounts.wait_until_active(&user()).into_future());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(!waiting.is_finished());
    let asked = sandbox.requests(Endpoint::Api);
    assert!((12..=24).contains(&asked), "asked {asked} times in two minutes");
    // An environment that is away for a while ends nothing.
    sandbox.fail_times(Endpoint::Api, 4, Fault::Unreachable);
    sandbox.consent(link.url().as_str()).unwrap();
    assert!(waiting.await.unwrap().unwrap().is_active());
}

#[tokio::test(start_paused = true)]
async fn waiting_has_a_deadline_and_can_be_given_up() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    let start = tokio::time::Instant::now();
    let wait = accounts.wait_until_active(&user()).deadline(Duration::from_secs(30)).await;
    let last = Some(ConnectedAccountStatus::PendingAuth);
    assert!(matches!(&wait, Err(WaitError::Deadline { last: known }) if *known == last));
    assert_eq!(start.elapsed(), Duration::from_secs(30));
    assert!(wait.unwrap_err().to_string().ends_with("PENDING_AUTH"));

    // Held by the environment for longer than the deadline: still in time.
    sandbox.fail(Endpoint::Api, Fault::Delay(Duration::from_secs(15)));
    let start = tokio::time::Instant::now();
    let wait = accounts.wait_until_active(&user()).deadline(Duration::from_secs(10)).await;
    assert!(matches!(wait, Err(WaitError::Deadline { last: None })));
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    sandbox.heal(Endpoint::Api);

    let waiting = tokio::spawn(accounts.wait_until_active(&user()).into_future());
    tokio::time::sleep(Duration::from_secs(5)).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    let asked = sandbox.requests(Endpoint::Api);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sandbox.requests(Endpoint::Api), asked, "nobody asks any more");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_become_active_ends_the_wait() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    let waiting = tokio::spawn(accounts.wait_until_active(&user()).into_future());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let id = sandbox.connected_accounts()[0].id.clone();
    assert!(sandbox.disconnect_connected_account(&id));
    assert!(!sandbox.disconnect_connected_account(&id));
    let start = tokio::time::Instant::now();
    assert!(matches!(waiting.await.unwrap(), Err(WaitError::Disconnected)));
    assert!(start.elapsed() < Duration::from_secs(5), "at the next look");

    accounts.delete(&user()).await.unwrap();
    let start = tokio::time::Instant::now();
    let wait = accounts.wait_until_active(&user()).await;
    assert!(matches!(wait, Err(WaitError::Api(ApiError::NotFound(_)))));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_account_is_waited_for_whenever_its_status_changes() {
    for (kept, status) in [(false, "PENDING_AUTH"), (true, "DISCONNECTED")] {
        let (sandbox, _, accounts) = environment();
        sandbox.keep_status_until_consent(kept);
        let id = sandbox.add_connected_account("gmail", "user_123");
        assert!(sandbox.disconnect_connected_account(&id));
        let link = accounts.authorization_link(&user()).await.unwrap();
        let waiting = tokio::spawn(accounts.wait_until_active(&user()).into_future());
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(sandbox.connected_account("gmail", "user_123").unwrap().status, status);
        assert!(!waiting.is_finished(), "{status}");
        sandbox.consent(link.url().as_str()).unwrap();
        assert!(waiting.await.unwrap().unwrap().is_active(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_ends_the_wait_early() {
    let (sandbox, _, accounts) = environment();
    sandbox.add_webhook_endpoint("https://app.example.com/webhook");
    ready(&accounts).await;
    let link = accounts.authorization_link(&user()).await.unwrap();
    let events = AccountEvents::new();
    let wait = accounts.wait_until_active(&user()).events(&events);
    let waiting = tokio::spawn(wait.into_future());
    // Into the middle of one of the long pauses.
    tokio::time::sleep(Duration::from_secs(100)).await;
    let asked = sandbox.requests(Endpoint::Api);
    while sandbox.requests(Endpoint::Api) == asked {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = sandbox.requests(Endpoint::Api);
    let start = tokio::time::Instant::now();

    let body = br#"{"id":"evt_1","type":"connected_account.updated",
        "data":{"id":"ca_2","identifier":"somebody else"}}"#;
    assert!(events.apply(&WebhookEvent::parse(body).unwrap()));
    let body = br#"{"id":"evt_2","type":"organization.created","data":{"id":"org_1"}}"#;
    assert!(!events.apply(&WebhookEvent::parse(body).unwrap()));
    tokio::task::yield_now().await;
    assert_eq!(sandbox.requests(Endpoint::Api), asked, "that is nothing to look at");

    sandbox.consent(link.url().as_str()).unwrap();
    let sent = sandbox.deliveries();
    assert!(events.apply(&WebhookEvent::parse(&sent.last().unwrap().body).unwrap()));
    assert!(waiting.await.unwrap().unwrap().is_active());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_webhooks_is_no_flood_of_requests() {
    let (sandbox, _, accounts) = environment();
    ready(&accounts).await;
    let link = accounts.authorization_link(&user()).await.unwrap();
    let events = AccountEvents::new();
    let wait = accounts.wait_until_active(&user()).events(&events);
    let waiting = tokio::spawn(wait.into_future());
    let body = br#"{"id":"evt_1","type":"connected_account.updated",
        "data":{"identifier":"user_123","connection_name":"gmail"}}"#;
    let event = WebhookEvent::parse(body).unwrap();
    let before = sandbox.requests(Endpoint::Api);
    for _ in 0..6000 {
        events.apply(&event);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = sandbox.requests(Endpoint::Api) - before;
    assert!((70..=81).contains(&asked), "asked {asked} times in a minute");

    // What one look has seen is not looked at again and again.
    let before = sandbox.requests(Endpoint::Api);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = sandbox.requests(Endpoint::Api) - before;
    assert!(asked <= 16, "asked {asked} times in a minute without events");

    // What is told right after a look is not lost.
    let before = sandbox.requests(Endpoint::Api);
    while sandbox.requests(Endpoint::Api) == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sandbox.consent(link.url().as_str()).unwrap();
    events.apply(&event);
    let start = tokio::time::Instant::now();
    assert!(waiting.await.unwrap().unwrap().is_active());
    assert!(start.elapsed() <= Duration::from_millis(750), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_expired_account_is_connected_again() {
    let (sandbox, api, accounts) = environment();
    let id = sandbox.add_connected_account("gmail", "user_123");
    assert!(sandbox.expire_connected_account(&id));
    assert!(!sandbox.expire_connected_account(&id));
    let account = accounts.get_or_create(&NewConnectedAccount::new(&user())).await.unwrap();
    assert_eq!(account.status, Some(ConnectedAccountStatus::Expired));
    let link = accounts.authorization_link(&user()).await.unwrap();
    assert_eq!(sandbox.connected_account("gmail", "user_123").unwrap().status, "PENDING_AUTH");
    sandbox.consent(link.url().as_str()).unwrap();
    assert!(api.tools().execute(&fetch(5)).await.is_ok());
}

#[tokio::test]
async fn tokens_of_the_service_are_renewed_by_the_environment() {
    let (sandbox, api, accounts) = environment();
    sandbox.add_webhook_endpoint("https://app.example.com/webhook");
    sandbox.add_connected_account("gmail", "user_123");
    let expiry = accounts.get(&user()).await.unwrap().token_expires_at.unwrap();
    sandbox.clock().advance(Duration::from_secs(2 * 60 * 60));
    assert!(api.tools().execute(&fetch(5)).await.is_ok());
    let account = accounts.get(&user()).await.unwrap();
    assert!(account.token_expires_at.unwrap() > expiry && account.last_used_at.is_some());
    let types: Vec<_> = sandbox.deliveries().into_iter().map(|sent| sent.event_type).collect();
    assert_eq!(types, ["connected_account.token_refresh_succeeded"]);
}

#[tokio::test]
async fn each_change_is_an_event() {
    let (sandbox, _, accounts) = environment();
    sandbox.add_webhook_endpoint("https://app.example.com/webhook");
    ready(&accounts).await;
    let link = accounts.authorization_link(&user()).await.unwrap();
    sandbox.consent(link.url().as_str()).unwrap();
    let id = sandbox.connected_accounts()[0].id.clone();
    sandbox.expire_connected_account(&id);
    accounts.delete(&AccountKey::id(&id)).await.unwrap();
    let told: Vec<_> = sandbox
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
        told,
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
async fn a12_nothing_of_a_users_shows() {
    let (sandbox, api, accounts) = environment();
    sandbox.add_connected_account("gmail", "user_123");
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
