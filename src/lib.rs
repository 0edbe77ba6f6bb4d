//! Tower middleware for [Scalekit](https://www.scalekit.com): hosted login and sessions, OAuth 2.1
//! for APIs and MCP servers, enterprise single sign-on, passwordless login, webhooks, and agents
//! with connected accounts. Works with axum, hyper and tonic.
//!
//! # Quick start
//!
//! ```
//! # #[cfg(all(feature = "sandbox", feature = "axum"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use tower_scalekit::{RequireScope, RequireSession, Session, SessionSecret, Sessions};
//!
//! # let scalekit = tower_scalekit::Sandbox::new().scalekit(); // Scalekit::from_env()?
//! # async fn admin() {}
//! let sessions = Sessions::builder(scalekit)
//!     .secret(SessionSecret::generate()?)
//!     .redirect_uri("https://app.example.com/auth/callback")
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/dashboard", get(|session: Session| async move {
//!         format!("Hello {}", session.user().email)
//!     }))
//!     .route("/api/admin", get(admin).layer(RequireScope::all_permissions(["workspace:write"])))
//!     .route_layer(RequireSession::new(&sessions))
//!     .merge(sessions.routes()); // /login, /auth/callback, /logout and five more
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "sandbox", feature = "axum")))]
//! # fn main() {}
//! ```
//!
//! `scalekit` is [`Scalekit::from_env`] in production and a [`Sandbox`](crate::sandbox) in tests.
//! Routes added after a layer are public.
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | [`add_access_token`] | middleware for clients, which adds the access token of a session to requests |
//! | [`api`] | client for Scalekit's REST API |
//! | [`auth_routes`] | services for login, callback, refresh, logout and back-channel logout |
//! | [`challenge`] | `WWW-Authenticate` challenges (RFC 6750, RFC 9728) |
//! | [`clock`] | system clock, and a manual one for tests |
//! | [`connect_account`] | services that connect a user's account at another service |
//! | [`mod@env`] | settings from environment variables and files |
//! | [`error`] | configuration errors |
//! | [`forward_auth`] | service that authenticates the requests of a reverse proxy |
//! | [`guides`] | [tutorial](guides::tutorial), how-to pages, explanations of [sessions](guides::sessions), [refresh](guides::refresh), [responses](guides::responses) and [security](guides::security) |
//! | [`http_client`] | trait for HTTP requests, with implementations for reqwest and tower |
//! | [`idp_initiated`] | middleware that turns IdP-initiated logins into SP-initiated ones |
//! | [`middleware`] | what all layers share: response future, bodies, rejections |
//! | [`model`] | types that API responses and webhooks share |
//! | [`oauth`] | authorization, token and logout endpoints; PKCE |
//! | [`passwordless_login`] | services for login by e-mailed code or magic link |
//! | [`protected_resource`] | middleware that serves protected resource metadata (RFC 9728) |
//! | [`require_auth`] | middleware that requires a session cookie or a bearer token |
//! | [`require_scope`] | middleware that requires scopes, roles or permissions, also per MCP tool |
//! | [`require_session`] | middleware that requires a session cookie |
//! | [`require_token`] | middleware that requires a bearer token (RFC 6750) |
//! | [`sandbox`] | Scalekit environment for tests, with the feature `sandbox` |
//! | [`scalekit`] | connection to one environment |
//! | [`secret`] | secret types that `Debug` does not print |
//! | [`revocation`] | revocations of sessions, users and organizations, for sessions and bearer tokens |
//! | [`session`] | sessions: creation, cookies, refresh, revocation |
//! | [`shared_store`] | trait for state that replicas share, with implementations for memory and Redis |
//! | [`token`] | verification of JWTs |
//! | [`webhook`] | types of webhook events and interceptor requests |
//! | [`webhook_verify`] | middleware that verifies and deduplicates webhooks |
//!
//! Layers are named for what they do, and their services have the suffix `Service`:
//! [`RequireSession`] is the layer and
//! [`RequireSessionService`](require_session::RequireSessionService) its service. tower and
//! tower-http name them `XLayer` and `X`.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `axum` | yes | [`Sessions::routes`] and [`PasswordlessLogin::routes`] as axum routers, paths of nested axum routers, and `axum-core` |
//! | `axum-core` | with `axum` | extractors for [`Session`], [`Principal`] and [`WebhookEvent`](webhook::WebhookEvent) |
//! | `reqwest` | yes | [`ReqwestClient`](http_client::ReqwestClient), the default [`HttpClient`](http_client::HttpClient) |
//! | `metrics` | no | counters and gauges through the `metrics` facade, all named `tower_scalekit_…` |
//! | `redis` | no | [`RedisStore`](shared_store::RedisStore), the shared store of several replicas |
//! | `sandbox` | no | [`Sandbox`](crate::sandbox) |
//!
//! # Links
//!
//! - [Tutorial](guides::tutorial)
//! - [How to run an app behind a proxy, under several host names, and below a path](guides::behind_a_proxy)
//! - [How to find out why a request was rejected](guides::troubleshooting)
//! - [Which response a request gets](guides::responses)
//! - [Security: what is checked, and by which specification](guides::security)
//! - [Scalekit's documentation](https://docs.scalekit.com)
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations, missing_docs, unreachable_pub)]
#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod add_access_token;
pub mod api;
pub mod auth_routes;
pub mod challenge;
pub mod clock;
pub mod connect_account;
pub mod env;
pub mod error;
pub mod forward_auth;
pub mod http_client;
pub mod idp_initiated;
pub mod middleware;
pub mod model;
pub mod oauth;
pub mod passwordless_login;
pub mod protected_resource;
pub mod require_auth;
pub mod require_scope;
pub mod require_session;
pub mod require_token;
pub mod revocation;
#[cfg(feature = "sandbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "sandbox")))]
pub mod sandbox;
pub mod scalekit;
pub mod secret;
pub mod session;
pub mod shared_store;
pub mod token;
pub mod webhook;
pub mod webhook_verify;

