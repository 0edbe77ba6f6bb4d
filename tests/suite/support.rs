//! Test setup: an environment, an app that uses it, and simulated browsers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cookie::{Cookie, SameSite};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tower::ServiceExt as _;
use tower_scalekit::auth_routes::LoginError;
use tower_scalekit::clock::{Clock, ManualClock};
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::sandbox::SandboxBuilder;
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::{
    RequireScope, RequireSession, RequireToken, Sandbox, Session, SessionSecret, Sessions,
};
use url::Url;

pub(crate) const ORIGIN: &str = "https://app.example.com";
pub(crate) const CALLBACK: &str = "https://app.example.com/auth/callback";
pub(crate) const JANE: &str = "jane@acme.test";
pub(crate) const JOHN: &str = "john@acme.test";

/// Headers of a navigation, and of a request by a page's script.
pub(crate) const NAVIGATION: [(&str, &str); 3] =
    [("accept", "text/html,*/*;q=0.8"), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")];
pub(crate) const FETCH: [(&str, &str); 3] =
    [("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")];

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) sessions: Sessions,
    pub(crate) app: Router,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|sandbox| sandbox, |sessions| sessions)
    }

    pub(crate) fn with(
        sandbox: impl FnOnce(SandboxBuilder) -> SandboxBuilder,
        sessions: impl FnOnce(SessionsBuilder) -> SessionsBuilder,
    ) -> Self {
        let sandbox = sandbox(sandbox_builder()).build();
        let builder = sessions_builder(&sandbox);
        let sessions = sessions(builder).build().unwrap();
        let app = app(&sessions);
        Self { sandbox, sessions, app }
    }

    /// Another process of the same app, or the same app with other settings.
    pub(crate) fn replica(
        &self,
        change: impl FnOnce(SessionsBuilder) -> SessionsBuilder,
    ) -> Sessions {
        change(sessions_builder(&self.sandbox)).build().unwrap()
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.app, &self.sandbox)
    }

    pub(crate) async fn logged_in(&self, email: &str) -> Browser {
        self.logged_in_at(&self.app, email).await
    }

    /// The browser of a user who has logged in at this replica.
    pub(crate) async fn logged_in_at(&self, app: &Router, email: &str) -> Browser {
        let mut browser = Browser::new(app, &self.sandbox);
        let done = browser.log_in(&self.sandbox, email).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
        browser
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.sandbox.clock().advance(Duration::from_secs(seconds));
    }
}

/// An environment with a manual clock, at which the app's URLs are registered.
pub(crate) fn sandbox_builder() -> SandboxBuilder {
    let start = OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap();
    Sandbox::builder()
        .clock(ManualClock::at(start))
        .redirect_uri(CALLBACK)
        .post_logout_redirect_uri("https://app.example.com/auth/logout/callback")
}

pub(crate) fn secret(first: u8) -> SessionSecret {
    SessionSecret::new((first..first + 32).collect::<Vec<u8>>()).unwrap()
}

fn sessions_builder(sandbox: &Sandbox) -> SessionsBuilder {
    Sessions::builder(sandbox.scalekit()).secret(secret(1)).redirect_uri(CALLBACK)
}

pub(crate) fn app(sessions: &Sessions) -> Router {
    Router::new()
        .route("/admin", get(async || "admin"))
        .route_layer(RequireScope::all_permissions(["workspace_data:write"]))
        .route("/me", get(me).post(me))
        .route("/cached", get(([(header::CACHE_CONTROL, "private, max-age=60")], "cached")))
        .nest("/area/one", Router::new().route("/page", get(me)))
        .route_layer(RequireSession::new(sessions))
        .merge(
            Router::new()
                .route("/maybe", get(maybe))
                .route_layer(RequireSession::new(sessions).optional()),
        )
        .merge(sessions.routes())
}

async fn me(session: Session) -> Json<Value> {
    let principal = session.principal();
    Json(json!({
        "email": session.user().email,
        "sid": principal.session_id(),
        "sub": principal.subject(),
        "oid": principal.organization_id(),
        "jti": principal.raw_claims().get("jti"),
        "roles": principal.roles(),
        "exp": principal.expires_at().unix_timestamp(),
        "app": session.app_claims(),
    }))
}

async fn maybe(session: Option<Session>) -> String {
    session.map_or_else(|| "nobody".to_owned(), |session| session.user().email.clone())
}

