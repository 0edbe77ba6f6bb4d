//! The claims of tokens.

pub(crate) mod control;
pub(crate) mod dpop;
pub(crate) mod keys;
pub(crate) mod signing;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::sandbox::environment::Environment;
use crate::sandbox::state::State;
use crate::sandbox::state::digest::sha256;
use crate::sandbox::state::ids::{new_id, random_token, uuid};
use crate::sandbox::state::keys::SigningKey;
use crate::sandbox::state::resources::ResourceIssuer;
use crate::sandbox::state::token_faults::{TokenDraft, TokenEdits, TokenKind};
use crate::sandbox::state::users::{SandboxOrganization, SandboxUser};

impl State {
    /// The binding of a token to a resource and a client. An unknown ID is kept: a test may choose
    /// it. `indicated` is whether the client named the resource itself.
    pub(crate) fn binding(&self, resource_id: &str, client_id: &str, indicated: bool) -> Binding {
        let audience: Vec<_> = self
            .resources
            .get(resource_id)
            .and_then(|resource| resource.urls.first().cloned())
            .into_iter()
            .chain([resource_id.to_owned()])
            .collect();
        Binding {
            issuer: match self.resources.issuer_form {
                ResourceIssuer::Environment => self.environment_url.clone(),
                ResourceIssuer::Resource => self.resource_issuer(resource_id),
            },
            client_id: client_id.to_owned(),
            resource: audience.first().filter(|_| indicated).cloned(),
            audience,
        }
    }
}

/// Lifetime of ID tokens.
const ID_TOKEN_LIFETIME: i64 = 1800;

/// Lifetime of ID tokens with Modular SSO.
const SSO_ID_TOKEN_LIFETIME: i64 = 3 * 24 * 3600;

/// Lifetime of logout tokens: preferably at most two minutes (Back-Channel Logout 1.0, section 4).
const LOGOUT_TOKEN_LIFETIME: i64 = 120;

/// Lifetime of tokens of the client-credentials grant.
pub(crate) const M2M_TOKEN_LIFETIME: i64 = 86_399;

/// The subject of a token.
#[derive(Debug)]
pub(crate) struct Subject {
    user: SandboxUser,
    organization: Option<SandboxOrganization>,
    session_id: String,
    pub(crate) scopes: Vec<String>,
}

impl Subject {
    pub(crate) fn new(
        state: &State,
        user: SandboxUser,
        session_id: String,
        scopes: Vec<String>,
    ) -> Self {
        let organization = state.users.organization(&user.organization_id).cloned();
        Self { user, organization, session_id, scopes }
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
    }

    /// The user's connection and the user's ID at its identity provider.
    fn at_identity_provider(&self) -> String {
        let connection = self.organization.as_ref().map(|known| known.connection_id.as_str());
        format!("{};{}", connection.unwrap_or_default(), identity_provider_id(&self.user.id))
    }

    fn external_organization_id(&self) -> Option<&str> {
        self.organization.as_ref()?.external_id.as_deref()
    }
}

/// The binding of a token to a resource and a client of it.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) issuer: String,
    pub(crate) audience: Vec<String>,
    pub(crate) client_id: String,
    /// The resource as the client named it, if it did.
    pub(crate) resource: Option<String>,
}

/// Everything that issuing requires, so that it happens outside the lock.
#[derive(Debug)]
pub(crate) struct Mint<'e> {
    environment: &'e Environment,
    issuer: String,
    key: Arc<SigningKey>,
    now: i64,
    token_edits: TokenEdits,
}

impl<'e> Mint<'e> {
    pub(crate) fn new(environment: &'e Environment, state: &State) -> Self {
        Self {
            environment,
            issuer: state.environment_url.clone(),
            key: Arc::clone(state.keys.current()),
            now: environment.now().unix_timestamp(),
            token_edits: state.token_edits.clone(),
        }
    }

