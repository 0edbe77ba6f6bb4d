//! The pages of the example. `maud` escapes what it is given.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use tower_scalekit::Session;

pub fn home(session: Option<&Session>, problem: Option<&str>) -> String {
    let content = html! {
        section.hero {
            @match session {
                Some(session) => {
                    h1 { "Hello, " (session.user().display_name()) }
                    p.lead { "Your company's identity provider says so." }
                    a.button href="/admin-portal" { "Set up single sign-on" }
                    a.button.quiet href="/api/me" { "As JSON" }
                }
                None => {
                    h1 { "Log in with your company's account" }
                    p.lead { "Enter your work e-mail address; your company's own login follows." }
                    @if let Some(problem) = problem {
                        p role="alert" { strong { (problem) } }
                    }
                    form.card action="/sso" {
                        label for="email" { "Work e-mail" }
                        input #email type="email" name="email" placeholder="jane@example.com" required;
                        button.button { "Continue" }
                    }
                    p { a href="/login" { "Log in another way" } }
                }
            }
        }
    };
    page("Acme Projects", session, content)
}

pub fn admin_portal(session: &Session, location: &str) -> String {
    let content = html! {
        h1 { "Single sign-on" }
        p.lead { "Connect your organization's identity provider." }
        iframe.portal src=(location) title="Admin portal" {}
    };
    page("Single sign-on", Some(session), content)
}

fn page(title: &str, session: Option<&Session>, content: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(include_str!("../saaskit/style.css"))) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    a.brand href="/" { "Acme Projects" }
                    nav {
                        @if let Some(session) = session {
                            span.muted { (session.user().email) }
                            form method="post" action="/logout" { button.link { "Log out" } }
                        }
                    }
                }
                main { (content) }
            }
        }
    };
    page.into_string()
}

const STYLE: &str = "
    form.card { display: grid; gap: .6rem; max-width: 26rem; }
    form.card input { font: inherit; padding: .6rem; border: 1px solid var(--line); border-radius: .5rem; }
    iframe.portal { width: 100%; height: 34rem; border: 1px solid var(--line); border-radius: .9rem; background: #fff; }
";
