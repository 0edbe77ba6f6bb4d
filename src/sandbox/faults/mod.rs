//! Faults of endpoints.

pub(crate) mod control;
