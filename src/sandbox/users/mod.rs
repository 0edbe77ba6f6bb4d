//! Users and organizations.

pub(crate) mod control;
