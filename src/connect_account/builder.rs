use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::{ConnectAccount, ConnectRejection, IdentifierOf, Inner};
use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::rejection::{Rejected, Renderer};
use crate::session::{Session, Sessions, is_plain};

/// Configures [`ConnectAccount`].
#[must_use]
pub struct ConnectAccountBuilder {
    sessions: Sessions,
    connection_name: String,
    path: Option<String>,
    identifier: Arc<IdentifierOf>,
    renderer: Renderer<ConnectRejection>,
}

impl ConnectAccountBuilder {
    pub(super) fn new(sessions: Sessions, connection_name: String) -> Self {
        let identifier = Arc::new(|session: &Session| session.principal().subject().to_owned());
        Self { sessions, connection_name, path: None, identifier, renderer: Renderer::default() }
    }

    /// Path where connecting starts, `/connect/` and the connection's name unless set; users come
    /// back to `/verify` below it.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// What the app calls a session's person, in place of their subject: stable, and no two persons'
    /// alike.
    pub fn identifier<F>(mut self, identifier: F) -> Self
    where
        F: Fn(&Session) -> String + Send + Sync + 'static,
    {
        self.identifier = Arc::new(identifier);
        self
    }

    /// Renders refusals in your own way. The typed reason stands in the response's extensions in
    /// any case.
    pub fn on_rejection<F>(mut self, render: F) -> Self
    where
        F: Fn(Rejected<'_, ConnectRejection>) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.renderer = Renderer::custom(render);
        self
    }

    /// Checks the settings. Makes no request.
    ///
    /// # Errors
    /// All settings that cannot work, at once.
    pub fn build(self) -> Result<ConnectAccount, ConfigError> {
        let mut problems = Problems::default();
        let letters = |letter: char| letter.is_ascii_alphanumeric() || " -_:".contains(letter);
        if self.connection_name.is_empty() || !self.connection_name.chars().all(letters) {
            let reason = "must be letters, digits, spaces, -, _ and :, as in the dashboard";
            problems.push(ConfigProblem::invalid("connection_name", reason));
        }
        let path = self.path.unwrap_or_else(|| {
            let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
            format!("/connect/{}", self.connection_name.chars().map(plain).collect::<String>())
        });
        let is_own = path.starts_with('/') && !path.starts_with("//") && !path.ends_with('/');
        if !is_own || !is_plain(&path) {
            let reason = "must be a plain path such as /connect/gmail";
            problems.push(ConfigProblem::invalid("path", reason));
        }
        let verify_path = format!("{path}/verify");
        let verify_url = self.sessions.public_url().join(&verify_path);
        let verify_url = verify_url
            .map_err(|error| ConfigProblem::invalid("path", format!("not a path: {error}")));
        let inner = problems.note(verify_url).map(|verify_url| Inner {
            sessions: self.sessions,
            connection_name: self.connection_name,
            path,
            verify_path,
            verify_url,
            identifier: self.identifier,
            renderer: self.renderer,
        });
        problems.finish(inner.map(|inner| ConnectAccount(Arc::new(inner))))
    }
}

impl fmt::Debug for ConnectAccountBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAccountBuilder")
            .field("connection_name", &self.connection_name)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
