//! Tower layers for Scalekit.
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

pub mod auth_routes;
pub mod challenge;
pub mod clock;
pub mod error;
pub mod http_client;
pub mod oauth;
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

mod body;
#[cfg(feature = "axum-core")]
mod extract;
mod flight;
mod guard;
mod origin;
mod rejection;
mod telemetry;
mod text_cache;

pub use self::body::ResponseBody;
pub use self::error::ConfigError;
#[cfg(feature = "axum-core")]
pub use self::extract::LayerMissing;
pub use self::rejection::Rejected;
pub use self::require_scope::RequireScope;
pub use self::require_session::RequireSession;
pub use self::require_token::RequireToken;
#[cfg(feature = "sandbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "sandbox")))]
pub use self::sandbox::Sandbox;
pub use self::scalekit::Scalekit;
pub use self::session::{Session, SessionSecret, Sessions};
pub use self::token::Principal;
