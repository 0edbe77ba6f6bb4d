//! The API against the sandbox.

mod connected_accounts;
mod connections;
mod directories;
mod organizations;
mod passwordless;
mod played;
mod portal_links;
mod requests;
mod transport;

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Response, StatusCode};
use serde_json::Value;
use time::OffsetDateTime;

use super::api_keys::ApiKeyUpdate;
use super::sessions::{SessionDetails, UserSessions};
use super::{Api, ApiError};
use crate::Scalekit;
use crate::clock::ManualClock;
use crate::model::{DomainType, SessionStatus};
use crate::sandbox::{Endpoint, Fault, Sandbox};

const START: i64 = 1_800_000_000;

/// An environment with a manual clock, in which Jane has this many sessions, a minute apart.
fn sandbox_with_sessions(count: usize) -> (Sandbox, Api, String) {
    let clock = ManualClock::at(OffsetDateTime::from_unix_timestamp(START).unwrap());
    let sandbox = Sandbox::builder().clock(clock).build();
    for _ in 0..count {
        let _ = sandbox.tokens().access_token("jane@acme.test");
        sandbox.clock().advance(Duration::from_secs(60));
    }
    let jane = sandbox.users().get("jane@acme.test").unwrap().id;
    let api = sandbox.scalekit().api();
    (sandbox, api, jane)
}

async fn all(api: &Api, user_id: &str) -> Vec<SessionDetails> {
    api.sessions().list_for_user(user_id).stream().try_collect().await.unwrap()
}

/// Number of requests to the token endpoint and to the API.
fn requests(sandbox: &Sandbox) -> (usize, usize) {
    (sandbox.requests().count(Endpoint::Token), sandbox.requests().count(Endpoint::Api))
}

