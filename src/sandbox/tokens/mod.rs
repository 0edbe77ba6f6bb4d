//! The claims of tokens.

pub(crate) mod control;
pub(crate) mod dpop;
pub(crate) mod keys;
pub(crate) mod signing;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};

use crate::sandbox::environment::Environment;
use crate::sandbox::respond::members;
use crate::sandbox::state::State;
use crate::sandbox::state::digest::sha256;
use crate::sandbox::state::ids::{new_id, random_token, uuid};
use crate::sandbox::state::keys::SigningKey;
use crate::sandbox::state::resources::ResourceIssuer;
use crate::sandbox::state::token_faults::{TokenDraft, TokenEdit, TokenKind};
use crate::sandbox::state::users::{SandboxOrganization, SandboxUser};
use crate::sandbox::tokens::signing::decoded_json;

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
        let connection_id = self.organization.as_ref().map_or("", |known| &known.connection_id);
        format!("{connection_id};{}", identity_provider_id(&self.user.id))
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
    /// Oldest first.
    token_edits: Vec<TokenEdit>,
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
        let Subject { user, session_id, scopes, .. } = subject;
        let mut draft = self.draft(&user.id, self.access_token_lifetime());
        draft.claims.extend(user.claims.clone());
        draft.set_claims(json!({
            "aud": [self.environment.client_id],
            "oid": user.organization_id,
            "nbf": self.now,
            "jti": new_id("tkn"),
            "sid": session_id,
            "client_id": self.environment.client_id,
            "roles": user.roles,
            "permissions": user.permissions,
            "scope": scopes.join(" "),
            "xoid": subject.external_organization_id(),
            "xuid": user.external_id,
        }));
        draft
    }

    /// All claims of Modular SSO; custom claims require Full-Stack Auth.
    fn sso_access_token(&self, subject: &Subject) -> TokenDraft {
        let mut draft = self.draft(&subject.at_identity_provider(), self.access_token_lifetime());
        draft.set_claims(json!({
            "aud": [self.environment.client_id],
            "nbf": self.now,
            "jti": new_id("tkn"),
            "client_id": self.environment.client_id,
        }));
        draft
    }

    pub(crate) fn id_token(
        &self,
        subject: &Subject,
        access_token: &str,
        nonce: Option<&str>,
        code: Option<&str>,
    ) -> TokenDraft {
        let Subject { user, organization, session_id, .. } = subject;
        let (has_email, has_profile) = (subject.has_scope("email"), subject.has_scope("profile"));
        let (mut draft, own_claims) = match self.environment.settings.modular_sso {
            true => (
                self.draft(&subject.at_identity_provider(), SSO_ID_TOKEN_LIFETIME),
                json!({ "preferred_username": user.email }),
            ),
            false => (
                self.draft(&user.id, ID_TOKEN_LIFETIME),
                json!({
                    "email_verified": has_email.then_some(true),
                    "name": has_profile.then_some(&user.name),
                    "locale": has_profile.then_some("en"),
                    "xoid": subject.external_organization_id(),
                }),
            ),
        };
        draft.set_claims(own_claims);
        draft.set_claims(json!({
            "aud": [self.environment.client_id],
            "azp": self.environment.client_id,
            "client_id": self.environment.client_id,
            "oid": user.organization_id,
            "sid": session_id,
            "at_hash": half_hash(access_token),
            "c_hash": code.map(half_hash),
            "nonce": nonce,
            "amr": organization.as_ref().map(|organization| [&organization.connection_id]),
            "email": has_email.then_some(&user.email),
            "given_name": has_profile.then_some(&user.given_name),
            "family_name": has_profile.then_some(&user.family_name),
        }));
        draft
    }

    /// OpenID Connect Back-Channel Logout 1.0, section 2.4.
    pub(crate) fn logout_token(&self, session_id: &str, subject: Option<&str>) -> TokenDraft {
        let mut draft = self.draft(subject.unwrap_or_default(), LOGOUT_TOKEN_LIFETIME);
        if subject.is_none() {
            draft.claims.remove("sub");
        }
        draft.set_claims(json!({
            "aud": self.environment.client_id,
            "jti": random_token(),
            "sid": session_id,
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        }));
        draft.header.insert("typ".to_owned(), "logout+jwt".into());
        draft
    }

    pub(crate) fn m2m_token(&self, client_id: &str, scopes: &[&str]) -> TokenDraft {
        let mut draft = self.draft(client_id, M2M_TOKEN_LIFETIME);
        draft.set_claims(json!({
            "client_id": client_id,
            "nbf": self.now,
            "jti": new_id("tkn"),
            "scopes": scopes,
        }));
        draft
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
        let mut draft = self.draft(identifier, lifetime);
        draft.set_claims(json!({
            "aud": [server_url],
            "ca_ids": account_ids,
            "jti": new_id("tkn"),
            "mcp_cfg": config_id,
            "token_type": "mcp_session",
        }));
        draft
    }

    /// An access token for a resource only.
    pub(crate) fn resource_token(&self, subject: &Subject, binding: &Binding) -> TokenDraft {
        let Subject { user, session_id, scopes, .. } = subject;
        let mut draft = self.draft(&user.id, self.access_token_lifetime());
        draft.claims.extend(user.claims.clone());
        draft.set_claims(json!({
            "oid": user.organization_id,
            "sid": session_id,
            "scope": scopes.join(" "),
        }));
        self.bind(&mut draft, binding);
        draft
    }

    /// The same for a machine, without a session.
    pub(crate) fn resource_machine_token(&self, scopes: &[&str], binding: &Binding) -> TokenDraft {
        let mut draft = self.draft(&binding.client_id, self.access_token_lifetime());
        draft.set_claims(json!({ "scopes": scopes }));
        self.bind(&mut draft, binding);
        draft
    }

    fn bind(&self, draft: &mut TokenDraft, binding: &Binding) {
        draft.set_claims(json!({
            "iss": binding.issuer,
            "aud": binding.audience,
            "client_id": binding.client_id,
            "nbf": self.now,
            "jti": new_id("tkn"),
            "resource": binding.resource,
        }));
    }

    pub(crate) fn access_token_lifetime(&self) -> i64 {
        self.environment.settings.access_token_lifetime.as_secs().try_into().unwrap_or(i64::MAX / 2)
    }

    /// An ID token for an access token and a code that are not issued.
    fn fresh_id_token(&self, subject: &Subject, nonce: Option<&str>) -> TokenDraft {
        let access_token = self.sign(&self.access_token(subject));
        self.id_token(subject, &access_token, nonce, Some(&random_token()))
    }

    /// Applies the token faults, and signs the token.
    pub(crate) fn issue(&self, kind: TokenKind, mut draft: TokenDraft) -> String {
        for edit in self.token_edits.iter().filter(|edit| edit.kind == kind) {
            (edit.change)(&mut draft);
        }
        self.sign(&draft)
    }

    pub(crate) fn sign(&self, draft: &TokenDraft) -> String {
        draft.sign(self.environment, &self.key)
    }

    /// A token with the claims that all have.
    fn draft(&self, subject: &str, lifetime: i64) -> TokenDraft {
        let claims = members(json!({
            "iss": self.issuer,
            "sub": subject,
            "iat": self.now,
            "exp": self.now.saturating_add(lifetime),
        }));
        TokenDraft::new(self.key.kid(), claims)
    }
}

