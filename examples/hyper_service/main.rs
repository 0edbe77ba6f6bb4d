//! A plain hyper service, without axum: an API that requires bearer tokens, a page that requires a
//! session, the login routes, and webhooks.
//!
//! `cargo run --example hyper_service`, then open `/account` at the printed URL. The audience of the
//! API at `/` is `API_AUDIENCE`, or the client ID, which is the audience of the environment's user
//! tokens. On the sandbox it prints a token for testing.

#[path = "../common/mod.rs"]
mod common;

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_scalekit::middleware::ReplayBody;
use tower_scalekit::session::Deprovisioning;
use tower_scalekit::webhook::WebhookEvent;
use tower_scalekit::{Principal, RequireSession, RequireToken, Session, Sessions, WebhookVerify};

use crate::common::OrExit as _;

type BoxedResponse = Result<Response<BoxBody<Bytes, Infallible>>, Infallible>;

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let audience =
        common::setting("API_AUDIENCE").unwrap_or_else(|| setup.scalekit.client_id().to_owned());
    let tokens = RequireToken::for_audience(&setup.scalekit, audience).or_exit(2);
    let webhooks = setup.webhook_secret("/webhooks/scalekit").map(WebhookVerify::new);
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .cookie_name("hyper")
        .build()
        .or_exit(2);
    let app = App { tokens, webhooks, sessions };
    let service = service_fn({
        let app = app.clone();
        move |request| respond(app.clone(), request)
    });

    let mut stop = pin!(common::stop_signal());
    setup.print_urls();
    if let Some((sandbox, _)) = &setup.sandbox {
        let token = sandbox.tokens().access_token("jane@acme.test");
        eprintln!("try: curl -H 'Authorization: Bearer {token}' {}/", setup.public_url);
    }

    let server = auto::Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = setup.listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let service = TowerToHyperService::new(service.clone());
                let connection = server.serve_connection(TokioIo::new(stream), service);
                let connection = connections.watch(connection.into_owned());
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(error, "connection ended");
                    }
                });
            }
            () = &mut stop => break,
        }
    }
    let _ = timeout(Duration::from_secs(10), connections.shutdown()).await;
    common::finish(app.sessions.shutdown(common::SHUTDOWN)).await;
}

/// Layers and sessions are cheap to clone, so that each request has its own.
#[derive(Clone)]
struct App {
    tokens: RequireToken,
    webhooks: Option<WebhookVerify>,
    sessions: Sessions,
}

async fn respond(app: App, request: Request<Incoming>) -> BoxedResponse {
    let App { tokens, webhooks, sessions } = app;
    let path = request.uri().path();
    if path == "/" {
        boxed(tokens.layer(service_fn(greet)).oneshot(request).await)
    } else if path == "/account" {
        boxed(RequireSession::new(&sessions).layer(service_fn(account)).oneshot(request).await)
    } else if path == sessions.login_path() {
        boxed(sessions.login().oneshot(request).await)
    } else if path == sessions.callback_path() {
        boxed(sessions.callback().oneshot(request).await)
    } else if path == sessions.switch_account_path() {
        boxed(sessions.switch_account().oneshot(request).await)
    } else if path == sessions.session_info_path() {
        boxed(sessions.session_info().oneshot(request).await)
    } else if path == sessions.refresh_path() {
        boxed(sessions.refresh().oneshot(request).await)
    } else if path == sessions.logout_path() {
        boxed(sessions.logout().oneshot(request).await)
    } else if path == sessions.logout_callback_path() {
        boxed(sessions.logout_callback().oneshot(request).await)
    } else if path == sessions.backchannel_logout_path() {
        boxed(sessions.backchannel_logout().oneshot(request).await)
    } else if let ("/webhooks/scalekit", Some(webhooks)) = (path, webhooks) {
        let handler = service_fn(move |request| webhook(sessions.clone(), request));
        boxed(webhooks.layer(handler).oneshot(request).await)
    } else {
        boxed(text(StatusCode::NOT_FOUND, "not found\n"))
    }
}

async fn greet(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let subject = request.extensions().get::<Principal>().map_or("anonymous", Principal::subject);
    text(StatusCode::OK, format!("Hello, {subject}\n"))
}

async fn account(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let session = Session::from_extensions(request.extensions());
    let email = session.map_or_else(String::new, |session| session.user().email.clone());
    text(StatusCode::OK, format!("Hello, {email}\n"))
}

/// Ends the sessions of users that a directory removes.
async fn webhook(
    sessions: Sessions,
    request: Request<ReplayBody<Incoming>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match WebhookEvent::from_extensions(request.extensions()) {
        Some(Ok(event)) => match Deprovisioning::new(&sessions).apply(&event).await {
            Ok(_) => StatusCode::NO_CONTENT,
            // Delivered again later.
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        },
        _ => StatusCode::BAD_REQUEST,
    };
    text(status, "")
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    Ok(response)
}

/// Gives all responses the same type.
fn boxed<B>(response: Result<Response<B>, Infallible>) -> BoxedResponse
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
{
    response.map(|response| response.map(|body| body.boxed()))
}