/// A browser, which stores, sends and drops cookies.
#[derive(Clone)]
pub(crate) struct Browser {
    app: Router,
    clock: Clock,
    jar: BTreeMap<String, (String, OffsetDateTime)>,
}

impl Browser {
    pub(crate) fn new(app: &Router, sandbox: &Sandbox) -> Self {
        Self { app: app.clone(), clock: sandbox.clock().clock(), jar: BTreeMap::new() }
    }

    /// The same cookies at another app.
    pub(crate) fn at(&self, app: &Router) -> Self {
        Self { app: app.clone(), ..self.clone() }
    }

    pub(crate) fn app(&self) -> &Router {
        &self.app
    }

    /// The names of its cookies, except those of logins that it completed in the last minute.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.all_names().filter(|name| !name.contains("_recent_")).collect()
    }

    pub(crate) fn all_names(&self) -> impl Iterator<Item = &str> {
        let now = self.clock.now();
        self.jar.iter().filter(move |(_, (_, until))| now < *until).map(|(name, _)| name.as_str())
    }

    pub(crate) fn names_with(&self, part: &str) -> Vec<String> {
        self.names().iter().filter(|name| name.contains(part)).map(|&name| name.into()).collect()
    }

    /// The same with their values.
    pub(crate) fn names_and_values(&self) -> String {
        self.pairs(self.names().into_iter())
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.jar.get(name).map(|(value, _)| value.as_str())
    }

    pub(crate) fn put_cookie(&mut self, name: &str, value: &str) {
        let until = self.clock.now() + time::Duration::days(1);
        self.jar.insert(name.to_owned(), (value.to_owned(), until));
    }

    pub(crate) fn remove_cookie(&mut self, name: &str) {
        self.jar.remove(name);
    }

    /// Keeps sending a cookie after its expiry.
    pub(crate) fn keep_expired(&mut self, name: &str) {
        let value = self.cookie(name).unwrap().to_owned();
        self.put_cookie(name, &value);
    }

    pub(crate) fn cookie_header(&self) -> String {
        self.pairs(self.all_names())
    }

    fn pairs<'a>(&self, names: impl Iterator<Item = &'a str>) -> String {
        names
            .map(|name| format!("{name}={}", self.cookie(name).unwrap()))
            .collect::<Vec<_>>()
            .join("; ")
    }

    pub(crate) fn request(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Request<Body> {
        let target = target.strip_prefix(ORIGIN).unwrap_or(target);
        let mut request = request(method, target, headers);
        let cookies = self.cookie_header();
        if !cookies.is_empty() {
            request.headers_mut().insert(header::COOKIE, cookies.parse().unwrap());
        }
        request
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Response<Bytes> {
        let response = send(&self.app, self.request(method, target, headers)).await;
        self.store_cookies(&response);
        response
    }

    /// Opens a page without following redirects.
    pub(crate) async fn open(&mut self, target: &str) -> Response<Bytes> {
        self.send(Method::GET, target, &NAVIGATION).await
    }

    pub(crate) async fn fetch(&mut self, target: &str) -> Response<Bytes> {
        self.send(Method::GET, target, &FETCH).await
    }

    pub(crate) async fn post(&mut self, target: &str) -> Response<Bytes> {
        self.send(Method::POST, target, &FETCH).await
    }

    /// Opens a login URL and returns the redirect to the environment.
    pub(crate) async fn start_login(&mut self, target: &str) -> String {
        let started = self.open(target).await;
        assert_eq!(started.status(), StatusCode::FOUND, "{}", started.text());
        started.location().to_owned()
    }

    /// The status of the app's page for logged-in users, at this replica.
    pub(crate) async fn status_at(&self, app: &Router) -> StatusCode {
        send(app, self.request(Method::GET, "/me", &FETCH)).await.status()
    }

    /// Logs in and returns the callback's response.
    pub(crate) async fn log_in(&mut self, sandbox: &Sandbox, email: &str) -> Response<Bytes> {
        let authorization = self.start_login("/login?return_to=/me").await;
        let callback = sandbox.log_in(&authorization, email).unwrap();
        self.open(&callback).await
    }

    /// Presses a button of the confirmation page that is shown before a login replaces another
    /// user's session.
    pub(crate) async fn decide(
        &mut self,
        asked: &Response<Bytes>,
        button: &str,
    ) -> Response<Bytes> {
        assert_eq!(asked.status(), StatusCode::SEE_OTHER, "{}", asked.text());
        let page = self.open(asked.location()).await;
        assert_eq!(page.status(), StatusCode::OK, "{}", page.text());
        page.assert_private();
        let end = format!("action={button}");
        let action = page
            .text()
            .split("<form method=\"post\" action=\"")
            .skip(1)
            .filter_map(|form| form.split('"').next())
            .find(|action| action.ends_with(&end))
            .expect(button)
            .replace("&amp;", "&");
        let form = [("sec-fetch-mode", "navigate"), ("sec-fetch-site", "same-origin")];
        self.send(Method::POST, &action, &form).await
    }

    pub(crate) fn store_cookies(&mut self, response: &Response<Bytes>) {
        for line in set_cookies(response.headers()) {
            assert!(line.len() <= 4096, "a browser drops {} bytes", line.len());
            let cookie = Cookie::parse(line).unwrap();
            assert_eq!(cookie.http_only(), Some(true));
            assert_eq!(cookie.same_site(), Some(SameSite::Lax));
            if cookie.name().starts_with("__Host-") {
                assert_eq!((cookie.secure(), cookie.path()), (Some(true), Some("/")));
                assert_eq!(cookie.domain(), None);
            }
            let until = self.clock.now() + cookie.max_age().unwrap();
            if until > self.clock.now() {
                self.jar.insert(cookie.name().to_owned(), (cookie.value().to_owned(), until));
            } else {
                self.jar.remove(cookie.name());
            }
        }
    }
}

pub(crate) fn request(method: Method, target: &str, headers: &[(&str, &str)]) -> Request<Body> {
    headers
        .iter()
        .fold(Request::builder().method(method).uri(target), |request, (name, value)| {
            request.header(*name, *value)
        })
        .body(Body::empty())
        .unwrap()
}

/// A request with a bearer token.
pub(crate) fn request_with_token(target: &str, token: &str) -> Request<Body> {
    request(Method::GET, target, &[("authorization", &format!("Bearer {token}"))])
}

/// Requires user tokens of the environment.
pub(crate) fn token_layer(sandbox: &Sandbox) -> RequireToken {
    RequireToken::for_audience(&sandbox.scalekit(), sandbox.client_id()).unwrap()
}

/// Why a login was rejected.
pub(crate) fn login_error(response: &Response<Bytes>) -> LoginError {
    response.extensions().get::<RouteRejection<LoginError>>().expect("a rejection").error().clone()
}

/// Lets the spawned tasks run as far as they can.
pub(crate) async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Response<Bytes> {
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

pub(crate) fn set_cookies(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
}

/// The decoded parameter of a URL.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(ORIGIN).unwrap().join(url).unwrap();
    let mut found = url.query_pairs().filter(|(known, _)| known == name);
    let value = found.next().map(|(_, value)| value.into_owned());
    assert!(found.next().is_none(), "{name} is repeated in {url}");
    value
}

/// The URL with other parameters in place of its own.
pub(crate) fn with_parameters(url: &str, changes: &[(&str, &str)]) -> String {
    let mut url = Url::parse(url).unwrap();
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    pairs.retain(|(known, _)| !changes.iter().any(|(name, _)| name == known));
    pairs.extend(changes.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    url.query_pairs_mut().clear().extend_pairs(pairs);
    url.into()
}

/// Accessors of a response.
pub(crate) trait Reading {
    fn header(&self, name: &str) -> Option<&str>;
    fn location(&self) -> &str;
    fn text(&self) -> String;
    fn json(&self) -> Value;
    /// Asserts the headers of a response for one user.
    fn assert_private(&self);
}

impl Reading for Response<Bytes> {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers().get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(name == "set-cookie" || values.next().is_none(), "{name} is repeated");
        value
    }

    fn location(&self) -> &str {
        self.header("location").expect("a redirect")
    }

    fn text(&self) -> String {
        String::from_utf8(self.body().to_vec()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(self.body()).unwrap()
    }

    fn assert_private(&self) {
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("vary").map(str::to_ascii_lowercase).as_deref(), Some("cookie"));
    }
}

/// Words of sixteen letters that hardly compress, the same in every run.
pub(crate) fn noise(count: usize) -> impl Iterator<Item = String> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..count).map(move |_| URL_SAFE_NO_PAD.encode([&next()[..], &next()[..4]].concat()))
}
