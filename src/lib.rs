//! Tower layers that give any axum, hyper or tonic app what Scalekit's quickstarts give others:
//! hosted login, sessions that renew themselves, bearer tokens, scopes, OAuth 2.1 for MCP servers.
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
//!     .merge(sessions.routes()); // /login, /auth/callback, /logout and two more
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "sandbox", feature = "axum")))]
//! # fn main() {}
//! ```
//!
//! # The rooms
//!
//! | room | what it is for |
//! |---|---|
//! | [`require_session`], [`require_token`], [`require_scope`] | layers that let requests through or answer them |
//! | [`protected_resource`] | layer that tells clients how to get a token |
//! | [`idp_initiated`] | layer that turns logins from an identity provider's portal into the app's own |
//! | [`webhook_verify`] | layer that lets signed webhooks through, each once |
//! | [`auth_routes`] | login, callback, refresh and logout as services |
//! | [`passwordless_login`] | login by code or magic link, with pages of your own |
//! | [`connect_account`] | a user connects an account elsewhere, and is verified |
//! | [`session`] | the session itself: sealing, cookies, refresh |
//! | [`scalekit`], [`oauth`], [`token`] | the environment: its address, its OAuth endpoints, its tokens |
//! | [`api`] | the environment's REST API, one file per resource |
//! | [`webhook`] | events that the environment sends, and questions that it asks |
//! | [`http_client`], [`shared_store`] | the two ports: network and state that replicas share |
//! | [`challenge`], [`clock`], [`error`], [`secret`] | the ground: what all others stand on |
//! | `sandbox` | a Scalekit environment in the process, with the feature of that name |
//!
//! # Who gets which answer
//!
//! Each row is decided by one function, which its reason's enum names in `rejection.rs`.
//!
//! | situation | cookie routes | decided in `require_session/` |
//! |---|---|---|
//! | nothing presented | a browser's navigation: 302 to the login, with `return_to` if the [path is known](session::SessionsBuilder::base_path); a form: 401 page with that link; else 401 JSON | `SessionRejection::answer`, by `fetch_metadata::is_navigation` |
//! | invalid, expired, rejected by the environment | as above; cookies that our keys open are cleared | `SessionRejection::answer`, by `Sessions::find`, after a refresh by `Sessions::settle` |
//! | revoked, logged out | as above, cookies left alone: a late response would take those of the next login | the same |
//! | a page of another site wants to change something, or opens a WebSocket | 403 | `SessionRejection::answer`, by `fetch_metadata::initiator` |
//! | token endpoint and keys out of reach | the session goes on while its access token is valid; then 503 with `Retry-After`, for browsers a page with a link, cookies kept | `SessionRejection::answer`, by `Sessions::settle` |
//! | the session is kept in the shared store, which is out of reach, or has nothing yet of a session of the last minute | what was read before goes on; else 503 with `Retry-After`, for browsers a page with a link, cookies kept | `SessionRejection::answer`, by `Sessions::find_after` |
//!
//! | situation | bearer routes | decided in `require_token/` |
//! |---|---|---|
//! | nothing presented, as in a CORS preflight | 401, challenge without `error` | `TokenRejection::answer` |
//! | invalid, expired, of another kind | 401 `invalid_token` | `TokenRejection::answer` |
//! | repeated `Authorization` | 400 `invalid_request` | `TokenRejection::answer`, by `Credentials::of` |
//! | keys out of reach, nothing to go on with | 503 with `Retry-After`, no challenge | `TokenRejection::answer` |
//!
//! | situation | behind either | decided in `require_scope/` |
//! |---|---|---|
//! | valid, not enough | 403 JSON that names what is missing; on bearer routes a challenge that names all scopes of the operation | `ScopeRejection::answer` |
//! | what an MCP request asks for cannot be told for sure | 403, unless everything is allowed | `RequireMcpScope::evaluate`, by `Operation::of_body` |
//! | a webhook that is not what was signed, or too old | 400, and the sender is told nothing | `WebhookRejection::answer`, in `webhook_verify/` |
//! | a body that takes too long, or that others push out of memory (see [`BodyLimits`](middleware::BodyLimits)) | 503 with `Retry-After` on webhook and interceptor routes; else 408, and 503 with `Retry-After` | `WebhookRejection::answer`, `ScopeRejection::answer`, `LoginError::status`, `PasswordlessLoginError::status` |
//! | a webhook that was handled, or is being handled | its response again; 503 with `Retry-After` | `WebhookWait::poll_decision` |
//! | no one, where a session is optional | as if it were not optional | `LoginRequired::answer` |
//! | no layer around it that asks who is there | 500, and the log names the layer | `ScopeRejection::answer` |
//!
//! | situation | the login's routes | decided in `auth_routes/rejection.rs` |
//! |---|---|---|
//! | the environment's error; a missing, foreign or used `state`; a parameter twice; a code or token that is not accepted | 400 in our own words, attempt ended, a live session left alone | `LoginError::status`, `LoginError::ends_attempt` |
//! | an unknown or used `state` in a browser with a live session, or whose login is being completed right now | 303 to the page of the login, or to `/` | `Callback::is_logged_in` |
//! | a login within a minute of the last one, whose session's cookie was replaced, or does not come back for the second time | 400 that names the cookie; the next login starts when the user requests it | `LoginStart::redirect` |
//! | a login that may ask nothing, and would have to | starts again as a plain one | `LoginError::wants_interaction` |
//! | the environment does not respond | 503 with `Retry-After`, the attempt goes on unless its code is spent | `LoginError::status`, `LoginError::ends_attempt` |
//! | a launch from an identity provider's portal that is not acceptable, or goes in circles | 400 | `LoginError::status`, by `IdpInitiatedRedirect` |
//! | a launch that came before | 302 to the login | `IdpInitiatedRedirect::launch` |
//! | a login, or a launch, that ends as another user than the session's | the session stays; 303 to a page that asks whether to switch | `Callback`, `SwitchAccount` |
//! | a logout's return without the `state` of this browser | 400, no session ends | `LoginError::status`, by `LogoutCallback` |
//! | a logout token that is not acceptable, or came before | 400 | `LoginError::status` |
//! | a page of another site asks for logout or refresh | 403 | `LoginError::status`, by `fetch_metadata::initiator` |
//!
//! | situation | the routes of a login by e-mail | decided in `passwordless_login/rejection.rs` |
//! |---|---|---|
//! | a wrong or expired code; a link that is used or expired, after its button; a link of another browser under `same_browser_only`; a forged state | 400, the attempt goes on, a live session left alone | `PasswordlessLoginError::status` |
//! | the sixth code in a login, a second one where ten were wrong for the address that day, the third mail in a minute, too many in a day or for a client | 429 that says how to go on | `PasswordlessLoginError::status`, by `PasswordlessLogin::{count_code, count_mail}` |
//! | an address that the environment does not accept | as if a mail had been sent | `PasswordlessLogin::undelivered` |
//! | a user who may not log in here | 403, told to no one but the reader of the mail | `PasswordlessLoginError::status` |
//! | a link in another browser, or seen by a scanner | a page whose button goes on; nothing is used up | `Link::answer` |
//! | a page of another site sends one of the forms | 403 | `PasswordlessLoginError::status`, by `fetch_metadata::initiator` |
//! | the environment, your directory or the shared store do not respond | 503 with `Retry-After`, the attempt goes on | `PasswordlessLoginError::status` |
//!
//! | situation | the routes that connect accounts | decided in `connect_account/rejection.rs` |
//! |---|---|---|
//! | no one is logged in, the session is over | as on all cookie routes | `SessionRejection::answer` |
//! | a forged, foreign, used or late `state`; a parameter twice; nothing to verify; consent denied | 400 in our own words, attempt ended, the account stays inactive | `ConnectAccountError::status`, `ConnectAccountError::ends_attempt` |
//! | another user than who began, a page of another site | 403, the account stays inactive | `ConnectAccountError::status` |
//! | a return without a session | 302 to the login, which ends at the page with the button; the return is spent | `Verify::log_in_first` |
//! | the environment does not respond | 503 with `Retry-After`, the attempt goes on | `ConnectAccountError::status`, `ConnectAccountError::ends_attempt` |
//!
//! Defaults are small JSON, `{"error": .., "message": ..}`, or for browsers a small page. Every
//! layer and route that rejects has an `on_rejection` that renders them in your own way, and puts its typed
//! reason into the response's extensions.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `axum` | yes | [`Sessions::routes`] and [`PasswordlessLogin::routes`] as axum routers, what nested axum routers remove from paths, and `axum-core` |
//! | `axum-core` | with `axum` | extractors for [`Session`], [`Principal`] and [`WebhookEvent`](webhook::WebhookEvent) |
//! | `reqwest` | yes | `ReqwestClient`, the default way to the environment |
//! | `metrics` | no | counters through the `metrics` facade, names in the source of `telemetry.rs` |
//! | `sandbox` | no | `Sandbox` |
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

