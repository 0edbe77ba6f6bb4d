//! Users and organizations.

pub(crate) mod control;
pub(crate) mod details;
mod events;
