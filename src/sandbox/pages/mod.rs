//! The sandbox's HTML pages. They work without scripts, and escape every value.

mod connect;
mod deliveries;
mod outbox;
mod settings;
mod sso;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use url::Url;

use crate::middleware::page::escaped;
use crate::sandbox::environment::Environment;
use crate::sandbox::forms::own_form;
use crate::sandbox::parameters::{Parameters, session_cookies, with_query};
use crate::sandbox::respond;
use crate::sandbox::state::resources::Resource;
use crate::sandbox::state::users::SandboxUser;

pub(crate) use self::connect::{ConnectPage, connect, connected};
pub(crate) use self::deliveries::deliveries;
pub(crate) use self::outbox::outbox;
pub(crate) use self::sso::{
    AdminPortalPage, Embeddable, FAILURES, IdentityProviderPage, IdpPortalPage, admin_portal,
    find_connection, identity_provider, idp_portal,
};

/// All resources come from the sandbox, and scripts are not allowed. There is no `form-action`:
/// Chromium also applies it to the redirect after the form, which leads to the application and from
/// there anywhere.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The title of a failed sign-in.
pub(crate) const SIGN_IN_FAILED: &str = "Sign-in failed";

/// The form of the login page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    SignIn,
    SignUp,
}

impl Screen {
    pub(crate) fn of(parameters: &Parameters) -> Self {
        if parameters.get("screen") == Some("sign-up") { Self::SignUp } else { Self::SignIn }
    }
}

/// Content of the login page.
#[derive(Debug)]
pub(crate) struct LoginPage<'a> {
    pub(crate) screen: Screen,
    pub(crate) transaction: &'a str,
    pub(crate) redirect_uri: &'a str,
    /// The organization that the users are limited to.
    pub(crate) organization: Option<&'a str>,
    pub(crate) users: &'a [SandboxUser],
    pub(crate) email: &'a str,
    pub(crate) problem: Option<&'a str>,
}

pub(crate) fn login(page: &LoginPage<'_>) -> Response<Bytes> {
    let (title, template, other_screen) = match page.screen {
        Screen::SignIn => ("Sign in", include_str!("sign_in.html"), Some("sign-up")),
        Screen::SignUp => ("Sign up", include_str!("sign_up.html"), None),
    };
    let other =
        with_query("/login", &[("transaction", Some(page.transaction)), ("screen", other_screen)]);
    shell(
        status_with(page.problem),
        title,
        template,
        &[
            ("application", Html::text(&application_name(page.redirect_uri))),
            ("email", Html::text(page.email)),
            (
                "organization",
                page.organization.map_or(Html::empty(), |name| {
                    Html::fill(
                        " as a member of <strong>{{name}}</strong>",
                        &[("name", Html::text(name))],
                    )
                }),
            ),
            ("other", Html::text(&other)),
            ("problem", notice(page.problem)),
            ("transaction", Html::text(page.transaction)),
            ("users", user_buttons(page.users)),
        ],
    )
}

fn user_buttons(users: &[SandboxUser]) -> Html {
    Html::all(
        users.iter().map(|user| Html::fill(include_str!("user_button.html"), &user_values(user))),
    )
}

/// Content of the consent page.
#[derive(Debug)]
pub(crate) struct ConsentPage<'a> {
    pub(crate) transaction: &'a str,
    pub(crate) client: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) email: &'a str,
    pub(crate) scopes: &'a [String],
}

pub(crate) fn consent(page: &ConsentPage<'_>) -> Response<Bytes> {
    shell(
        StatusCode::OK,
        "Allow access",
        include_str!("consent.html"),
        &[
            ("application", Html::text(&application_name(page.redirect_uri))),
            ("client", Html::text(page.client)),
            ("email", Html::text(page.email)),
            ("resource", Html::text(page.resource)),
            ("scopes", scope_items(page.scopes)),
            ("transaction", Html::text(page.transaction)),
        ],
    )
}

fn scope_items(scopes: &[impl AsRef<str>]) -> Html {
    Html::all(scopes.iter().map(|scope| {
        Html::fill("<li><code>{{scope}}</code></li>", &[("scope", Html::text(scope.as_ref()))])
    }))
}

/// A page with an error message for the user.
pub(crate) fn problem(status: StatusCode, title: &str, reason: &str) -> Response<Bytes> {
    shell(
        status,
        title,
        include_str!("problem.html"),
        &[("title", Html::text(title)), ("reason", Html::text(reason))],
    )
}

/// Responds to the form of one of the sandbox's pages. The title is that of the page for a form that
/// is rejected.
pub(crate) fn handle_form(
    request: &Request<Bytes>,
    title: &str,
    handle: impl FnOnce(Parameters) -> Response<Bytes>,
) -> Response<Bytes> {
    match own_form(request) {
        Ok(form) => handle(form),
        Err(rejection) => problem(rejection.status, title, rejection.message),
    }
}

pub(crate) fn expired() -> Response<Bytes> {
    problem(
        StatusCode::BAD_REQUEST,
        "This sign-in has expired",
        "It was finished, or left open for too long. Go back to the application and start again.",
    )
}

pub(crate) fn no_initiate_login_url(title: &str) -> Response<Bytes> {
    problem(
        StatusCode::CONFLICT,
        title,
        "The application's initiate-login URL is not set in the sandbox.",
    )
}

pub(crate) fn signed_out() -> Response<Bytes> {
    shell(StatusCode::OK, "Signed out", include_str!("signed_out.html"), &[])
}

