//! Users and organizations.

mod control;