#[cfg(feature = "axum-core")]
mod extract;
pub(crate) mod session_secret;
pub(crate) mod util;

pub use self::add_access_token::AddAccessToken;
pub use self::connect_account::ConnectAccount;
pub use self::error::ConfigError;
#[cfg(feature = "axum-core")]
pub use self::extract::{Bearer, MissingLayer, WebhookPayloadRejection};
pub use self::forward_auth::ForwardAuth;
pub use self::idp_initiated::IdpInitiatedRedirect;
pub use self::passwordless_login::PasswordlessLogin;
pub use self::protected_resource::ProtectedResourceMetadata;
pub use self::require_auth::RequireAuth;
pub use self::require_scope::RequireScope;
pub use self::require_session::RequireSession;
pub use self::require_token::RequireToken;
#[cfg(feature = "sandbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "sandbox")))]
pub use self::sandbox::Sandbox;
pub use self::scalekit::Scalekit;
pub use self::session::{Session, Sessions};
pub use self::session_secret::SessionSecret;
pub use self::token::Principal;
pub use self::util::tasks::UnfinishedTasks;
pub use self::webhook_verify::WebhookVerify;

/// Tutorial, how-to pages and explanations that concern several modules.
pub mod guides {
    #[doc = include_str!("docs/how_to/behind_a_proxy.md")]
    pub mod behind_a_proxy {}
    #[doc = include_str!("docs/how_to/bearer_tokens.md")]
    pub mod bearer_tokens {}
    #[doc = include_str!("docs/explanation/boundaries.md")]
    pub mod boundaries {}
    #[doc = include_str!("docs/how_to/forward_auth.md")]
    pub mod forward_auth {}
    #[doc = include_str!("docs/how_to/mcp_servers.md")]
    pub mod mcp_servers {}
    #[doc = include_str!("docs/how_to/recent_login.md")]
    pub mod recent_login {}
    #[doc = include_str!("docs/explanation/refresh.md")]
    pub mod refresh {}
    #[doc = include_str!("docs/explanation/responses.md")]
    pub mod responses {}
    #[doc = include_str!("docs/explanation/security.md")]
    pub mod security {}
    #[doc = include_str!("docs/explanation/sessions.md")]
    pub mod sessions {}
    #[doc = include_str!("docs/reference/settings.md")]
    pub mod settings {}
    #[doc = include_str!("docs/how_to/several_replicas.md")]
    pub mod several_replicas {}
    #[doc = include_str!("docs/how_to/single_page_apps.md")]
    pub mod single_page_apps {}
    #[doc = include_str!("docs/how_to/sso_beside_another_provider.md")]
    pub mod sso_beside_another_provider {}
    #[doc = include_str!("docs/how_to/troubleshooting.md")]
    pub mod troubleshooting {}
    #[doc = include_str!("docs/tutorial.md")]
    pub mod tutorial {}
    #[doc = include_str!("docs/how_to/your_own_store.md")]
    pub mod your_own_store {}
}
