//! The services that connections lead to.

use serde_json::{Value, json};

use crate::sandbox::state::ids::random_token;

/// A simulated service, as an entry of the dashboard's catalog.
#[derive(Debug)]
pub(crate) struct Connector {
    /// For instance `GMAIL`.
    pub(crate) provider: &'static str,
    /// Its name on pages.
    pub(crate) service: &'static str,
    /// What an application does with an account: "wants to …".
    pub(crate) purpose: &'static str,
    pub(crate) credentials: CredentialsKind,
}

/// How an application is authorized at a service.
#[derive(Debug)]
pub(crate) enum CredentialsKind {
    ApiKey,
    OAuth {
        scopes: &'static [&'static str],
        /// Beginnings of access token and refresh token.
        prefixes: [&'static str; 2],
    },
}

static CONNECTORS: [Connector; 4] = [
    Connector {
        provider: "GMAIL",
        service: "Gmail",
        purpose: "use the mailbox of",
        credentials: CredentialsKind::OAuth {
            scopes: &["https://www.googleapis.com/auth/gmail.readonly"],
            prefixes: ["ya29.", "1//"],
        },
    },
    Connector {
        provider: "SLACK",
        service: "Slack",
        purpose: "read and post messages as",
        credentials: CredentialsKind::OAuth {
            scopes: &["channels:history", "channels:read", "chat:write"],
            prefixes: ["xoxe.xoxp-1-", "xoxe-1-"],
        },
    },
    Connector {
        provider: "SALESFORCE",
        service: "Salesforce",
        purpose: "read and change records as",
        credentials: CredentialsKind::OAuth {
            scopes: &["api", "refresh_token"],
            prefixes: ["00D!", "5Aep861"],
        },
    },
    Connector {
        provider: "EXA",
        service: "Exa",
        purpose: "search the web as",
        credentials: CredentialsKind::ApiKey,
    },
];

impl Connector {
    /// All of them, Gmail first.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        CONNECTORS.iter()
    }

    /// By provider, in any case.
    pub(crate) fn of(provider: &str) -> Option<&'static Self> {
        Self::all().find(|connector| connector.provider.eq_ignore_ascii_case(provider))
    }

    /// `connected_accountsConnectorType`
    pub(crate) fn authorization_type(&self) -> &'static str {
        match self.credentials {
            CredentialsKind::ApiKey => "API_KEY",
            CredentialsKind::OAuth { .. } => "OAUTH",
        }
    }

    /// The scopes that a user consents to.
    pub(crate) fn scopes(&self) -> &'static [&'static str] {
        match self.credentials {
            CredentialsKind::ApiKey => &[],
            CredentialsKind::OAuth { scopes, .. } => scopes,
        }
    }

    /// New `connected_accountsAuthorizationDetails`: an API key that the user has entered, or OAuth
    /// tokens.
    pub(crate) fn issue(&self, api_key: Option<&str>) -> Value {
        match self.credentials {
            CredentialsKind::ApiKey => {
                let key = api_key.map_or_else(|| format!("exa-{}", random_token()), str::to_owned);
                json!({ "static_auth": { "details": { "api_key": key } } })
            }
            CredentialsKind::OAuth { scopes, prefixes: [access, refresh] } => {
                json!({ "oauth_token": {
                    "access_token": format!("{access}{}", random_token()),
                    "refresh_token": format!("{refresh}{}", random_token()),
                    "scopes": scopes,
                }})
            }
        }
    }
}
