//! Logins that a resource delegates to the application's own login page.

use std::collections::HashMap;
use std::time::Duration;

use time::OffsetDateTime;

use crate::sandbox::state::authorization::AuthorizationRequest;
use crate::sandbox::state::ids::{new_id, random_token};
use crate::sandbox::state::users::NewUser;

/// "Valid for about ten minutes".
const LIFETIME: Duration = Duration::from_secs(600);

/// The delegated logins that are in progress, by their ID.
#[derive(Debug, Default)]
pub(crate) struct PendingOwnLogins {
    logins: HashMap<String, PendingOwnLogin>,
}

#[derive(Debug)]
pub(crate) struct PendingOwnLogin {
    pub(crate) request: AuthorizationRequest,
    /// The user whom the application has logged in.
    pub(crate) user: Option<NewUser>,
    connection_id: String,
    state: String,
    expires_at: OffsetDateTime,
}

impl PendingOwnLogins {
    /// Begins a login. Returns its ID (`lri_…`) and `state`.
    pub(crate) fn begin(
        &mut self,
        connection_id: &str,
        request: AuthorizationRequest,
        now: OffsetDateTime,
    ) -> (String, String) {
        self.logins.retain(|_, login| now < login.expires_at);
        let (id, state) = (new_id("lri"), random_token());
        self.logins.insert(
            id.clone(),
            PendingOwnLogin {
                request,
                user: None,
                connection_id: connection_id.to_owned(),
                state: state.clone(),
                expires_at: now + LIFETIME,
            },
        );
        (id, state)
    }

    /// Sets the user. Returns whether the login is in progress at this connection.
    pub(crate) fn set_user(
        &mut self,
        connection_id: &str,
        id: &str,
        user: NewUser,
        now: OffsetDateTime,
    ) -> bool {
        self.logins
            .get_mut(id)
            .filter(|login| login.is_of(connection_id, now))
            .map(|login| login.user = Some(user))
            .is_some()
    }

    /// Ends the login with this `state`.
    pub(crate) fn end(
        &mut self,
        connection_id: &str,
        state: &str,
        now: OffsetDateTime,
    ) -> Option<PendingOwnLogin> {
        self.logins
            .extract_if(|_, login| login.state == state && login.is_of(connection_id, now))
            .next()
            .map(|(_, login)| login)
    }
}

impl PendingOwnLogin {
    fn is_of(&self, connection_id: &str, now: OffsetDateTime) -> bool {
        self.connection_id == connection_id && now < self.expires_at
    }
}
