//! Small helpers that several modules share.

pub(crate) mod cache_control;
pub(crate) mod email;
pub(crate) mod fetch_metadata;
pub(crate) mod hash;
pub(crate) mod host_redirect;
pub(crate) mod jitter;
pub(crate) mod json;
pub(crate) mod open_enum;
pub(crate) mod pasted;
pub(crate) mod query;
pub(crate) mod request_dedup;
pub(crate) mod return_to;
pub(crate) mod single_flight;
pub(crate) mod tasks;
pub(crate) mod telemetry;
pub(crate) mod token_cache;
pub(crate) mod url_path;
