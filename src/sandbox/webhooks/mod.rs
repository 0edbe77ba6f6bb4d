//! Webhooks: signed, retried and repeatable.

pub(crate) mod control;
pub(crate) mod delivery;
pub(crate) mod endpoint;
pub(crate) mod form;
