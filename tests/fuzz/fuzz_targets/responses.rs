//! Responses of the token endpoint and of the API: no more is returned than they say, errors repeat no
//! secret, and no call waits or repeats without end.
#![no_main]

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tower_scalekit::Scalekit;
use tower_scalekit::api::connected_accounts::AccountKey;
use tower_scalekit::api::passwordless::NewEmail;
use tower_scalekit::api::tools::ToolCall;
use tower_scalekit::api::{Api, ApiError, ItemStream};
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::oauth::OAuthError;
use tower_scalekit_fuzz::{Input, START, block_on, clock, mutate};

const CLIENT_SECRET: &str = "test_c2VjcmV0";
const REFRESH_TOKEN: &str = "rt_bmV2ZXIgbG9nZ2Vk";
const ACCESS_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9.c2ln";

const STATUSES: [u16; 20] = [
    200, 200, 200, 200, 200, 200, 201, 204, 302, 304, 400, 400, 401, 403, 404, 409, 429, 501, 502,
    503,
];

const HEADERS: [(HeaderName, &str); 8] = [
    (header::RETRY_AFTER, "7"),
    (header::RETRY_AFTER, "18446744073709551615"),
    (header::RETRY_AFTER, "Fri, 15 Jan 2027 08:00:07 GMT"),
    (header::RETRY_AFTER, "Fri, 31 Dec 9999 23:59:59 GMT"),
    (header::CONTENT_TYPE, "text/html"),
    (header::CONTENT_TYPE, "application/json"),
    (header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
    (header::LOCATION, "https://elsewhere.test/"),
];

const TOKEN_BODIES: [&str; 7] = [
    r#"{"access_token":"at","refresh_token":"rt","id_token":"it","expires_in":300,"scope":"a b"}"#,
    r#"{"access_token":"at","refresh_token":"","id_token":null,"expires_in":"300"}"#,
    r#"{"error":"invalid_grant","error_description":"m"}"#,
    r#"{"error":"invalid_client"}"#,
    r#"{"error":"rt_bmV2ZXIgbG9nZ2Vk"}"#,
    r#"{"error":"test_c2VjcmV0"}"#,
    "<html>",
];

const BODIES: [&str; 14] = [
    r#"{"organization":{"id":"org_1","create_time":"2026-01-01T00:00:00Z","display_name":"Acme","external_id":null}}"#,
    r#"{"organizations":[{"id":"org_1","display_name":"Acme"}],"next_page_token":"2","total_size":"7"}"#,
    r#"{"users":[{"id":"usr_1","email":"a@b.test","memberships":[{"roles":[{"id":"role_1"}]}]}],"next_page_token":"b"}"#,
    r#"{"users":[{"id":"diruser_1","email":"a@b.test","groups":[{"id":"dirgroup_1"}],"updated_at":"2026-01-01T00:00:00.5Z"}]}"#,
    r#"{"directories":[{"id":"dir_1","enabled":true,"stats":{"total_users":"9223372036854775807"}}]}"#,
    r#"{"session_id":"ses_1","status":"active","created_at":"2026-01-01T00:00:00Z","device":{"ip":"::1"}}"#,
    r#"{"sessions":[{"session_id":"ses_1"}],"next_page_token":""}"#,
    r#"{"connected_account":{"id":"ca_1","status":"ACTIVE","connector":"gmail","identifier":"a"}}"#,
    r#"{"data":{"messages":[{"id":1e3}]},"execution_id":"e_1"}"#,
    r#"{"auth_request_id":"auth_1","expires_at":"1800000300","expires_in":300,"passwordless_type":"OTP"}"#,
    r#"{"code":5,"message":"test_c2VjcmV0 eyJhbGci a@b.test","details":[{"error_code":"GONE"},{"validation_error_info":{"field_violations":[{"field":"a","description":"b"}]}}]}"#,
    r#"{"code":16,"message":"m","details":[{"tool_error_info":{"tool_error_message":"m","tool_error_code":"c"}}]}"#,
    r#"{"error":{"message":"test_c2VjcmV0"}}"#,
    "",
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    if input.byte() % 4 == 0 {
        check_token_endpoint(&mut input);
    } else {
        check_api(&mut input);
    }
});

