//! Connections.

pub(crate) mod control;
pub(crate) mod events;
