//! The pages of the example. `maud` escapes all values.

use maud::{Markup, html};
use time::format_description::well_known::Rfc3339;
use tower_scalekit::Session;

use crate::common::at;
use crate::page::{logged_in, to_try};

pub fn home(session: Option<&Session>) -> String {
    page(
        "Acme Projects",
        session,
        html! {
            section.hero {
                h1 { "Plans that keep themselves up to date" }
                p.lead { "A small app behind Scalekit's hosted login, protected by tower layers." }
                @match session {
                    Some(session) => {
                        a.button href=(at("/dashboard")) { "Go to the dashboard" }
                        p.muted { "Logged in as " (session.user().display_name()) "." }
                    }
                    None => {
                        a.button href=(login()) { "Log in" }
                        a.button.quiet href={ (login()) "&prompt=create" } { "Sign up" }
                    }
                }
            }
            (to_try([
                html! { "Open the " a href=(at("/dashboard")) { "dashboard" } ": without a session, the login comes first." },
                html! { "Open " a href=(at("/api/admin")) { "admins only" } " as Jane, then as John, who lacks the permission." },
                html! { "Open the " a href=(at("/settings")) { "settings" } " more than five minutes after a login." },
                html! { "Request " code { (at("/api/me")) } " with " code { "curl" } ": 401 instead of a redirect." },
                html! { "Log out, and press " em { "Back" } "." },
            ]))
        },
    )
}

pub fn dashboard(session: &Session) -> String {
    let (user, principal) = (session.user(), session.principal());
    page(
        "Dashboard",
        Some(session),
        html! {
            h1 { "Hello, " (user.given_name.as_deref().unwrap_or(user.display_name())) }
            p.lead { "You must be logged in to see this page." }
            div.cards {
                section.card {
                    h2 { "You" }
                    dl {
                        (fact("Name", user.display_name()))
                        (fact("E-mail", &user.email))
                        (fact("Subject", principal.subject()))
                    }
                }
                section.card {
                    h2 { "Your organization" }
                    dl {
                        (fact("Organization", principal.organization_id().unwrap_or("none")))
                        dt { "Roles" } dd { (badges(principal.roles())) }
                        dt { "Permissions" } dd { (badges(principal.permissions())) }
                    }
                    p { a href=(at("/organizations")) { "Switch organization" } }
                }
                section.card {
                    h2 { "Your session" }
                    dl {
                        (fact("Session", principal.session_id().unwrap_or("none")))
                        (fact("Access token expires", &principal.expires_at().format(&Rfc3339).unwrap_or_default()))
                    }
                    form.row method="post" action=(at("/logout")) {
                        a.button.quiet href=(at("/api/me")) { "As JSON" }
                        a.button.quiet href=(at("/api/admin")) { "Admins only" }
                        a.button.quiet href=(at("/settings")) { "Settings" }
                        button.button { "Log out" }
                    }
                }
            }
        },
    )
}

/// `organizations`: name, URL to switch to it, ID.
pub fn organizations(session: &Session, organizations: &[(String, String, String)]) -> String {
    let current = session.principal().organization_id();
    page(
        "Organizations",
        Some(session),
        html! {
            h1 { "Your organizations" }
            ul.card.to-try {
                @for (name, switch, id) in organizations {
                    li {
                        @if current == Some(id) { strong { (name) } " (current)" }
                        @else { a href=(switch) { (name) } }
                    }
                }
            }
        },
    )
}

pub fn settings(session: &Session) -> String {
    let at = session.authenticated_at().and_then(|at| at.format(&Rfc3339).ok());
    page(
        "Settings",
        Some(session),
        html! {
            h1 { "Settings" }
            p.lead { "You must have logged in within five minutes to see this page." }
            section.card { dl { (fact("You logged in", &at.unwrap_or_default())) } }
        },
    )
}

/// The URL of a login that returns to the dashboard.
fn login() -> String {
    format!("{}?return_to={}", at("/login"), at("/dashboard"))
}

fn fact(name: &str, value: &str) -> Markup {
    html! { dt { (name) } dd { (value) } }
}

fn badges(names: &[String]) -> Markup {
    html! {
        @for name in names { span.badge { (name) } " " }
        @if names.is_empty() { "none" }
    }
}

fn page(title: &str, session: Option<&Session>, content: Markup) -> String {
    let navigation = html! {
        (logged_in(session))
        @if session.is_none() { a href=(login()) { "Log in" } }
    };
    crate::page::page("Acme Projects", title, navigation, content)
}
