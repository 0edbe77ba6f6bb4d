//! Passwordless e-mail.

pub(crate) mod control;
pub(crate) mod form;