/// The claims of the request's bearer token, as [`own_claims`] returns them.
pub(crate) fn bearer_claims(environment: &Environment, request: &Request<Bytes>) -> Option<Value> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (headers.next(), headers.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") { own_claims(environment, token) } else { None }
}

/// The claims of a token that this environment signed with a key that is still published; it may
/// have expired.
///
/// RS256 is deterministic, so a signature is verified by signing again. The code that applications
/// verify with is not used.
pub(crate) fn own_claims(environment: &Environment, token: &str) -> Option<Value> {
    let (input, signature) = token.rsplit_once('.')?;
    let (header, claims) = input.split_once('.')?;
    let (header, claims) = (decoded_json(header)?, decoded_json(claims)?);
    let (key, issuer) = {
        let state = environment.lock();
        (state.keys.find(header.get("kid")?.as_str()?)?, state.environment_url.clone())
    };
    let is_own = claims.get("iss")?.as_str()? == issuer
        && URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes())) == signature;
    is_own.then_some(claims)
}

/// The user's ID at the identity provider: always the same UUID.
fn identity_provider_id(user_id: &str) -> String {
    uuid(u128::from_be_bytes(half_sha256(user_id)), 8)
}

/// `at_hash` and `c_hash` of OpenID Connect Core: the left half of the SHA-256.
fn half_hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(half_sha256(text))
}

fn half_sha256(text: &str) -> [u8; 16] {
    sha256(text.as_bytes()).as_ref().first_chunk().copied().unwrap_or_default()
}
