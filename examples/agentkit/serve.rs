//! The agent as a web app: users log in, connect Gmail and are verified.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use tower_scalekit::api::ApiError;
use tower_scalekit::{ConnectAccount, RequireSession, Scalekit, Session, Sessions};

use crate::common::OrExit as _;
use crate::mails::Mails;
use crate::{common, page, pages};

#[derive(Clone)]
struct App {
    scalekit: Scalekit,
    gmail: ConnectAccount,
}

pub async fn run(connection: &str) {
    let setup = common::Setup::from_env().await;
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .cookie_name("agentkit")
        .build()
        .or_exit(2);
    let gmail =
        ConnectAccount::builder(&sessions, connection).path("/connect/gmail").build().or_exit(2);
    // The dashboard has the post-verification redirect URL of other environments.
    if let Some((sandbox, _)) = &setup.sandbox {
        sandbox.connected_accounts().require_user_verification(true);
        sandbox.connected_accounts().set_verified_redirect_url(&format!("{}/", setup.public_url));
    }
    let app = Router::new()
        .route("/", get(home))
        .route_layer(RequireSession::new(&sessions).optional())
        .merge(sessions.routes())
        .merge(gmail.routes())
        .fallback(page::not_found)
        .with_state(App { scalekit: setup.scalekit.clone(), gmail });
    setup.serve(app).await;
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
}

async fn home(State(app): State<App>, session: Option<Session>) -> (StatusCode, Html<String>) {
    let Some(session) = session else { return (StatusCode::OK, Html(pages::welcome())) };
    let user = app.gmail.account(&session);
    let status = match app.scalekit.api().connected_accounts().get(&user).await {
        Ok(account) if account.is_active() => {
            return match Mails::unread(&app.scalekit, &user).await {
                Ok(mails) => (StatusCode::OK, Html(pages::mails(&session, &mails))),
                Err(error) => failed(&session, "Gmail", &error),
            };
        }
        Ok(account) => account.status,
        Err(ApiError::NotFound(_)) => None,
        Err(error) => return failed(&session, "Scalekit", &error),
    };
    (StatusCode::OK, Html(pages::connect(&session, app.gmail.path(), status.as_ref())))
}

fn failed(
    session: &Session,
    what: &str,
    error: &dyn std::error::Error,
) -> (StatusCode, Html<String>) {
    tracing::error!("{what}: {error}");
    (StatusCode::BAD_GATEWAY, Html(pages::failed(session, what)))
}
