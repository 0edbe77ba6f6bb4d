//! The query parameters of an IdP-initiated login.

use std::borrow::Cow;

use http::{Method, Request};
use url::form_urlencoded;

use crate::auth_routes::LoginError;
use crate::oauth::SsoError;
use crate::session::Sessions;
use crate::util::diagnosis::CheckError as _;
use crate::util::return_to::IDP_INITIATED_LOGIN;

/// The kinds of requests that the layer distinguishes.
pub(super) enum RequestKind {
    /// For the inner service.
    Other,
    /// Contains the token.
    IdpInitiatedLogin(String),
    Invalid(LoginError),
}

impl RequestKind {
    pub(super) fn of<B>(request: &Request<B>, sessions: &Sessions) -> Self {
        // Most requests end here.
        let Some(query) = request.uri().query() else { return Self::Other };
        if request.method() != Method::GET
            || !(query.contains(IDP_INITIATED_LOGIN) || query.contains("error"))
        {
            return Self::Other;
        }
        let mut tokens = values(query, IDP_INITIATED_LOGIN);
        match (tokens.next(), tokens.next()) {
            (Some(token), None) => return Self::IdpInitiatedLogin(token.into_owned()),
            // A repeated parameter is ambiguous.
            (Some(_), Some(_)) => {
                return Self::Invalid(LoginError::InvalidRequest.logged(
                    IDP_INITIATED_LOGIN,
                    "one token",
                    "several",
                ));
            }
            (None, _) => {}
        }
        let target = sessions.requested_target(request, None);
        let path = target.as_deref().and_then(|target| target.split('?').next());
        let is_ours = path == Some(sessions.login_path()) || path == Some(sessions.callback_path());
        match values(query, "error").next() {
            // An error with a `state` ends an attempt, which the callback does.
            Some(error) if is_ours && values(query, "state").next().is_none() => {
                Self::Invalid(LoginError::AuthorizationFailed { error: SsoError::parse(&error) })
            }
            _ => Self::Other,
        }
    }
}

/// The values of a parameter that are not empty.
fn values<'q>(query: &'q str, name: &str) -> impl Iterator<Item = Cow<'q, str>> {
    form_urlencoded::parse(query.as_bytes())
        .filter(move |(found, value)| found == name && !value.is_empty())
        .map(|(_, value)| value)
}
