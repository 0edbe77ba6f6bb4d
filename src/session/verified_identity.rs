use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::single_use::StoredResult;
use super::{Authentication, LocalSession, User};
use crate::oauth::IdTokenHint;
use crate::revocation::RecordedPosition;
use crate::token::{Claims, ORGANIZATION_CLAIMS};

/// The verified identity of a user who has logged in, from the ID token of the login. It has no
/// claims of the access token, such as permissions. Cheap to clone.
///
/// With single sign-on, an organization's identity provider asserts the identity, and it may assert
/// any e-mail address, including one of another customer. Look users up by organization *and*
/// address, or by [`User::id`], never by the address alone.
///
/// Serializes to the claims of the ID token, without its signature.
#[derive(Clone)]
pub struct VerifiedIdentity {
    content: Arc<Content>,
}

struct Content {
    user: User,
    claims: Claims,
    position: RecordedPosition,
    authentication: Authentication,
}

impl VerifiedIdentity {
    /// Creates an identity from the claims of a verified ID token, and the revocation position before
    /// the environment issued it.
    pub(crate) fn new(claims: Claims, position: RecordedPosition) -> Self {
        let auth_time = claims.date("auth_time").ok().flatten();
        let authentication = Authentication::of_identity(auth_time);
        let user = User::from_claims(&claims);
        Self { content: Arc::new(Content { user, claims, position, authentication }) }
    }

    /// Returns the identity with the authentication of its login, which may be known from more than the
    /// ID token.
    pub(crate) fn authenticated(&self, authentication: Authentication) -> Self {
        let Content { user, claims, position, .. } = &*self.content;
        let (user, claims, position) = (user.clone(), claims.clone(), *position);
        Self { content: Arc::new(Content { user, claims, position, authentication }) }
    }

    /// Returns the user's profile. With modular single sign-on, the ID is `conn_…;` followed by the
    /// user's ID at the identity provider.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.content.user
    }

    /// Returns the organization of the login (`org_…`).
    #[must_use]
    pub fn organization_id(&self) -> Option<&str> {
        ORGANIZATION_CLAIMS.iter().find_map(|name| self.text(name))
    }

    /// Returns the single sign-on connection of the login (`conn_…`).
    #[must_use]
    pub fn connection_id(&self) -> Option<&str> {
        self.raw_claims()
            .get("amr")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .chain(self.user().id.split_once(';').map(|(id, _)| id))
            .find(|id| id.starts_with("conn_"))
    }

    /// Returns the environment's session (`ses_…`), to which logouts there refer.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.text("sid")
    }

    /// Returns all claims of the ID token.
    #[must_use]
    pub fn raw_claims(&self) -> &Map<String, Value> {
        self.content.claims.members()
    }

    /// Deserializes the claims.
    ///
    /// # Errors
    /// Returned when the claims do not match the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(Value::Object(self.raw_claims().clone()))
    }

    /// Creates a session for this user in this organization. A logout or revocation at the
    /// environment ends it once the app is notified.
    pub fn session(&self) -> LocalSession {
        self.session_of(self.user().clone())
    }

    /// Creates such a session with the app's own record of the user.
    pub fn session_of(&self, user: User) -> LocalSession {
        let mut session = LocalSession::new(user)
            .login_subject(&self.user().id)
            .revocation_position(self.content.position)
            .authentication(self.content.authentication);
        if let Some(id) = self.organization_id() {
            session = session.organization_id(id);
        }
        if let Some(id) = self.session_id() {
            session = session.session_id(id);
        }
        if let Some(seconds) = self.raw_claims().get("iat") {
            session = session.issued_at(seconds.clone());
        }
        session
    }

    /// Returns when the user has authenticated at the environment, if the ID token has `auth_time`
    /// (OpenID Connect Core, section 2).
    pub(crate) fn auth_time(&self) -> Option<OffsetDateTime> {
        self.content.claims.date("auth_time").ok().flatten()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.content.claims.text_or_none(name).filter(|text| !text.is_empty())
    }
}

impl Serialize for VerifiedIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw_claims().serialize(serializer)
    }
}

impl StoredResult for (VerifiedIdentity, IdTokenHint) {
    /// `[{claims}, position, "ID token", {authentication}]`
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (VerifiedIdentity { content }, id_token) = self;
        let Content { claims, position, authentication, .. } = &**content;
        let content = (claims.members(), position, id_token.expose(), authentication);
        serde_json::to_vec(&content).ok().map(Zeroizing::new)
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let (claims, position, id_token, authentication) =
            serde_json::from_slice::<(_, _, String, _)>(content).ok()?;
        let identity = VerifiedIdentity::new(Claims::new(claims), position);
        Some((identity.authenticated(authentication), id_token.into()))
    }
}

// By hand: the claims are personal data.
impl fmt::Debug for VerifiedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedIdentity")
            .field("connection_id", &self.connection_id())
            .field("organization_id", &self.organization_id())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    fn identity(claims: &Value) -> VerifiedIdentity {
        let claims = Claims::new(claims.as_object().unwrap().clone());
        VerifiedIdentity::new(claims, RecordedPosition::default())
    }

    #[test]
    fn a_modular_identity_names_its_connection_and_organization() {
        let who = identity(&json!({
            "sub": "conn_1;e964d135", "oid": "org_1", "sid": "ses_1", "amr": ["pwd", "conn_2"],
            "email": "jane@example.com", "preferred_username": "jane", "department": "Sales",
        }));
        assert_eq!(who.user().id, "conn_1;e964d135");
        assert_eq!(who.user().preferred_username.as_deref(), Some("jane"));
        assert_eq!(who.connection_id(), Some("conn_2"));
        assert_eq!((who.organization_id(), who.session_id()), (Some("org_1"), Some("ses_1")));
        #[derive(Deserialize)]
        struct Extra {
            department: String,
        }
        assert_eq!(who.claims::<Extra>().unwrap().department, "Sales");
        assert!(!format!("{who:?}").contains("jane@"));
        let named = identity(&json!({"sub": "conn_1;jane@example.com"}));
        assert!(!format!("{named:?}").contains("jane"), "{named:?}");
        assert_eq!(identity(&json!({"sub": "conn_1;x"})).connection_id(), Some("conn_1"));
        assert_eq!(identity(&json!({"sub": "usr_1", "amr": "conn_1"})).connection_id(), None);
    }
}
