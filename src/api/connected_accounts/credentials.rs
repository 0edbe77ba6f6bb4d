//! Credentials for other services. `Debug` prints none of them.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use zeroize::Zeroize as _;

use crate::model::wire;
use crate::secret::SecretString;

/// Credentials of a connected account.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// Google Workspace domain-wide delegation.
    GoogleDwd(GoogleDwdCredentials),
    /// OAuth 2.0 tokens.
    OAuth(OAuthCredentials),
    /// An API key, static token or password.
    Static(StaticCredentials),
    /// Credentials issued by a trusted identity provider.
    TrustedIdp(TrustedIdpCredentials),
}

impl Credentials {
    /// The form for requests, without read-only fields.
    pub(super) fn to_wire(&self) -> Value {
        match self {
            Self::GoogleDwd(dwd) => json!({ "google_dwd": { "subject": dwd.subject } }),
            Self::OAuth(tokens) => json!({ "oauth_token": tokens.to_wire() }),
            Self::Static(details) => json!({ "static_auth": { "details": details.details } }),
            Self::TrustedIdp(idp) => json!({ "trusted_idp": { "db_user": idp.db_user } }),
        }
    }
}

/// OAuth 2.0 tokens for another service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OAuthCredentials {
    /// Access token for the service.
    #[serde(deserialize_with = "secret")]
    pub access_token: Option<SecretString>,
    /// Refresh token.
    #[serde(deserialize_with = "secret")]
    pub refresh_token: Option<SecretString>,
    /// Granted scopes.
    #[serde(deserialize_with = "wire::or_default")]
    pub scopes: Vec<String>,
    /// The domain or workspace that the tokens are valid for, if any.
    #[serde(deserialize_with = "wire::text")]
    pub domain: Option<String>,
}

impl OAuthCredentials {
    /// Creates credentials with an access token. The other fields are optional.
    #[must_use]
    pub fn new(access_token: impl Into<SecretString>) -> Self {
        Self { access_token: Some(access_token.into()), ..Self::default() }
    }

    fn to_wire(&self) -> Value {
        [
            ("access_token", self.access_token.as_ref().map(|token| token.expose().into())),
            ("refresh_token", self.refresh_token.as_ref().map(|token| token.expose().into())),
            ("scopes", (!self.scopes.is_empty()).then(|| self.scopes.clone().into())),
            ("domain", self.domain.clone().map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// An API key, static token or password. The names depend on the connection.
#[derive(Clone, Default)]
pub struct StaticCredentials {
    details: Map<String, Value>,
}

impl StaticCredentials {
    /// Creates credentials from names and values, for instance `api_key`.
    pub fn new(details: impl IntoIterator<Item = (impl Into<String>, impl Into<Value>)>) -> Self {
        Self {
            details: details.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        }
    }

    /// Returns names and values. Do not log them.
    #[must_use]
    pub fn expose(&self) -> &Map<String, Value> {
        &self.details
    }
}

impl Drop for StaticCredentials {
    fn drop(&mut self) {
        self.details.values_mut().for_each(wipe);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::String(text) => text.zeroize(),
        _ => {}
    }
}

impl fmt::Debug for StaticCredentials {
    /// Prints the names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.details.keys()).finish()
    }
}

/// Google Workspace domain-wide delegation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GoogleDwdCredentials {
    /// E-mail address of the user that your app impersonates.
    #[serde(deserialize_with = "wire::text")]
    pub subject: Option<String>,
    /// The current access token (read-only).
    #[serde(deserialize_with = "secret")]
    pub access_token: Option<SecretString>,
    /// Scopes of that token (read-only).
    #[serde(deserialize_with = "wire::or_default")]
    pub scopes: Vec<String>,
    /// Expiry of that token (read-only).
    #[serde(with = "wire::timestamp")]
    pub token_expires_at: Option<OffsetDateTime>,
}

impl GoogleDwdCredentials {
    /// Creates credentials that impersonate this user.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..Self::default() }
    }
}

/// Credentials issued by a trusted identity provider. The API never returns their secrets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TrustedIdpCredentials {
    /// The database user.
    #[serde(deserialize_with = "wire::text")]
    pub db_user: Option<String>,
    /// The key ID (read-only).
    #[serde(deserialize_with = "wire::text")]
    pub access_key_id: Option<String>,
    /// Expiry (read-only).
    #[serde(with = "wire::timestamp")]
    pub expiry: Option<OffsetDateTime>,
}