    pub(crate) fn access_token(&self, subject: &Subject) -> TokenDraft {
        if self.environment.settings.modular_sso {
            return self.sso_access_token(subject);
        }
        let Subject { user, session_id, .. } = subject;
        let mut claims = self.claims(&user.id, self.access_token_lifetime());
        claims.extend(user.claims.clone());
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("aud", json!([self.environment.client_id]));
        set("oid", json!(user.organization_id));
        set("nbf", json!(self.now));
        set("jti", json!(new_id("tkn")));
        set("sid", json!(session_id));
        set("client_id", json!(self.environment.client_id));
        set("roles", json!(user.roles));
        set("permissions", json!(user.permissions));
        set("scope", json!(subject.scopes.join(" ")));
        if let Some(id) = subject.external_organization_id() {
            set("xoid", json!(id));
        }
        if let Some(id) = &user.external_id {
            set("xuid", json!(id));
        }
        TokenDraft::new(self.key.kid(), claims)
    }

    /// All claims of Modular SSO; custom claims require Full-Stack Auth.
    fn sso_access_token(&self, subject: &Subject) -> TokenDraft {
        let mut claims = self.claims(&subject.at_identity_provider(), self.access_token_lifetime());
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("aud", json!([self.environment.client_id]));
        set("nbf", json!(self.now));
        set("jti", json!(new_id("tkn")));
        set("client_id", json!(self.environment.client_id));
        TokenDraft::new(self.key.kid(), claims)
    }

    pub(crate) fn id_token(
        &self,
        subject: &Subject,
        access_token: &str,
        nonce: Option<&str>,
        code: Option<&str>,
    ) -> TokenDraft {
        let Subject { user, organization, session_id, .. } = subject;
        let modular_sso = self.environment.settings.modular_sso;
        let mut claims = match modular_sso {
            false => self.claims(&user.id, ID_TOKEN_LIFETIME),
            true => self.claims(&subject.at_identity_provider(), SSO_ID_TOKEN_LIFETIME),
        };
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("aud", json!([self.environment.client_id]));
        set("azp", json!(self.environment.client_id));
        set("client_id", json!(self.environment.client_id));
        set("oid", json!(user.organization_id));
        set("sid", json!(session_id));
        set("at_hash", json!(half_hash(access_token)));
        if let Some(code) = code {
            set("c_hash", json!(half_hash(code)));
        }
        if let Some(nonce) = nonce {
            set("nonce", json!(nonce));
        }
        if let Some(organization) = organization {
            set("amr", json!([organization.connection_id]));
        }
        if subject.has_scope("email") {
            set("email", json!(user.email));
        }
        if subject.has_scope("profile") {
            set("given_name", json!(user.given_name));
            set("family_name", json!(user.family_name));
        }
        if modular_sso {
            set("preferred_username", json!(user.email));
            return TokenDraft::new(self.key.kid(), claims);
        }
        if let Some(id) = subject.external_organization_id() {
            set("xoid", json!(id));
        }
        if subject.has_scope("email") {
            set("email_verified", json!(true));
        }
        if subject.has_scope("profile") {
            set("name", json!(user.name));
            set("locale", json!("en"));
        }
        TokenDraft::new(self.key.kid(), claims)
    }

    /// OpenID Connect Back-Channel Logout 1.0, section 2.4.
    pub(crate) fn logout_token(&self, session_id: &str, subject: Option<String>) -> TokenDraft {
        let mut claims = self.claims(subject.as_deref().unwrap_or_default(), LOGOUT_TOKEN_LIFETIME);
        if subject.is_none() {
            claims.remove("sub");
        }
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("aud", json!(self.environment.client_id));
        set("jti", json!(random_token()));
        set("sid", json!(session_id));
        set("events", json!({ "http://schemas.openid.net/event/backchannel-logout": {} }));
        let mut draft = TokenDraft::new(self.key.kid(), claims);
        draft.header.insert("typ".to_owned(), "logout+jwt".into());
        draft
    }

    pub(crate) fn m2m_token(&self, client_id: &str, scopes: &[&str]) -> TokenDraft {
        let mut claims = self.claims(client_id, M2M_TOKEN_LIFETIME);
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("client_id", json!(client_id));
        set("nbf", json!(self.now));
        set("jti", json!(new_id("tkn")));
        set("scopes", json!(scopes));
        TokenDraft::new(self.key.kid(), claims)
    }

    /// A token for the MCP server of a configuration.
    pub(crate) fn mcp_session_token(
        &self,
        identifier: &str,
        server_url: &str,
        config_id: &str,
        account_ids: &[String],
        lifetime: i64,
    ) -> TokenDraft {
        let mut claims = self.claims(identifier, lifetime);
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("aud", json!([server_url]));
        set("ca_ids", json!(account_ids));
        set("jti", json!(new_id("tkn")));
        set("mcp_cfg", json!(config_id));
        set("token_type", json!("mcp_session"));
        TokenDraft::new(self.key.kid(), claims)
    }

