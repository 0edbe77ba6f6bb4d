//! The app's own users; a database table in a real app.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tower_scalekit::session::{LocalSession, LoginHookError, VerifiedIdentity};

const LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);

/// The administrators. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    /// Organization and address. The address alone is not enough: any customer's identity provider
    /// can claim any address.
    administrators: Arc<HashSet<(String, String)>>,
}

impl Users {
    /// Parses who may manage single sign-on of which organization: `org_1:jane@acme.test,org_2:…`.
    /// The operator decides, never the order of logins.
    pub fn with_administrators(list: &str) -> Result<Self, String> {
        let administrators = list
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| match entry.split_once(':') {
                Some((organization, email)) => Ok((organization.trim().to_owned(), folded(email))),
                None => Err(format!(
                    "SSO_ADMINISTRATORS: not an organization, : and an address: {entry}"
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { administrators: Arc::new(administrators) })
    }

    /// The session of a login: users join the organization that they log in from.
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
