//! Tower middleware for [Scalekit](https://www.scalekit.com): hosted login and sessions, OAuth 2.1
//! for APIs and MCP servers, enterprise single sign-on, passwordless login, webhooks, and agents
//! with connected accounts. Works with axum, hyper and tonic.
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
//! `scalekit` is [`Scalekit::from_env`] in production and a [`Sandbox`](crate::sandbox) in tests, so
//! that neither trying it out nor a test needs an account. Routes added after a layer are public.
//! Start with the [tutorial](guides::tutorial), or with `cargo run --example saaskit`.
//!
#![doc = include_str!("docs/overview.svg")]
//!
//! # Tasks
//!
//! | task | page |
//! |---|---|
//! | connect to an environment, or to none | [environment setup](guides::environment_setup) |
//! | log users in, keep sessions, log out | [add login](guides::add_login), [Back after a logout](guides::back_after_logout) |
//! | sign-up, social login, organizations, invitations | [login parameters](guides::login_initiation) |
//! | invite users, assign roles, switch organizations | [members](guides::members) |
//! | single sign-on for an app with its own users | [Modular SSO](guides::modular_sso), [beside Auth0, Firebase or Cognito](guides::sso_beside_another_provider) |
//! | codes and magic links by e-mail | [passwordless](guides::passwordless_email) |
//! | require a recent login | [recent login](guides::recent_login) |
//! | protect an API, for users and machines | [bearer tokens](guides::bearer_tokens) |
//! | accept tokens that are bound to a key (DPoP) | [`dpop`] |
//! | protect an MCP server | [MCP servers](guides::mcp_servers) |
//! | provision users, log out removed ones | [directory sync](guides::directory_sync) |
//! | act for users at other services | [agents](guides::agents) |
//! | write a single-page app | [single-page apps](guides::single_page_apps) |
//! | protect upstreams of other languages | [forward authentication](guides::forward_auth) |
//! | test the app | [testing](guides::testing) |
//! | run several replicas, behind a proxy, on Lambda | [replicas](guides::several_replicas), [proxies](guides::behind_a_proxy), [AWS Lambda](guides::aws_lambda), [your own store](guides::your_own_store) |
//! | log, trace and count | [observability](guides::observability) |
//! | rotate secrets | [secret rotation](guides::secret_rotation) |
//! | show error pages of the app | [rejections](guides::rejections) |
//! | find out why a request was rejected | [troubleshooting](guides::troubleshooting), [frequent questions](guides::questions) |
//! | use another HTTP client, or another axum | [HTTP clients](guides::http_clients), [upgrading axum](guides::upgrading_axum) |
//! | come from something else | [Scalekit's SDKs](guides::from_the_sdks), [axum-login, axum-oidc, jsonwebtoken](guides::from_other_crates) |
//! | work with a coding agent | [coding agents](guides::coding_agents) |
//!
//! How it works: [a login](guides::login_flow), [sessions](guides::sessions),
//! [refresh](guides::refresh), [responses](guides::responses), [a webhook](guides::webhook_delivery),
//! [MCP step-up](guides::mcp_step_up), [boundaries between apps](guides::boundaries),
//! [security](guides::security). Reference: [settings](guides::settings),
//! [operations of the API](guides::api_operations), [OpenID conformance](guides::openid_modules),
//! [events, spans and metrics](guides::telemetry).
//!
//! # Layers
//!
//! | layer | rejects requests |
//! |---|---|
//! | [`RequireSession`] | without the cookie of a valid session |
//! | [`RequireToken`] | without a valid bearer token |
//! | [`RequireAuth`] | without either |
//! | [`RequireScope`], [`RequireMcpScope`](require_scope::mcp::RequireMcpScope) | without a scope, role or permission |
//! | [`RequireOrigin`] | of pages of other origins, such as of browsers at an MCP server |
//! | [`WebhookVerify`] | without a valid signature; handles each webhook once |
//! | [`IdpInitiatedRedirect`] | with an invalid IdP-initiated login; restarts valid ones in the app |
//!
//! Others: [`ProtectedResourceMetadata`] serves the metadata of MCP servers, [`AddAccessToken`] adds
//! the user's token to requests of an HTTP client, [`ForwardAuth`] authenticates for a proxy. Layers
//! are named for what they do, and their services have the suffix `Service`: [`RequireSession`] is
//! the layer and [`RequireSessionService`](require_session::RequireSessionService) its service.
//! tower and tower-http name them `XLayer` and `X`.
//!
//! # Features
//!
//! The crate has 80 dependencies without features, 112 with the default ones, and 131 with all, most of them small. The
//! table has the number that each feature adds alone.
//!
//! | feature | default | dependencies | adds |
//! |---|---|---|---|
//! | `axum` | yes | 13 | [`Sessions::routes`] and [`PasswordlessLogin::routes`] as axum routers, paths of nested axum routers, and `axum-core` |
//! | `axum-core` | with `axum` | 3 | extractors for [`Session`], [`Principal`] and [`WebhookEvent`](webhook::WebhookEvent) |
//! | `reqwest` | yes | 26 | [`ReqwestClient`](http_client::ReqwestClient), the default [`HttpClient`](http_client::HttpClient) |
//! | `metrics` | no | 2 | [metrics](guides::telemetry#metrics) through the `metrics` facade, all named `tower_scalekit_…` |
//! | `redis` | no | 29 | [`RedisStore`](shared_store::RedisStore), the shared store of several replicas |
//! | `sandbox` | no | 8 | [`Sandbox`](crate::sandbox), and [`Scalekit::from_env_or_sandbox`] for development |
//!
//! Scalekit's own documentation: <https://docs.scalekit.com>.
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
pub mod dpop;
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
pub mod readiness;
pub mod require_auth;
pub mod require_origin;
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
pub use self::require_origin::RequireOrigin;
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
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use self::util::metric_table::describe_metrics;
pub use self::util::tasks::UnfinishedTasks;
pub use self::webhook_verify::WebhookVerify;

