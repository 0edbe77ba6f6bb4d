//! The pages where a user connects their Gmail.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{Html, application_name, shell};

/// Content of the consent page.
#[derive(Debug)]
pub(crate) struct GmailPage<'a> {
    pub(crate) token: &'a str,
    pub(crate) connection: &'a str,
    pub(crate) identifier: &'a str,
    /// Where the user is verified afterwards.
    pub(crate) user_verify_url: Option<&'a str>,
    pub(crate) scopes: &'a [&'a str],
}

pub(crate) fn gmail(page: &GmailPage<'_>) -> Response<Bytes> {
    let scopes = page.scopes.iter().map(|scope| {
        Html::fill("<li><code>{{scope}}</code></li>", &[("scope", Html::text(scope))])
    });
    let application = page.user_verify_url.map(application_name);
    let verification = match page.user_verify_url {
        None => Html::empty(),
        Some(_) => Html::text(" The application will check that it is you."),
    };
    let values = [
        ("application", Html::text(application.as_deref().unwrap_or("An application"))),
        ("connection", Html::text(page.connection)),
        ("identifier", Html::text(page.identifier)),
        ("scopes", Html::all(scopes)),
        ("token", Html::text(page.token)),
        ("verification", verification),
    ];
    shell(StatusCode::OK, "Connect Gmail", Html::fill(include_str!("gmail.html"), &values))
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
    shell(StatusCode::OK, "Gmail is connected", main)
}
