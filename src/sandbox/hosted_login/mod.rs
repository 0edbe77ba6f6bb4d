//! The hosted login page, consent, and the identity providers behind connections.

pub(crate) mod connection_selection;
pub(crate) mod consent;
pub(crate) mod control;
pub(crate) mod idp;
pub(crate) mod idp_initiated;
pub(crate) mod idp_portal;
pub(crate) mod invitation;
pub(crate) mod login;
pub(crate) mod own_login;
