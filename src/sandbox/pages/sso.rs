//! The pages around single sign-on: identity providers with their portals, and the admin portal.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use url::Url;

use super::deliveries::or_hint;
use super::{Html, application_name, notice, shell, status_with, user_buttons};
use crate::sandbox::respond::with_header;
use crate::sandbox::state::connections::SandboxConnection;
use crate::sandbox::state::directories::Directory;
use crate::sandbox::state::domains::Domain;
use crate::sandbox::state::users::{SandboxUser, Users};

/// Failures between an identity provider and the environment: error code and description.
pub(crate) const FAILURES: [(&str, &str); 8] = [
    ("assertion_expired", "The assertion has expired"),
    ("failed_to_exchange_token", "The identity provider rejected the code"),
    ("invalid_id_token", "The ID token of the identity provider is invalid"),
    ("invalid_saml_response", "The SAML response is invalid"),
    ("mandatory_attribute_missing", "The identity provider sent no email attribute"),
    ("signature_validation_failed", "The signature of the response is invalid"),
    ("user_login_required", "The user has to log in at the identity provider"),
    ("user_not_active", "The user is not active at the identity provider"),
];

/// The pages' policy, which also allows frames of other sites.
const EMBEDDABLE_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'";

/// A page that other sites may show in a frame.
pub(crate) trait Embeddable {
    fn embeddable(self) -> Self;
}

impl Embeddable for Response<Bytes> {
    fn embeddable(self) -> Self {
        with_header(self, header::CONTENT_SECURITY_POLICY, EMBEDDABLE_POLICY)
    }
}

/// Content of an identity provider's sign-in page.
#[derive(Debug)]
pub(crate) struct IdentityProviderPage<'a> {
    pub(crate) transaction: &'a str,
    pub(crate) connection: Option<&'a SandboxConnection>,
    pub(crate) organization: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) users: &'a [SandboxUser],
    pub(crate) email: &'a str,
    pub(crate) problem: Option<&'a str>,
}

pub(crate) fn identity_provider(page: &IdentityProviderPage<'_>) -> Response<Bytes> {
    shell(
        status_with(page.problem),
        &format!("{} sign-in", page.organization),
        include_str!("identity_provider.html"),
        &[
            ("application", Html::text(&application_name(page.redirect_uri))),
            ("email", Html::text(page.email)),
            ("failures", failures()),
            ("users", user_buttons(page.users)),
            ("problem", notice(page.problem)),
            ("provider", provider(page.connection, page.organization)),
            ("transaction", Html::text(page.transaction)),
        ],
    )
}

/// The page with a field for an e-mail address, whose domain selects the identity provider.
pub(crate) fn find_connection(
    transaction: &str,
    redirect_uri: &str,
    email: &str,
    problem: Option<&str>,
) -> Response<Bytes> {
    shell(
        status_with(problem),
        "Single sign-on",
        include_str!("find_connection.html"),
        &[
            ("application", Html::text(&application_name(redirect_uri))),
            ("email", Html::text(email)),
            ("problem", notice(problem)),
            ("transaction", Html::text(transaction)),
        ],
    )
}

/// Content of an identity provider's portal.
#[derive(Debug)]
pub(crate) struct IdpPortalPage<'a> {
    pub(crate) connection: &'a SandboxConnection,
    pub(crate) organization: &'a str,
    pub(crate) application: Option<&'a Url>,
    pub(crate) users: &'a [SandboxUser],
}

pub(crate) fn idp_portal(page: &IdpPortalPage<'_>) -> Response<Bytes> {
    let users = page.users.iter().map(|user| {
        Html::fill(
            r#"<option value="{{email}}">{{name}} ({{email}})</option>"#,
            &[("email", Html::text(&user.email)), ("name", Html::text(&user.name))],
        )
    });
    let problem = match page.application {
        Some(_) if !page.connection.enabled => Some("The connection is disabled: logins fail."),
        Some(_) => None,
        None => Some("The application cannot be opened: the sandbox has no initiate-login URL."),
    };
    let application = page.application.map_or("your application", Url::as_str);
    shell(
        StatusCode::OK,
        &format!("{} apps", page.organization),
        include_str!("idp_portal.html"),
        &[
            ("application", Html::text(&application_name(application))),
            ("connection_id", Html::text(&page.connection.id)),
            ("failures", failures()),
            ("organization", Html::text(page.organization)),
            ("users", Html::all(users)),
            ("problem", notice(problem)),
            ("provider", provider(Some(page.connection), page.organization)),
        ],
    )
}

