use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Claims, TokenError};
use crate::challenge::{Challenge, ChallengeContext};
use crate::revocation::{RevocableToken, RevocationTarget};
use crate::util::diagnosis::Shown;
use crate::util::telemetry;

/// Claims with Scalekit's organization: in its own tokens, and in those for MCP.
pub(crate) const ORGANIZATION_CLAIMS: [&str; 2] = ["oid", "org_id"];

/// The identity that layers insert into requests.
///
/// `RequireSession`, `RequireToken` and `RequireAuth` insert it into the request's extensions;
/// `RequireScope` and your handlers read it. Cloning increments a reference count.
///
/// Serializes to an object with its [`subject`](Self::subject), the other IDs where it has them,
/// `scopes`, `roles`, `permissions` and `expires_at` (RFC 3339): never the token, and not its other
/// claims, which [`raw_claims`](Self::raw_claims) returns.
#[derive(Clone)]
pub struct Principal {
    identity: Arc<Identity>,
    /// On bearer routes, for the rejections of inner layers.
    challenge: Option<ChallengeContext>,
}

/// The kind of credential that a [`Principal`] was authenticated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Credential {
    /// An API key in the `Authorization` header, for an organization or a user in it.
    ApiKey,
    /// An access token in the `Authorization` header (RFC 6750).
    BearerToken,
    /// The session cookie of a browser.
    Session,
}

/// What the sender of a token must prove (RFC 7800).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation<'a> {
    /// Nothing: a bearer token.
    None,
    /// The possession of the key with this thumbprint (RFC 9449, section 6.1).
    Jkt(&'a str),
    /// What is not supported, such as a client certificate (RFC 8705).
    Unsupported,
}

#[derive(Clone)]
struct Identity {
    /// The names of the claims with the subject, the organization and the client.
    subject_claim: &'static str,
    organization_claim: Option<&'static str>,
    client_claim: Option<&'static str>,
    /// Read from the claims when they are first used.
    scopes: OnceLock<Vec<String>>,
    roles: OnceLock<Vec<String>>,
    permissions: OnceLock<Vec<String>>,
    expires_at: OffsetDateTime,
    /// Whether the token has the claim `cnf`.
    is_sender_constrained: bool,
    claims: Claims,
    /// On cookie routes, the content of the `Session`: always a `session::extension::Content`.
    /// `dyn Any`, because this module must not depend on `session`.
    session: Option<Arc<dyn Any + Send + Sync>>,
    is_api_key: bool,
    /// On bearer routes that check revocations.
    revocable: OnceLock<Arc<RevocableToken>>,
}

impl Principal {
    /// Reads the claims of a verified access token. The organization is in the first of these
    /// claims that is present. A machine's token may lack `sub`; its client is the subject then.
    pub(crate) fn from_claims(
        claims: Claims,
        organization_claims: &[&'static str],
    ) -> Result<Self, TokenError> {
        let client_claim = present(&claims, "client_id")?.or(present(&claims, "azp")?);
        let subject_claim = present(&claims, "sub")?
            .or(client_claim)
            .filter(|name| claims.text_or_none(name) != Some(""))
            .ok_or_else(|| claims.invalid("sub", "the user's or the client's ID"))?;
        // A `sid` of another type than a string is an error.
        claims.text("sid")?;
        let mut organization_claim = None;
        for name in organization_claims {
            organization_claim = organization_claim.or(present(&claims, name)?);
        }
        let identity = Identity {
            subject_claim,
            organization_claim,
            client_claim,
            scopes: OnceLock::new(),
            roles: OnceLock::new(),
            permissions: OnceLock::new(),
            expires_at: claims.required_date("exp")?,
            is_sender_constrained: claims.has("cnf"),
            claims,
            session: None,
            is_api_key: false,
            revocable: OnceLock::new(),
        };
        Ok(Self { identity: Arc::new(identity), challenge: None })
    }

    /// Reads the details of a valid API key, written as claims.
    pub(crate) fn of_api_key(claims: Claims) -> Result<Self, TokenError> {
        let mut principal = Self::from_claims(claims, &ORGANIZATION_CLAIMS)?;
        Arc::make_mut(&mut principal.identity).is_api_key = true;
        Ok(principal)
    }

    /// The principal of a session with this content.
    pub(crate) fn with_session<T: Any + Send + Sync>(mut self, content: Arc<T>) -> Self {
        Arc::make_mut(&mut self.identity).session = Some(content);
        self
    }

    /// The content of the principal's session, where it is of this type.
    pub(crate) fn session<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(self.identity.session.as_ref()?).downcast().ok()
    }

