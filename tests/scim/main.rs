//! The example `scim`, killed and restarted meanwhile.
//!
//! `SCIM_DELIVERIES` and `SCIM_USERS` set the size of the run. Default: 1,000 and 300.

mod app;
mod deliveries;
mod rules;
mod sender;
mod settings;
mod syncing;

#[path = "../../examples/scim/evaluate.rs"]
mod evaluate;
#[path = "../../examples/scim/table.rs"]
mod table;
#[path = "../../examples/scim/user.rs"]
mod user;

#[allow(dead_code, reason = "no browser here")]
#[path = "../browser/processes.rs"]
mod processes;
