//! Secrets are not in `Debug`, not in `Display`, not in traces.

#[allow(dead_code, reason = "the tests of the examples use it too")]
mod noted;
mod source;
mod traces;
mod types;

use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::middleware::RejectionContext;
use tower_scalekit::oauth::{AuthorizationRequest, CodeVerifier, LogoutRequest};
use tower_scalekit::sandbox::{Endpoint, Fault, SandboxClient, TokenFault, TokenKind};
use tower_scalekit::secret::SecretString;
use tower_scalekit::session::{LocalSession, User};
use tower_scalekit::{
    RequireScope, RequireSession, RequireToken, Sandbox, Scalekit, Session, SessionSecret, Sessions,
};
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use self::noted::Secrets;
use crate::support::{
    Browser, CALLBACK, FETCH, JANE, JOHN, Reading as _, app, parameter, request, sandbox_builder,
    send, with_parameters,
};

const SESSION_SECRET: &str = "a session secret of 0123456789 letters and more";

/// Records the secrets of requests and responses.
struct Wire {
    client: SandboxClient,
    secrets: Secrets,
}

impl HttpClient for Wire {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        self.secrets.read_request(&request);
        Box::pin(async move {
            let response = self.client.send(request).await?;
            self.secrets.read_response(&response);
            Ok(response)
        })
    }
}

struct Setting {
    sandbox: Sandbox,
    sessions: Sessions,
    app: Router,
    secrets: Secrets,
}

impl Setting {
    fn new() -> Self {
        let (sandbox, secrets) = (sandbox_builder().build(), Secrets::default());
        let (id, secret) = (sandbox.client_id(), sandbox.client_secret().clone());
        secrets.add(secret.expose());
        secrets.add(SESSION_SECRET);
        let client = Wire { client: sandbox.client(), secrets: secrets.clone() };
        let scalekit = Scalekit::builder(sandbox.environment_url(), id, secret);
        secrets.assert_debug(&scalekit);
        let scalekit = scalekit.http_client(client).clock(sandbox.clock().clock()).build().unwrap();
        let session_secret = SessionSecret::new(SESSION_SECRET).unwrap();
        let builder = Sessions::builder(scalekit)
            .secret(session_secret.clone())
            .previous_secret(session_secret)
            .redirect_uri(CALLBACK)
            .retain_access_token();
        secrets.assert_debug(&builder);
        let sessions = builder.build().unwrap();
        let app = app(&sessions);
        Self { sandbox, sessions, app, secrets }
    }

    /// A login that records its secrets.
    async fn log_in(&self, email: &str) -> Browser {
        let mut browser = Browser::new(&self.app, &self.sandbox);
        let authorization = browser.start_login("/login?return_to=/me").await;
        for name in ["state", "nonce"] {
            self.secrets.add(&parameter(&authorization, name).unwrap());
        }
        self.add_cookies(&browser);
        let callback = self.sandbox.log_in(&authorization, email).unwrap();
        self.secrets.add(&parameter(&callback, "code").unwrap());
        assert_eq!(browser.open(&callback).await.status(), StatusCode::SEE_OTHER);
        self.add_cookies(&browser);
        browser
    }

    fn add_cookies(&self, browser: &Browser) {
        browser.names().iter().for_each(|name| self.secrets.add(browser.cookie(name).unwrap()));
    }

    fn advance(&self, seconds: u64) {
        self.sandbox.clock().advance(std::time::Duration::from_secs(seconds));
    }
}

