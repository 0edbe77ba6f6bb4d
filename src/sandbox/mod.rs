//! A Scalekit environment in the process or on a loopback port, for tests and for development.
//!
//! [`Sandbox`] behaves like a Scalekit environment and validates what one validates: redirect URIs,
//! the client secret, PKCE, and that codes and refresh tokens are used once. It starts with three
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
//! # Controls
//!
//! | | |
//! |---|---|
//! | [`users`](Sandbox::users), [`organizations`](Sandbox::organizations) | adds, changes and removes users and organizations; revokes sessions |
//! | [`tokens`](Sandbox::tokens), [`keys`](Sandbox::keys) | tokens without a login, faults of issued tokens, key rotation |
//! | [`faults`](Sandbox::faults), [`requests`](Sandbox::requests) | endpoints that fail, delay or hold requests; request counts |
//! | [`connections`](Sandbox::connections), [`idp`](Sandbox::idp) | single sign-on and IdP-initiated login |
//! | [`directories`](Sandbox::directories) | directory users and groups |
//! | [`webhooks`](Sandbox::webhooks) | endpoints, events and deliveries |
//! | [`mail`](Sandbox::mail) | the e-mail outbox and passwordless settings |
//! | [`mcp`](Sandbox::mcp) | MCP resources and their clients |
//! | [`connected_accounts`](Sandbox::connected_accounts) | accounts at simulated services |
//! | [`log_in`](Sandbox::log_in), [`consent`](Sandbox::consent) | a user at a browser |
//! | [`clock`](Sandbox::clock) | the environment's time |
//!
//! # Single sign-on
//!
//! Each organization has a [`SandboxConnection`] for its e-mail domains: Acme's is Okta by SAML,
//! Globex's Microsoft Entra ID by OIDC, and that of the Test Organization is the simulator that
//! every environment comes with. An authorization request selects one by `connection_id`, by
//! `organization_id`, by `domain` or `domain_hint`, or by the address in `login_hint`; the first of
//! these that is present decides. The sandbox then shows a page of that organization's identity
//! provider: to sign in, to cancel, or to fail with an error of an identity provider. A connection
//! that [is disabled](Connections::set_enabled) fails with `connection_not_active`. An organization
//! without a connection uses the hosted login; with Modular SSO it fails with
//! `no_active_connections`.
//!
//! [`SandboxBuilder::modular_sso`] disables everything except single sign-on and issues tokens as
//! Modular SSO does.
//!
//! `/idp/{connection_id}` is the portal of an identity provider, from which users open the
//! application at the URL of [`Idp::set_initiate_login_url`]. [`Idp::login_url`] and
//! [`Idp::login_token`] return what the portal sends, [`Idp::failed_login_url`] what the
//! environment sends when the login fails.
//!
//! Administrators enable and disable connections and directories in the admin portal. The API
//! creates links to it, each valid for one visit that begins within a minute; it can be shown in a
//! frame.
//!
//! # Directories
//!
//! Acme and Globex have a directory, as if their identity provider pushed users and groups over
//! SCIM: [`Directories::first_id`] returns its ID. Acme's contains Jane, John, Zoë and Ravi,
//! Globex's Gita and Hank. Directory users and the users who sign in are separate lists.
//!
//! # API
//!
//! Below `/api/v1`, for tokens of the client-credentials grant: the operations that
//! [this page](crate::guides::api_operations) lists. Any other operation responds with 501 and names
//! itself. Clients of the gRPC API, such as the typed clients of the official SDKs, are rejected with
//! a message.
//! [`SandboxOrganizations::add_machine_client`] adds clients of the client-credentials grant.
//!
//! Sessions have no time limits. The sandbox knows 10,000 sessions, 10,000 grants and 100,000 refresh
//! tokens. Beyond that, it forgets a tenth of them: first what has ended or was replaced, then what was
//! not used for the longest time.
//!
//! # Members and roles
//!
//! The API creates users, memberships and roles, with effect on logins and tokens. An invitation is
//! an e-mail in the outbox, whose link opens the application at the URL of
//! [`Idp::set_initiate_login_url`]; the user is a member after the login that follows. A user with
//! several organizations logs in to the first, or to the one that the request names. Administrators
//! verify domains in the admin portal; users of a verified domain log in through the connection of
//! its organization.
//!
//! # Webhooks
//!
//! Each change of a directory, a connection or a membership by the API is an event, and
//! [`Webhooks::emit`] adds any other. Events go as signed webhooks to each
//! [endpoint](Webhooks::add_endpoint), through the client of [`Webhooks::set_client`]: on
//! [`Webhooks::deliver_due`], or in the background after [`Webhooks::start_delivery`]. A response
//! other than 2xx is followed by five more attempts over 22 minutes of the sandbox's clock.
//! [`Webhooks::deliveries`] and the page at `/deliveries` list what was sent; that page and
//! [`Webhooks::redeliver`] send it again.
//!
//! # E-mail
//!
//! Codes, magic links and invitations go to an outbox: [`Mail::outbox`], and the page at `/outbox`.
//! [`Mail::set_passwordless_type`], [`Mail::enforce_same_browser`] and
//! [`Mail::issue_new_credentials_on_resend`] are the dashboard's settings.
//!
//! # MCP resources
//!
//! The first resource is [`Mcp::resource_id`]. Each resource is an OAuth 2.1 authorization server
//! with metadata, dynamic client registration, a consent page, and tokens for that resource alone.
//! Clients whose ID is the URL of a document are known after
//! [`Mcp::add_client_metadata_document`], or are fetched after
//! [`Mcp::fetch_client_metadata_documents`]. The metadata advertises such clients from then on.
//! A sandbox that [`Scalekit::from_env_or_sandbox`](crate::Scalekit) has started has the app's own
//! resource.
//!
//! # Connected accounts
//!
//! Behind the connections `gmail`, `slack`, `salesforce` and `exa` are simulated services, the last
//! one with API keys: accounts are created, authorized by their users and used through `/api/v1`, and
//! Gmail's API through `/proxy`. An authorization link shows a page to browsers; a program that opens
//! it authorizes the application at once. [`Sandbox::consent`] does so for tests,
//! [`SandboxConnectedAccounts::expire`] and [`SandboxConnectedAccounts::disconnect`] end it.
//! MCP configurations have servers at `/mcp/v3/servers/`, for clients with a session token.
//! [`SandboxConnectedAccounts::tool_runs`] lists the tools that were executed: nothing else is sent
//! or deleted. The names of tools follow Scalekit's catalog, the data is invented.
//!
//! # Access
//!
//! [`Sandbox::client`] reaches the environment without a socket, [`Sandbox::serve`] serves it to a
//! browser and to other languages. The example `sandbox` is a program that does only that; its page
//! lists the variables that it reads:
//!
//! ```sh
//! cargo install tower-scalekit --example sandbox --features redis,sandbox
//! BIND=127.0.0.1:8080 MCP_RESOURCE_URL=http://localhost:3000/mcp sandbox
//! ```
//!
//! `cargo install` builds the dependencies of all examples, which takes minutes. A program of your
//! own needs only this crate and tokio:
//!
//! ```no_run
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! use tower_scalekit::Sandbox;
//!
//! let sandbox = Sandbox::new();
//! let server = sandbox.serve(([127, 0, 0, 1], 8080).into()).await?;
//! println!("open {} for the settings to copy", server.environment_url());
//! std::future::pending::<()>().await; // until Ctrl-C
//! # Ok(())
//! # }
//! ```
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
//! // A user signs in: the sandbox acts as the browser and returns the URL it is sent back to.
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
//! // The key set is available until a fault is added.
//! let keys = || Request::get(format!("{}/keys", sandbox.environment_url())).body(Bytes::new());
//! assert_eq!(sandbox.client().send(keys().unwrap()).await.unwrap().status(), StatusCode::OK);
//! sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
//! assert!(sandbox.client().send(keys().unwrap()).await.is_err());
//! assert_eq!(sandbox.requests().count(Endpoint::Keys), 2);
//! # }
//! ```
//!
//! # Limits
//!
//! The login page trusts every visitor, and the first signing key is shared by all sandboxes of the
//! process. Never let a sandbox protect real data.

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
mod redirect_uri;
mod respond;
mod router;
mod server;
mod state;
mod tokens;
mod users;
mod webhooks;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::{fmt, io};

