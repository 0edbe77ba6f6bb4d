use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::env;
use crate::error::{ConfigError, ConfigProblem};
use crate::shared_store::StoreScope;

/// With or without padding, because both occur.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The secret of a webhook endpoint or an interceptor, from the dashboard: `whsec_…`.
#[derive(Clone)]
pub struct WebhookSecret {
    pub(super) key: hmac::Key,
    /// The scope of the endpoint with this secret.
    pub(super) scope: StoreScope,
}

impl WebhookSecret {
    /// Parses a secret (Standard Webhooks: `whsec_` and 24 to 64 bytes in base64; the prefix is
    /// optional).
    ///
    /// # Errors
    /// When it has another form.
    pub fn new(secret: &str) -> Result<Self, ConfigError> {
        Self::parse("webhook secret", secret)
    }

    /// Reads the secret from an environment variable, as [`env::var`](crate::env::var) does.
    ///
    /// # Errors
    /// When the variable is unset or empty, the file cannot be read, or the secret is invalid.
    pub fn from_env(variable: &'static str) -> Result<Self, ConfigError> {
        let value = env::var(variable)?.ok_or(ConfigProblem::Missing { setting: variable })?;
        Self::parse(variable, value.expose())
    }

    /// Reads the secret from a variable, as [`from_env`](Self::from_env) does. If
    /// [`Scalekit::from_env_or_sandbox`](crate::Scalekit::from_env_or_sandbox) has started a
    /// sandbox, registers `url` as an endpoint there instead, and starts delivery. The page
    /// `/deliveries` of the sandbox lists the deliveries, and sends test events.
    ///
    /// ```no_run
    /// # async fn configure() -> Result<(), tower_scalekit::ConfigError> {
    /// use tower_scalekit::{Scalekit, WebhookVerify, webhook_verify::WebhookSecret};
    ///
    /// let scalekit = Scalekit::from_env_or_sandbox().await?;
    /// let url = "http://localhost:3000/webhooks/scalekit";
    /// let secret =
    ///     WebhookSecret::from_env_or_sandbox("SCALEKIT_WEBHOOK_SECRET", &scalekit, url)?;
    /// let layer = WebhookVerify::new(secret);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`from_env`](Self::from_env).
    ///
    /// # Panics
    /// With a sandbox, when it is called outside of a tokio runtime.
    #[cfg(all(feature = "reqwest", feature = "sandbox"))]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "reqwest", feature = "sandbox"))))]
    #[doc(alias = "feature sandbox")]
    pub fn from_env_or_sandbox(
        variable: &'static str,
        scalekit: &crate::scalekit::Scalekit,
        url: &str,
    ) -> Result<Self, ConfigError> {
        let Some(sandbox) = scalekit.sandbox() else { return Self::from_env(variable) };
        let webhooks = sandbox.webhooks();
        let endpoint = webhooks.add_endpoint(url);
        webhooks.set_client(crate::http_client::ReqwestClient::new()?);
        webhooks.start_delivery();
        Self::new(endpoint.secret().expose())
    }

    fn parse(setting: &'static str, secret: &str) -> Result<Self, ConfigError> {
        let bytes = BASE64
            .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
            .ok()
            .map(Zeroizing::new)
            .filter(|bytes| (24..=64).contains(&bytes.len()))
            .ok_or_else(|| {
                ConfigProblem::invalid(
                    setting,
                    "must be whsec_ and 24 to 64 bytes in base64, as the dashboard shows it",
                )
            })?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        // Differs from all content that the sender signs: an ID, a timestamp and a body with dots in
        // between.
        let fingerprint = hmac::sign(&key, b"tower-scalekit webhook endpoint");
        Ok(Self { scope: StoreScope::new([b"webhook endpoint", fingerprint.as_ref()]), key })
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_whsec_and_24_to_64_bytes_in_base64() {
        let encode = |length| base64::engine::general_purpose::STANDARD.encode(vec![0xfb; length]);
        for length in [24, 25, 32, 64] {
            let secret = format!("whsec_{}", encode(length));
            assert!(WebhookSecret::new(&secret).is_ok(), "{length}");
            assert!(WebhookSecret::new(secret.trim_end_matches('=')).is_ok(), "{length}");
            assert!(WebhookSecret::new(&encode(length)).is_ok(), "{length}");
        }
        for secret in [
            String::new(),
            "whsec_".to_owned(),
            format!("whsec_{}", encode(23)),
            format!("whsec_{}", encode(65)),
            format!("whsk_{}", encode(32)),
            format!("whpk_{}", encode(32)),
            format!("WHSEC_{}", encode(32)),
            format!("whsec_{} ", encode(32)),
            format!("whsec_{}", encode(32).replace('+', "-")),
            "whsec_not base64 at all, not base64 at all".to_owned(),
        ] {
            assert!(WebhookSecret::new(&secret).is_err(), "{secret}");
        }
        let unset = WebhookSecret::from_env("TOWER_SCALEKIT_NO_SUCH_VARIABLE").unwrap_err();
        assert_eq!(unset.to_string(), "TOWER_SCALEKIT_NO_SUCH_VARIABLE is not set");
        let secret = WebhookSecret::new(&format!("whsec_{}", encode(32))).unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret([redacted])");
    }
}