    /// Attaches the challenge that inner layers (`RequireScope`) use if they reject the request.
    pub(crate) fn with_challenge(mut self, challenge: Arc<Challenge>) -> Self {
        self.challenge = Some(ChallengeContext::new(challenge));
        self
    }

    /// How inner layers challenge the request.
    pub(crate) fn challenge_context(&mut self) -> Option<&mut ChallengeContext> {
        self.challenge.as_mut()
    }

    /// The targets of revocations that its token has.
    pub(crate) fn revocable(&self) -> &RevocableToken {
        self.identity.revocable.get_or_init(|| {
            let claims = &self.identity.claims;
            let (subject, organization) = (self.subject(), self.organization_id());
            let email = claims.text("email").ok().flatten();
            if organization.and(email).is_none() && self.client_id() != Some(subject) {
                telemetry::token_without_email();
            }
            let targets = [
                Some(RevocationTarget::User(subject)),
                Some(RevocationTarget::user_in(organization, subject)),
                self.session_id().map(RevocationTarget::EnvironmentSession),
                organization.map(RevocationTarget::Organization),
                email.map(|email| RevocationTarget::email_in(organization, email)),
            ];
            let issued_at = claims.date("iat").ok().flatten().map(OffsetDateTime::unix_timestamp);
            Arc::new(RevocableToken::new(targets.into_iter().flatten(), issued_at))
        })
    }

    /// The credential of the request. Behind [`RequireAuth`](crate::RequireAuth), handlers may treat
    /// browsers and API clients differently.
    #[must_use]
    pub fn credential(&self) -> Credential {
        match self.identity.session {
            Some(_) => Credential::Session,
            None if self.identity.is_api_key => Credential::ApiKey,
            None => Credential::BearerToken,
        }
    }

    /// The user (`usr_…`, or `conn_…;…` after single sign-on without user management), the machine
    /// client, or the API key of an organization (`apit_…`).
    #[must_use]
    pub fn subject(&self) -> &str {
        self.text(self.identity.subject_claim).unwrap_or_default()
    }

    /// The subject's organization (`org_…`): claim `oid`, or `org_id`; for other issuers, the
    /// configured claim.
    #[must_use]
    pub fn organization_id(&self) -> Option<&str> {
        self.text(self.identity.organization_claim?)
    }

    /// Your app's ID of the organization: claim `xoid`.
    #[must_use]
    pub fn external_organization_id(&self) -> Option<&str> {
        self.text("xoid")
    }

    /// Your app's ID of the user: claim `xuid`.
    #[must_use]
    pub fn external_user_id(&self) -> Option<&str> {
        self.text("xuid")
    }

