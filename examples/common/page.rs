//! The layout of the examples' pages. `maud` escapes all values.

use axum::body::Bytes;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::Html;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use tower_scalekit::Session;
use tower_scalekit::middleware::RejectionContext;
use tower_scalekit::require_scope::ScopeRejection;

use crate::common::at;

/// A page with the app's name and a navigation above its content.
pub fn page(app: &str, title: &str, navigation: Markup, content: Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
                script src=(at("/pageshow.js")) defer {}
            }
            body {
                header { a.brand href=(at("/")) { (app) } nav { (navigation) } }
                main { (content) }
            }
        }
    }
    .into_string()
}

/// The user, and the logout button.
#[allow(dead_code, reason = "each example uses its part")]
pub fn logged_in(session: Option<&Session>) -> Markup {
    html! {
        @if let Some(session) = session {
            span.muted { (session.user().email) }
            form method="post" action=(at("/logout")) { button.link { "Log out" } }
        }
    }
}

/// The response to unknown paths.
#[allow(dead_code, reason = "each example uses its part")]
pub async fn not_found() -> (StatusCode, Html<String>) {
    let text = "There is no such page. The link may be old, or the address has a typing error.";
    (StatusCode::NOT_FOUND, Html(message("Page not found", text)))
}

/// A missing permission or role: browsers get a page of this app, scripts the default JSON.
#[allow(dead_code, reason = "each example uses its part")]
pub fn forbidden(rejected: RejectionContext<'_, ScopeRejection>) -> Response<Bytes> {
    let accept = rejected.headers().get(header::ACCEPT);
    let is_page = accept.is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    let page = match rejected.rejection() {
        ScopeRejection::Insufficient { description, .. } if is_page => {
            let text = format!("Your account lacks the {description}. Ask an administrator.");
            Some(message("This page is not for you", &text))
        }
        _ => None,
    };
    let mut response = rejected.into_default_response();
    if let Some(page) = page {
        *response.body_mut() = page.into();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
    }
    response
}

fn message(title: &str, text: &str) -> String {
    let content = html! {
        section.hero {
            h1 { (title) }
            p.lead { (text) }
            a.button href=(at("/")) { "Go to the start page" }
        }
    };
    page("Start", title, html! {}, content)
}

/// What a visitor can try, below the rest of a start page.
#[allow(dead_code, reason = "each example uses its part")]
pub fn to_try(items: impl IntoIterator<Item = Markup>) -> Markup {
    html! {
        section.try {
            h2 { "What to try" }
            ul.card.to-try { @for item in items { li { (item) } } }
        }
    }
}
