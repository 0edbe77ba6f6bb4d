//! The pages around single sign-on: identity providers with their portals, and the admin portal.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use url::Url;

use super::{Html, application_name, notice, person, shell, status_with};
use crate::sandbox::connections::Connection;
use crate::sandbox::directories::Directory;
use crate::sandbox::identity_provider::FAILURES;
use crate::sandbox::people::{People, User};

/// The pages' policy, but that pages of other sites may show them in a frame.
const EMBEDDABLE_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'";

/// A page that other sites may show in a frame.
pub(in crate::sandbox) trait Embeddable {
    fn embeddable(self) -> Self;
}

impl Embeddable for Response<Bytes> {
    fn embeddable(mut self) -> Self {
        let policy = HeaderValue::from_static(EMBEDDABLE_POLICY);
        self.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        self
    }
}

/// What the sign-in page of an identity provider shows.
#[derive(Debug)]
pub(in crate::sandbox) struct IdentityProviderPage<'a> {
    pub(in crate::sandbox) transaction: &'a str,
    pub(in crate::sandbox) connection: Option<&'a Connection>,
    pub(in crate::sandbox) organization: &'a str,
    pub(in crate::sandbox) redirect_uri: &'a str,
    pub(in crate::sandbox) users: &'a [&'a User],
    pub(in crate::sandbox) email: &'a str,
    pub(in crate::sandbox) problem: Option<&'a str>,
}

pub(in crate::sandbox) fn identity_provider(page: &IdentityProviderPage<'_>) -> Response<Bytes> {
    let people =
        page.users.iter().map(|user| Html::fill(include_str!("person_button.html"), &person(user)));
    let values = [
        ("application", Html::text(&application_name(page.redirect_uri))),
        ("email", Html::text(page.email)),
        ("failures", failures()),
        ("people", Html::all(people)),
        ("problem", notice(page.problem)),
        ("provider", provider(page.connection, page.organization)),
        ("transaction", Html::text(page.transaction)),
    ];
    let main = Html::fill(include_str!("identity_provider.html"), &values);
    shell(status_with(page.problem), &format!("{} sign-in", page.organization), main)
}

/// The page that asks for an address, whose domain decides where to sign in.
pub(in crate::sandbox) fn find_connection(
    transaction: &str,
    redirect_uri: &str,
    email: &str,
    problem: Option<&str>,
) -> Response<Bytes> {
    let values = [
        ("application", Html::text(&application_name(redirect_uri))),
        ("email", Html::text(email)),
        ("problem", notice(problem)),
        ("transaction", Html::text(transaction)),
    ];
    let main = Html::fill(include_str!("find_connection.html"), &values);
    shell(status_with(problem), "Single sign-on", main)
}

/// What the portal of a company's identity provider shows.
#[derive(Debug)]
pub(in crate::sandbox) struct CompanyPortalPage<'a> {
    pub(in crate::sandbox) connection: &'a Connection,
    pub(in crate::sandbox) organization: &'a str,
    pub(in crate::sandbox) application: Option<&'a Url>,
    pub(in crate::sandbox) users: &'a [&'a User],
}

pub(in crate::sandbox) fn company_portal(page: &CompanyPortalPage<'_>) -> Response<Bytes> {
    let people = page.users.iter().map(|user| {
        let values = [("email", Html::text(&user.email)), ("name", Html::text(&user.name))];
        Html::fill(r#"<option value="{{email}}">{{name}} ({{email}})</option>"#, &values)
    });
    let problem = match page.application {
        Some(_) if !page.connection.enabled => Some("The connection is off: no launch succeeds."),
        Some(_) => None,
        None => Some("Nothing can be opened: the sandbox has no initiate-login URL."),
    };
    let application = page.application.map_or("your application", Url::as_str);
    let values = [
        ("application", Html::text(&application_name(application))),
        ("connection_id", Html::text(&page.connection.id)),
        ("failures", failures()),
        ("organization", Html::text(page.organization)),
        ("people", Html::all(people)),
        ("problem", notice(problem)),
        ("provider", provider(Some(page.connection), page.organization)),
    ];
    let main = Html::fill(include_str!("company_portal.html"), &values);
    shell(StatusCode::OK, &format!("{} apps", page.organization), main)
}

/// What an organization's administrator sees; `None` where the link was not for that.
#[derive(Debug)]
pub(in crate::sandbox) struct AdminPortalPage<'a> {
    pub(in crate::sandbox) session: &'a str,
    pub(in crate::sandbox) organization: &'a str,
    pub(in crate::sandbox) connections: Option<Vec<&'a Connection>>,
    pub(in crate::sandbox) directories: Option<Vec<&'a Directory>>,
}

