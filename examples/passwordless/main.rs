//! A web app whose users log in by a code or a link in an e-mail, with pages of its own.
//!
//! `cargo run --example passwordless`, then open the printed URL. Without the SCALEKIT_ variables
//! it runs on an embedded sandbox, whose outbox page lists the e-mails; the README lists all
//! settings. Sessions are kept in this process and end with it, even with a `SESSION_SECRET`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/me.rs"]
mod me;
#[path = "../common/page.rs"]
mod page;
mod pages;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, Request, Response, header};
use axum::response::Html;
use axum::routing::get;
use serde::Deserialize;
use tower_scalekit::middleware::RejectionContext;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::passwordless_login::{PasswordlessLoginError, client_key_from_ip};
use tower_scalekit::{PasswordlessLogin, RequireSession, Session, Sessions};

use crate::common::OrExit as _;

#[derive(Clone)]
struct App {
    login: PasswordlessLogin,
    /// The sandbox's outbox page.
    outbox: Option<String>,
}

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .cookie_name("passwordless")
        .login_path("/")
        .build()
        .or_exit(2);
    // Every recipient of the e-mail may log in as a user of that address; `on_login` could look up
    // users.
    let login = PasswordlessLogin::builder(&sessions)
        .template_variable("app", "Acme Projects")
        .client_key(peer)
        .max_emails_per_client(30)
        .confirmation_page(pages::link_confirmation)
        .on_rejection(in_our_style)
        .build()
        .or_exit(2);

    let outbox =
        setup.sandbox.as_ref().map(|(sandbox, _)| format!("{}/outbox", sandbox.environment_url()));
    let app = Router::new()
        .route("/api/me", get(me::me))
        .route_layer(RequireSession::new(&sessions))
        .merge(
            Router::new()
                .route("/", get(home))
                .route_layer(RequireSession::new(&sessions).optional()),
        )
        .merge(login.routes())
        .merge(sessions.routes_without_login())
        .fallback(page::not_found)
        .with_state(App { login, outbox });
    setup.serve(app).await;
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
}

/// The client for the limit on e-mails, also if its address is not public. Behind a reverse proxy,
/// use the header that it sets instead: otherwise all clients would be the proxy.
fn peer(request: &Request<()>) -> Option<String> {
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(client_key_from_ip(peer.ip()))
}

#[derive(Deserialize)]
struct HomeQuery {
    /// The pending login.
    attempt: Option<String>,
    /// Where the user is redirected afterwards.
    return_to: Option<String>,
}

async fn home(
    State(app): State<App>,
    Query(query): Query<HomeQuery>,
    session: Option<Session>,
    headers: HeaderMap,
) -> Html<String> {
    let attempt = query.attempt.as_deref();
    let pending = attempt.and_then(|attempt| app.login.pending(&headers, Some(attempt)));
    Html(match (session, pending) {
        (_, Some(pending)) => pages::code(&pending, app.outbox.as_deref()),
        (Some(session), None) => pages::welcome(&session),
        (None, None) => pages::address(query.return_to.as_deref(), attempt.is_some()),
    })
}

/// Browsers get a page of this app, scripts the default JSON.
fn in_our_style(
    rejected: RejectionContext<'_, RouteRejection<PasswordlessLoginError>>,
) -> Response<Bytes> {
    let rejection = rejected.rejection();
    let page = rejection.retry_url().map(|url| pages::problem(&rejection.message(), url));
    let mut response = rejected.into_default_response();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/html")) {
        *response.body_mut() = page.unwrap_or_default().into();
    }
    response
}
