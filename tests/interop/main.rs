//! Interoperability with other software: Scalekit's SDKs with the sandbox, the example app behind
//! nginx, the same app with a generic OpenID provider, and MCP servers with clients and with the
//! official conformance suite.
//!
//! `tests/interop/install` installs them. Tests of missing software are skipped, and fail with
//! `CI=true`. Run them with `cargo test --test interop --examples`: the tests start an example.

mod clients;
mod conformance;
mod diagnostic_server;
mod forward_auth;
mod mcp;
mod nginx;
mod node_sdk;
mod oidc_provider;
mod python_sdk;
mod sdk;
mod support;
mod webhooks;