pub(in crate::sandbox) fn admin_portal(page: &AdminPortalPage<'_>) -> Response<Bytes> {
    let connections = page.connections.as_ref().map(|connections| {
        let rows = connections.iter().map(|connection| {
            let name = format!("{} ({})", connection.provider_name(), connection.connection_type);
            let detail = connection.domains.join(", ");
            switch(page.session, &connection.id, &name, &detail, connection.enabled)
        });
        section("Single sign-on", Html::all(rows))
    });
    let directories = page.directories.as_ref().map(|directories| {
        let rows = directories.iter().map(|directory| {
            switch(page.session, &directory.id, "Okta (SCIM)", &directory.id, directory.enabled)
        });
        section("Directory sync", Html::all(rows))
    });
    let sections = connections.into_iter().chain(directories);
    let values =
        [("organization", Html::text(page.organization)), ("sections", Html::all(sections))];
    let main = Html::fill(include_str!("admin_portal.html"), &values);
    shell(StatusCode::OK, "Admin portal", main).embeddable()
}

/// An identity provider among those of the first page.
pub(super) fn identity_provider_row(connection: &Connection, people: &People) -> Html {
    let organization = people.organization(&connection.organization_id);
    let state = if connection.enabled { Html::empty() } else { badge("bad", "Off") };
    let values = [
        ("id", Html::text(&connection.id)),
        ("organization", Html::text(organization.map_or("", |known| &known.display_name))),
        ("state", state),
    ];
    Html::fill(
        r#"<li>{{organization}}: <a href="/idp/{{id}}"><code>{{id}}</code></a> {{state}}</li>"#,
        &values,
    )
}

fn section(title: &str, rows: Html) -> Html {
    let rows = match rows.0.is_empty() {
        true => Html::fill(r#"<li class="hint">None is set up.</li>"#, &[]),
        false => rows,
    };
    let values = [("rows", rows), ("title", Html::text(title))];
    Html::fill(
        "<section>\n<h2>{{title}}</h2>\n<ul class=\"rows\">\n{{rows}}</ul>\n</section>\n",
        &values,
    )
}

fn switch(session: &str, id: &str, name: &str, detail: &str, enabled: bool) -> Html {
    let (state, action, label) = match enabled {
        true => (badge("good", "On"), "disable", "Switch off"),
        false => (badge("bad", "Off"), "enable", "Switch on"),
    };
    let values = [
        ("action", Html::text(action)),
        ("detail", Html::text(detail)),
        ("id", Html::text(id)),
        ("label", Html::text(label)),
        ("name", Html::text(name)),
        ("session", Html::text(session)),
        ("state", state),
    ];
    Html::fill(include_str!("switch_row.html"), &values)
}

fn badge(tone: &'static str, text: &str) -> Html {
    let values = [("tone", Html::text(tone)), ("text", Html::text(text))];
    Html::fill(r#"<span class="badge {{tone}}">{{text}}</span>"#, &values)
}

/// Whose pages these are.
fn provider(connection: Option<&Connection>, organization: &str) -> Html {
    let name = connection.map_or("Identity provider", Connection::provider_name);
    let protocol = connection.map_or("", |connection| &connection.connection_type);
    let initial = organization.chars().next().map(String::from).unwrap_or_default();
    let values = [
        ("initial", Html::text(&initial)),
        ("name", Html::text(name)),
        ("organization", Html::text(organization)),
        ("protocol", Html::text(protocol)),
    ];
    Html::fill(include_str!("provider.html"), &values)
}

fn failures() -> Html {
    Html::all(FAILURES.iter().map(|(error, _)| {
        let values = [("error", Html::text(error))];
        Html::fill(r#"<option value="{{error}}">{{error}}</option>"#, &values)
    }))
}
