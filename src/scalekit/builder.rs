use std::fmt;
use std::sync::Arc;

use super::application_token::TokenSlot;
use super::{Environment, EnvironmentUrl, Scalekit};
use crate::clock::Clock;
use crate::env;
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::http_client::HttpClient;
use crate::secret::SecretString;
use crate::token::{DEFAULT_ALGORITHM, RemoteKeys};

/// Prefix of the client IDs of environments. No secret has it.
const CLIENT_ID_PREFIX: &str = "skc_";

/// Builds a [`Scalekit`] handle.
#[must_use]
pub struct ScalekitBuilder {
    environment_url: String,
    client_id: String,
    client_secret: SecretString,
    http_client: Option<Arc<dyn HttpClient>>,
    clock: Clock,
    #[cfg(all(feature = "reqwest", feature = "sandbox"))]
    started: Option<crate::sandbox::Sandbox>,
}

impl ScalekitBuilder {
    pub(crate) fn new(
        environment_url: String,
        client_id: String,
        client_secret: SecretString,
    ) -> Self {
        Self {
            environment_url,
            client_id,
            client_secret,
            http_client: None,
            clock: Clock::system(),
            #[cfg(all(feature = "reqwest", feature = "sandbox"))]
            started: None,
        }
    }

    #[cfg(all(feature = "reqwest", feature = "sandbox"))]
    pub(super) fn started(mut self, sandbox: crate::sandbox::Sandbox) -> Self {
        self.started = Some(sandbox);
        self
    }

    /// Reads the settings of [`Scalekit::from_env`], to be completed in code. Each variable is read
    /// as [`env::var`](crate::env::var) does.
    ///
    /// # Errors
    /// Returned when variables are missing or invalid, or when two spellings of one differ. Lists
    /// all of them.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(env::var)
    }

    fn from_variables(
        read: impl Fn(&'static str) -> Result<Option<SecretString>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        const CLIENT_ID: &str = "SCALEKIT_CLIENT_ID";
        const CLIENT_SECRET: &str = "SCALEKIT_CLIENT_SECRET";
        const URL: &str = "SCALEKIT_ENVIRONMENT_URL";
        const SHORT_URL: &str = "SCALEKIT_ENV_URL";

        let mut problems = Problems::default();
        let client_id = problems.collect(required(CLIENT_ID, read(CLIENT_ID)));
        let client_secret = problems.collect(required(CLIENT_SECRET, read(CLIENT_SECRET)));
        let [url, short_url] = [URL, SHORT_URL].map(|name| problems.collect(read(name)).flatten());
        // Validated here, so that problems have the name of the variable.
        let url = problems.collect(match (url, short_url) {
            (Some(url), Some(short_url)) if !is_same_url(&url, &short_url) => {
                let reason = "differs from SCALEKIT_ENV_URL; set only one of the two";
                Err(ConfigProblem::invalid(URL, reason).into())
            }
            (Some(url), _) => EnvironmentUrl::parse(URL, url.expose()),
            (None, Some(url)) => EnvironmentUrl::parse(SHORT_URL, url.expose()),
            (None, None) => Err(ConfigProblem::Missing { setting: URL }.into()),
        });
        let settings = url.zip(client_id).zip(client_secret);
        problems.finish(settings.map(|((url, client_id), client_secret)| {
            Self::new(url.text, client_id.expose().to_owned(), client_secret)
        }))
    }

    /// Sets the HTTP client. Default: a [`ReqwestClient`](crate::http_client::ReqwestClient), with
    /// the feature `reqwest`.
    pub fn http_client(mut self, client: impl HttpClient) -> Self {
        self.http_client = Some(Arc::new(client));
        self
    }

    /// Sets the clock that expiry is compared with. Default: the system's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Validates the settings. Sends no request.
    ///
    /// # Errors
    /// Returned when settings are invalid. Lists all of them.
    pub fn build(self) -> Result<Scalekit, ConfigError> {
        let mut problems = Problems::default();
        let url = problems.collect(EnvironmentUrl::parse("environment_url", &self.environment_url));
        if self.client_id.is_empty() {
            problems.missing("client_id");
        }
        if self.client_secret.expose().is_empty() {
            problems.missing("client_secret");
        }
        if self.client_secret.expose().starts_with(CLIENT_ID_PREFIX) {
            let reason = "is a client ID (skc_…): the ID and the secret are swapped";
            problems.invalid("client_secret", reason);
        }
        let http_client = match self.http_client {
            Some(client) => Some(client),
            None => problems.collect(default_http_client()),
        };
        problems.finish(url.zip(http_client).map(|(url, http_client)| {
            let environment = Environment {
                keys: RemoteKeys::new(
                    url.join("/keys"),
                    Arc::clone(&http_client),
                    self.clock.clone(),
                    vec![DEFAULT_ALGORITHM],
                ),
                url,
                client_id: self.client_id,
                client_secret: self.client_secret,
                http_client,
                clock: self.clock,
                application_token: TokenSlot::empty(),
                #[cfg(all(feature = "reqwest", feature = "sandbox"))]
                started: self.started,
            };
            Scalekit { environment: Arc::new(environment) }
        }))
    }
}

