use std::fmt;
use std::sync::Arc;

use super::{ConnectAccount, ConnectAccountError, IdentifierOf, Inner};
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::middleware::RouteRejection;
use crate::middleware::rejection::{Renderer, on_rejection};
use crate::session::{Session, Sessions};
use crate::util::shared_results::{RESULT_TTL, SharedResults};

/// Configures [`ConnectAccount`].
#[must_use]
pub struct ConnectAccountBuilder {
    sessions: Sessions,
    connection_name: String,
    path: Option<String>,
    start_page: Option<String>,
    identifier: Arc<IdentifierOf>,
    renderer: Renderer<RouteRejection<ConnectAccountError>>,
}

impl ConnectAccountBuilder {
    pub(super) fn new(sessions: Sessions, connection_name: String) -> Self {
        let owner = sessions.clone();
        Self {
            sessions,
            connection_name,
            path: None,
            start_page: None,
            identifier: Arc::new(move |session: &Session| owner.account_identifier(session)),
            renderer: Renderer::default(),
        }
    }

    /// Sets the path where connecting starts. Users return to `/verify` below it. Default:
    /// `/connect/` and the connection's name.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Sets the path of the app's page with the button. Users are redirected there if Scalekit
    /// returns no redirect after the verification. Default: `/`.
    pub fn start_page(mut self, path: impl Into<String>) -> Self {
        self.start_page = Some(path.into());
        self
    }

    /// Sets what identifies a session's user at the connection: it must be stable, and unique in
    /// the whole environment. Default: the subject. For a
    /// [local session](crate::session::LocalSession), whose subject is the app's own ID, it is a
    /// hash of the environment, client ID and [name](crate::session::SessionsBuilder::name) of the
    /// sessions, a dot, and the subject, so that users with the ID `1` of two apps do not share an
    /// account.
    pub fn identifier<F>(mut self, identifier: F) -> Self
    where
        F: Fn(&Session) -> String + Send + Sync + 'static,
    {
        self.identifier = Arc::new(identifier);
        self
    }

    /// Validates the settings. Sends no request.
    ///
    /// # Errors
    /// Returned when settings are invalid; reports all of them.
    pub fn build(self) -> Result<ConnectAccount, ConfigError> {
        let mut problems = Problems::default();
        if !is_connection_name(&self.connection_name) {
            let reason = "must be letters, digits, spaces, -, _ and :, as in the dashboard";
            problems.push(ConfigProblem::invalid("connection_name", reason));
        }
        let default = format!(
            "/connect/{}",
            self.connection_name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
        );
        let path = self.sessions.join_base_path("path", self.path.as_deref(), &default);
        let path = problems.collect(path).unwrap_or_default();
        if path.ends_with('/') {
            let reason = "must be a plain path such as /connect/gmail";
            problems.push(ConfigProblem::invalid("path", reason));
        }
        let verify_path = format!("{path}/verify");
        let start_page =
            self.sessions.join_base_path("start_page", self.start_page.as_deref(), "/");
        let start_page = problems.collect(start_page).unwrap_or_default();
        // These pages would cause a redirect loop.
        if [&path, &verify_path].contains(&&start_page) {
            problems.push(ConfigProblem::invalid("start_page", "must be a page of the app's own"));
        }
        let verifications = SharedResults::new(
            self.sessions.clock().clone(),
            RESULT_TTL,
            self.sessions.tasks(),
            "connect account",
            ConnectAccountError::Misconfigured,
        );
        let inner = Inner {
            sessions: self.sessions,
            connection_name: self.connection_name,
            path,
            start_page,
            verify_path,
            identifier: self.identifier,
            verifications,
            renderer: self.renderer,
        };
        problems.finish(Some(ConnectAccount { inner: Arc::new(inner) }))
    }
}

fn is_connection_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || " -_:".contains(letter))
}

on_rejection!(ConnectAccountBuilder, RouteRejection<ConnectAccountError>, renderer);

impl fmt::Debug for ConnectAccountBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAccountBuilder")
            .field("connection_name", &self.connection_name)
            .field("path", &self.path)
            .field("start_page", &self.start_page)
            .finish_non_exhaustive()
    }
}
