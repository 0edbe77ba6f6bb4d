//! Connects a user's account at another service, and verifies whose account it is.
//!
//! Anyone can open an authorization link of a [connected account](crate::api::connected_accounts):
//! a user could send their link to a colleague, whose mailbox would then be connected to the user's
//! account. Scalekit therefore asks the app who has returned before it activates the account.
//! [`ConnectAccount`] verifies this with two services behind [`RequireSession`]:
//!
//! | service | where by default | what it does |
//! |---|---|---|
//! | [`Start`] | `POST /connect/gmail`; `GET` for a page with the button | creates the account and redirects the browser to the consent page |
//! | [`Verify`] | `GET /connect/gmail/verify` | activates the account, if the same user began |
//!
//! 1. The account belongs to the session's user: to the subject (of a local session, prefixed with
//!    a hash that identifies the app), or to the result of
//!    [`identifier`](ConnectAccountBuilder::identifier). The request has no influence on it.
//! 2. Each attempt has a random `state`, stored with its user in a sealed cookie that expires after
//!    ten minutes and is valid for one callback, in this browser.
//! 3. A callback is accepted if its `state` is in such a cookie (compared in constant time) and the
//!    user who is logged in is the one who began. Scalekit then compares the identifier too.
//! 4. A callback can be used once, in any browser: the shared store records which ones are
//!    expected. A rejected one is used up too, so that its address is worthless if it leaks; also
//!    if its `state` was used before. After four IDs of consents with one `state`, each further
//!    one blocks the account of that `state` for a day: its callbacks are rejected. Whoever knows a
//!    `state` of the last hour can cause this, for its user and this connection only.
//!    Without a session, it redirects to the login, which leads to the page with the button and
//!    does not repeat the address. If Scalekit or the shared store is unavailable, the same browser
//!    can use it again. A second click or reload shares the result of the first for ten seconds, in
//!    the same process.
//! 5. The browser is redirected to the URL that the API returns, if that is http or https;
//!    otherwise to the app's [page with the button](ConnectAccountBuilder::start_page).
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, StatusCode, header};
//! use tower::ServiceExt;
//! use tower_scalekit::{ConnectAccount, Sandbox, SessionSecret, Sessions};
//!
//! let sandbox = Sandbox::new();
//! let sessions = Sessions::builder(sandbox.scalekit())
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! let gmail = ConnectAccount::builder(&sessions, "gmail").build()?;
//! // With axum: router.merge(gmail.routes()); a page has <form method="post" action="/connect/gmail">
//!
//! let cookie = sandbox.session_cookie(&sessions, "jane@acme.test").await;
//! let request = Request::post("/connect/gmail").header(header::COOKIE, cookie).body(())?;
//! let response = gmail.start().oneshot(request).await?;
//! assert_eq!(response.status(), StatusCode::SEE_OTHER);
//! let link = response.headers()[header::LOCATION].to_str()?;
//! assert!(sandbox.consent(link)?.starts_with("https://app.example.com/connect/gmail/verify?"));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

mod attempt;
mod builder;
mod expected_callback;
pub(crate) mod rejection;
#[cfg(feature = "axum")]
mod router;
mod start;
mod verify;

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer as _;
use url::Url;

use crate::api::connected_accounts::{AccountKey, ConnectedAccountsApi};
use crate::middleware::RouteRejection;
use crate::middleware::rejection::Renderer;
use crate::require_session::{RequireSession, RequireSessionService};
use crate::session::{Session, Sessions};
use crate::util::shared_results::SharedResults;

pub use self::builder::ConnectAccountBuilder;
pub use self::rejection::ConnectAccountError;
pub use self::start::Start;
pub use self::verify::Verify;

/// The services with which users connect their accounts of one connection. Cheap to clone. See the
/// [module docs](self).
#[derive(Clone)]
pub struct ConnectAccount {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: Sessions,
    connection_name: String,
    path: String,
    start_page: String,
    verify_path: String,
    identifier: Arc<IdentifierOf>,
    /// Verifications that are in progress or just completed: the redirect target.
    verifications: SharedResults<Option<Url>, ConnectAccountError>,
    renderer: Renderer<RouteRejection<ConnectAccountError>>,
}

type IdentifierOf = dyn Fn(&Session) -> String + Send + Sync;

impl ConnectAccount {
    /// Configures connecting for the users of these sessions. `connection_name` is spelled exactly
    /// as in the dashboard.
    pub fn builder(
        sessions: &Sessions,
        connection_name: impl Into<String>,
    ) -> ConnectAccountBuilder {
        ConnectAccountBuilder::new(sessions.clone(), connection_name.into())
    }

    /// Returns the service that redirects a user to the consent page.
    #[must_use]
    pub fn start(&self) -> RequireSessionService<Start> {
        RequireSession::new(self.sessions()).layer(Start { connect: self.clone() })
    }

    /// Returns the service that receives users after the consent.
    #[must_use]
    pub fn verify(&self) -> RequireSessionService<Verify> {
        RequireSession::new(self.sessions()).optional().layer(Verify { connect: self.clone() })
    }

    /// Returns the path for [`start`](Self::start). Default: `/connect/` and the connection's name.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// Returns the path for [`verify`](Self::verify): `/verify` below [`path`](Self::path).
    #[must_use]
    pub fn verify_path(&self) -> &str {
        &self.inner.verify_path
    }

    /// Returns the key of the account that the session's user has, or would have, at the
    /// connection, for [tools](crate::api::tools) and the proxy.
    #[must_use]
    pub fn account(&self, session: &Session) -> AccountKey {
        AccountKey::new(&self.inner.connection_name, self.identifier(session))
    }

    /// Returns what identifies a session's user at the connection. Store it with the user for work
    /// without a session.
    #[must_use]
    pub fn identifier(&self, session: &Session) -> String {
        (self.inner.identifier)(session)
    }

    fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    fn accounts(&self) -> ConnectedAccountsApi {
        self.sessions().scalekit().api().connected_accounts()
    }
}

impl fmt::Debug for ConnectAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAccount")
            .field("connection_name", &self.inner.connection_name)
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}
