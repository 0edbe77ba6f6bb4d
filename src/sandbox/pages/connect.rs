//! The pages where a user connects an account.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{Html, application_name, shell};

/// Content of the consent page.
#[derive(Debug)]
pub(crate) struct ConnectPage<'a> {
    pub(crate) token: &'a str,
    pub(crate) service: &'a str,
    pub(crate) purpose: &'a str,
    pub(crate) connection: &'a str,
    pub(crate) identifier: &'a str,
    /// Where the user is verified afterwards.
    pub(crate) user_verify_url: Option<&'a str>,
    /// Empty at a service with API keys.
    pub(crate) scopes: &'a [&'a str],
}

pub(crate) fn connect(page: &ConnectPage<'_>) -> Response<Bytes> {
    let scopes = page.scopes.iter().map(|scope| {
        Html::fill("<li><code>{{scope}}</code></li>", &[("scope", Html::text(scope))])
    });
    let asked = match page.scopes {
        [] => Html::fill(include_str!("api_key.html"), &[]),
        _ => Html::empty(),
    };
    let application = page.user_verify_url.map(application_name);
    let verification = match page.user_verify_url {
        None => Html::empty(),
        Some(_) => Html::text(" The application will check that it is you."),
    };
    let values = [
        ("api_key", asked),
        ("application", Html::text(application.as_deref().unwrap_or("An application"))),
        ("connection", Html::text(page.connection)),
        ("identifier", Html::text(page.identifier)),
        ("purpose", Html::text(page.purpose)),
        (
            "scopes",
            match page.scopes {
                [] => Html::empty(),
                _ => Html::fill(
                    r#"<ul class="plain-list asked wrap">{{scopes}}</ul>"#,
                    &[("scopes", Html::all(scopes))],
                ),
            },
        ),
        ("service", Html::text(page.service)),
        ("token", Html::text(page.token)),
        ("verification", verification),
    ];
    let title = format!("Connect {}", page.service);
    shell(StatusCode::OK, &title, Html::fill(include_str!("connect.html"), &values))
}

/// The last page, with a link back to the application if that is known.
pub(crate) fn connected(application: Option<&str>) -> Response<Bytes> {
    let back = match application {
        None => Html::text("You can close this page."),
        Some(url) => Html::fill(
            r#"<p><a href="{{url}}">Back to {{name}}</a></p>"#,
            &[("name", Html::text(&application_name(url))), ("url", Html::text(url))],
        ),
    };
    let main = Html::fill(include_str!("connected.html"), &[("back", back)]);
    shell(StatusCode::OK, "The account is connected", main)
}
