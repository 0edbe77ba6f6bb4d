//! Values that were sealed by earlier releases. They must open for as long as a session may last.
//!
//! The last test printed `tests/data/sealed/v2.json` when format version 2 was settled, and
//! `v2-created-at.json` when references to stored sessions got their creation time, and
//! `v2-access-token.json` when sessions could retain their access token. A new version
//! gets its own file; the old files stay. Version 1 was never released.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime};

use super::cookie::record::SessionRecord;
use super::{
    Lifetimes, LoadedSession, LocalSession, NewSession, NewTokens, Purpose, Session, Sessions,
    SessionsBuilder,
};
use crate::clock::ManualClock;
use crate::http_client::UnreachableClient;
use crate::revocation::RecordedPosition;
use crate::scalekit::Scalekit;
use crate::secret::SecretString;
use crate::session_secret::SessionSecret;
use crate::shared_store;
use crate::token::{Claims, ORGANIZATION_CLAIMS, Principal};

const V1: &str = include_str!("../../tests/data/sealed/v1.json");
const V2: &str = include_str!("../../tests/data/sealed/v2.json");
const V2_ACCESS_TOKEN: &str = include_str!("../../tests/data/sealed/v2-access-token.json");
const V2_CREATED_AT: &str = include_str!("../../tests/data/sealed/v2-created-at.json");

fn began_at() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap()
}

fn sessions() -> Sessions {
    builder().build().unwrap()
}

pub(super) fn builder() -> SessionsBuilder {
    builder_at(&ManualClock::at(began_at() + Duration::minutes(1)))
}

pub(super) fn builder_at(time: &ManualClock) -> SessionsBuilder {
    let scalekit = Scalekit::builder("https://acme.scalekit.test", "skc_1", "hush");
    let scalekit = scalekit.http_client(UnreachableClient).clock(time.clock()).build().unwrap();
    Sessions::builder(scalekit)
        .secret(SessionSecret::new((1..33).collect::<Vec<u8>>()).unwrap())
        .redirect_uri("https://app.example.com/auth/callback")
}

/// Creates a session, and returns the headers of a request with its cookie.
pub(super) async fn create(sessions: &Sessions, local: LocalSession) -> HeaderMap {
    let mut response = HeaderMap::new();
    sessions.create(local, &HeaderMap::new()).await.unwrap().set(&mut response);
    let cookie = response[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
    HeaderMap::from_iter([(header::COOKIE, cookie.try_into().unwrap())])
}

/// Returns the headers of a request with this session cookie.
fn headers(sessions: &Sessions, cookie: &str) -> HeaderMap {
    let cookie = format!("{}={cookie}", sessions.cookie_name());
    HeaderMap::from_iter([(header::COOKIE, cookie.try_into().unwrap())])
}

/// Puts the value of a session into the store.
async fn store(sessions: &Sessions, id: &str, value: &str) {
    let key = sessions.store_key(shared_store::KeyNamespace::Session, id);
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    sessions.store().put(&key, value.to_owned().into(), day).await.unwrap();
}

fn text<'v>(texts: &'v Value, name: &str) -> &'v str {
    texts[name].as_str().unwrap()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A token of these claims, whose signature is not verified.
fn token(claims: &str) -> SecretString {
    let parts = ["{\"alg\":\"RS256\"}", claims, "signature"];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".").into()
}

/// A session with tokens, a local one, and one in the store.
fn records(access_token: Option<&SecretString>) -> [SessionRecord; 3] {
    let claims = json!({
        "sub": "usr_1", "oid": "org_1", "sid": "ses_1", "exp": 1_900_000_300,
        "roles": ["admin"], "permissions": ["workspace_data:write"],
    });
    let tokens = || {
        NewSession::Tokens(NewTokens {
            principal: Principal::from_claims(Claims::new(object(&claims)), &ORGANIZATION_CLAIMS)
                .unwrap(),
            id_token: token("{\"sub\":\"usr_1\",\"email\":\"jane@acme.test\"}"),
            refresh_token: Some("rt_1".into()),
            access_token: access_token.cloned(),
        })
    };
    let local = NewSession::Local {
        claims: object(&json!({"sub": "usr_1", "oid": "org_1", "roles": ["admin"]})),
        profile: object(&json!({"sub": "usr_1", "email": "jane@acme.test"})),
        id_token: None,
        login_subject: None,
    };
    let lifetimes = Lifetimes { absolute: Duration::days(30), idle: Some(Duration::days(7)) };
    [(tokens(), false), (local, false), (tokens(), true)].map(|(new, stored)| {
        let position = RecordedPosition::default();
        SessionRecord::new(new, stored, lifetimes, position, began_at()).unwrap()
    })
}

