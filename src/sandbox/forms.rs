//! The forms of the sandbox's own pages.

use bytes::Bytes;
use http::{Request, StatusCode};

use crate::sandbox::parameters::Parameters;

/// Parses the form of one of the sandbox's pages.
pub(crate) fn own_form(request: &Request<Bytes>) -> Result<Parameters, FormRejection> {
    // A form from another site could sign the visitor in as another user.
    let site = request.headers().get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(FormRejection {
            status: StatusCode::FORBIDDEN,
            message: "The form was sent from another site.",
        });
    }
    Parameters::from_form(request).ok_or(FormRejection {
        status: StatusCode::BAD_REQUEST,
        message: "The request does not contain a form.",
    })
}

#[derive(Debug)]
pub(crate) struct FormRejection {
    pub(crate) status: StatusCode,
    pub(crate) message: &'static str,
}

pub(crate) fn is_email_address(text: &str) -> bool {
    text.len() <= 254
        && !text.chars().any(|letter| letter.is_whitespace() || letter.is_control())
        && text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        })
}
