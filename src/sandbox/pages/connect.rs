//! The pages where a user connects an account.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{Html, application_name, scope_items, shell};

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
    let (api_key, scopes) = match page.scopes {
        [] => (Html::fill(include_str!("api_key.html"), &[]), Html::empty()),
        scopes => (
            Html::empty(),
            Html::fill(
                r#"<ul class="plain-list asked wrap">{{scopes}}</ul>"#,
                &[("scopes", scope_items(scopes))],
            ),
        ),
    };
    let (application, verification) = match page.user_verify_url {
        None => ("An application".to_owned(), ""),
        Some(url) => (application_name(url), " The application will check that it is you."),
    };
    shell(
        StatusCode::OK,
        &format!("Connect {}", page.service),
        include_str!("connect.html"),
        &[
            ("api_key", api_key),
            ("application", Html::text(&application)),
            ("connection", Html::text(page.connection)),
            ("identifier", Html::text(page.identifier)),
            ("purpose", Html::text(page.purpose)),
            ("scopes", scopes),
            ("service", Html::text(page.service)),
            ("token", Html::text(page.token)),
            ("verification", Html::text(verification)),
        ],
    )
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
    shell(
        StatusCode::OK,
        "The account is connected",
        include_str!("connected.html"),
        &[("back", back)],
    )
}