/// Opens the session of a cookie, with this value in the store.
async fn open(sessions: &Sessions, cookie: &str, stored: Option<(&str, &str)>) -> Session {
    if let Some((id, value)) = stored {
        store(sessions, id, value).await;
    }
    match sessions.load(&headers(sessions, cookie)).wait().await {
        LoadedSession::Active(request) => request.session,
        other => panic!("{other:?}"),
    }
}

async fn assert_all_open(texts: &Value) {
    let sessions = sessions();
    let stored = (text(texts, "stored_id"), text(texts, "stored"));
    for (name, stored, refreshable) in
        [("session", None, true), ("local", None, false), ("reference", Some(stored), true)]
    {
        let session = open(&sessions, text(texts, name), stored).await;
        assert_eq!(session.user().email, "jane@acme.test");
        let principal = session.principal();
        assert_eq!((principal.subject(), principal.organization_id()), ("usr_1", Some("org_1")));
        assert_eq!(principal.roles(), ["admin"]);
        assert_eq!((session.is_refreshable(), session.is_local()), (refreshable, !refreshable));
        let access_token = texts["access_token"].as_str().filter(|_| refreshable);
        assert_eq!(session.record().access_token(), access_token.map(Into::into));
        assert_eq!(session.record().remaining(began_at()), Duration::days(30));
        assert_eq!(session.authenticated_at(), None, "unknown before it was recorded");
        assert!(
            session
                .record()
                .is_past_limits(sessions.inner.lifetimes, began_at() + Duration::days(7))
        );
    }
}

#[tokio::test]
async fn texts_of_version_2_open() {
    for texts in [V2, V2_CREATED_AT, V2_ACCESS_TOKEN] {
        assert_all_open(&serde_json::from_str(texts).unwrap()).await;
    }
}

#[tokio::test]
async fn texts_of_version_1_are_rejected() {
    let texts: Value = serde_json::from_str(V1).unwrap();
    let sessions = sessions();
    for name in ["session", "local", "reference"] {
        let loaded = sessions.load(&headers(&sessions, text(&texts, name))).wait().await;
        assert!(matches!(loaded, LoadedSession::Invalid { .. }), "{name}: {loaded:?}");
    }
    let stored = sessions.open_sealed_record(text(&texts, "stored_id"), text(&texts, "stored"));
    assert!(stored.is_none());
}

#[tokio::test]
async fn newly_sealed_values_open_in_the_same_way() {
    let sessions = sessions();
    for access_token in [None, Some(token("{\"sub\":\"usr_1\",\"roles\":[\"admin\"]}"))] {
        let [tokens, local, stored] = records(access_token.as_ref());
        let texts = json!({
            "access_token": access_token.as_ref().map(SecretString::expose),
            "session": sessions.seal(&tokens).unwrap(),
            "local": sessions.seal(&local).unwrap(),
            "reference": sessions.seal(&stored).unwrap(),
            "stored_id": stored.id(),
            "stored": sessions.seal_stored(&stored).unwrap(),
        });
        assert_all_open(&texts).await;
        println!("{texts:#}");
    }
}

/// During a deployment, replicas of a newer version set cookies and store sessions.
#[tokio::test]
async fn sessions_of_a_newer_version_are_neither_removed_nor_ended() {
    let sessions = sessions();
    let [tokens, _, stored] = records(None);
    let newer = |record: &SessionRecord, purpose, name: &str| {
        let mut content = record.encode().unwrap();
        content[0] = u8::MAX;
        sessions.sealing_keys().seal(purpose, name, &content).unwrap()
    };
    let cookie = newer(&tokens, Purpose::Session, sessions.cookie_name());
    let loaded = sessions.load(&headers(&sessions, &cookie)).wait().await;
    assert!(matches!(&loaded, LoadedSession::Invalid { clear } if clear.is_empty()), "{loaded:?}");

    let value = newer(&stored, Purpose::StoredSession, stored.id());
    store(&sessions, stored.id(), &value).await;
    let headers = headers(&sessions, &sessions.seal(&stored).unwrap());
    let loaded = sessions.load(&headers).wait().await;
    assert!(matches!(loaded, LoadedSession::Unavailable { .. }), "{loaded:?}");
    assert!(!sessions.replace_older(&stored).await.unwrap_or(false), "it is not replaced");
    // A login is possible.
    assert!(matches!(sessions.valid_session(&headers).await, Ok(None)));
}
