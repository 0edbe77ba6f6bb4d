//! Tokens that are wrong on request, one fault for each module of the OpenID certification suite.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::Sandbox;
use super::environment::Environment;
use super::keys::{SigningKey, hmac_sha256};

impl Sandbox {
    /// Makes every token of a kind that the token endpoint issues from now on wrong in this way.
    /// Faults add up; [`heal_tokens`](Self::heal_tokens) takes them back.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{Sandbox, TokenFault, TokenKind};
    ///
    /// let sandbox = Sandbox::new();
    /// sandbox.break_tokens(TokenKind::IdToken, TokenFault::InvalidNonce);
    /// sandbox.tamper(TokenKind::AccessToken, |draft| {
    ///     draft.claims.remove("roles");
    /// });
    /// ```
    pub fn break_tokens(&self, kind: TokenKind, fault: TokenFault) {
        self.tamper(kind, move |draft| fault.apply(draft));
    }

    /// Lets `change` edit every token of a kind that the token endpoint issues from now on.
    pub fn tamper(
        &self,
        kind: TokenKind,
        change: impl Fn(&mut TokenDraft) + Send + Sync + 'static,
    ) {
        self.environment.lock().tampering.0.push(Edit { kind, change: Arc::new(change) });
    }

    /// Lets the token endpoint issue right tokens again.
    pub fn heal_tokens(&self) {
        self.environment.lock().tampering.0.clear();
    }

    /// Signs a token as it stands, right or wrong.
    ///
    /// ```
    /// use tower_scalekit::sandbox::{Sandbox, TokenFault};
    ///
    /// let sandbox = Sandbox::new();
    /// let mut draft = sandbox.access_token_draft("jane@acme.test");
    /// draft.claims.insert("scope".into(), "todo:read".into());
    /// TokenFault::Unsigned.apply(&mut draft);
    /// assert!(sandbox.sign_draft(&draft).ends_with('.'));
    /// ```
    #[must_use]
    pub fn sign_draft(&self, draft: &TokenDraft) -> String {
        let key = Arc::clone(self.environment.lock().keys.current());
        draft.sign(&self.environment, &key)
    }

    /// Signs any claims with the current key.
    #[must_use]
    pub fn sign(&self, claims: Value) -> String {
        let key = Arc::clone(self.environment.lock().keys.current());
        signed(&json!({ "alg": "RS256", "kid": key.kid(), "typ": "JWT" }), &claims, &key)
    }

    /// Signs any claims under any header with the current key, with RS256 whatever the header says.
    #[must_use]
    pub fn sign_with_header(&self, header: Value, claims: Value) -> String {
        let key = Arc::clone(self.environment.lock().keys.current());
        signed(&header, &claims, &key)
    }
}

/// Which of the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenKind {
    /// For the APIs of the application.
    AccessToken,
    /// For the application's login.
    IdToken,
}

/// A token about to be signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenDraft {
    /// The JOSE header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// What signs it.
    pub signing: Signing,
}

impl TokenDraft {
    pub(super) fn new(kid: &str, claims: Map<String, Value>) -> Self {
        let mut header = Map::new();
        header.insert("alg".to_owned(), "RS256".into());
        header.insert("kid".to_owned(), kid.into());
        header.insert("typ".to_owned(), "JWT".into());
        Self { header, claims, signing: Signing::CurrentKey }
    }

