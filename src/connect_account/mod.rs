//! A user connects an account at another service, and only theirs becomes active.
//!
//! An authorization link of a [connected account](crate::api::connected_accounts) is good for
//! whoever opens it: a user could send theirs to a colleague, whose mailbox would then be the
//! user's. So Scalekit asks the app who came back before it activates the account. [`ConnectAccount`]
//! responses that, with two services behind [`RequireSession`]:
//!
//! | service | where by default | what it does |
//! |---|---|---|
//! | [`Start`] | `POST /connect/gmail`; `GET` for a page with the button | makes the account and sends the browser to consent |
//! | [`Verify`] | `GET /connect/gmail/verify` | activates the account, if it is that of who began |
//!
//! 1. The account is that of the session's user: their subject, which of a local session is prefixed
//!    with a hash that identifies the app, or what
//!    [`identifier`](ConnectAccountBuilder::identifier) makes of the session. Nothing in a request
//!    says whose it is.
//! 2. Each attempt has a random `state`, kept with who began it in a sealed cookie that lives ten
//!    minutes and is good for one return, in this browser.
//! 3. A return is accepted if its `state` is of such a cookie (compared in constant time) and the person
//!    who is logged in is who began; Scalekit then compares the identifier too.
//! 4. A return can be used once, in whatever browser it arrives: the shared store keeps which ones are
//!    expected. One that is rejected is spent too, so that its address is of no use to whoever learns
//!    of it. Without a session it ends at the login, which leads to the page with the button and
//!    does not repeat the address. Only while Scalekit does not respond can the same browser use it again.
//! 5. The browser goes where the API says, if that is http or https; else to the app's
//!    [page with the button](ConnectAccountBuilder::start_page).
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
mod expected_return;
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

pub use self::builder::ConnectAccountBuilder;
pub use self::rejection::ConnectAccountError;
pub use self::start::Start;
pub use self::verify::Verify;

/// The services by which users connect their accounts of one connection. Cheap to clone. See the
/// [module docs](self).
#[derive(Clone)]
pub struct ConnectAccount(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    connection_name: String,
    path: String,
    start_page: String,
    verify_path: String,
    verify_url: Url,
    identifier: Arc<IdentifierOf>,
    renderer: Renderer<RouteRejection<ConnectAccountError>>,
}

type IdentifierOf = dyn Fn(&Session) -> String + Send + Sync;

impl ConnectAccount {
    /// For the users of these sessions, by the name of the connection exactly as the dashboard
    /// spells it.
    pub fn builder(
        sessions: &Sessions,
        connection_name: impl Into<String>,
    ) -> ConnectAccountBuilder {
        ConnectAccountBuilder::new(sessions.clone(), connection_name.into())
    }

    /// The service that sends a user to consent.
    #[must_use]
    pub fn start(&self) -> RequireSessionService<Start> {
        RequireSession::new(&self.0.sessions).layer(Start(self.clone()))
    }

    /// The service that users come back to.
    #[must_use]
    pub fn verify(&self) -> RequireSessionService<Verify> {
        RequireSession::new(&self.0.sessions).optional().layer(Verify(self.clone()))
    }

    /// Where [`start`](Self::start) is to be mounted: `/connect/` and the connection's name unless
    /// set otherwise.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Where [`verify`](Self::verify) is to be mounted: `/verify` below [`path`](Self::path).
    #[must_use]
    pub fn verify_path(&self) -> &str {
        &self.0.verify_path
    }

    /// The account that a session's person has, or would have, at the connection: for
    /// [tools](crate::api::tools) and the proxy in their name.
    #[must_use]
    pub fn account(&self, session: &Session) -> AccountKey {
        AccountKey::new(&self.0.connection_name, self.identifier(session))
    }

    /// What identifies a session's user at the connection. Keep it with the user for work without a
    /// session.
    #[must_use]
    pub fn identifier(&self, session: &Session) -> String {
        (self.0.identifier)(session)
    }

    fn accounts(&self) -> ConnectedAccountsApi {
        self.0.sessions.scalekit().api().connected_accounts()
    }
}

impl fmt::Debug for ConnectAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAccount")
            .field("connection_name", &self.0.connection_name)
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}
