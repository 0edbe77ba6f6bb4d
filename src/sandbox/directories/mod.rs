//! Directories: users and groups that an identity provider pushes over SCIM.

mod control;
pub(crate) mod events;
