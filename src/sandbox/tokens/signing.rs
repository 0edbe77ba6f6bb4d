//! Signatures of tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::digest::hmac_sha256;
use crate::sandbox::state::ec_key::EcKey;
use crate::sandbox::state::keys::SigningKey;
use crate::sandbox::state::token_faults::{Signing, TokenDraft};

impl TokenDraft {
    pub(crate) fn sign(&self, environment: &Environment, key: &SigningKey) -> String {
        let input = signing_input(&self.header, &self.claims);
        let signature = match &self.signing {
            Signing::ClientSecret => {
                hmac_sha256(environment.client_secret.expose().as_bytes(), input.as_bytes())
            }
            Signing::CurrentKey => key.sign(input.as_bytes()),
            Signing::Es256 => EcKey::of_environments().sign(input.as_bytes()),
            Signing::Nothing => Vec::new(),
            Signing::OtherKey => SigningKey::stranger().sign(input.as_bytes()),
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

pub(crate) fn signing_input(
    header: &impl serde::Serialize,
    claims: &impl serde::Serialize,
) -> String {
    // Maps with string keys can always be serialized.
    let part = |json: Result<Vec<u8>, _>| URL_SAFE_NO_PAD.encode(json.unwrap_or_default());
    let (header, claims) = (serde_json::to_vec(header), serde_json::to_vec(claims));
    format!("{}.{}", part(header), part(claims))
}