    /// The session at the environment (`ses_…`): claim `sid`.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.text("sid")
    }

    /// The application or machine client the token was issued to: claim `client_id`, or `azp`.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.text(self.identity.client_claim?)
    }

    /// OAuth scopes: the union of the claims `scope`, `scopes` and `scp`.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        self.identity.scopes.get_or_init(|| self.identity.claims.scopes())
    }

    /// Roles in the organization.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        self.identity.roles.get_or_init(|| self.identity.claims.strings("roles"))
    }

    /// Permissions, as `resource:action`.
    #[must_use]
    pub fn permissions(&self) -> &[String] {
        self.identity.permissions.get_or_init(|| self.identity.claims.strings("permissions"))
    }

    /// Expiry of the access token (UTC). A session outlives it. An API key without an expiry has the
    /// end of the year 9999.
    #[must_use]
    pub fn expires_at(&self) -> OffsetDateTime {
        self.identity.expires_at
    }

    /// All claims of the token. The custom claims of an API key are in the member `custom_claims`.
    #[must_use]
    pub fn raw_claims(&self) -> &Map<String, Value> {
        self.identity.claims.members()
    }

    /// Deserializes the claims, for claims that your dashboard or interceptor adds.
    ///
    /// # Errors
    /// When the claims do not match the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_value(Value::Object(self.raw_claims().clone()))
    }

    /// What the token's sender must prove. `jkt` is the only member of `cnf` that is supported: with
    /// others, more than this key would have to be proven.
    pub(crate) fn confirmation(&self) -> Confirmation<'_> {
        if !self.identity.is_sender_constrained {
            return Confirmation::None;
        }
        match self.raw_claims().get("cnf").and_then(Value::as_object) {
            Some(members) if members.len() == 1 => members
                .get("jkt")
                .and_then(Value::as_str)
                .map_or(Confirmation::Unsupported, Confirmation::Jkt),
            _ => Confirmation::Unsupported,
        }
    }

    /// The claims, which share their memory.
    pub(crate) fn verified_claims(&self) -> &Claims {
        &self.identity.claims
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.identity.claims.text_or_none(claim)
    }
}

