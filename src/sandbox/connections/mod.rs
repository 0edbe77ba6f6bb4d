//! Connections.

mod control;
pub(crate) mod events;
