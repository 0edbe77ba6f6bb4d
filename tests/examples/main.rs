//! The examples, run as people run them, against a sandbox of the test's.

mod running;
mod setup;

#[allow(dead_code, reason = "each test uses its part")]
#[path = "../browser/processes.rs"]
mod processes;
