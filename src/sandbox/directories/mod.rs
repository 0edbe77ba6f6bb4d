//! Directories: users and groups that an identity provider pushes over SCIM.

pub(crate) mod control;
pub(crate) mod events;
