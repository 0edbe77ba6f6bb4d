//! The handle of a Scalekit environment: its URL, the application's credentials, the HTTP client.
//!
//! ```
//! use tower_scalekit::Scalekit;
//!
//! let scalekit = Scalekit::builder("https://acme.scalekit.dev/", "skc_1", "s3cret").build()?;
//! assert_eq!(scalekit.environment_url(), "https://acme.scalekit.dev");
//! # Ok::<(), tower_scalekit::ConfigError>(())
//! ```

mod application_token;
mod builder;
#[cfg(all(feature = "reqwest", feature = "sandbox"))]
mod development;
#[cfg(feature = "sandbox")]
pub(crate) mod sandbox;
mod verify;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use url::Url;

use self::application_token::TokenSlot;
pub use self::builder::ScalekitBuilder;

pub(crate) use self::application_token::{ApplicationToken, MissingToken};

use crate::clock::Clock;
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::http_client::{HttpClient, HttpClientError, send_within_limits};
use crate::revocation::RevocationsBuilder;
use crate::secret::SecretString;
use crate::shared_store::{SharedStore, TimedStore};
use crate::token::{RemoteKeys, ScalekitEnvironment, TokenVerifierBuilder};
#[cfg(all(feature = "reqwest", feature = "sandbox"))]
use crate::util::url_policy::is_loopback;
use crate::util::url_policy::require_https_or_loopback;

/// A Scalekit environment and this application's credentials. Cheap to clone; clones share
/// connections, keys and the access token for the API.
///
/// Building one sends no request, so a server starts even if the environment is unreachable.
#[doc(alias("ScalekitClient", "NewScalekitClient"))]
#[derive(Clone)]
pub struct Scalekit {
    environment: Arc<Environment>,
}

struct Environment {
    url: EnvironmentUrl,
    client_id: String,
    client_secret: SecretString,
    http_client: Arc<dyn HttpClient>,
    clock: Clock,
    keys: RemoteKeys,
    application_token: TokenSlot,
    #[cfg(all(feature = "reqwest", feature = "sandbox"))]
    started: Option<crate::sandbox::Sandbox>,
}

impl Scalekit {
    /// Configures an environment with its URL and the credentials of `Developers > Settings > API
    /// credentials`.
    pub fn builder(
        environment_url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> ScalekitBuilder {
        ScalekitBuilder::new(environment_url.into(), client_id.into(), client_secret.into())
    }

    /// Configures an environment from the variables `SCALEKIT_ENVIRONMENT_URL` (or
    /// `SCALEKIT_ENV_URL`), `SCALEKIT_CLIENT_ID` and `SCALEKIT_CLIENT_SECRET`. An empty variable
    /// counts as unset.
    ///
    /// # Errors
    /// Returned when variables are missing or invalid. Lists all of them.
    #[cfg(feature = "reqwest")]
    #[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
    pub fn from_env() -> Result<Self, ConfigError> {
        ScalekitBuilder::from_env()?.build()
    }

    /// The environment's URL without a trailing slash: also the issuer of its tokens.
    #[must_use]
    pub fn environment_url(&self) -> &str {
        self.environment.url.as_str()
    }

    /// This application's client ID.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.environment.client_id
    }

    /// The sandbox that [`from_env_or_sandbox`](Self::from_env_or_sandbox) has started.
    #[cfg(all(feature = "reqwest", feature = "sandbox"))]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "reqwest", feature = "sandbox"))))]
    #[must_use]
    pub fn sandbox(&self) -> Option<&crate::sandbox::Sandbox> {
        self.environment.started.as_ref()
    }

    /// Rejects a public URL of an app whose environment is a sandbox that this handle has started:
    /// anyone can log in there as any user.
    pub(crate) fn check_app_url(
        &self,
        setting: &'static str,
        url: &Url,
    ) -> Result<(), ConfigProblem> {
        #[cfg(all(feature = "reqwest", feature = "sandbox"))]
        if self.sandbox().is_some() && !is_loopback(url) {
            let reason = "must be on localhost, 127.0.0.1 or [::1] while the environment is a \
                          sandbox; set SCALEKIT_ENVIRONMENT_URL, SCALEKIT_CLIENT_ID and \
                          SCALEKIT_CLIENT_SECRET";
            return Err(ConfigProblem::invalid(setting, reason));
        }
        let _ = (setting, url);
        Ok(())
    }

    /// Configures a verifier for access tokens of this environment. Requires an audience.
    pub fn token_verifier(&self) -> TokenVerifierBuilder<ScalekitEnvironment> {
        TokenVerifierBuilder::on_keys(
            self.environment_url().to_owned(),
            self.client_id().to_owned(),
            self.remote_keys().clone(),
            self.clock().clone(),
        )
    }

    /// Configures the revocations of an app whose [`Sessions`](crate::Sessions) have the same shared
    /// store and are in other processes. An app that has them here uses
    /// [`Sessions::revocations`](crate::Sessions::revocations).
    pub fn revocations(&self, store: impl SharedStore) -> RevocationsBuilder {
        RevocationsBuilder::new(
            self.environment_url(),
            self.client_id(),
            self.clock().clone(),
            TimedStore::new(store),
        )
    }

    pub(crate) fn client_secret(&self) -> &SecretString {
        &self.environment.client_secret
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.environment.clock
    }

    pub(crate) fn remote_keys(&self) -> &RemoteKeys {
        &self.environment.keys
    }

    /// The URL of a path of the environment.
    pub(crate) fn endpoint(&self, path: &str) -> Url {
        self.environment.url.join(path)
    }

    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, HttpClientError> {
        send_within_limits(self.environment.http_client.as_ref(), request).await
    }
}

impl fmt::Debug for Scalekit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scalekit")
            .field("environment_url", &self.environment_url())
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

/// An environment's URL, without a trailing slash: the base of all others, and the issuer.
#[derive(Clone, Debug)]
struct EnvironmentUrl {
    url: Url,
    text: String,
}

impl EnvironmentUrl {
    /// Accepts https (http only on loopback) without user, path, query and fragment. Errors are those
    /// of `setting`.
    fn parse(setting: &'static str, text: &str) -> Result<Self, ConfigError> {
        let url = Url::parse(text).map_err(|_| {
            ConfigProblem::invalid(setting, "not a URL, expected https://….scalekit.com")
        })?;
        let mut problems = Problems::default();
        if let Err(reason) = require_https_or_loopback(&url) {
            problems.invalid(setting, reason);
        }
        if !url.path().trim_matches('/').is_empty() {
            problems.invalid(setting, "must not have a path, expected https://….scalekit.com");
        }
        if url.query().is_some() || url.fragment().is_some() {
            problems.invalid(setting, "must not have a query or fragment");
        }
        let text = url.as_str().trim_end_matches('/').to_owned();
        problems.finish(Some(Self { url, text }))
    }

    fn as_str(&self) -> &str {
        &self.text
    }

    fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url
    }
}