fn response(input: &mut Input<'_>, bodies: &[&str]) -> Response<Bytes> {
    let mut body = input.pick(bodies).as_bytes().to_vec();
    let status = *input.pick(&STATUSES);
    for _ in 0..input.byte() % 4 {
        mutate(input, &mut body);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for _ in 0..input.byte() % 3 {
        let (name, value) = input.pick(&HEADERS).clone();
        let mut value = value.as_bytes().to_vec();
        if input.byte() % 2 == 0 {
            mutate(input, &mut value);
        }
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn assert_none_of(secrets: [&str; 2], error: &(impl Error + ?Sized)) {
    let shown = format!("{error} {error:?}");
    for secret in secrets {
        assert!(!shown.contains(secret), "{shown}");
    }
}

fn check_token_endpoint(input: &mut Input<'_>) {
    let served = response(input, &TOKEN_BODIES);
    let environment = Environment { script: vec![served.clone()].into(), ..Environment::default() };
    let result = environment.run(async |scalekit| scalekit.refresh(&REFRESH_TOKEN.into()).await);
    let (status, body) = (served.status(), served.body());
    let value = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let text = |name: &str| value[name].as_str().filter(|text| !text.is_empty());
    let unavailable = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    match result {
        Ok(tokens) => {
            assert_eq!(status, StatusCode::OK);
            let expose = |token: &Option<tower_scalekit::secret::SecretString>| {
                token.as_ref().map(|token| token.expose().to_owned())
            };
            if value.is_object() {
                assert_eq!(value["access_token"], tokens.access_token.expose());
                assert_eq!(expose(&tokens.refresh_token).as_deref(), text("refresh_token"));
                assert_eq!(expose(&tokens.id_token).as_deref(), text("id_token"));
            }
        }
        Err(error) => {
            assert_none_of([CLIENT_SECRET, REFRESH_TOKEN], &error);
            match &error {
                OAuthError::InvalidGrant => {
                    assert!(status.is_client_error() && !unavailable, "{status}");
                    assert!(!value.is_object() || value["error"] == "invalid_grant", "{value}");
                }
                OAuthError::Unavailable(_) => assert!(unavailable, "{status}"),
                OAuthError::Rejected { code } => assert_eq!(value["error"], **code),
                _ => {}
            }
            assert_eq!(matches!(error, OAuthError::Unavailable(_)), unavailable, "{status}");
        }
    }
}

fn check_api(input: &mut Input<'_>) {
    let which = input.below(16);
    let mut environment = Environment { issues_tokens: true, ..Environment::default() };
    for _ in 0..1 + input.byte() % 4 {
        environment.script.push_back(response(input, &BODIES));
    }
    let first = environment.script.front().cloned().expect("a response");
    let sent = Arc::clone(&environment.sent);
    let started = block_on(async { Instant::now() });
    let result = environment.run(async |scalekit| call(&scalekit.api(), which).await);
    let waited = block_on(async { started.elapsed() });
    assert!(waited < Duration::from_secs(300), "{waited:?}");
    let sent = sent.lock().expect("no panic so far");
    let (posts, gets): (Vec<_>, Vec<_>) = sent.iter().partition(|method| *method == "POST");
    assert!(posts.len() <= 2 && gets.len() <= 16, "{sent:?}");

    let Err(error) = result else { return };
    assert_none_of([CLIENT_SECRET, ACCESS_TOKEN], &*error);
    if let Some(ApiError::RateLimited { response, retry_after }) = error.downcast_ref()
        && sent.len() == 1
    {
        assert_eq!(response.status, StatusCode::TOO_MANY_REQUESTS);
        if let Some(expected) = announced_delay(&first) {
            assert_eq!(*retry_after, Some(expected));
        }
    }
}

/// `Retry-After` of RFC 9110, section 10.2.3, without the obsolete formats of dates.
fn announced_delay(response: &Response<Bytes>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let now = std::time::UNIX_EPOCH + Duration::from_secs(START.unsigned_abs());
    (httpdate::fmt_http_date(date) == value).then(|| date.duration_since(now).unwrap_or_default())
}

async fn call(api: &Api, which: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let account = AccountKey::new("gmail", "a");
    match which {
        0 => drop(api.organizations().get("org_1").await?),
        1 => all(api.organizations().list().stream()).await?,
        2 => all(api.users().list().stream()).await?,
        3 => drop(api.users().get("usr_1").await?),
        4 => drop(api.directories().list("org_1").await?),
        5 => all(api.directories().users("org_1", "dir_1").stream()).await?,
        6 => all(api.directories().groups("org_1", "dir_1").stream()).await?,
        7 => drop(api.sessions().get("ses_1").await?),
        8 => all(api.sessions().list_for_user("usr_1").stream()).await?,
        9 => drop(api.connected_accounts().get(&account).await?),
        10 => drop(api.connected_accounts().credentials(&account).await?),
        11 => all(api.connected_accounts().list().stream()).await?,
        12 => drop(api.tools().execute(&ToolCall::new("t", &account)).await?),
        13 => all(api.tools().list().stream()).await?,
        14 => drop(api.passwordless().send(&NewEmail::new("a@b.test")).await?),
        _ => drop(api.roles().list().await?),
    }
    Ok(())
}

async fn all<T: DeserializeOwned + Send + 'static>(
    mut items: ItemStream<T>,
) -> Result<(), ApiError> {
    while let Some(item) = items.next().await {
        item?;
    }
    Ok(())
}

/// Responds with a script, then with 404. Tokens are issued beside it, or are part of it.
#[derive(Clone, Default)]
struct Environment {
    script: VecDeque<Response<Bytes>>,
    issues_tokens: bool,
    /// The methods of the requests, without those for tokens that are issued.
    sent: Arc<Mutex<Vec<String>>>,
}

impl Environment {
    fn run<T>(self, call: impl AsyncFnOnce(Scalekit) -> T) -> T {
        let client = Client(Arc::new(Mutex::new(self)));
        let scalekit = Scalekit::builder("https://acme.scalekit.test", "skc_1", CLIENT_SECRET);
        let scalekit = scalekit.http_client(client).clock(clock().clock()).build();
        block_on(call(scalekit.expect("good settings")))
    }
}

struct Client(Arc<Mutex<Environment>>);

impl HttpClient for Client {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        let mut environment = self.0.lock().expect("no panic so far");
        let response = if environment.issues_tokens && request.uri().path() == "/oauth/token" {
            let body = format!(r#"{{"access_token":"{ACCESS_TOKEN}","expires_in":3600}}"#);
            Response::new(body.into())
        } else {
            let method = request.method().to_string();
            environment.sent.lock().expect("no panic so far").push(method);
            environment.script.pop_front().unwrap_or_else(|| {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            })
        };
        Box::pin(async { Ok(response) })
    }
}