use self::environment::Environment;
use self::state::webhook_envelope::ENVIRONMENT_ID;
use crate::clock::ManualClock;
use crate::secret::SecretString;

pub use self::browser::LoginFailed;
pub use self::builder::SandboxBuilder;
pub use self::client::SandboxClient;
pub use self::connected_accounts::control::SandboxConnectedAccounts;
pub use self::connections::control::Connections;
pub use self::directories::control::Directories;
pub use self::faults::control::{Faults, HeldRequests, Requests};
pub use self::hosted_login::control::Idp;
pub use self::hosted_login::idp_initiated::NewIdpInitiatedLogin;
pub use self::mail::control::Mail;
pub use self::mcp::control::Mcp;
pub use self::server::SandboxServer;
pub use self::state::connected_accounts::{SandboxConnectedAccount, SandboxToolRun};
pub use self::state::connections::SandboxConnection;
pub use self::state::directory_records::{
    NewDirectoryGroup, NewDirectoryUser, SandboxDirectoryGroup, SandboxDirectoryUser,
};
pub use self::state::faults::{Endpoint, Fault};
pub use self::state::machines::{MachineClient, NewMachineClient};
pub use self::state::mail::{OutboxMail, PasswordlessType};
pub use self::state::resources::{NewResource, ResourceIssuer};
pub use self::state::token_faults::{Signing, TokenDraft, TokenFault, TokenKind};
pub use self::state::users::{NewUser, SandboxOrganization, SandboxUser};
pub use self::state::webhooks::{Delivery, DeliveryAttempt, DeliveryState};
pub use self::tokens::control::Tokens;
pub use self::tokens::dpop::DpopKey;
pub use self::tokens::keys::Keys;
pub use self::users::control::{SandboxOrganizations, Users};
pub use self::webhooks::control::Webhooks;
pub use self::webhooks::endpoint::WebhookEndpoint;

