//! Connected accounts at a simulated Gmail.

pub(crate) mod consent;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod gmail;
pub(crate) mod tools;