/// The name of a string claim that is present.
fn present(claims: &Claims, name: &'static str) -> Result<Option<&'static str>, TokenError> {
    Ok(claims.text(name)?.map(|_| name))
}

impl Serialize for Principal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'p> {
            subject: &'p str,
            #[serde(skip_serializing_if = "Option::is_none")]
            organization_id: Option<&'p str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            external_organization_id: Option<&'p str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            external_user_id: Option<&'p str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            session_id: Option<&'p str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            client_id: Option<&'p str>,
            scopes: &'p [String],
            roles: &'p [String],
            permissions: &'p [String],
            expires_at: Option<String>,
        }
        Fields {
            subject: self.subject(),
            organization_id: self.organization_id(),
            external_organization_id: self.external_organization_id(),
            external_user_id: self.external_user_id(),
            session_id: self.session_id(),
            client_id: self.client_id(),
            scopes: self.scopes(),
            roles: self.roles(),
            permissions: self.permissions(),
            expires_at: self.expires_at().format(&Rfc3339).ok(),
        }
        .serialize(serializer)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("credential", &self.credential())
            // The subject of a login by e-mail is the address.
            .field("subject", &format_args!("{}", Shown(self.subject())))
            .field("organization_id", &self.organization_id())
            .field("session_id", &self.session_id())
            .field("client_id", &self.client_id())
            .field("scopes", &self.scopes())
            .field("roles", &self.roles())
            .field("permissions", &self.permissions())
            .field("expires_at", &self.identity.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn principal(claims: Value) -> Result<Principal, TokenError> {
        principal_with(claims, &ORGANIZATION_CLAIMS)
    }

    fn principal_with(
        claims: Value,
        organization_claims: &[&'static str],
    ) -> Result<Principal, TokenError> {
        Principal::from_claims(
            Claims::new(claims.as_object().unwrap().clone()),
            organization_claims,
        )
    }

    #[test]
    fn the_organization_is_read_from_the_issuers_claim() {
        let claims = || json!({"sub": "usr_1", "exp": 10, "oid": "a-user", "tid": "acme"});
        let organization = |names: &[&'static str]| {
            let principal = principal_with(claims(), names).unwrap();
            principal.organization_id().map(str::to_owned)
        };
        assert_eq!(organization(&ORGANIZATION_CLAIMS).as_deref(), Some("a-user"));
        assert_eq!(organization(&["tid"]).as_deref(), Some("acme"));
        assert_eq!(organization(&[]), None);
        let broken = principal(json!({"sub": "usr_1", "exp": 10, "org_id": 7}));
        assert_eq!(broken.unwrap_err(), TokenError::InvalidClaim("org_id"));
    }

    #[test]
    fn a_users_token_is_read_completely() {
        #[derive(serde::Deserialize)]
        struct Custom {
            plan: String,
        }
        let claims = json!({
            "sub": "usr_1", "oid": "org_1", "sid": "ses_1", "client_id": "skc_1", "exp": 10,
            "xoid": "tenant 7", "xuid": "user 9",
            "roles": ["admin"], "permissions": ["a:b"], "scope": "openid email", "plan": "gold",
        });
        let principal = principal(claims).unwrap();
        assert_eq!(principal.subject(), "usr_1");
        assert_eq!(principal.organization_id(), Some("org_1"));
        assert_eq!(principal.external_organization_id(), Some("tenant 7"));
        assert_eq!(principal.external_user_id(), Some("user 9"));
        assert_eq!((principal.roles(), principal.scopes().len()), (&["admin".to_owned()][..], 2));
        assert_eq!(principal.claims::<Custom>().unwrap().plan, "gold");
        assert!(!format!("{principal:?}").contains("gold"));
    }

    #[test]
    fn it_serializes_without_other_claims() {
        let sample = include_str!("../../tests/data/tokens/access_token.fsa.claims.json");
        let claims: Value = serde_json::from_str(sample).unwrap();
        let expires_at = claims["exp"].as_i64().map(OffsetDateTime::from_unix_timestamp);
        let serialized = serde_json::to_value(principal(claims.clone()).unwrap()).unwrap();
        let expected = json!({
            "subject": claims["sub"], "organization_id": claims["oid"],
            "external_organization_id": claims["xoid"], "external_user_id": claims["xuid"],
            "session_id": claims["sid"], "client_id": claims["client_id"],
            "scopes": ["openid", "profile", "email"], "roles": claims["roles"],
            "permissions": claims["permissions"],
            "expires_at": expires_at.unwrap().unwrap().format(&Rfc3339).unwrap(),
        });
        assert_eq!(serialized, expected);

        let machine = principal(json!({"client_id": "m2m_1", "exp": 10, "plan": "gold"})).unwrap();
        let expected = json!({
            "subject": "m2m_1", "client_id": "m2m_1", "scopes": [], "roles": [], "permissions": [],
            "expires_at": "1970-01-01T00:00:10Z",
        });
        assert_eq!(serde_json::to_value(machine).unwrap(), expected);
    }

    #[test]
    fn every_confirmation_other_than_a_key_alone_is_unsupported() {
        let confirmed = |cnf: Value| {
            let principal = principal(json!({"sub": "usr_1", "exp": 10, "cnf": cnf})).unwrap();
            match principal.confirmation() {
                Confirmation::Jkt(thumbprint) => thumbprint.to_owned(),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(confirmed(json!(null)), "None");
        assert_eq!(confirmed(json!({"jkt": "a key"})), "a key");
        for cnf in [
            json!({}),
            json!("a key"),
            json!(["a key"]),
            json!({"jkt": 7}),
            json!({"jkt": null}),
            json!({"x5t#S256": "a certificate"}),
            json!({"jkt": "a key", "x5t#S256": "a certificate"}),
            json!({"jwk": {}}),
        ] {
            assert_eq!(confirmed(cnf.clone()), "Unsupported", "{cnf}");
        }
    }

    #[test]
    fn the_subject_of_a_machines_token_is_its_client() {
        let machine = principal(json!({"client_id": "m2m_1", "exp": 10})).unwrap();
        assert_eq!((machine.subject(), machine.client_id()), ("m2m_1", Some("m2m_1")));
        assert_eq!(principal(json!({"exp": 10})).unwrap_err(), TokenError::InvalidClaim("sub"));
        assert_eq!(
            principal(json!({"sub": 7, "exp": 1})).unwrap_err(),
            TokenError::InvalidClaim("sub")
        );
        assert_eq!(
            principal(json!({"sub": "", "exp": 1})).unwrap_err(),
            TokenError::InvalidClaim("sub")
        );
        assert_eq!(
            principal(json!({"sub": "usr_1"})).unwrap_err(),
            TokenError::InvalidClaim("exp")
        );
    }
}
