//! Connected accounts at simulated services.

pub(crate) mod consent;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod services;
pub(crate) mod tools;
