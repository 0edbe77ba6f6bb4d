//! Passwordless e-mail.

mod control;
pub(crate) mod form;
