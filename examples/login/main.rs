//! Every way into a login: the parameters of Scalekit's guide, sign-up, invitations.
//!
//! `cargo run --example login`, then open the printed address. `/login` hands `provider`, `prompt`,
//! `organization_id`, `connection_id`, `login_hint`, `domain_hint` and whatever an invitation
//! brings to the environment; it never hands over what makes the login secure.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/me.rs"]
mod me;

use axum::Router;
use axum::response::{Html, Redirect};
use axum::routing::get;
use maud::{DOCTYPE, html};
use tower_scalekit::{RequireSession, Session, Sessions};

/// Address and what it does.
const WAYS: [(&str, &str); 7] = [
    ("/login", "Log in, as the environment sees fit"),
    ("/signup", "Sign up first (prompt=create)"),
    ("/login?prompt=login", "Show the login even to somebody who is logged in"),
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
        .build();
    let sessions = common::or_exit(2, sessions);

    let app = Router::new()
        .route("/api/me", get(me::me))
        .route_layer(RequireSession::new(&sessions))
        .merge(
            Router::new()
                .route("/", get(home))
                .route_layer(RequireSession::new(&sessions).optional()),
        )
        .route("/signup", get(|| async { Redirect::to("/login?prompt=create") }))
        .merge(sessions.routes());
    setup.serve(app).await;
}

async fn home(session: Option<Session>) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Ways to log in" }
                style { (maud::PreEscaped(include_str!("../saaskit/style.css"))) }
            }
            body { main {
                h1 { "Ways to log in" }
                @if let Some(session) = session {
                    p.lead { "Logged in as " (session.user().display_name()) ". " a href="/api/me" { "Who am I?" } }
                    form method="post" action="/logout" { button.button { "Log out" } }
                } @else {
                    p.lead { "Each link starts a login with other parameters." }
                }
                div.cards {
                    @for (address, what) in WAYS {
                        section.card { h2 { a href=(address) { code { (address) } } } (what) }
                    }
                }
            } }
        }
    };
    Html(page.into_string())
}
