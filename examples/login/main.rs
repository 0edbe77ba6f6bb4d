//! Login parameters: those of Scalekit's guide, sign-up, invitations.
//!
//! `cargo run --example login`, then open the printed URL. `/login` forwards `provider`, `prompt`,
//! `organization_id`, `connection_id`, `login_hint`, `domain_hint` and invitation parameters to the
//! environment, but never security parameters such as `state`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/me.rs"]
mod me;
#[path = "../common/page.rs"]
mod page;

use axum::Router;
use axum::response::{Html, Redirect};
use axum::routing::get;
use maud::html;
use tower_scalekit::{RequireSession, Session, Sessions};

use crate::common::{OrExit as _, at};

/// Path and description.
const WAYS: [(&str, &str); 7] = [
    ("/login", "Log in, as the environment sees fit"),
    ("/signup", "Sign up first (prompt=create)"),
    ("/login?prompt=login", "Show the login even to a user who is logged in"),
    ("/login?prompt=select_account", "Choose the organization"),
    ("/login?login_hint=jane@acme.test", "Jane's address is known already"),
    ("/login?domain_hint=acme.test", "Use the single sign-on of acme.test"),
    ("/login?provider=google", "Straight to Google"),
];

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .cookie_name("login")
        .build()
        .or_exit(2);

    let app = Router::new()
        .route("/api/me", get(me::me))
        .route_layer(RequireSession::new(&sessions))
        .merge(
            Router::new()
                .route("/", get(home))
                .route_layer(RequireSession::new(&sessions).optional()),
        )
        .route("/signup", get(|| async { Redirect::to(&at("/login?prompt=create")) }))
        .merge(sessions.routes())
        .fallback(page::not_found);
    setup.serve(app).await;
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
}

async fn home(session: Option<Session>) -> Html<String> {
    let content = html! {
        h1 { "Ways to log in" }
        @if let Some(session) = &session {
            p.lead { "Logged in as " (session.user().display_name()) ". " a href=(at("/api/me")) { "Who am I?" } }
        } @else {
            p.lead { "Each link starts a login with other parameters." }
        }
        div.cards {
            @for (address, what) in WAYS {
                section.card { h2 { a href=(at(address)) { code { (address) } } } (what) }
            }
        }
    };
    Html(page::page("Ways to log in", "Ways to log in", page::logged_in(session.as_ref()), content))
}
