//! The pages of the example. `maud` escapes all values.

use maud::{Markup, html};
use tower_scalekit::Session;

use crate::common::at;
use crate::page::{logged_in, to_try};

pub fn home(session: Option<&Session>, problem: Option<&str>) -> String {
    let content = html! {
        section.hero {
            @if let Some(problem) = problem {
                p role="alert" { strong { (problem) } }
            }
            @match session {
                Some(session) => {
                    h1 { "Hello, " (session.user().display_name()) }
                    p.lead { "Your company's identity provider says so." }
                    a.button href=(at("/admin-portal")) { "Set up single sign-on" }
                    a.button.quiet href=(at("/api/me")) { "As JSON" }
                }
                None => {
                    h1 { "Log in with your company's account" }
                    p.lead { "Enter your work e-mail address; your company's own login follows." }
                    form.card action=(at("/sso")) {
                        label for="email" { "Work e-mail" }
                        input #email type="email" name="email" placeholder="jane@example.com" required;
                        button.button { "Continue" }
                    }
                    p { a href=(at("/login")) { "Log in another way" } }
                    (to_try([
                        html! { "Enter " code { "jane@acme.test" } ", and cancel or fail at the identity provider." },
                        html! { "Enter an address of a domain without single sign-on." },
                        html! { "Start in the portal of an identity provider: the sandbox's page links to each." },
                        html! { "As Jane, set up single sign-on. John may not." },
                    ]))
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
    crate::page::page("Acme Projects", title, logged_in(session), content)
}