/// A Scalekit environment for one test or one program. Cheap to clone; clones are the same
/// environment.
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
    /// When the random source of the operating system fails.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Configures an environment.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// The URL of the environment and the issuer of its tokens: the value of
    /// `SCALEKIT_ENVIRONMENT_URL`.
    ///
    /// [`serve`](Self::serve) changes it to the bound address.
    #[must_use]
    pub fn environment_url(&self) -> String {
        self.environment.lock().environment_url.clone()
    }

    /// The ID of the environment (`env_…`) in its events.
    #[must_use]
    pub fn environment_id(&self) -> &str {
        ENVIRONMENT_ID
    }

    /// The ID of the application's client: the value of `SCALEKIT_CLIENT_ID`.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.environment.client_id
    }

    /// The secret of the application's client: the value of `SCALEKIT_CLIENT_SECRET`.
    #[must_use]
    pub fn client_secret(&self) -> &SecretString {
        &self.environment.client_secret
    }

    /// The clock of the environment.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.environment.clock
    }

    /// An HTTP client that reaches the environment without a socket.
    #[must_use]
    pub fn client(&self) -> SandboxClient {
        SandboxClient::new(Arc::clone(&self.environment))
    }

    /// Serves the environment over HTTP/1.1 on a loopback address; port 0 selects a free one. The
    /// URL of the environment becomes `http://` and the bound address.
    ///
    /// It runs in the background until the [`SandboxServer`] is dropped or shut down.
    ///
    /// # Errors
    ///
    /// Returned when the address cannot be bound, or is not a loopback address: the login page
    /// trusts every visitor.
    pub async fn serve(&self, address: SocketAddr) -> io::Result<SandboxServer> {
        SandboxServer::start(&self.environment, address).await
    }

    /// Allows a redirect URI, compared exactly; at most 256 characters, no query, no fragment.
    ///
    /// As in a development environment, `http` redirect URIs on `localhost`, `127.0.0.1` and
    /// `[::1]` need not be registered; [`SandboxBuilder::loopback_redirects`] changes that.
    pub fn register_redirect_uri(&self, uri: &str) {
        self.environment.lock().redirect_uris.insert(uri.to_owned());
    }

    /// Opens an authorization URL in a new browser, signs in as this user at the page that is
    /// shown, the environment's or an identity provider's, and returns the URL the browser is sent
    /// back to, with its `code` and `state` or its `error`.
    ///
    /// At an MCP resource the user then allows all that the client requests; with a
    /// [login page of the application](crate::sandbox::Mcp::set_own_login), its URL is returned
    /// instead. An unknown address signs up. Endpoint faults do not apply and requests are not counted.
    ///
    /// # Errors
    ///
    /// Returned when a page does not redirect: an unknown client, a redirect URI that is not
    /// allowed, a user of another organization.
    pub fn log_in(&self, authorization_url: &str, email: &str) -> Result<String, LoginFailed> {
        browser::log_in(&self.environment, authorization_url, email)
    }

    /// Opens an authorization URL that selects a connection, fails the login at its identity
    /// provider with this error code, such as `invalid_saml_response`, and returns the URL the
    /// browser is sent back to.
    ///
    /// # Errors
    ///
    /// Returned when a page does not redirect, no connection is selected, or the identity provider
    /// has no such error.
    pub fn fail_log_in(&self, authorization_url: &str, error: &str) -> Result<String, LoginFailed> {
        browser::fail_log_in(&self.environment, authorization_url, error)
    }

    /// Opens an authorization link of a connected account, allows it, and returns the URL the user
    /// is sent to: the application's `user_verify_url`, or the last page of the sandbox.
    ///
    /// # Errors
    ///
    /// Returned when the page does not redirect: the link was used, or user verification is
    /// required and the link has no `user_verify_url`.
    pub fn consent(&self, link: &str) -> Result<String, LoginFailed> {
        browser::consent(&self.environment, link)
    }

    /// Connected accounts.
    #[must_use]
    pub fn connected_accounts(&self) -> SandboxConnectedAccounts<'_> {
        SandboxConnectedAccounts { environment: &self.environment }
    }

    /// Connections of organizations.
    #[must_use]
    pub fn connections(&self) -> Connections<'_> {
        Connections { environment: &self.environment }
    }

    /// Directories, their users and groups.
    #[must_use]
    pub fn directories(&self) -> Directories<'_> {
        Directories { environment: &self.environment }
    }

    /// Faults of endpoints.
    #[must_use]
    pub fn faults(&self) -> Faults<'_> {
        Faults { environment: &self.environment }
    }

    /// IdP-initiated login.
    #[must_use]
    pub fn idp(&self) -> Idp<'_> {
        Idp { environment: &self.environment }
    }

    /// Signing keys.
    #[must_use]
    pub fn keys(&self) -> Keys<'_> {
        Keys { environment: &self.environment }
    }

    /// Passwordless e-mail and its settings.
    #[must_use]
    pub fn mail(&self) -> Mail<'_> {
        Mail { environment: &self.environment }
    }

    /// MCP resources and their clients.
    #[must_use]
    pub fn mcp(&self) -> Mcp<'_> {
        Mcp { environment: &self.environment }
    }

    /// Organizations.
    #[must_use]
    pub fn organizations(&self) -> SandboxOrganizations<'_> {
        SandboxOrganizations { environment: &self.environment }
    }

    /// Counts of requests.
    #[must_use]
    pub fn requests(&self) -> Requests<'_> {
        Requests { environment: &self.environment }
    }

    /// Tokens without a login, and faults of issued tokens.
    #[must_use]
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens { environment: &self.environment }
    }

    /// Users and their sessions.
    #[must_use]
    pub fn users(&self) -> Users<'_> {
        Users { environment: &self.environment }
    }

    /// Webhook endpoints, events and deliveries.
    #[must_use]
    pub fn webhooks(&self) -> Webhooks<'_> {
        Webhooks { environment: &self.environment }
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
