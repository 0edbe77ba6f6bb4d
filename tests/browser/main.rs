//! The pages of the examples and of the environment in Chromium.
//!
//! Requires `chromium` and `chromedriver`; without them the scenarios are skipped, and fail with
//! `CI=true`. With `SCREENSHOTS=folder` they save screenshots there.

mod accessibility;
mod agentkit;
mod api_keys;
mod app;
mod browser;
mod hostile_names;
mod logging_in;
mod logging_out;
mod login_hook;
mod looks;
mod members;
mod other_hosts;
mod own_login;
mod passwordless;
mod processes;
mod returning;
mod running;
mod sessions;
mod spa;
mod speculative;
mod sso;
mod switch_account;
