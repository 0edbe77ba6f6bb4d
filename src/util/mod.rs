//! Small helpers that several modules share.
//!
//! Four mechanisms prevent that work is done twice: [`single_flight`] shares a task among concurrent
//! callers in this process; [`shared_results`] also retains its result for ten seconds; a
//! `LoginAttempt` is claimed in the shared store, because its code works once on all replicas; and
//! the `Deduplicator` of webhooks reserves a message there, and retains that it was handled.

pub(crate) mod base64url;
pub(crate) mod cache_control;
pub(crate) mod compact_object;
pub(crate) mod diagnosis;
pub(crate) mod email;
pub(crate) mod fetch_metadata;
pub(crate) mod hash;
pub(crate) mod host_redirect;
pub(crate) mod jitter;
pub(crate) mod json;
pub(crate) mod logged_outage;
#[cfg(feature = "metrics")]
pub(crate) mod metric_table;
pub(crate) mod open_enum;
pub(crate) mod pasted;
pub(crate) mod query;
pub(crate) mod recency;
pub(crate) mod request_head;
pub(crate) mod request_target;
pub(crate) mod return_to;
pub(crate) mod route_check;
pub(crate) mod shared_results;
pub(crate) mod single_flight;
pub(crate) mod spans;
pub(crate) mod tasks;
pub(crate) mod telemetry;
pub(crate) mod token_cache;
pub(crate) mod url_path;
pub(crate) mod url_policy;
