//! The query parameters of an IdP-initiated login.

use http::{Method, Request};
use url::form_urlencoded;

use crate::auth_routes::{LAUNCH, LoginError};
use crate::oauth::SsoError;
use crate::session::Sessions;
use crate::util::fetch_metadata::requested_target;

/// What a request asks the layer to do.
pub(super) enum Asked {
    /// Nothing: the request is for the inner service.
    Nothing,
    Launch(String),
    Rejected(LoginError),
}

impl Asked {
    pub(super) fn by<B>(request: &Request<B>, sessions: &Sessions) -> Self {
        // Most requests end here.
        let Some(query) = request.uri().query() else { return Self::Nothing };
        if request.method() != Method::GET || !(query.contains(LAUNCH) || query.contains("error")) {
            return Self::Nothing;
        }
        let values = |wanted: &'static str| {
            form_urlencoded::parse(query.as_bytes())
                .filter(move |(name, value)| name == wanted && !value.is_empty())
                .map(|(_, value)| value)
        };
        let mut launches = values(LAUNCH);
        match (launches.next(), launches.next()) {
            (Some(token), None) => return Self::Launch(token.into_owned()),
            // A repeated parameter is ambiguous.
            (Some(_), Some(_)) => return Self::Rejected(LoginError::InvalidRequest),
            (None, _) => {}
        }
        let target = requested_target(request, sessions.base_path());
        let path = target.as_deref().and_then(|target| target.split('?').next());
        let is_ours = path == Some(sessions.login_path()) || path == Some(sessions.callback_path());
        match values("error").next() {
            // An error with a `state` ends an attempt, which the callback does.
            Some(error) if is_ours && values("state").next().is_none() => {
                let error = SsoError::parse(&error);
                Self::Rejected(LoginError::AuthorizationFailed { error })
            }
            _ => Self::Nothing,
        }
    }
}
