//! The app's own users: a table in a real app.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tower_scalekit::session::{LocalSession, NotAdmitted, VerifiedIdentity};

const LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);

/// Who may do what, by organization and address. Cheap to clone.
#[derive(Clone, Default)]
pub struct Users(Arc<Mutex<HashMap<(String, String), Role>>>);

#[derive(Clone, Copy)]
enum Role {
    Admin,
    Member,
}

impl Users {
    /// The session of who has logged in. New people join their organization; its first may manage it.
    ///
    /// The address alone would not do: any customer's identity provider can say any address.
    pub fn admit(&self, identity: &VerifiedIdentity) -> Result<LocalSession, NotAdmitted> {
        let organization = identity.organization_id().ok_or(NotAdmitted::Refused)?;
        let email = identity.user().email.to_ascii_lowercase();
        if email.is_empty() {
            return Err(NotAdmitted::Refused);
        }
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !users.keys().any(|(known, _)| known == organization);
        let newcomer = if is_first { Role::Admin } else { Role::Member };
        let role = *users.entry((organization.to_owned(), email)).or_insert(newcomer);
        let session = identity.session().lifetime(LIFETIME);
        Ok(match role {
            Role::Admin => session.roles(["admin"]).permissions(["sso:manage"]),
            Role::Member => session.roles(["member"]),
        })
    }
}