fn required(
    setting: &'static str,
    value: Result<Option<SecretString>, ConfigError>,
) -> Result<SecretString, ConfigError> {
    value?.ok_or_else(|| ConfigProblem::Missing { setting }.into())
}

fn is_same_url(one: &SecretString, other: &SecretString) -> bool {
    one.expose().trim_end_matches('/') == other.expose().trim_end_matches('/')
}

#[cfg(feature = "reqwest")]
fn default_http_client() -> Result<Arc<dyn HttpClient>, ConfigError> {
    Ok(Arc::new(crate::http_client::ReqwestClient::new()?))
}

#[cfg(not(feature = "reqwest"))]
fn default_http_client() -> Result<Arc<dyn HttpClient>, ConfigError> {
    Err(ConfigProblem::Missing { setting: "http_client" }.into())
}

impl fmt::Debug for ScalekitBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScalekitBuilder")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_variables(variables: &[(&str, &str)]) -> Result<Scalekit, ConfigError> {
        let lookup = |name: &str| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into())
        };
        let builder = ScalekitBuilder::from_variables(|name| env::var_from(name, lookup))?;
        builder.http_client(crate::http_client::UnreachableClient).build()
    }

    #[test]
    fn both_spellings_of_the_url_work_and_slashes_are_stripped() {
        for name in ["SCALEKIT_ENVIRONMENT_URL", "SCALEKIT_ENV_URL"] {
            let scalekit = from_variables(&[
                (name, "https://acme.scalekit.dev//"),
                ("SCALEKIT_CLIENT_ID", "skc_1"),
                ("SCALEKIT_CLIENT_SECRET", "hush"),
            ])
            .unwrap();
            assert_eq!(scalekit.environment_url(), "https://acme.scalekit.dev");
            assert!(!format!("{scalekit:?}").contains("hush"));
        }
    }

    #[test]
    fn white_space_around_a_value_is_ignored() {
        let mut variables = vec![
            ("SCALEKIT_ENVIRONMENT_URL", " https://acme.scalekit.dev/\r"),
            ("SCALEKIT_ENV_URL", "https://acme.scalekit.dev"),
            ("SCALEKIT_CLIENT_ID", "skc_1\n"),
            ("SCALEKIT_CLIENT_SECRET", "\thush\r\n"),
        ];
        let scalekit = from_variables(&variables).unwrap();
        assert_eq!((scalekit.client_id(), scalekit.client_secret().expose()), ("skc_1", "hush"));
        variables[2].1 = " ";
        let error = from_variables(&variables).unwrap_err();
        assert_eq!(error.to_string(), "SCALEKIT_CLIENT_ID is not set");
    }

    #[test]
    fn every_missing_variable_is_named() {
        let error = from_variables(&[("SCALEKIT_CLIENT_ID", "")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "SCALEKIT_CLIENT_ID is not set; SCALEKIT_CLIENT_SECRET is not set; \
             SCALEKIT_ENVIRONMENT_URL is not set",
        );
        let error = from_variables(&[
            ("SCALEKIT_ENVIRONMENT_URL", "https://one.test"),
            ("SCALEKIT_ENV_URL", "https://two.test"),
            ("SCALEKIT_CLIENT_ID", "skc_1"),
            ("SCALEKIT_CLIENT_SECRET", "hush"),
        ]);
        assert!(error.unwrap_err().to_string().contains("set only one"));
        let error = from_variables(&[
            ("SCALEKIT_ENV_URL", "ftp://x.test"),
            ("SCALEKIT_CLIENT_ID", "skc_1"),
        ]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "SCALEKIT_CLIENT_SECRET is not set; SCALEKIT_ENV_URL: must be https (http only on loopback)",
        );
    }

    #[test]
    fn an_environment_url_is_https_and_bare() {
        let build = |url: &str| {
            let builder = Scalekit::builder(url, "skc_1", "hush");
            builder
                .http_client(crate::http_client::UnreachableClient)
                .build()
                .map_err(|e| e.to_string())
        };
        for url in ["https://x.test", "https://x.test//", "http://127.0.0.1:8080", "http://[::1]"] {
            assert!(build(url).is_ok(), "{url}");
        }
        for url in
            ["", "x.test", "http://x.test", "ftp://x.test", "https://u:p@x.test", "https://x?y"]
        {
            assert!(build(url).is_err(), "{url}");
        }
        for url in ["https://x.test/base/", "https://x.test/.well-known/openid-configuration"] {
            let reason = "must not have a path, expected https://….scalekit.com";
            assert_eq!(build(url).unwrap_err(), format!("environment_url: {reason}"));
        }
        assert!(!build("https://user:hunter2@x.test").unwrap_err().contains("hunter2"));
    }
}
