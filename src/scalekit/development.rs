//! A sandbox for development, if no environment is configured.

use std::env;
use std::ffi::OsString;
use std::net::Ipv4Addr;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};

use super::Scalekit;
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::http_client::{HttpClient, HttpClientError};
use crate::sandbox::{Sandbox, SandboxBuilder, SandboxClient, SandboxServer};
use crate::util::telemetry;

/// Sends requests to a sandbox in this process, without a socket: a proxy in `HTTP_PROXY` would get
/// those to loopback URLs, too. The port stays open for browsers as long as the client is in use.
struct ServedClient {
    client: SandboxClient,
    _server: SandboxServer,
}

impl HttpClient for ServedClient {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        self.client.send(request)
    }
}

impl Scalekit {
    /// Configures an environment from the variables of [`from_env`](Self::from_env), or starts a
    /// sandbox if none of them is set, so that an app runs without an account during development.
    ///
    /// A sandbox is started only if no variable `SCALEKIT_…` is set, and only with debug
    /// assertions. In a release build, missing variables are an error. Users log in without a
    /// password in a sandbox, so the redirect URI, or the URL of a protected resource, must then be
    /// on loopback; `build()` rejects others. The sandbox is served on a free loopback port until
    /// this handle, its clones and all that was built with them are dropped. Its URL is printed to
    /// standard error: a browser finds the client's ID and secret there, the users and their e-mails.
    ///
    /// ```no_run
    /// # async fn configure() -> Result<(), tower_scalekit::ConfigError> {
    /// use tower_scalekit::{Scalekit, SessionSecret, Sessions};
    ///
    /// let sessions = Sessions::builder(Scalekit::from_env_or_sandbox().await?)
    ///     .secret(SessionSecret::from_env_or_generate("SESSION_SECRET")?)
    ///     .redirect_uri("http://localhost:3000/auth/callback")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returned when some variables are missing or invalid, when all are missing in a release
    /// build, and when no loopback port is available.
    #[cfg_attr(docsrs, doc(cfg(all(feature = "reqwest", feature = "sandbox"))))]
    #[doc(alias = "feature sandbox")]
    pub async fn from_env_or_sandbox() -> Result<Self, ConfigError> {
        Self::from_env_or(Sandbox::builder()).await
    }

    /// Like [`from_env_or_sandbox`](Self::from_env_or_sandbox), with settings of the sandbox.
    ///
    /// # Errors
    /// Those of [`from_env_or_sandbox`](Self::from_env_or_sandbox).
    #[cfg_attr(docsrs, doc(cfg(all(feature = "reqwest", feature = "sandbox"))))]
    #[doc(alias = "feature sandbox")]
    pub async fn from_env_or(sandbox: SandboxBuilder) -> Result<Self, ConfigError> {
        match Source::of(env::vars_os(), cfg!(debug_assertions)) {
            // A release build would start no sandbox without them.
            Source::Environment(names) if cfg!(debug_assertions) => {
                Self::from_env().map_err(|error| explained(error, &names))
            }
            Source::Environment(_) => Self::from_env(),
            Source::Sandbox => Self::start(sandbox).await,
            Source::Missing => {
                let mut problems = Problems::default();
                let configured = problems.collect(Self::from_env());
                let reason = "is started with debug assertions only, and this is a release build";
                problems.invalid("sandbox", reason);
                problems.finish(configured)
            }
        }
    }

    async fn start(sandbox: SandboxBuilder) -> Result<Self, ConfigError> {
        let sandbox = sandbox.build();
        let server = sandbox.serve((Ipv4Addr::LOCALHOST, 0).into()).await.map_err(|error| {
            ConfigProblem::invalid("sandbox", format!("cannot be served on loopback: {error}"))
        })?;
        let url = server.environment_url().to_owned();
        // A new app has no subscriber for the log.
        eprintln!(
            "sandbox on {url} (no SCALEKIT_ variable is set): open it for the client's ID and \
             secret, users and e-mails; log in as jane@acme.test"
        );
        if !tracing::dispatcher::has_been_set() {
            eprintln!(
                "no log: call tracing_subscriber::fmt::init() first, to see why requests fail"
            );
        }
        telemetry::sandbox_started(&url);
        Self::builder(url, sandbox.client_id(), sandbox.client_secret().clone())
            .http_client(ServedClient { client: sandbox.client(), _server: server })
            .clock(sandbox.clock().clock())
            .started(sandbox)
            .build()
    }
}

/// Adds why no sandbox was started instead, if settings are missing.
fn explained(error: ConfigError, names: &[String]) -> ConfigError {
    if !error.problems().iter().any(|problem| matches!(problem, ConfigProblem::Missing { .. })) {
        return error;
    }
    error.and(ConfigProblem::invalid(
        "sandbox",
        format!("is not started, because a SCALEKIT_ variable is set: {}", names.join(", ")),
    ))
}

/// Where the environment comes from.
#[derive(Debug, PartialEq)]
enum Source {
    /// Of the variables with these names.
    Environment(Vec<String>),
    Sandbox,
    /// Neither is configured nor may be started.
    Missing,
}

impl Source {
    fn of(variables: impl Iterator<Item = (OsString, OsString)>, debug_assertions: bool) -> Self {
        let mut names: Vec<_> = variables
            .filter(|(_, value)| !value.to_string_lossy().trim().is_empty())
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .filter(|name| name.starts_with("SCALEKIT_"))
            .collect();
        names.sort_unstable();
        if !names.is_empty() {
            Self::Environment(names)
        } else if debug_assertions {
            Self::Sandbox
        } else {
            Self::Missing
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_sandbox_starts_only_without_any_variable_and_with_debug_assertions() {
        for (variables, debug, release) in [
            (&[][..], Source::Sandbox, Source::Missing),
            (&[("PATH", "/bin"), ("MY_SCALEKIT_URL", "x")], Source::Sandbox, Source::Missing),
            (&[("SCALEKIT_CLIENT_ID", " \n")], Source::Sandbox, Source::Missing),
        ] {
            let owned = || variables.iter().map(|(name, value)| (name.into(), value.into()));
            assert_eq!(Source::of(owned(), true), debug, "{variables:?}");
            assert_eq!(Source::of(owned(), false), release, "{variables:?}");
        }
        for name in [
            "SCALEKIT_CLIENT_ID",
            "SCALEKIT_ENV_URL",
            "SCALEKIT_WEBHOOK_SECRET",
            "SCALEKIT_CLIENT_SECRET_FILE",
        ] {
            for debug_assertions in [true, false] {
                let variables = [(name.into(), "x".into())].into_iter();
                let environment = Source::Environment(vec![name.to_owned()]);
                assert_eq!(Source::of(variables, debug_assertions), environment);
            }
        }
    }

    #[tokio::test]
    async fn the_sandbox_is_served_while_anything_uses_it() {
        let scalekit = Scalekit::start(Sandbox::builder()).await.unwrap();
        let address = scalekit.environment_url().strip_prefix("http://").unwrap().to_owned();
        assert!(scalekit.sandbox().is_some());
        let verifier = scalekit.token_verifier().audience("https://api.test").build().unwrap();
        let clone = scalekit.clone();
        drop(scalekit);
        assert!(TcpStream::connect(&address).await.is_ok());
        drop(clone);
        assert!(TcpStream::connect(&address).await.is_ok());
        drop(verifier);
        // The listener is closed by its task.
        tokio::task::yield_now().await;
        assert!(TcpStream::connect(&address).await.is_err());
    }
}
