//! A client's key for tokens that are bound to it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::sandbox::environment::Environment;
use crate::sandbox::respond::{members, without_nulls};
use crate::sandbox::state::digest::sha256;
use crate::sandbox::state::ec_key::EcKey;
use crate::sandbox::state::ids::random_token;
use crate::sandbox::tokens::signing::signing_input;

/// A client's key for DPoP (RFC 9449), on P-256. Returned by
/// [`Tokens::dpop_key`](crate::sandbox::Tokens::dpop_key).
///
/// A request to the token endpoint with a proof in the header `DPoP` gets tokens that are bound to the
/// key. [`confirmation`](Self::confirmation) binds a token without a login:
///
/// ```
/// use serde_json::json;
/// use tower_scalekit::sandbox::Sandbox;
///
/// let sandbox = Sandbox::new();
/// let key = sandbox.tokens().dpop_key();
/// let mut draft = sandbox.tokens().access_token_draft("jane@acme.test");
/// draft.claims.insert("cnf".into(), key.confirmation());
/// let token = sandbox.tokens().sign_draft(&draft);
/// let url = "https://api.example.com/todos";
/// let proof = key.proof("GET", url, Some(&token));
/// let with_nonce = key.proof_with("GET", url, Some(&token), |_, claims| {
///     claims.insert("nonce".into(), json!("the nonce of a DPoP-Nonce header"));
/// });
/// assert_ne!(proof, with_nonce);
/// ```
#[derive(Debug)]
pub struct DpopKey {
    environment: Arc<Environment>,
    key: EcKey,
}

impl DpopKey {
    pub(crate) fn generate(environment: &Arc<Environment>) -> Self {
        Self { environment: Arc::clone(environment), key: EcKey::generate() }
    }

    /// The public key.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        self.key.public_jwk()
    }

    /// Its thumbprint (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }

    /// The claim `cnf` of a token that is bound to the key.
    #[must_use]
    pub fn confirmation(&self) -> Value {
        json!({ "jkt": self.thumbprint() })
    }

    /// A new proof for one request: its method, its URL, and its access token, if it has one.
    #[must_use]
    pub fn proof(&self, method: &str, url: &str, access_token: Option<&str>) -> String {
        self.proof_with(method, url, access_token, |_, _| {})
    }

    /// The same, with a header and claims that are edited before they are signed.
    #[must_use]
    pub fn proof_with(
        &self,
        method: &str,
        url: &str,
        access_token: Option<&str>,
        edit: impl FnOnce(&mut Map<String, Value>, &mut Map<String, Value>),
    ) -> String {
        let mut header = members(json!({
            "typ": "dpop+jwt", "alg": "ES256", "jwk": self.public_jwk(),
        }));
        let mut claims = without_nulls(json!({
            "jti": random_token(),
            "htm": method,
            "htu": url,
            "iat": self.environment.now().unix_timestamp(),
            "ath": access_token
                .map(|token| URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()))),
        }));
        edit(&mut header, &mut claims);
        let input = signing_input(&header, &claims);
        let signature = self.key.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