#[derive(Clone, Default)]
pub(crate) struct Captured(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Captures the traces of this thread until the guards are dropped.
    pub(crate) fn subscribe(&self) -> (DefaultGuard, Dispatch) {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_span_events(FmtSpan::CLOSE)
            .with_writer(self.clone())
            .finish();
        // A single subscriber would let other threads disable the events' callsites globally.
        let second = Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish());
        (tracing::subscriber::set_default(subscriber), second)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn traces_of_a_whole_session_contain_the_events_and_no_secret() {
    let captured = Captured::default();
    let _guard = captured.subscribe();

    let setting = Setting::new();
    let mut browser = setting.log_in(JANE).await;
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    setting.advance(301);
    assert_eq!(browser.fetch("/me").await.status(), StatusCode::OK);
    setting.add_cookies(&browser);

    // Errors are logged too.
    let mut john = setting.log_in(JOHN).await;
    assert_eq!(john.fetch("/admin").await.status(), StatusCode::FORBIDDEN);
    let mut stranger = Browser::new(john.app(), &setting.sandbox);
    let stale = stranger.open("/auth/callback?code=a-code-of-nobody&state=a-state-of-nobody").await;
    assert_eq!(stale.status(), StatusCode::BAD_REQUEST);
    setting.secrets.add("a-code-of-nobody");
    setting.secrets.add("a-state-of-nobody");
    for fault in [Fault::Unreachable, Fault::Html, Fault::Status(StatusCode::BAD_GATEWAY)] {
        setting.sandbox.faults().add_times(Endpoint::Token, 1, fault);
        setting.advance(302);
        john.fetch("/me").await;
    }
    setting.sandbox.tokens().add_fault(TokenKind::IdToken, TokenFault::InvalidNonce);
    let authorization = john.start_login("/login").await;
    let callback = setting.sandbox.log_in(&authorization, JOHN).unwrap();
    assert_eq!(john.open(&callback).await.status(), StatusCode::BAD_REQUEST);
    let foreign = with_parameters(&callback, &[("code", ""), ("error", "x y; a-secret-in-error")]);
    john.open(&foreign).await;
    setting.secrets.add("a-secret-in-error");

    let verifier = setting
        .sessions
        .scalekit()
        .token_verifier()
        .audience(setting.sandbox.client_id())
        .build()
        .unwrap();
    let token = setting.sandbox.tokens().access_token(JANE);
    setting.secrets.add(&token);
    verifier.verify(&token).await.unwrap();
    verifier.verify(&format!("{token}x")).await.unwrap_err();
    let out = browser.open("/logout").await;
    setting.secrets.add(&parameter(out.location(), "id_token_hint").unwrap());

    let traces = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    for event in [
        "request_rejected",
        "token_verified",
        "token_rejected",
        "key_set_fetched",
        "session_refreshed",
        "login_completed",
        "login_failed",
    ] {
        assert!(traces.contains(event), "{event} is missing:\n{traces}");
    }
    assert!(traces.contains("tower_scalekit"));
    setting.secrets.assert_absent("a trace", &traces);
}

#[tokio::test]
async fn debug_of_every_handle_and_service_contains_no_secret() {
    let setting = Setting::new();
    let (secrets, sessions) = (&setting.secrets, &setting.sessions);
    let browser = setting.log_in(JANE).await;
    let scalekit = sessions.scalekit();
    secrets.assert_debug(&setting.sandbox);
    secrets.assert_debug(&setting.sandbox.client());
    secrets.assert_debug(setting.sandbox.client_secret());
    secrets.assert_debug(&SessionSecret::new(SESSION_SECRET).unwrap());
    secrets.assert_debug(scalekit);
    secrets.assert_debug(sessions);
    secrets.assert_debug(&sessions.login());
    secrets.assert_debug(&sessions.callback());
    secrets.assert_debug(&sessions.refresh());
    secrets.assert_debug(&sessions.logout());
    secrets.assert_debug(&setting.app);

    let token = setting.sandbox.tokens().access_token(JANE);
    secrets.add(&token);
    let verifier = scalekit.token_verifier().audience(setting.sandbox.client_id());
    secrets.assert_debug(&verifier);
    let verifier = verifier.build().unwrap();
    let principal = verifier.verify(&token).await.unwrap();
    secrets.assert_debug(&verifier);
    secrets.assert_debug(&principal);
    secrets.assert_debug(&RequireScope::all(["openid"]));

    let take = service_fn(|request: Request<axum::body::Body>| async move {
        let mut response = Response::new(String::new());
        response.extensions_mut().insert(Session::from_extensions(request.extensions()));
        Ok::<_, std::convert::Infallible>(response)
    });
    let guard = RequireSession::new(sessions);
    secrets.assert_debug(&guard);
    let service = guard.layer(take);
    let call = service.oneshot(browser.request(Method::GET, "/", &FETCH));
    let response = call.await.unwrap();
    let session = response.extensions().get::<Option<Session>>().cloned().flatten().unwrap();
    secrets.assert_debug(&session);
    secrets.assert_debug(session.user());
    secrets.assert_debug(session.principal());
    let mut addressed = User::default();
    addressed.id = JANE.to_owned();
    for shown in [
        format!("{session:?}"),
        format!("{:?}", session.user()),
        format!("{:?}", LocalSession::new(session.user().clone()).app_claim("email", JANE)),
        format!("{:?}", LocalSession::new(addressed)),
    ] {
        assert!(!shown.contains(JANE), "{shown}");
    }

    // Futures that hold a pending request.
    setting.advance(301);
    let call = RequireSession::new(sessions).layer(take);
    let call = tower::Service::call(&mut { call }, browser.request(Method::GET, "/", &FETCH));
    secrets.assert_debug(&call);
    call.await.unwrap();
    let callback = format!("{CALLBACK}?code=a-code-of-nobody&state=a-state-of-nobody");
    secrets.add("a-code-of-nobody");
    secrets.add("a-state-of-nobody");
    let request = browser.request(Method::GET, &callback, &[]);
    secrets.assert_debug(&tower::Service::call(&mut sessions.callback(), request));
}

#[tokio::test]
async fn debug_of_oauth_types_contains_no_secret() {
    let setting = Setting::new();
    let (secrets, scalekit) = (&setting.secrets, setting.sessions.scalekit());
    let verifier = CodeVerifier::generate().unwrap();
    for secret in ["the-state-itself", "the-nonce-itself", "a.hint.of-an-id-token"] {
        secrets.add(secret);
    }
    let asked = AuthorizationRequest::new(CALLBACK)
        .scopes(["openid", "offline_access"])
        .state("the-state-itself")
        .nonce("the-nonce-itself")
        .code_challenge(&verifier);
    let authorization = scalekit.authorization_url(&asked);
    let callback = setting.sandbox.log_in(authorization.as_str(), JANE).unwrap();
    let code = parameter(&callback, "code").unwrap();
    let tokens = scalekit.exchange_code(&code, CALLBACK, Some(&verifier)).await.unwrap();
    let spent = scalekit.exchange_code(&code, CALLBACK, Some(&verifier)).await.unwrap_err();
    secrets.assert_error(&spent);
    secrets.assert_debug(&verifier);
    secrets.assert_debug(&asked);
    secrets.assert_debug(&tokens);
    let hint = SecretString::from("a.hint.of-an-id-token");
    let out = LogoutRequest::new().id_token_hint(hint).state("the-state-itself");
    secrets.assert_debug(&out);
    let refresh_token = tokens.refresh_token.unwrap();
    for fault in [
        Fault::Unreachable,
        Fault::ResponseLost,
        Fault::Html,
        Fault::Status(StatusCode::BAD_GATEWAY),
        Fault::Response(
            Response::builder()
                .status(StatusCode::BAD_REQUEST)
                .body(Bytes::from(format!("{{\"error\":\"{}\"}}", refresh_token.expose())))
                .unwrap(),
        ),
    ] {
        setting.sandbox.faults().add_times(Endpoint::Token, 1, fault);
        secrets.assert_error(&scalekit.refresh(&refresh_token).await.unwrap_err());
    }
    secrets.assert_error(&Scalekit::builder("ftp://x", "", SESSION_SECRET).build().unwrap_err());
    let with_password = format!("https://user:{SESSION_SECRET}@x.test").replace(' ', "-");
    secrets.add(&SESSION_SECRET.replace(' ', "-"));
    secrets.assert_error(&Scalekit::builder(with_password, "a", "b").build().unwrap_err());
}

#[tokio::test]
async fn debug_of_a_rejection_contains_no_credential_of_the_request() {
    let setting = Setting::new();
    let shown = Arc::new(Mutex::new(String::new()));
    fn note<R: Debug>(
        shown: &Arc<Mutex<String>>,
    ) -> impl Fn(RejectionContext<'_, R>) -> Response<Bytes> + Send + Sync + 'static {
        let shown = Arc::clone(shown);
        move |rejected| {
            shown.lock().unwrap().push_str(&format!("{rejected:?} {:?}", rejected.rejection()));
            rejected.into_default_response()
        }
    }
    let token = RequireToken::for_audience(setting.sessions.scalekit(), "somebody").unwrap();
    let session = RequireSession::new(&setting.sessions);
    let admin = RequireScope::all_roles(["admin"]).on_rejection(note(&shown));
    let app = Router::new()
        .route("/token", get(|| async {}))
        .layer(token.on_rejection(note(&shown)))
        .merge(
            Router::new()
                .route("/admin", get(|| async {}))
                .layer(admin)
                .layer(session.on_rejection(note(&shown))),
        )
        .route_service("/auth/callback", setting.sessions.callback().on_rejection(note(&shown)))
        .route_service("/login", setting.sessions.login());

    let access_token = setting.sandbox.tokens().access_token(JOHN);
    setting.secrets.add(&access_token);
    let authorization = format!("Bearer {access_token}");
    let rejected = request(Method::GET, "/token", &[("authorization", &authorization)]);
    assert_eq!(send(&app, rejected).await.status(), StatusCode::UNAUTHORIZED);
    let mut john = setting.log_in(JOHN).await.at(&app);
    assert_eq!(john.fetch("/admin").await.status(), StatusCode::FORBIDDEN);
    setting.secrets.add("a-code-of-nobody");
    setting.secrets.add("a-state-of-nobody");
    let mut stranger = Browser::new(&app, &setting.sandbox);
    stranger.open("/auth/callback?code=a-code-of-nobody&state=a-state-of-nobody").await;
    // Also not where a cancelled login would have returned to.
    setting.secrets.add("an-invitation");
    let authorization = john.start_login("/login?return_to=/invite?token=an-invitation").await;
    let state = parameter(&authorization, "state").unwrap();
    let accept = [("accept", "text/html")];
    let cancelled = format!("/auth/callback?error=access_denied&state={state}");
    let page = john.send(Method::GET, &cancelled, &accept).await;
    assert!(page.text().contains("an-invitation"), "{}", page.text());
    setting.advance(301);
    setting.sandbox.users().revoke_sessions(JOHN);
    let rejected = john.request(Method::GET, "/admin", &[(header::ACCEPT.as_str(), "*/*")]);
    assert_eq!(send(&app, rejected).await.status(), StatusCode::UNAUTHORIZED);
    let shown = shown.lock().unwrap();
    assert!(shown.contains("InvalidToken") && shown.contains("StateMismatch"), "{shown}");
    setting.secrets.assert_absent("a rejection", &shown);
}
