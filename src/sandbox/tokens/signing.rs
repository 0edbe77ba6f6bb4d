//! Signatures of tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::digest::hmac_sha256;
use crate::sandbox::state::ec_key::EcKey;
use crate::sandbox::state::keys::SigningKey;
use crate::sandbox::state::token_faults::{Signing, TokenDraft};

impl TokenDraft {
    pub(crate) fn sign(&self, environment: &Environment, key: &SigningKey) -> String {
        let input = signing_input(&self.header, &self.claims);
        let signature = match self.signing {
            Signing::ClientSecret => {
                hmac_sha256(environment.client_secret.expose().as_bytes(), input.as_bytes())
            }
            Signing::CurrentKey => key.sign(input.as_bytes()),
            Signing::Es256 => EcKey::of_environments().sign(input.as_bytes()),
            Signing::Nothing => Vec::new(),
            Signing::OtherKey => SigningKey::unpublished().sign(input.as_bytes()),
            Signing::PublicKey => hmac_sha256(key.public_pem().as_bytes(), input.as_bytes()),
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(crate) fn signed(header: &Value, claims: &Value, key: &SigningKey) -> String {
    let input = signing_input(header, claims);
    let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()));
    format!("{input}.{signature}")
}

pub(crate) fn signing_input(header: &impl Serialize, claims: &impl Serialize) -> String {
    format!("{}.{}", encoded_json(header), encoded_json(claims))
}

fn encoded_json(part: &impl Serialize) -> String {
    // Maps with string keys can always be serialized.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).unwrap_or_default())
}

/// A part of a token as JSON.
pub(crate) fn decoded_json(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
