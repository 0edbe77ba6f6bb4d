//! A Scalekit environment in the process or on a loopback port, for tests and for trying out.
//!
//! [`Sandbox`] answers as a Scalekit environment does and checks what one checks: redirect URIs,
//! the client secret, PKCE, codes and refresh tokens that work once. It starts with three
//! organizations and five users:
//!
//! | e-mail | organization | roles | permissions |
//! |---|---|---|---|
//! | `jane@acme.test` | Acme | `admin` | `workspace_data:read`, `workspace_data:write` |
//! | `john@acme.test` | Acme | `member` | `workspace_data:read` |
//! | `gita@globex.test` | Globex | `admin` | `workspace_data:read`, `workspace_data:write` |
//! | `john@example.com` | Test Organization | `member` | `workspace_data:read` |
//! | `mina@example.org` | Test Organization | `member` | `workspace_data:read` |
//!
//! # Single sign-on
//!
//! Each organization has a [`Connection`] for its e-mail domains: Acme's is Okta by SAML, Globex's
//! Microsoft Entra ID by OIDC, and that of the Test Organization the simulator that every
//! environment comes with. An authorization request selects one by `connection_id`, by
//! `organization_id`, by `domain` or `domain_hint`, or by the address in `login_hint`; the first of
//! them that is there decides. The sandbox then plays that organization's identity provider: a page
//! to sign in at, to cancel, or to let it fail as an identity provider may. A connection that
//! [is off](Sandbox::set_connection_enabled) refuses with `connection_not_active`. An organization
//! with no other still has the hosted login, and with Modular SSO refuses with
//! `no_active_connections`.
//!
//! [`SandboxBuilder::modular_sso`] switches everything but that off and gives tokens as Modular SSO
//! does.
//!
//! `/idp/{connection_id}` is the other end: the portal of a company, from which its people launch
//! the application, at the URL of [`Sandbox::set_initiate_login_url`]. [`Sandbox::launch_url`] and
//! [`Sandbox::launch_token`] give a test what the portal sends along,
//! [`Sandbox::failed_launch_url`] what the environment sends when a launch fails.
//!
//! Administrators switch connections and directories in a portal of their own. The API gives links
//! to it, each good for one visit that begins within a minute; it can be shown in a frame.
//!
//! # Directories
//!
//! Acme and Globex have a directory too, as if their identity provider pushed users and groups over
//! SCIM: [`Sandbox::directory_id`] names it, [`Sandbox::add_directory_user`] and its kin change it.
//! Acme's has Jane, John, Zoë and Ravi in it, Globex's Gita and Hank. Who is in a directory and who
//! signs in are two lists; neither follows the other.
//!
//! # API
//!
//! Below `/api/v1`, for who has a token of the client-credentials grant, it tells of its sessions
//! and revokes them, tells of its organizations, makes, changes and removes them, and tells of their
//! connections, their directories, and the users and groups in them.
//!
//! # Webhooks
//!
//! Each change of a directory or a connection is an event, and [`Sandbox::emit`] makes any other.
//! Events go as signed webhooks to each [`Sandbox::add_webhook_endpoint`], through the client of
//! [`Sandbox::deliver_webhooks_with`]: when a test says so with [`Sandbox::deliver_due`], or in the
//! background after [`Sandbox::start_delivery`]. An answer other than 2xx is followed by five more
//! attempts over 22 minutes of the sandbox's clock. [`Sandbox::deliveries`] and the page at
//! `/deliveries` show what was sent; there and with [`Sandbox::redeliver`] it is sent again.
//!
//! # Mails
//!
//! It sends codes and magic links by mail, to an outbox: [`Sandbox::outbox`], and the page at
//! `/outbox`. [`Sandbox::set_passwordless_type`], [`Sandbox::enforce_same_browser`] and
//! [`Sandbox::issue_new_credentials_on_resend`] are the dashboard's settings.
//!
//! # Resources
//!
//! For MCP servers it has resources, at first the one named by [`Sandbox::resource_id`]. Each is an
//! OAuth 2.1 authorization server with metadata, dynamic client registration, a page that asks for
//! consent, and tokens that are good for it alone. Clients whose id is the URL of a document are
//! known once [`Sandbox::client_metadata_document`] says what that URL serves: the sandbox fetches
//! nothing.
//!
//! # Agents
//!
//! For agents it has a simulated Gmail behind the connection `gmail`: accounts are made, let in by
//! their users and used through `/api/v1` and `/proxy`. An authorization link shows a page to
//! browsers; a program that opens it lets the application in at once. [`Sandbox::consent`] does so
//! for tests, [`Sandbox::expire_connected_account`] and its kin are what may go wrong then.
//!
//! # Reaching it
//!
//! Reach it without a socket through [`Sandbox::client`], or from a browser and from other
//! languages through [`Sandbox::serve`]. Its time is moved with [`Sandbox::clock`], its signing
//! keys with [`Sandbox::rotate_keys`], and it misbehaves on request: endpoints with
//! [`Sandbox::fail`], tokens with [`Sandbox::break_tokens`] and [`Sandbox::tamper`].
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, StatusCode};
//! use tower_scalekit::http_client::HttpClient as _;
//! use tower_scalekit::sandbox::{Endpoint, Fault, Sandbox};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let sandbox = Sandbox::new();
//!
//! // A person signs in: the sandbox plays the browser and gives the URL it is sent back to.
//! let callback = sandbox.log_in(
//!     &format!(
//!         "{}/oauth/authorize?response_type=code&client_id={}&scope=openid+email&state=af0ifjsldkj\
//!          &redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fauth%2Fcallback",
//!         sandbox.environment_url(),
//!         sandbox.client_id(),
//!     ),
//!     "jane@acme.test",
//! );
//! assert!(callback.unwrap().starts_with("http://localhost:3000/auth/callback?code="));
//!
//! // The key set is there, until it is not.
//! let keys = || Request::get(format!("{}/keys", sandbox.environment_url())).body(Bytes::new());
//! assert_eq!(sandbox.client().send(keys().unwrap()).await.unwrap().status(), StatusCode::OK);
//! sandbox.fail(Endpoint::Keys, Fault::Unreachable);
//! assert!(sandbox.client().send(keys().unwrap()).await.is_err());
//! assert_eq!(sandbox.requests(Endpoint::Keys), 2);
//! # }
//! ```
//!
//! # What it is not
//!
//! It trusts whoever opens its login page, and its first signing key is shared by all sandboxes of
//! the process. Never point anything at it that guards real data.

