//! The layout of the examples' pages. `maud` escapes all values.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use tower_scalekit::Session;

use crate::common::at;

/// A page with the app's name and a navigation above its content.
pub fn page(app: &str, title: &str, navigation: Markup, content: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header { a.brand href=(at("/")) { (app) } nav { (navigation) } }
                main { (content) }
            }
        }
    };
    page.into_string()
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
