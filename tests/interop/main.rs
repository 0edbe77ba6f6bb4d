//! The crate and real programs of others: Scalekit's SDKs against the sandbox, the example app
//! behind nginx, and the same app at an OpenID provider that knows nothing of it.
//!
//! `tests/interop/install` installs them. What is not installed is skipped, and fails where
//! `CI=true`. Run alone as `cargo test --test interop --examples`: the tests start an example.

mod mcp;
mod nginx;
mod node_sdk;
mod oidc_provider;
mod python_sdk;
mod sdk;
mod support;
mod webhooks;
