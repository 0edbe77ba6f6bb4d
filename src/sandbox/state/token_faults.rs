//! Tokens before they are signed, and their faults: one for each module of the OpenID certification
//! suite.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::sandbox::respond::{members, without_nulls};
use crate::sandbox::state::ec_key::EcKey;
use crate::sandbox::state::keys::SigningKey;

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenKind {
    /// For the APIs of the application.
    AccessToken,
    /// For the application's login.
    IdToken,
}

/// A token before it is signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenDraft {
    /// The JOSE header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// How it is signed.
    pub signing: Signing,
}

impl TokenDraft {
    pub(crate) fn new(kid: &str, claims: Map<String, Value>) -> Self {
        Self {
            header: members(json!({ "alg": "RS256", "kid": kid, "typ": "JWT" })),
            claims,
            signing: Signing::CurrentKey,
        }
    }

    /// Sets the claims of an object, except those that are `null`.
    pub(crate) fn set_claims(&mut self, claims: Value) {
        self.claims.extend(without_nulls(claims));
    }

    fn set_claim(&mut self, name: &str, value: impl Into<Value>) {
        self.claims.insert(name.to_owned(), value.into());
    }

    fn set_header(&mut self, name: &str, value: impl Into<Value>) {
        self.header.insert(name.to_owned(), value.into());
    }

    fn forge(&mut self, algorithm: &str, signing: Signing) {
        self.set_header("alg", algorithm);
        self.signing = signing;
    }
}

/// How a token is signed. The header is [`TokenDraft::header`], even if it does not match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signing {
    /// HMAC-SHA-256 with the client secret.
    ClientSecret,
    /// RS256 with the environment's current key.
    #[default]
    CurrentKey,
    /// ES256 with the key of [`Keys::publish_es256`](crate::sandbox::Keys::publish_es256).
    Es256,
    /// An empty signature.
    Nothing,
    /// RS256 with a key that is not published.
    OtherKey,
    /// HMAC-SHA-256 with the public key's PEM text as the secret.
    PublicKey,
}

/// A fault of a token. In parentheses: the module of the OpenID Foundation's relying-party tests.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TokenFault {
    /// The token expired an hour ago.
    Expired,
    /// `at_hash` is that of another access token (invalid-athash).
    InvalidAccessTokenHash,
    /// `aud` names another client (invalid-aud).
    InvalidAudience,
    /// `azp` names another client.
    InvalidAuthorizedParty,
    /// `c_hash` is that of another code (invalid-chash).
    InvalidCodeHash,
    /// `iss` is another environment (invalid-iss, refresh-token-invalid-issuer).
    InvalidIssuer,
    /// `nonce` is that of another login (nonce-invalid).
    InvalidNonce,
    /// `aud` contains the client and an unknown one; `azp` is the client (invalid-secondary-aud).
    InvalidSecondaryAudience,
    /// Signed with a key that is not published, under a published `kid` (invalid-sig-rs256).
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
    /// No `at_hash`, `c_hash` and `nonce`: an ID token that cannot be distinguished from an access
    /// token by these claims.
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
    /// ES256 with the key of [`Keys::publish_es256`](crate::sandbox::Keys::publish_es256), in place of
    /// RS256 (wrong-alg).
    SignedWithEs256,
    /// HS256 with the public key as the secret.
    SignedWithPublicKey,
    /// `kid` is that of a key which was never published.
    UnknownKeyId,
    /// `alg: none` and no signature (idtoken-sig-none).
    Unsigned,
    /// A claim with another value.
    WithClaim(String, Value),
}

impl TokenFault {
    /// Applies the fault to a token.
    pub fn apply(&self, draft: &mut TokenDraft) {
        const HOUR: i64 = 3600;
        const OTHER_CLIENT: &str = "skc_10000000000000000";
        const OTHER_HASH: &str = "AAAAAAAAAAAAAAAAAAAAAA";
        let now = draft.claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
        match self {
            Self::Expired => {
                draft.set_claim("iat", now - 2 * HOUR);
                draft.set_claim("exp", now - HOUR);
            }
            Self::InvalidAccessTokenHash => draft.set_claim("at_hash", OTHER_HASH),
            Self::InvalidAudience => draft.set_claim("aud", [OTHER_CLIENT].as_slice()),
            Self::InvalidAuthorizedParty => draft.set_claim("azp", OTHER_CLIENT),
            Self::InvalidCodeHash => draft.set_claim("c_hash", OTHER_HASH),
            Self::InvalidIssuer => draft.set_claim("iss", "https://evil.scalekit.test"),
            Self::InvalidNonce => draft.set_claim("nonce", "n-of-another-login"),
            Self::InvalidSecondaryAudience => {
                let client_id = draft.claims.get("client_id").cloned().unwrap_or_default();
                draft.set_claim("aud", json!([client_id, OTHER_CLIENT]));
            }
            Self::InvalidSignature => draft.signing = Signing::OtherKey,
            Self::InvalidSubject => draft.set_claim("sub", "usr_10000000000000000"),
            Self::IssuedLastWeek => draft.set_claim("iat", now - 7 * 24 * HOUR),
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
            Self::NotYetValid => draft.set_claim("nbf", now + HOUR),
            Self::SignedWithClientSecret => draft.forge("HS256", Signing::ClientSecret),
            Self::SignedWithEs256 => {
                draft.set_header("kid", EcKey::of_environments().thumbprint());
                draft.forge("ES256", Signing::Es256);
            }
            Self::SignedWithPublicKey => draft.forge("HS256", Signing::PublicKey),
            Self::UnknownKeyId => draft.set_header("kid", SigningKey::unpublished().kid()),
            Self::Unsigned => draft.forge("none", Signing::Nothing),
            Self::WithClaim(name, value) => draft.set_claim(name, value.clone()),
        }
    }
}

/// A fault or an edit of all tokens of a kind.
#[derive(Clone)]
pub(crate) struct TokenEdit {
    pub(crate) kind: TokenKind,
    pub(crate) change: Arc<dyn Fn(&mut TokenDraft) + Send + Sync>,
}

// Manual impl: a closure has no Debug.
impl fmt::Debug for TokenEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEdit").field("kind", &self.kind).finish_non_exhaustive()
    }
}
