//! IdP-initiated login: a user opens the application from the portal of their identity provider.

use std::sync::Arc;

use serde_json::json;
use url::Url;

use crate::sandbox::environment::Environment;
use crate::sandbox::respond::without_nulls;
use crate::sandbox::state::State;
use crate::sandbox::state::keys::SigningKey;
use crate::sandbox::state::token_faults::TokenDraft;

/// The lifetime of a token.
const LIFETIME: i64 = 300;

/// An IdP-initiated login. Its organization is that of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewIdpInitiatedLogin {
    pub(crate) connection_id: String,
    login_hint: Option<String>,
    relay_state: Option<String>,
}

impl NewIdpInitiatedLogin {
    /// A login through a connection (`conn_…`).
    pub fn new(connection_id: &str) -> Self {
        Self { connection_id: connection_id.to_owned(), login_hint: None, relay_state: None }
    }

    /// Sets the address of the user. Default: none.
    pub fn login_hint(mut self, email: &str) -> Self {
        self.login_hint = Some(email.to_owned());
        self
    }

    /// Sets the relay state. Default: none.
    pub fn relay_state(mut self, relay_state: &str) -> Self {
        self.relay_state = Some(relay_state.to_owned());
        self
    }
}

impl From<&str> for NewIdpInitiatedLogin {
    fn from(connection_id: &str) -> Self {
        Self::new(connection_id)
    }
}

/// The token of a login; `None` if its connection does not exist.
pub(crate) fn login_token(
    environment: &Environment,
    login: &NewIdpInitiatedLogin,
) -> Option<String> {
    let (draft, key) = token_draft(environment, login)?;
    Some(draft.sign(environment, &key))
}

/// The URL that an IdP-initiated login with this token is redirected to.
pub(crate) fn login_url(state: &State, token: &str) -> Option<String> {
    url_with(state, &[("idp_initiated_login", token)])
}

/// The URL that a failed IdP-initiated login is redirected to.
pub(crate) fn failed_login_url(state: &State, error: &str, description: &str) -> Option<String> {
    url_with(state, &[("error", error), ("error_description", description)])
}

/// The application's login route, if it is set.
pub(crate) fn initiate_login_url(state: &State) -> Option<Url> {
    Url::parse(state.initiate_login_url.as_deref()?)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
}

fn url_with(state: &State, parameters: &[(&str, &str)]) -> Option<String> {
    let mut url = initiate_login_url(state)?;
    url.query_pairs_mut().extend_pairs(parameters);
    Some(url.into())
}

/// The token's claims and its signing key, both from the same state, so that they match despite
/// concurrent changes.
pub(crate) fn token_draft(
    environment: &Environment,
    login: &NewIdpInitiatedLogin,
) -> Option<(TokenDraft, Arc<SigningKey>)> {
    let state = environment.lock();
    let now = state.now.unix_timestamp();
    let connection = state.connections.get(&login.connection_id)?;
    let claims = without_nulls(json!({
        "organization_id": connection.organization_id,
        "connection_id": connection.id,
        "login_hint": login.login_hint,
        "relay_state": login.relay_state,
        "iss": match initiate_login_url(&state) {
            Some(url) => url.origin().ascii_serialization(),
            None => state.environment_url.clone(),
        },
        "iat": now,
        "nbf": now,
        "exp": now.saturating_add(LIFETIME),
    }));
    let key = Arc::clone(state.keys.current());
    Some((TokenDraft::new(key.kid(), claims), key))
}
