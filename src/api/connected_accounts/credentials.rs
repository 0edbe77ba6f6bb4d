//! What lets in at another service. Nothing here shows in `Debug`.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use zeroize::Zeroize as _;

use crate::model::wire;
use crate::secret::SecretString;

/// What an account is let in with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// Domain-wide delegation of Google Workspace.
    GoogleDwd(GoogleDwdCredentials),
    /// Tokens of OAuth 2.0.
    OAuth(OAuthCredentials),
    /// A key, token or password that stays the same.
    Static(StaticCredentials),
    /// What an identity provider that the service trusts has given.
    TrustedIdp(TrustedIdpCredentials),
}

impl Credentials {
    /// As the API takes them, without what only the environment tells.
    pub(super) fn to_wire(&self) -> Value {
        match self {
            Self::GoogleDwd(dwd) => json!({ "google_dwd": { "subject": dwd.subject } }),
            Self::OAuth(tokens) => json!({ "oauth_token": tokens.to_wire() }),
            Self::Static(details) => json!({ "static_auth": { "details": details.details } }),
            Self::TrustedIdp(idp) => json!({ "trusted_idp": { "db_user": idp.db_user } }),
        }
    }
}

/// Tokens of OAuth 2.0 for another service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OAuthCredentials {
    /// What calls of the service are made with.
    #[serde(deserialize_with = "secret")]
    pub access_token: Option<SecretString>,
    /// What the next access token is got with.
    #[serde(deserialize_with = "secret")]
    pub refresh_token: Option<SecretString>,
    /// What the user has allowed.
    #[serde(deserialize_with = "wire::or_default")]
    pub scopes: Vec<String>,
    /// The domain or workspace they are good for, where there is one.
    #[serde(deserialize_with = "wire::text")]
    pub domain: Option<String>,
}

impl OAuthCredentials {
    /// By an access token; all else may be added.
    #[must_use]
    pub fn new(access_token: impl Into<SecretString>) -> Self {
        Self { access_token: Some(access_token.into()), ..Self::default() }
    }

    fn to_wire(&self) -> Value {
        let mut wire = Map::new();
        let mut set = |name: &str, value: Value| wire.insert(name.to_owned(), value);
        if let Some(token) = &self.access_token {
            set("access_token", token.expose().into());
        }
        if let Some(token) = &self.refresh_token {
            set("refresh_token", token.expose().into());
        }
        if !self.scopes.is_empty() {
            set("scopes", self.scopes.clone().into());
        }
        if let Some(domain) = &self.domain {
            set("domain", domain.as_str().into());
        }
        wire.into()
    }
}

/// A key, token or password. Which names it has depends on the connection.
#[derive(Clone, Default)]
pub struct StaticCredentials {
    details: Map<String, Value>,
}

impl StaticCredentials {
    /// By its names and values, for instance `api_key`.
    pub fn new(details: impl IntoIterator<Item = (impl Into<String>, impl Into<Value>)>) -> Self {
        let details = details.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { details: details.collect() }
    }

    /// The names and values themselves. Do not log them.
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
    /// Names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.details.keys()).finish()
    }
}

/// Domain-wide delegation of Google Workspace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GoogleDwdCredentials {
    /// E-mail address of the user in whose name your app acts.
    #[serde(deserialize_with = "wire::text")]
    pub subject: Option<String>,
    /// The token got by it: told, never set.
    #[serde(deserialize_with = "secret")]
    pub access_token: Option<SecretString>,
    /// What that token allows: told, never set.
    #[serde(deserialize_with = "wire::or_default")]
    pub scopes: Vec<String>,
    /// When that token expires: told, never set.
    #[serde(deserialize_with = "wire::timestamp")]
    pub token_expires_at: Option<OffsetDateTime>,
}

impl GoogleDwdCredentials {
    /// In the name of this user.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..Self::default() }
    }
}

/// What an identity provider that the service trusts has given; its secrets are never told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TrustedIdpCredentials {
    /// The user of the database.
    #[serde(deserialize_with = "wire::text")]
    pub db_user: Option<String>,
    /// Which key it is: told, never set.
    #[serde(deserialize_with = "wire::text")]
    pub access_key_id: Option<String>,
    /// Until when it is good: told, never set.
    #[serde(deserialize_with = "wire::timestamp")]
    pub expiry: Option<OffsetDateTime>,
}

impl TrustedIdpCredentials {
    /// As this user of the database.
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

/// As the API tells them: of several kinds one.
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
    /// `None` for an account that no one has let your app into yet.
    pub(super) fn into_credentials(self) -> Option<Credentials> {
        let tokens = self
            .oauth_token
            .filter(|tokens| tokens.access_token.is_some() || tokens.refresh_token.is_some());
        let details = self.static_auth.map(|auth| StaticCredentials { details: auth.details });
        tokens
            .map(Credentials::OAuth)
            .or(details.map(Credentials::Static))
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

    fn told(details: Value) -> Option<Credentials> {
        serde_json::from_value::<AuthorizationDetails>(details).unwrap().into_credentials()
    }

    #[test]
    fn credentials_do_not_show() {
        let mut tokens = OAuthCredentials::new("ya29.access");
        tokens.refresh_token = Some("1//refresh".into());
        let dwd = json!({ "google_dwd": { "subject": "a@b.test", "access_token": "ya29.dwd" } });
        for credentials in [
            tokens.into(),
            StaticCredentials::new([("api_key", "sk_live_1")]).into(),
            told(dwd).unwrap(),
        ] {
            let shown = format!("{credentials:?} {credentials:#?}");
            for secret in ["ya29", "refresh\"", "1//", "sk_live"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }

    #[test]
    fn what_is_reported_is_not_sent_back() {
        let dwd = json!({ "google_dwd": {
            "subject": "a@b.test", "access_token": "t", "scopes": ["s"],
            "token_expires_at": "2026-01-01T00:00:00Z",
        }});
        let only_subject = json!({ "google_dwd": { "subject": "a@b.test" } });
        assert_eq!(told(dwd).unwrap().to_wire(), only_subject);
        let tokens = json!({ "oauth_token": {
            "access_token": "a", "refresh_token": "r", "scopes": ["s"], "domain": "d",
        }});
        assert_eq!(told(tokens.clone()).unwrap().to_wire(), tokens);
        let key = json!({ "static_auth": { "details": { "api_key": "k", "port": 1 } } });
        assert_eq!(told(key.clone()).unwrap().to_wire(), key);
        for nobody in [json!({}), json!({ "oauth_token": {} }), json!({ "oauth_token": null })] {
            assert!(told(nobody.clone()).is_none(), "{nobody}");
        }
    }
}