fn busy(status: u16, retry_after: &str) -> Fault {
    let response = Response::builder().status(status).header("retry-after", retry_after);
    Fault::Response(response.body(Bytes::from(r#"{"error_code":"RATE_LIMITED"}"#)).unwrap())
}

#[tokio::test]
async fn sessions_are_listed_read_and_revoked() {
    let (sandbox, api, jane) = sandbox_with_sessions(2);
    let organization = sandbox.users().get("jane@acme.test").unwrap().organization_id;
    let sessions = all(&api, &jane).await;
    let [newer, older] = sessions.as_slice() else { panic!("{sessions:?}") };
    assert_eq!(older.created_at.unwrap().unix_timestamp(), START);
    assert_eq!(newer.created_at.unwrap().unix_timestamp(), START + 60);
    assert_eq!(newer.organization_id.as_ref(), Some(&organization));
    assert_eq!(newer.authenticated_organizations, [organization]);
    let client = newer.authenticated_clients[0].client_id.as_deref();
    assert_eq!(client, Some(sandbox.client_id()));

    let id = &newer.session_id;
    assert_eq!(&api.sessions().get(id).await.unwrap(), newer);
    let revoked = api.sessions().revoke(id).await.unwrap();
    assert_eq!(revoked.status, Some(SessionStatus::Revoked));
    assert_eq!(revoked.expired_at.unwrap().unix_timestamp(), START + 120);
    let all = api.sessions().revoke_all_for_user(&jane).await.unwrap();
    assert_eq!((all.total_revoked, all.sessions.len()), (1, 1));
    assert_eq!(all.sessions[0].session_id, older.session_id);
}

#[tokio::test]
async fn filters_reach_the_environment() {
    let (sandbox, api, jane) = sandbox_with_sessions(4);
    let sessions = all(&api, &jane).await;
    assert!(sandbox.users().revoke_session(&sessions[0].session_id));
    let list = || api.sessions().list_for_user(&jane);
    let count =
        async |list: UserSessions| list.stream().try_collect::<Vec<_>>().await.unwrap().len();
    assert_eq!(count(list().status(SessionStatus::Active)).await, 3);
    assert_eq!(count(list().status(SessionStatus::Revoked)).await, 1);
    let both = list().status(SessionStatus::Active).status(SessionStatus::Revoked);
    assert_eq!(count(both).await, 4);
    let (second, third) = (sessions[2].created_at.unwrap(), sessions[1].created_at.unwrap());
    let offset = time::UtcOffset::from_hms(5, 30, 0).unwrap();
    assert_eq!(count(list().start_time(second.to_offset(offset)).end_time(third)).await, 2);
    let strange = list().status("Frozen".into()).stream().try_next().await;
    assert!(matches!(strange, Err(ApiError::InvalidRequest(_))));
}

#[tokio::test]
async fn pages_are_fetched_as_the_stream_is_polled() {
    let (sandbox, api, jane) = sandbox_with_sessions(7);
    let mut stream = api.sessions().list_for_user(&jane).page_size(3).stream();
    assert_eq!(requests(&sandbox), (0, 0), "nothing before the stream is polled");
    let mut starts = Vec::new();
    while let Some(session) = stream.try_next().await.unwrap() {
        if starts.is_empty() {
            assert_eq!(requests(&sandbox), (1, 1), "a page at a time");
        }
        starts.push(session.created_at.unwrap().unix_timestamp() - START);
    }
    assert_eq!(starts, [360, 300, 240, 180, 120, 60, 0]);
    assert_eq!(requests(&sandbox), (1, 3));
}

#[tokio::test]
async fn revocations_while_listing_shift_no_page() {
    let (_sandbox, api, jane) = sandbox_with_sessions(7);
    let mut active =
        api.sessions().list_for_user(&jane).status(SessionStatus::Active).page_size(2).stream();
    let mut revoked = 0;
    while let Some(session) = active.try_next().await.unwrap() {
        api.sessions().revoke(&session.session_id).await.unwrap();
        revoked += 1;
    }
    assert_eq!(revoked, 7);
}

#[tokio::test]
async fn a_list_ends_with_its_first_error_and_never_repeats() {
    let (sandbox, api, jane) = sandbox_with_sessions(4);
    let mut stream = api.sessions().list_for_user(&jane).page_size(2).stream();
    assert!(stream.try_next().await.unwrap().is_some());
    assert!(stream.try_next().await.unwrap().is_some());
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Status(StatusCode::FORBIDDEN));
    assert!(matches!(stream.try_next().await, Err(ApiError::Forbidden(_))));
    assert!(stream.try_next().await.unwrap().is_none());

    let circle = Response::new(Bytes::from(r#"{"sessions":[{}],"next_page_token":"x"}"#));
    sandbox.faults().add(Endpoint::Api, Fault::Response(circle));
    let listed = api.sessions().list_for_user(&jane).stream().try_collect::<Vec<_>>().await;
    assert!(matches!(listed, Err(ApiError::UnexpectedResponse { .. })));
}

#[tokio::test]
async fn a_list_by_page_numbers_is_complete_and_ends_with_any_page_size() {
    let sandbox = Sandbox::new();
    let acme = sandbox.organizations().list().remove(0).id;
    let domains = sandbox.scalekit().api().domains();
    for number in 0..120 {
        let name = format!("{number}.acme.example");
        domains.create(&acme, &name, DomainType::AllowedEmailDomain).await.unwrap();
    }
    let count = domains.list(&acme).stream().try_collect::<Vec<_>>().await.unwrap().len();
    assert!(count >= 120);
    for size in [200, 100, 7, 0] {
        let all = domains.list(&acme).page_size(size).stream().take(2 * count);
        assert_eq!(all.try_collect::<Vec<_>>().await.unwrap().len(), count, "{size}");
    }
}

#[tokio::test]
async fn no_error_of_a_call_with_an_api_key_repeats_the_key() {
    const KEY: &str = "key-of-jane";
    let sandbox = Sandbox::new();
    let keys = sandbox.scalekit().api().api_keys();
    for status in [400, 401, 403, 404, 409, 501] {
        let body = format!(r#"{{"error_code":"{KEY}","message":"{KEY} is unknown"}}"#);
        let response = Response::builder().status(status).body(Bytes::from(body)).unwrap();
        sandbox.faults().add(Endpoint::Api, Fault::Response(response));
        for error in [
            keys.validate(KEY).await.unwrap_err(),
            keys.validate_within(KEY, Duration::from_secs(5)).await.unwrap_err(),
            keys.update(KEY, &ApiKeyUpdate::default()).await.unwrap_err(),
            keys.invalidate(KEY).await.unwrap_err(),
        ] {
            assert_eq!(error.response().unwrap().status, status);
            assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
        }
        sandbox.faults().clear(Endpoint::Api);
    }
}

#[tokio::test]
async fn errors_of_the_environment_are_distinguished() {
    let (sandbox, api, jane) = sandbox_with_sessions(0);
    let sessions = api.sessions();
    let missing = sessions.get("ses_1").await.unwrap_err();
    assert!(matches!(&missing, ApiError::NotFound(_)), "{missing}");
    let response = missing.response().unwrap();
    assert_eq!(response.message.as_deref(), Some("session not found"));
    assert_eq!(response.error_code.as_deref(), Some("NOT_FOUND"));
    let invalid = sessions.revoke("usr_1").await;
    assert!(matches!(invalid, Err(ApiError::InvalidRequest(_))));

    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Html);
    let page = sessions.get("ses_1").await;
    assert!(matches!(page, Err(ApiError::UnexpectedResponse { status: Some(StatusCode::OK), .. })));
    let large = Response::new(Bytes::from(vec![b' '; 1024 * 1024 + 1]));
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Response(large));
    let large = sessions.get("ses_1").await;
    assert!(matches!(large, Err(ApiError::UnexpectedResponse { .. })));
    let elsewhere = Response::builder().status(307).header("location", "https://evil.test/");
    let elsewhere = Fault::Response(elsewhere.body(Bytes::new()).unwrap());
    sandbox.faults().add_times(Endpoint::Api, 1, elsewhere);
    assert!(matches!(sessions.get("ses_1").await, Err(ApiError::UnexpectedResponse { .. })));
    let none = Response::new(Bytes::from("{}"));
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Response(none));
    assert!(matches!(sessions.revoke("ses_1").await, Err(ApiError::UnexpectedResponse { .. })));
    let text = r#"{"revoked_sessions":[{"session_id":"ses_1"}],"total_revoked":"1"}"#;
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Response(Response::new(Bytes::from(text))));
    assert_eq!(sessions.revoke_all_for_user(&jane).await.unwrap().total_revoked, 1);
}

#[test]
fn futures_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let (_, api, jane) = sandbox_with_sessions(0);
    let sessions = api.sessions();
    is_send(&sessions.get("ses_1"));
    is_send(&sessions.list_for_user(&jane).stream());
    is_send(&api.request(Method::GET, "/").send::<Value>());
}
