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
pub(crate) struct PendingOwnLogins(HashMap<String, PendingOwnLogin>);

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
        self.0.retain(|_, login| now < login.expires_at);
        let (id, state) = (new_id("lri"), random_token());
        let login = PendingOwnLogin {
            request,
            user: None,
            connection_id: connection_id.to_owned(),
            state: state.clone(),
            expires_at: now + LIFETIME,
        };
        self.0.insert(id.clone(), login);
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
        let login = self.0.get_mut(id).filter(|login| login.is_of(connection_id, now));
        login.map(|login| login.user = Some(user)).is_some()
    }

    /// Ends the login with this `state`.
    pub(crate) fn end(
        &mut self,
        connection_id: &str,
        state: &str,
        now: OffsetDateTime,
    ) -> Option<PendingOwnLogin> {
        let is_meant =
            |login: &PendingOwnLogin| login.state == state && login.is_of(connection_id, now);
        let id = self.0.iter().find(|(_, login)| is_meant(login)).map(|(id, _)| id.clone())?;
        self.0.remove(&id)
    }
}

impl PendingOwnLogin {
    fn is_of(&self, connection_id: &str, now: OffsetDateTime) -> bool {
        self.connection_id == connection_id && now < self.expires_at
    }
}