/// Tutorial, how-to pages and explanations that concern several modules. The front page has a table of
/// [tasks](crate#tasks).
pub mod guides {
    #[doc = include_str!("docs/how_to/add_login.md")]
    pub mod add_login {}
    #[doc = include_str!("docs/how_to/agents.md")]
    pub mod agents {}
    #[doc = include_str!("docs/reference/api.md")]
    pub mod api_operations {}
    #[doc = include_str!("docs/how_to/aws_lambda.md")]
    pub mod aws_lambda {}
    #[doc = include_str!("docs/how_to/back_after_logout.md")]
    pub mod back_after_logout {}
    #[doc = include_str!("docs/how_to/bearer_tokens.md")]
    pub mod bearer_tokens {}
    #[doc = include_str!("docs/how_to/behind_a_proxy.md")]
    pub mod behind_a_proxy {}
    #[doc = include_str!("docs/explanation/boundaries.md")]
    pub mod boundaries {}
    #[doc = include_str!("docs/how_to/coding_agents.md")]
    pub mod coding_agents {}
    #[doc = include_str!("docs/how_to/directory_sync.md")]
    pub mod directory_sync {}
    #[doc = include_str!("docs/how_to/environment_setup.md")]
    pub mod environment_setup {}
    #[doc = include_str!("docs/how_to/forward_auth.md")]
    pub mod forward_auth {}
    #[doc = include_str!("docs/how_to/from_other_crates.md")]
    pub mod from_other_crates {}
    #[doc = include_str!("docs/how_to/from_the_sdks.md")]
    pub mod from_the_sdks {}
    #[doc = include_str!("docs/how_to/http_clients.md")]
    pub mod http_clients {}
    #[doc = include_str!("docs/explanation/login_flow.md")]
    pub mod login_flow {}
    #[doc = include_str!("docs/how_to/login_initiation.md")]
    pub mod login_initiation {}
    #[doc = include_str!("docs/how_to/mcp_servers.md")]
    pub mod mcp_servers {}
    #[doc = include_str!("docs/explanation/mcp_step_up.md")]
    pub mod mcp_step_up {}
    #[doc = include_str!("docs/how_to/members.md")]
    pub mod members {}
    #[doc = include_str!("docs/how_to/modular_sso.md")]
    pub mod modular_sso {}
    #[doc = include_str!("docs/how_to/observability.md")]
    pub mod observability {}
    #[doc = include_str!("docs/reference/openid_modules.md")]
    pub mod openid_modules {}
    #[doc = include_str!("docs/how_to/passwordless_email.md")]
    pub mod passwordless_email {}
    #[doc = include_str!("docs/how_to/questions.md")]
    pub mod questions {}
    #[doc = include_str!("docs/how_to/recent_login.md")]
    pub mod recent_login {}
    #[doc = include_str!("docs/explanation/refresh.md")]
    pub mod refresh {}
    #[doc = include_str!("docs/how_to/rejections.md")]
    pub mod rejections {}
    #[doc = include_str!("docs/explanation/responses.md")]
    pub mod responses {}
    #[doc = include_str!("docs/how_to/secret_rotation.md")]
    pub mod secret_rotation {}
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
    #[doc = include_str!("docs/reference/telemetry.md")]
    pub mod telemetry {}
    #[doc = include_str!("docs/how_to/testing.md")]
    pub mod testing {}
    #[doc = include_str!("docs/how_to/troubleshooting.md")]
    pub mod troubleshooting {}
    #[doc = include_str!("docs/tutorial.md")]
    pub mod tutorial {}
    #[doc = include_str!("docs/how_to/upgrading_axum.md")]
    pub mod upgrading_axum {}
    #[doc = include_str!("docs/explanation/webhook_delivery.md")]
    pub mod webhook_delivery {}
    #[doc = include_str!("docs/how_to/your_own_store.md")]
    pub mod your_own_store {}
}

/// Compiles and runs the code of the files for coding agents.
#[cfg(all(doctest, feature = "axum", feature = "sandbox"))]
mod agent_files {
    #[doc = include_str!("../AGENTS.md")]
    mod agents {}
    #[doc = include_str!("../skills/tower-scalekit-agents/SKILL.md")]
    mod agents_skill {}
    #[doc = include_str!("../skills/tower-scalekit-api/SKILL.md")]
    mod api {}
    #[doc = include_str!("../skills/tower-scalekit-login/SKILL.md")]
    mod login {}
    #[doc = include_str!("../skills/tower-scalekit-mcp/SKILL.md")]
    mod mcp {}
    #[doc = include_str!("../skills/tower-scalekit-sso/SKILL.md")]
    mod sso {}
    #[doc = include_str!("../skills/tower-scalekit-webhooks/SKILL.md")]
    mod webhooks {}
}