/// Content of the admin portal; `None` for what the link does not include.
#[derive(Debug)]
pub(crate) struct AdminPortalPage<'a> {
    pub(crate) session: &'a str,
    pub(crate) organization: &'a str,
    pub(crate) connections: Option<Vec<&'a SandboxConnection>>,
    pub(crate) domains: Vec<&'a Domain>,
    pub(crate) directories: Option<Vec<&'a Directory>>,
}

pub(crate) fn admin_portal(page: &AdminPortalPage<'_>) -> Response<Bytes> {
    let connections = page.connections.as_ref().map(|connections| {
        let rows = connections.iter().map(|connection| {
            let name = format!("{} ({})", connection.provider_name(), connection.connection_type);
            let detail = connection.domains.join(", ");
            switch(page.session, &connection.id, &name, &detail, connection.enabled)
        });
        let domains = page.domains.iter().map(|domain| domain_row(page.session, domain));
        section("Single sign-on", rows.chain(domains))
    });
    let directories = page.directories.as_ref().map(|directories| {
        let rows = directories.iter().map(|directory| {
            switch(page.session, &directory.id, "Okta (SCIM)", &directory.id, directory.enabled)
        });
        section("Directory sync", rows)
    });
    shell(
        StatusCode::OK,
        "Admin portal",
        include_str!("admin_portal.html"),
        &[
            ("organization", Html::text(page.organization)),
            ("sections", Html::all(connections.into_iter().chain(directories))),
        ],
    )
    .embeddable()
}

/// An identity provider on the first page.
pub(crate) fn identity_provider_row(connection: &SandboxConnection, users: &Users) -> Html {
    let state = if connection.enabled { Html::empty() } else { badge("bad", "Off") };
    Html::fill(
        r#"<li>{{organization}}: <a href="/idp/{{id}}"><code>{{id}}</code></a> {{state}}</li>"#,
        &[
            ("id", Html::text(&connection.id)),
            ("organization", Html::text(users.organization_name(&connection.organization_id))),
            ("state", state),
        ],
    )
}

fn section(title: &str, rows: impl Iterator<Item = Html>) -> Html {
    Html::fill(
        "<section>\n<h2>{{title}}</h2>\n<ul class=\"rows\">\n{{rows}}</ul>\n</section>\n",
        &[("rows", or_hint(rows, "None.")), ("title", Html::text(title))],
    )
}

fn switch(session: &str, id: &str, name: &str, detail: &str, enabled: bool) -> Html {
    let (state, action, label) = match enabled {
        true => (badge("good", "On"), "disable", "Disable"),
        false => (badge("bad", "Off"), "enable", "Enable"),
    };
    Html::fill(
        include_str!("switch_row.html"),
        &[
            ("action", Html::text(action)),
            ("detail", Html::text(detail)),
            ("id", Html::text(id)),
            ("label", Html::text(label)),
            ("name", Html::text(name)),
            ("session", Html::text(session)),
            ("state", state),
        ],
    )
}

/// A domain, with a button that verifies it.
fn domain_row(session: &str, domain: &Domain) -> Html {
    if domain.is_verified() {
        return Html::fill(
            r#"<li class="row"><p class="wrap">{{state}} <strong>{{domain}}</strong></p></li>"#,
            &[("domain", Html::text(&domain.domain)), ("state", badge("good", "Verified"))],
        );
    }
    Html::fill(
        include_str!("switch_row.html"),
        &[
            ("action", Html::text("enable")),
            ("detail", Html::text("Users of the domain sign in here once it is verified.")),
            ("id", Html::text(&domain.id)),
            ("label", Html::text("Verify")),
            ("name", Html::text(&domain.domain)),
            ("session", Html::text(session)),
            ("state", badge("bad", "Pending")),
        ],
    )
}

fn badge(tone: &str, text: &str) -> Html {
    Html::fill(
        r#"<span class="badge {{tone}}">{{text}}</span>"#,
        &[("tone", Html::text(tone)), ("text", Html::text(text))],
    )
}

/// The owner of the pages.
fn provider(connection: Option<&SandboxConnection>, organization: &str) -> Html {
    let name = connection.map_or("Identity provider", SandboxConnection::provider_name);
    let protocol = connection.map_or("", |connection| &connection.connection_type);
    let initial = organization.chars().next().map(String::from).unwrap_or_default();
    Html::fill(
        include_str!("provider.html"),
        &[
            ("initial", Html::text(&initial)),
            ("name", Html::text(name)),
            ("organization", Html::text(organization)),
            ("protocol", Html::text(protocol)),
        ],
    )
}

fn failures() -> Html {
    Html::all(FAILURES.iter().map(|(error, _)| {
        Html::fill(
            r#"<option value="{{error}}">{{error}}</option>"#,
            &[("error", Html::text(error))],
        )
    }))
}
