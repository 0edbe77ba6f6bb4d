use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::Value;

use crate::model::wire;
use crate::util::open_enum::open_enum;

/// A connection of an organization. The environment leaves out what it does not know.
///
/// What a provider and the environment need to trust each other, such as certificates and client
/// secrets, is not read: [`Api::request`](crate::api::Api::request) gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Connection {
    /// `conn_…`
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// The organization it belongs to.
    #[serde(deserialize_with = "wire::text")]
    pub organization_id: Option<String>,
    /// That organization's name; only in lists.
    #[serde(deserialize_with = "wire::text")]
    pub organization_name: Option<String>,
    /// Who the identity provider is.
    #[serde(deserialize_with = "wire::word")]
    pub provider: Option<ConnectionProvider>,
    /// The provider's key, for instance `okta`.
    #[serde(deserialize_with = "wire::text")]
    pub provider_key: Option<String>,
    /// Another id of the connection, used in addresses.
    #[serde(deserialize_with = "wire::text")]
    pub key_id: Option<String>,
    /// How people sign in through it.
    #[serde(rename = "type", deserialize_with = "wire::word")]
    pub connection_type: Option<ConnectionType>,
    /// How far it is set up.
    #[serde(deserialize_with = "wire::word")]
    pub status: Option<ConnectionStatus>,
    /// Whether people can sign in through it.
    pub enabled: Option<bool>,
    /// The e-mail domains of the people who sign in through it.
    #[serde(deserialize_with = "domains")]
    pub domains: Vec<String>,
    /// Where an agent uses the connection's tools, if it has any.
    #[serde(deserialize_with = "wire::text")]
    pub mcp_server_url: Option<String>,
}

impl Connection {
    /// Whether it is single sign-on: by OpenID Connect or SAML.
    #[must_use]
    pub fn is_sso(&self) -> bool {
        matches!(self.connection_type, Some(ConnectionType::Oidc | ConnectionType::Saml))
    }

    /// Whether people of a domain, in lower case, can sign in through it now.
    pub(super) fn signs_in(&self, domain: &str) -> bool {
        let is_complete = matches!(self.status, None | Some(ConnectionStatus::Completed));
        // Some say only of the organization which domains it has, and of the connection nothing.
        let is_for_it = self.domains.is_empty()
            || self.domains.iter().any(|known| known.eq_ignore_ascii_case(domain));
        self.is_sso() && self.enabled == Some(true) && is_complete && is_for_it
    }
}

open_enum! {
    /// How people sign in through a connection, or agents use it.
    ConnectionType {
        /// With an API key.
        ApiKey = "API_KEY",
        /// With a name and a password sent along.
        Basic = "BASIC",
        /// With a bearer token.
        Bearer = "BEARER",
        /// By Google's domain-wide delegation.
        GoogleDwd = "GOOGLE_DWD",
        /// With nothing.
        NoAuth = "NO_AUTH",
        /// By OAuth 2.0.
        OAuth = "OAUTH",
        /// By OAuth 2.0, as a machine.
        OAuthM2m = "OAUTH_M2M",
        /// Single sign-on by OpenID Connect.
        Oidc = "OIDC",
        /// With a password.
        Password = "PASSWORD",
        /// With a code or a link in an e-mail.
        Passwordless = "PASSWORDLESS",
        /// Single sign-on by SAML.
        Saml = "SAML",
        /// By SMART on FHIR.
        SmartFhir = "SMART_FHIR",
        /// By Trello's OAuth 1.
        TrelloOAuth1 = "TRELLO_OAUTH1",
        /// By an identity provider that is trusted.
        TrustedIdp = "TRUSTED_IDP",
        /// With a passkey.
        WebAuthn = "WEBAUTHN",
    }
}

open_enum! {
    /// How far a connection is set up.
    ConnectionStatus {
        /// To the end.
        Completed = "COMPLETED",
        /// Not begun.
        Draft = "DRAFT",
        /// Begun.
        InProgress = "IN_PROGRESS",
    }
}

open_enum! {
    /// Who an identity provider is.
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
        /// Scalekit's own, to try things out.
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

/// Lists give domains as text, a single connection as objects that call the name by one of two.
fn domains<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let domains: Option<Vec<Value>> = Option::deserialize(deserializer)?;
    let name = |known: &Value| {
        let name = known.get("domain").or_else(|| known.get("name")).unwrap_or(known);
        name.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    };
    Ok(domains.iter().flatten().filter_map(name).collect())
}
