//! The crate as its users meet it: through its public API, with a sandbox for an environment.

mod answers;
mod backchannel;
mod connect_account;
mod connected_accounts;
mod deprovisioning;
mod grpc;
mod guards;
mod idp_initiated;
mod keys;
mod login;
mod login_parameters;
mod login_tokens;
mod mcp;
mod modular_sso;
mod openapi;
mod passwordless;
mod refresh;
mod rendering;
mod replicas;
mod secrets;
mod sessions;
mod store;
mod stored;
mod support;
mod webhooks;
mod webhooks_once;
