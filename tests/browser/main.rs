//! What people see: the example `saaskit` and the hosted login page in Chromium.
//!
//! Needs `chromium` and `chromedriver`; without them the scenarios are skipped, and fail with
//! `CI=true`. With `SCREENSHOTS=folder` they leave pictures there.

mod agentkit;
mod app;
mod browser;
mod logging_in;
mod logging_out;
mod looks;
mod processes;
mod running;
mod sessions;
