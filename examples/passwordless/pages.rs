//! The pages of the example. `maud` escapes all values.

use maud::{Markup, PreEscaped, html};
use tower_scalekit::Session;
use tower_scalekit::api::passwordless::PasswordlessType;
use tower_scalekit::passwordless_login::{LinkConfirmation, PendingLogin};

use crate::common::at;
use crate::page::to_try;

/// `gone`: the pending login does not exist.
pub fn address(return_to: Option<&str>, gone: bool) -> String {
    page(
        "Log in",
        html! {
            h1 { "Log in without a password" }
            @if gone {
                p { "This login has expired, or your browser blocks cookies. Start again." }
            }
            p.lead { "We send you an e-mail with a code and a link." }
            form.card method="post" action=(at("/passwordless/send")) {
                label for="email" { "E-mail address" }
                input #email type="email" name="email" required autocomplete="email" autofocus;
                @if let Some(page) = return_to { input type="hidden" name="return_to" value=(page); }
                button.button { "Send e-mail" }
            }
            (to_try([
                html! { "Enter any address. In the sandbox, its outbox page has the e-mail." },
                html! { "Enter a wrong code, or the right one in another browser." },
                html! { "Open the link in another browser: it asks first, so that mail scanners do not use it up." },
            ]))
        },
    )
}

pub fn code(pending: &PendingLogin, outbox: Option<&str>) -> String {
    let kind = pending.passwordless_type.as_ref();
    let attempt = html! { input type="hidden" name="attempt" value=(pending.attempt); };
    page(
        "Check your e-mail",
        html! {
            h1 { "Check your e-mail" }
            p.lead { "We sent an e-mail to " strong { (pending.email) } "." }
            @if kind.is_none_or(PasswordlessType::has_link) {
                p { "Open its link in this browser to log in." }
            }
            @if kind.is_none_or(PasswordlessType::has_code) {
                form.card method="post" action=(at("/passwordless/verify")) {
                    (attempt)
                    label for="code" { "Code" }
                    input #code name="code" required inputmode="numeric"
                        autocomplete="one-time-code" autofocus;
                    button.button { "Log in" }
                }
            }
            form.row #resend method="post" action=(at("/passwordless/resend")) {
                (attempt)
                button.button.quiet { "Send it again" }
                a.button.quiet href=(at("/")) { "Use another address" }
            }
            @if let Some(outbox) = outbox {
                p.muted { "Read it in " a href=(outbox) target="_blank" { "the sandbox's outbox" } "." }
            }
        },
    )
}

/// For a link that was opened in another browser than the requesting one.
pub fn link_confirmation(link: &LinkConfirmation) -> String {
    page_with(
        // For older browsers, which would send the form without its origin.
        html! { meta name="referrer" content="strict-origin"; },
        "Log in",
        html! {
            h1 { "Log in to " (link.host()) }
            p.lead { "You opened the link in an e-mail. If you requested it, log in here." }
            form method="post" action=(link.action()) {
                (PreEscaped(link.hidden_fields()))
                button.button { "Log in" }
            }
            p.muted { "If you did not request it, close this page." }
        },
    )
}

pub fn welcome(session: &Session) -> String {
    page(
        "Acme Projects",
        html! {
            h1 { "You are logged in" }
            p.lead { "As " strong { (session.user().email) } "." }
            form method="post" action=(at("/logout")) {
                a.button.quiet href=(at("/api/me")) { "As JSON" }
                button.button { "Log out" }
            }
        },
    )
}

pub fn problem(message: &str, retry_url: &str) -> String {
    page(
        "Something went wrong",
        html! {
            h1 { "Something went wrong" }
            p.lead { (message) "." }
            a.button href=(retry_url) { "Continue" }
        },
    )
}

fn page(title: &str, content: Markup) -> String {
    page_with(html! {}, title, content)
}

fn page_with(head: Markup, title: &str, content: Markup) -> String {
    crate::page::page("Acme Projects", title, head, content)
}
