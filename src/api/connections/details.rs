use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::wire;
use crate::util::open_enum::open_enum;

/// A connection of an organization. Fields that the environment omits are `None`.
///
/// Trust settings, such as certificates and client secrets, are omitted:
/// [`Api::request`](crate::api::Api::request) returns them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Connection {
    /// `conn_…`
    #[serde(deserialize_with = "wire::required")]
    pub id: String,
    /// The organization that it belongs to.
    #[serde(default, deserialize_with = "wire::text")]
    pub organization_id: Option<String>,
    /// The organization's name; only in lists.
    #[serde(default, deserialize_with = "wire::text")]
    pub organization_name: Option<String>,
    /// The identity provider.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub provider: Option<ConnectionProvider>,
    /// The provider's key, for instance `okta`.
    #[serde(default, deserialize_with = "wire::text")]
    pub provider_key: Option<String>,
    /// Another ID of the connection, used in URLs.
    #[serde(default, deserialize_with = "wire::text")]
    pub key_id: Option<String>,
    /// How users sign in.
    #[serde(default, rename = "type", deserialize_with = "wire::open_enum")]
    pub connection_type: Option<ConnectionType>,
    /// The setup status.
    #[serde(default, deserialize_with = "wire::open_enum")]
    pub status: Option<ConnectionStatus>,
    /// Whether users can sign in through it.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// The e-mail domains of its users.
    #[serde(default, deserialize_with = "domains")]
    pub domains: Vec<String>,
    /// Where an agent uses the connection's tools, if it has any.
    #[serde(default, deserialize_with = "wire::text")]
    pub mcp_server_url: Option<String>,
}

impl Connection {
    /// Whether it is single sign-on by OpenID Connect or SAML.
    #[must_use]
    pub fn is_sso(&self) -> bool {
        matches!(self.connection_type, Some(ConnectionType::Oidc | ConnectionType::Saml))
    }

    /// Whether users of a domain, in lower case, can sign in through it now.
    pub(super) fn signs_in(&self, domain: &str) -> bool {
        self.is_sso()
            && self.enabled == Some(true)
            && matches!(self.status, None | Some(ConnectionStatus::Completed))
            // Some list the domains only in the organization, not in the connection.
            && (self.domains.is_empty()
                || self.domains.iter().any(|known| known.eq_ignore_ascii_case(domain)))
    }
}

open_enum! {
    /// How users sign in through a connection, or agents use it.
    ConnectionType {
        /// API key.
        ApiKey = "API_KEY",
        /// HTTP Basic authentication.
        Basic = "BASIC",
        /// Bearer token.
        Bearer = "BEARER",
        /// Google Workspace domain-wide delegation.
        GoogleDwd = "GOOGLE_DWD",
        /// None.
        NoAuth = "NO_AUTH",
        /// OAuth 2.0.
        OAuth = "OAUTH",
        /// OAuth 2.0 client credentials.
        OAuthM2m = "OAUTH_M2M",
        /// Single sign-on by OpenID Connect.
        Oidc = "OIDC",
        /// Password.
        Password = "PASSWORD",
        /// A code or a link in an e-mail.
        Passwordless = "PASSWORDLESS",
        /// Single sign-on by SAML.
        Saml = "SAML",
        /// SMART on FHIR.
        SmartFhir = "SMART_FHIR",
        /// Trello's OAuth 1.
        TrelloOAuth1 = "TRELLO_OAUTH1",
        /// A trusted identity provider.
        TrustedIdp = "TRUSTED_IDP",
        /// Passkey.
        WebAuthn = "WEBAUTHN",
    }
}

open_enum! {
    /// Setup status of a connection.
    ConnectionStatus {
        /// Completed.
        Completed = "COMPLETED",
        /// Not started.
        Draft = "DRAFT",
        /// In progress.
        InProgress = "IN_PROGRESS",
    }
}

open_enum! {
    /// An identity provider.
    ConnectionProvider {
        /// Microsoft Active Directory Federation Services.
        Adfs = "ADFS",
        /// Auth0.
        Auth0 = "AUTH0",
        /// Any other.
        Custom = "CUSTOM",
        /// GitHub.
        GitHub = "GITHUB",
        /// GitLab.
        GitLab = "GITLAB",
        /// Google.
        Google = "GOOGLE",
        /// Scalekit's identity provider for tests.
        IdpSimulator = "IDP_SIMULATOR",
        /// JumpCloud.
        JumpCloud = "JUMPCLOUD",
        /// LinkedIn.
        LinkedIn = "LINKEDIN",
        /// Microsoft.
        Microsoft = "MICROSOFT",
        /// Microsoft Entra ID.
        MicrosoftAd = "MICROSOFT_AD",
        /// Okta.
        Okta = "OKTA",
        /// OneLogin.
        OneLogin = "ONELOGIN",
        /// Ping Identity.
        PingIdentity = "PING_IDENTITY",
        /// Salesforce.
        Salesforce = "SALESFORCE",
        /// Scalekit.
        Scalekit = "SCALEKIT",
    }
}

/// Lists contain domains as text, a single connection contains objects that use one of two member
/// names.
fn domains<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let domains: Option<Vec<Value>> = Option::deserialize(deserializer)?;
    Ok(domains
        .iter()
        .flatten()
        .filter_map(|known| {
            known.get("domain").or_else(|| known.get("name")).unwrap_or(known).as_str()
        })
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}
