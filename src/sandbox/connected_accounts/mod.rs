//! Accounts at a simulated Gmail that the application acts with.

pub(crate) mod consent;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod gmail;
pub(crate) mod tools;