    pub(super) fn sign(&self, environment: &Environment, key: &SigningKey) -> String {
        let input = signing_input(&self.header, &self.claims);
        let signature = match &self.signing {
            Signing::ClientSecret => {
                hmac_sha256(environment.client_secret.expose().as_bytes(), input.as_bytes())
            }
            Signing::CurrentKey => key.sign(input.as_bytes()),
            Signing::Nothing => Vec::new(),
            Signing::OtherKey => SigningKey::stranger().sign(input.as_bytes()),
            Signing::PublicKey => hmac_sha256(key.public_pem().as_bytes(), input.as_bytes()),
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What signs a token. The header is what [`TokenDraft::header`] says, whether it fits or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signing {
    /// HMAC-SHA-256 with the client secret.
    ClientSecret,
    /// RS256 with the environment's current key.
    #[default]
    CurrentKey,
    /// An empty signature.
    Nothing,
    /// RS256 with a key that is not published.
    OtherKey,
    /// HMAC-SHA-256 with the public key's PEM text as the secret.
    PublicKey,
}

/// A way for a token to be wrong. In brackets the module of the OpenID Foundation's relying-party
/// tests it stands for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TokenFault {
    /// The token has expired an hour ago.
    Expired,
    /// `at_hash` is of another access token (invalid-athash).
    InvalidAccessTokenHash,
    /// `aud` names another client (invalid-aud).
    InvalidAudience,
    /// `azp` names another client.
    InvalidAuthorizedParty,
    /// `c_hash` is of another code (invalid-chash).
    InvalidCodeHash,
    /// `iss` is another environment (invalid-iss, refresh-token-invalid-issuer).
    InvalidIssuer,
    /// `nonce` is of another login (nonce-invalid).
    InvalidNonce,
    /// `aud` names our client and one we do not know; `azp` is ours (invalid-secondary-aud).
    InvalidSecondaryAudience,
    /// Signed with a key that is not published, under a `kid` that is (invalid-sig-rs256).
    InvalidSignature,
    /// `sub` is another user (refresh-token-invalid-sub).
    InvalidSubject,
    /// `iat` is a week ago (iat-is-week-in-past).
    IssuedLastWeek,
    /// No `at_hash` (missing-athash).
    MissingAccessTokenHash,
    /// No `aud` (missing-aud).
    MissingAudience,
    /// No `azp`.
    MissingAuthorizedParty,
    /// No claim of this name.
    MissingClaim(String),
    /// No `exp`.
    MissingExpiry,
    /// No `at_hash`, `c_hash` and `nonce`: an ID token that its audience does not tell from an access
    /// token.
    MissingHashesAndNonce,
    /// No `iat` (missing-iat).
    MissingIssuedAt,
    /// No `iss`.
    MissingIssuer,
    /// No `kid` in the header (kid-absent).
    MissingKeyId,
    /// No `nonce` (invalid-missing-nonce).
    MissingNonce,
    /// No `sub` (missing-sub).
    MissingSubject,
    /// `nbf` is an hour from now.
    NotYetValid,
    /// HS256 with the client secret (invalid-sig-hs256).
    SignedWithClientSecret,
    /// HS256 with the public key as the secret.
    SignedWithPublicKey,
    /// `kid` names a key that was never published.
    UnknownKeyId,
    /// `alg: none` and no signature (idtoken-sig-none).
    Unsigned,
    /// A claim with another value.
    WithClaim(String, Value),
}

impl TokenFault {
    /// Makes the token wrong in this way.
    pub fn apply(&self, draft: &mut TokenDraft) {
        const HOUR: i64 = 3600;
        let now = draft.claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
        let client = draft.claims.get("client_id").cloned().unwrap_or_default();
        let mut set = |name: &str, value: Value| {
            draft.claims.insert(name.to_owned(), value);
        };
        match self {
            Self::Expired => {
                set("iat", json!(now - 2 * HOUR));
                set("exp", json!(now - HOUR));
            }
            Self::InvalidAccessTokenHash => set("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
            Self::InvalidAudience => set("aud", json!(["skc_10000000000000000"])),
            Self::InvalidAuthorizedParty => set("azp", json!("skc_10000000000000000")),
            Self::InvalidCodeHash => set("c_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
            Self::InvalidIssuer => set("iss", json!("https://evil.scalekit.test")),
            Self::InvalidNonce => set("nonce", json!("n-of-another-login")),
            Self::InvalidSecondaryAudience => {
                set("aud", json!([client, "skc_10000000000000000"]));
            }
            Self::InvalidSignature => draft.signing = Signing::OtherKey,
            Self::InvalidSubject => set("sub", json!("usr_10000000000000000")),
            Self::IssuedLastWeek => set("iat", json!(now - 7 * 24 * HOUR)),
            Self::MissingAccessTokenHash => drop(draft.claims.remove("at_hash")),
            Self::MissingAudience => drop(draft.claims.remove("aud")),
            Self::MissingAuthorizedParty => drop(draft.claims.remove("azp")),
            Self::MissingClaim(name) => drop(draft.claims.remove(name)),
            Self::MissingExpiry => drop(draft.claims.remove("exp")),
            Self::MissingHashesAndNonce => {
                for name in ["at_hash", "c_hash", "nonce"] {
                    draft.claims.remove(name);
                }
            }
            Self::MissingIssuedAt => drop(draft.claims.remove("iat")),
            Self::MissingIssuer => drop(draft.claims.remove("iss")),
            Self::MissingKeyId => drop(draft.header.remove("kid")),
            Self::MissingNonce => drop(draft.claims.remove("nonce")),
            Self::MissingSubject => drop(draft.claims.remove("sub")),
            Self::NotYetValid => set("nbf", json!(now + HOUR)),
            Self::SignedWithClientSecret => draft.forge("HS256", Signing::ClientSecret),
            Self::SignedWithPublicKey => draft.forge("HS256", Signing::PublicKey),
            Self::UnknownKeyId => {
                let kid = SigningKey::stranger().kid().to_owned();
                draft.header.insert("kid".to_owned(), kid.into());
            }
            Self::Unsigned => draft.forge("none", Signing::Nothing),
            Self::WithClaim(name, value) => set(name, value.clone()),
        }
    }
}

impl TokenDraft {
    fn forge(&mut self, algorithm: &str, signing: Signing) {
        self.header.insert("alg".to_owned(), algorithm.into());
        self.signing = signing;
    }
}

/// The edits in force, oldest first.
#[derive(Clone, Default)]
pub(super) struct Tampering(Vec<Edit>);

impl Tampering {
    pub(super) fn apply(&self, kind: TokenKind, draft: &mut TokenDraft) {
        for edit in self.0.iter().filter(|edit| edit.kind == kind) {
            (edit.change)(draft);
        }
    }
}

impl fmt::Debug for Tampering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|edit| edit.kind)).finish()
    }
}

#[derive(Clone)]
struct Edit {
    kind: TokenKind,
    change: Arc<dyn Fn(&mut TokenDraft) + Send + Sync>,
}

fn signed(header: &Value, claims: &Value, key: &SigningKey) -> String {
    let input = signing_input(header, claims);
    let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()));
    format!("{input}.{signature}")
}

fn signing_input(header: &impl serde::Serialize, claims: &impl serde::Serialize) -> String {
    // Maps with string keys always serialise.
    let part = |json: Result<Vec<u8>, _>| URL_SAFE_NO_PAD.encode(json.unwrap_or_default());
    let (header, claims) = (serde_json::to_vec(header), serde_json::to_vec(claims));
    format!("{}.{}", part(header), part(claims))
}
