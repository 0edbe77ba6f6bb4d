//! The pages of the web app. `maud` escapes all values.

use maud::{Markup, html};
use tower_scalekit::Session;
use tower_scalekit::model::ConnectedAccountStatus;

use crate::common::at;
use crate::mails::Mails;
use crate::page::{logged_in, to_try};

pub fn welcome() -> String {
    page(
        "Mail agent",
        None,
        html! {
            section.hero {
                h1 { "An agent that reads your mail" }
                p.lead { "It acts in your name, with tokens that it never sees." }
                a.button href=(at("/login")) { "Log in" }
            }
            (to_try([
                html! { "Log in, connect Gmail, and read five unread e-mails." },
                html! { "Deny the access, and connect again." },
                html! { "Copy the link of the consent page to another user: the account stays unconnected." },
            ]))
        },
    )
}

pub fn connect(session: &Session, path: &str, status: Option<&ConnectedAccountStatus>) -> String {
    let (lead, button) = match status {
        Some(ConnectedAccountStatus::Expired) => {
            ("Gmail no longer lets the agent in.", "Connect Gmail again")
        }
        Some(ConnectedAccountStatus::PendingVerification) => {
            ("Gmail is not connected: it is not clear that it was you.", "Connect Gmail again")
        }
        _ => ("Gmail is not connected yet.", "Connect Gmail"),
    };
    page(
        "Connect Gmail",
        Some(session),
        html! {
            h1 { "Connect your mailbox" }
            p.lead { (lead) }
            p.muted { "You are logged in as " (session.user().email) ", to whom it will belong." }
            form method="post" action=(path) { button.button { (button) } }
        },
    )
}

pub fn mails(session: &Session, mails: &Mails) -> String {
    let content = match mails {
        Mails::List(mails) => html! {
            p.lead { (mails.len()) " unread mails, fetched by the agent." }
            div.cards {
                @for mail in mails {
                    section.card {
                        h2 { (mail.subject) }
                        p.muted { (mail.from) br; (mail.time()) }
                        p { (mail.snippet) }
                    }
                }
            }
        },
        other @ Mails::Other(_) => html! { pre { (other.to_string()) } },
    };
    page("Unread mails", Some(session), html! { h1 { "Your mailbox" } (content) })
}

pub fn failed(session: &Session, what: &str) -> String {
    page(
        "Try again",
        Some(session),
        html! {
            h1 { "Something went wrong" }
            p.lead { (what) " did not respond as it should." }
            a.button href=(at("/")) { "Try again" }
        },
    )
}

fn page(title: &str, session: Option<&Session>, content: Markup) -> String {
    crate::page::page("Mail agent", title, logged_in(session), content)
}