impl TrustedIdpCredentials {
    /// Creates credentials for this database user.
    #[must_use]
    pub fn new(db_user: impl Into<String>) -> Self {
        Self { db_user: Some(db_user.into()), ..Self::default() }
    }
}

macro_rules! kinds {
    ($($variant:ident($credentials:ident),)+) => {
        $(impl From<$credentials> for Credentials {
            fn from(credentials: $credentials) -> Self {
                Self::$variant(credentials)
            }
        })+
    };
}

kinds! {
    GoogleDwd(GoogleDwdCredentials),
    OAuth(OAuthCredentials),
    Static(StaticCredentials),
    TrustedIdp(TrustedIdpCredentials),
}

/// The API's form: one of several kinds.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthorizationDetails {
    google_dwd: Option<GoogleDwdCredentials>,
    oauth_token: Option<OAuthCredentials>,
    static_auth: Option<StaticAuth>,
    trusted_idp: Option<TrustedIdpCredentials>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StaticAuth {
    #[serde(deserialize_with = "wire::or_default")]
    details: Map<String, Value>,
}

impl AuthorizationDetails {
    /// `None` if the user has not authorized the account yet.
    pub(super) fn into_credentials(self) -> Option<Credentials> {
        self.oauth_token
            .filter(|tokens| tokens.access_token.is_some() || tokens.refresh_token.is_some())
            .map(Credentials::OAuth)
            .or(self.static_auth.map(|auth| StaticCredentials { details: auth.details }.into()))
            .or(self.google_dwd.map(Credentials::GoogleDwd))
            .or(self.trusted_idp.map(Credentials::TrustedIdp))
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(wire::text(deserializer)?.map(SecretString::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(details: Value) -> Option<Credentials> {
        serde_json::from_value::<AuthorizationDetails>(details).unwrap().into_credentials()
    }

    #[test]
    fn debug_prints_no_credentials() {
        let mut tokens = OAuthCredentials::new("ya29.access");
        tokens.refresh_token = Some("1//refresh".into());
        let dwd = json!({ "google_dwd": { "subject": "a@b.test", "access_token": "ya29.dwd" } });
        for credentials in [
            tokens.into(),
            StaticCredentials::new([("api_key", "sk_live_1")]).into(),
            parse(dwd).unwrap(),
        ] {
            let shown = format!("{credentials:?} {credentials:#?}");
            for secret in ["ya29", "refresh\"", "1//", "sk_live"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }

    #[test]
    fn read_only_fields_are_not_sent() {
        let dwd = json!({ "google_dwd": {
            "subject": "a@b.test", "access_token": "t", "scopes": ["s"],
            "token_expires_at": "2026-01-01T00:00:00Z",
        }});
        let only_subject = json!({ "google_dwd": { "subject": "a@b.test" } });
        assert_eq!(parse(dwd).unwrap().to_wire(), only_subject);
        let tokens = json!({ "oauth_token": {
            "access_token": "a", "refresh_token": "r", "scopes": ["s"], "domain": "d",
        }});
        assert_eq!(parse(tokens.clone()).unwrap().to_wire(), tokens);
        let key = json!({ "static_auth": { "details": { "api_key": "k", "port": 1 } } });
        assert_eq!(parse(key.clone()).unwrap().to_wire(), key);
        for empty in [json!({}), json!({ "oauth_token": {} }), json!({ "oauth_token": null })] {
            assert!(parse(empty.clone()).is_none(), "{empty}");
        }
    }
}