/// The first page of a served sandbox: a description and instructions.
pub(crate) fn index(environment: &Environment, request: &Request<Bytes>) -> Response<Bytes> {
    let state = environment.lock();
    let users = state
        .users
        .all
        .iter()
        .map(|user| Html::fill(include_str!("user_row.html"), &user_values(user)));
    let signed_in = match state.session_of(session_cookies(request)) {
        None => Html::empty(),
        Some((_, user)) => {
            Html::fill(include_str!("signed_in.html"), &[("name", Html::text(&user.name))])
        }
    };
    let loopback = match environment.settings.loopback_redirects {
        true => {
            "Any <code>http</code> address on <code>localhost</code>, <code>127.0.0.1</code> \
                 or <code>[::1]</code>, on any port"
        }
        false => "Registered addresses only",
    };
    let identity_providers = state
        .connections
        .iter()
        .map(|connection| sso::identity_provider_row(connection, &state.users));
    shell(
        StatusCode::OK,
        "Scalekit sandbox",
        include_str!("index.html"),
        &[
            ("client_id", Html::text(&environment.client_id)),
            ("client_secret", Html::text(environment.client_secret.expose())),
            ("loopback", Html::fill(loopback, &[])),
            ("identity_providers", Html::all(identity_providers)),
            ("users", Html::all(users)),
            ("resources", Html::all(state.resources.iter().map(resource_row))),
            ("settings", settings::rows(environment, &state)),
            ("signed_in", signed_in),
            ("url", Html::text(&state.environment_url)),
        ],
    )
}

fn resource_row(resource: &Resource) -> Html {
    let metadata = format!("/.well-known/oauth-authorization-server/resources/{}", resource.id);
    let scopes = resource.scopes.iter().map(|scope| {
        Html::fill(r#" <span class="badge">{{scope}}</span>"#, &[("scope", Html::text(scope))])
    });
    Html::fill(
        include_str!("resource_row.html"),
        &[
            ("id", Html::text(&resource.id)),
            ("metadata", Html::text(&metadata)),
            ("name", Html::text(&resource.name)),
            ("scopes", Html::all(scopes)),
        ],
    )
}

pub(crate) fn style() -> Response<Bytes> {
    respond::response(StatusCode::OK, "text/css; charset=utf-8", include_str!("style.css"))
}

pub(crate) fn icon() -> Response<Bytes> {
    respond::response(StatusCode::OK, "image/svg+xml", include_str!("icon.svg"))
}

/// Escaped text, safe in an element or in a quoted attribute.
#[derive(Clone, Debug)]
struct Html(String);

impl Html {
    fn empty() -> Self {
        Self(String::new())
    }

    /// Any text, escaped.
    fn text(text: &str) -> Self {
        Self(escaped(text))
    }

    fn all(parts: impl Iterator<Item = Self>) -> Self {
        Self(parts.map(|part| part.0).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A template with its `{{names}}` replaced. Values are not expanded again, so braces in them
    /// have no effect.
    fn fill(template: &'static str, values: &[(&str, Self)]) -> Self {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            filled.push_str(before);
            let Some((name, after)) = after.split_once("}}") else { break };
            if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
                filled.push_str(&value.0);
            }
            rest = after;
        }
        filled.push_str(rest);
        Self(filled)
    }
}

fn notice(problem: Option<&str>) -> Html {
    problem.map_or(Html::empty(), |problem| {
        Html::fill(include_str!("notice.html"), &[("text", Html::text(problem))])
    })
}

fn status_with(problem: Option<&str>) -> StatusCode {
    if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }
}

/// A page, whose main part is a template with these values.
fn shell(
    status: StatusCode,
    title: &str,
    template: &'static str,
    values: &[(&str, Html)],
) -> Response<Bytes> {
    let Html(page) = Html::fill(
        include_str!("shell.html"),
        &[("title", Html::text(title)), ("main", Html::fill(template, values))],
    );
    let mut response = respond::response(status, "text/html; charset=utf-8", page);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn user_values(user: &SandboxUser) -> [(&'static str, Html); 6] {
    let roles = user.roles.iter().map(|role| {
        Html::fill(r#"<span class="badge">{{role}}</span>"#, &[("role", Html::text(role))])
    });
    let initials: String = [&user.given_name, &user.family_name]
        .iter()
        .filter_map(|name| name.chars().next())
        .collect();
    let sum = user.email.bytes().fold(0, |sum, byte| (sum * 17 + u32::from(byte)) % 8191);
    [
        ("email", Html::text(&user.email)),
        ("initials", Html::text(&initials.to_uppercase())),
        ("name", Html::text(&user.name)),
        ("organization", Html::text(&user.organization_name)),
        ("roles", Html::all(roles)),
        ("tone", Html::text(&format!("tone-{}", sum % 6))),
    ]
}

/// The application as shown to its user: host and port of the redirect URI, and the scheme unless
/// it is http or https.
fn application_name(redirect_uri: &str) -> String {
    let Ok(url) = Url::parse(redirect_uri) else { return redirect_uri.to_owned() };
    let host = url.host_str().unwrap_or(redirect_uri);
    let name = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    match (url.scheme(), url.has_host()) {
        ("http" | "https", _) | (_, false) => name,
        (scheme, true) => format!("{scheme}://{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_never_expanded() {
        let hostile = Html::text(r#"{{b}}"><script>alert('1')</script>&"#);
        let page = Html::fill(
            "<p title=\"{{a}}\">{{b}}</p>{{c}}",
            &[("a", hostile), ("b", Html::text("x"))],
        );
        assert_eq!(
            page.0,
            "<p title=\"{{b}}&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;\">x</p>"
        );
    }
}