pub mod api;
pub mod auth_routes;
pub mod challenge;
pub mod clock;
pub mod connect_account;
pub mod env;
pub mod error;
pub mod http_client;
pub mod idp_initiated;
pub mod middleware;
pub mod oauth;
pub mod passwordless_login;
pub mod protected_resource;
pub mod require_scope;
pub mod require_session;
pub mod require_token;
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
pub(crate) mod model;
pub(crate) mod util;

pub use self::connect_account::ConnectAccount;
pub use self::error::ConfigError;
#[cfg(feature = "axum-core")]
pub use self::extract::{Bearer, MissingLayer, WebhookPayloadRejection};
pub use self::idp_initiated::IdpInitiatedRedirect;
pub use self::passwordless_login::PasswordlessLogin;
pub use self::protected_resource::ProtectedResourceMetadata;
pub use self::require_scope::RequireScope;
pub use self::require_session::RequireSession;
pub use self::require_token::RequireToken;
#[cfg(feature = "sandbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "sandbox")))]
pub use self::sandbox::Sandbox;
pub use self::scalekit::Scalekit;
pub use self::session::{Session, SessionSecret, Sessions};
pub use self::token::Principal;
pub use self::util::tasks::UnfinishedTasks;
pub use self::webhook_verify::WebhookVerify;

/// Pages on what takes several modules.
pub mod guides {
    #[doc = include_str!("docs/boundaries.md")]
    pub mod boundaries {}
    #[doc = include_str!("docs/sso_beside_another_provider.md")]
    pub mod sso_beside_another_provider {}
}

/// The README's examples are tested like all others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