    /// An access token for a resource only.
    pub(crate) fn resource_token(&self, subject: &Subject, binding: &Binding) -> TokenDraft {
        let Subject { user, session_id, scopes, .. } = subject;
        let mut claims = self.claims(&user.id, self.access_token_lifetime());
        claims.extend(user.claims.clone());
        claims.insert("oid".to_owned(), json!(user.organization_id));
        claims.insert("sid".to_owned(), json!(session_id));
        claims.insert("scope".to_owned(), json!(scopes.join(" ")));
        self.bound(claims, binding)
    }

    /// The same for a machine, without a session.
    pub(crate) fn resource_machine_token(&self, scopes: &[&str], binding: &Binding) -> TokenDraft {
        let mut claims = self.claims(&binding.client_id, self.access_token_lifetime());
        claims.insert("scopes".to_owned(), json!(scopes));
        self.bound(claims, binding)
    }

    fn bound(&self, mut claims: Map<String, Value>, binding: &Binding) -> TokenDraft {
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("iss", json!(binding.issuer));
        set("aud", json!(binding.audience));
        set("client_id", json!(binding.client_id));
        set("nbf", json!(self.now));
        set("jti", json!(new_id("tkn")));
        if let Some(resource) = &binding.resource {
            set("resource", json!(resource));
        }
        TokenDraft::new(self.key.kid(), claims)
    }

    pub(crate) fn access_token_lifetime(&self) -> i64 {
        let lifetime = self.environment.settings.access_token_lifetime.as_secs();
        i64::try_from(lifetime).unwrap_or(i64::MAX / 2)
    }

    /// An ID token for an access token and a code that are not issued.
    fn fresh_id_token(&self, subject: &Subject, nonce: Option<&str>) -> TokenDraft {
        let access_token = self.sign(&self.access_token(subject));
        self.id_token(subject, &access_token, nonce, Some(&random_token()))
    }

    /// Applies the token faults, and signs the token.
    pub(crate) fn issue(&self, kind: TokenKind, mut draft: TokenDraft) -> String {
        self.token_edits.apply(kind, &mut draft);
        self.sign(&draft)
    }

    pub(crate) fn sign(&self, draft: &TokenDraft) -> String {
        draft.sign(self.environment, &self.key)
    }

    fn claims(&self, subject: &str, lifetime: i64) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), json!(self.issuer));
        claims.insert("sub".to_owned(), json!(subject));
        claims.insert("iat".to_owned(), json!(self.now));
        claims.insert("exp".to_owned(), json!(self.now.saturating_add(lifetime)));
        claims
    }
}

/// The claims of a token that this environment signed with a key that is still published; it may
/// have expired.
///
/// RS256 is deterministic, so a signature is verified by signing again. The code that applications
/// verify with is not used.
pub(crate) fn own_claims(environment: &Environment, token: &str) -> Option<Value> {
    let (input, signature) = token.rsplit_once('.')?;
    let (header, claims) = input.split_once('.')?;
    let part = |text: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    };
    let (header, claims) = (part(header)?, part(claims)?);
    let kid = header.get("kid")?.as_str()?;
    let (key, issuer) = {
        let state = environment.lock();
        (state.keys.find(kid)?, state.environment_url.clone())
    };
    let signed = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes())) == signature;
    (signed && claims.get("iss")?.as_str()? == issuer).then_some(claims)
}

/// The user's ID at the identity provider: always the same UUID.
fn identity_provider_id(user_id: &str) -> String {
    let number = sha256(user_id.as_bytes())
        .as_ref()
        .first_chunk::<16>()
        .copied()
        .map_or(0, u128::from_be_bytes);
    uuid(number, 8)
}

/// `at_hash` and `c_hash` of OpenID Connect Core: the left half of the SHA-256.
fn half_hash(text: &str) -> String {
    let half = sha256(text.as_bytes()).as_ref().first_chunk::<16>().copied().unwrap_or_default();
    URL_SAFE_NO_PAD.encode(half)
}
