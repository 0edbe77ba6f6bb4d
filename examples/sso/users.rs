//! The app's own users: a table in a real app.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tower_scalekit::session::{LocalSession, LoginHookError, VerifiedIdentity};

const LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);

/// Who may do what. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    /// Organization and address. The address alone would not do: any customer's identity provider
    /// can say any address.
    administrators: Arc<HashSet<(String, String)>>,
}

impl Users {
    /// Reads who may manage single sign-on of which organization: `org_1:jane@acme.test,org_2:…`.
    /// An operator decides that, never the order in which people log in.
    pub fn with_administrators(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let administrators = entries.map(|entry| match entry.split_once(':') {
            Some((organization, email)) => Ok((organization.trim().to_owned(), folded(email))),
            None => {
                Err(format!("SSO_ADMINISTRATORS: not an organization, : and an address: {entry}"))
            }
        });
        Ok(Self { administrators: Arc::new(administrators.collect::<Result<_, _>>()?) })
    }

    /// The session of who has logged in: people join the organization that they come from.
    pub fn admit(&self, identity: &VerifiedIdentity) -> Result<LocalSession, LoginHookError> {
        let organization = identity.organization_id().ok_or(LoginHookError::Denied)?;
        let email = folded(&identity.user().email);
        if email.is_empty() {
            return Err(LoginHookError::Denied);
        }
        let session = identity.session().lifetime(LIFETIME);
        let is_administrator = self.administrators.contains(&(organization.to_owned(), email));
        Ok(if is_administrator {
            session.roles(["admin"]).permissions(["sso:manage"])
        } else {
            session.roles(["member"])
        })
    }
}

fn folded(email: &str) -> String {
    email.trim().to_lowercase()
}