mod admin_portal;
mod api;
mod browser;
mod builder;
mod client;
mod connected_accounts;
mod connections;
mod directories;
mod environment;
mod faults;
mod forms;
mod hosted_login;
mod mail;
mod mcp;
mod oauth;
mod pages;
mod parameters;
mod redirects;
mod respond;
mod router;
mod server;
mod state;
mod tokens;
mod users;
mod webhooks;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use self::environment::Environment;
use self::state::keys::SigningKey;
use self::state::sessions::SessionEnd;
use crate::clock::ManualClock;
use crate::secret::SecretString;

pub use self::browser::LoginFailed;
pub use self::builder::SandboxBuilder;
pub use self::client::SandboxClient;
pub use self::faults::HeldRequests;
pub use self::hosted_login::idp_initiated::NewLaunch;
pub use self::server::SandboxServer;
pub use self::state::connected_accounts::ConnectedAccount;
pub use self::state::connections::Connection;
pub use self::state::directory_records::{
    DirectoryGroup, DirectoryUser, NewDirectoryGroup, NewDirectoryUser,
};
pub use self::state::faults::{Endpoint, Fault};
pub use self::state::mail::{OutboxMail, PasswordlessType};
pub use self::state::resources::{NewResource, ResourceIssuer};
pub use self::state::token_faults::{Signing, TokenDraft, TokenFault, TokenKind};
pub use self::state::users::{NewUser, Organization, User};
pub use self::state::webhooks::{Delivery, DeliveryAttempt, DeliveryState};
pub use self::webhooks::WebhookEndpoint;

/// A Scalekit environment of one's own. Cheap to clone; clones are the same environment.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Sandbox {
    environment: Arc<Environment>,
}

impl Sandbox {
    /// An environment at `https://acme.scalekit.test` with the users of the [module docs](self).
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes for keys and secrets.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// The same, with other settings.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// Where the environment is, and the issuer of its tokens: what to set as
    /// `SCALEKIT_ENVIRONMENT_URL`.
    ///
    /// [`serve`](Self::serve) changes it to the bound address.
    #[must_use]
    pub fn environment_url(&self) -> String {
        self.environment.lock().environment_url.clone()
    }

    /// The client that may use it: what to set as `SCALEKIT_CLIENT_ID`.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.environment.client_id
    }

    /// That client's secret: what to set as `SCALEKIT_CLIENT_SECRET`.
    #[must_use]
    pub fn client_secret(&self) -> &SecretString {
        &self.environment.client_secret
    }

    /// The hand that moves the environment's time.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.environment.clock
    }

    /// Allows a callback URI, compared exactly; at most 256 characters, no query, no fragment.
    ///
    /// As in a development environment, `http` callbacks on `localhost`, `127.0.0.1` and `[::1]`
    /// need not be registered; [`SandboxBuilder::loopback_redirects`] turns that off.
    pub fn register_redirect_uri(&self, uri: &str) {
        self.environment.lock().redirect_uris.insert(uri.to_owned());
    }

    /// Allows a URI to return to after logout, by the rules of
    /// [`register_redirect_uri`](Self::register_redirect_uri).
    pub fn register_post_logout_redirect_uri(&self, uri: &str) {
        self.environment.lock().post_logout_redirect_uris.insert(uri.to_owned());
    }

    /// An HTTP client that reaches the environment without a socket.
    #[must_use]
    pub fn client(&self) -> SandboxClient {
        SandboxClient::new(Arc::clone(&self.environment))
    }

    /// Signs with a fresh key from now on; the old one stays published at `/keys`.
    pub fn rotate_keys(&self) {
        let fresh = SigningKey::generate();
        self.environment.lock().keys.rotate(fresh);
    }

    /// Signs with a fresh key from now on that takes over the old one's `kid` and its place at
    /// `/keys`: what no environment should do, and a verifier should survive.
    pub fn rotate_keys_keeping_kid(&self) {
        let fresh = SigningKey::generate();
        self.environment.lock().keys.replace(fresh);
    }

    /// Takes all keys but the current one off `/keys`.
    pub fn drop_old_keys(&self) {
        self.environment.lock().keys.drop_old();
    }

    /// Ends a session (`ses_…`, the `sid` of its tokens): its refresh tokens are refused with
    /// `invalid_grant` and its browser has to sign in again. Says whether it was alive.
    pub fn revoke_session(&self, session_id: &str) -> bool {
        let now = self.environment.now();
        self.environment.lock().end_session(session_id, SessionEnd::Revoked, now)
    }

    /// Ends all sessions of a user and says how many were alive.
    pub fn end_sessions_of(&self, email: &str) -> usize {
        let now = self.environment.now();
        self.environment.lock().end_sessions_of(email, now)
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("environment_url", &self.environment_url())
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}
