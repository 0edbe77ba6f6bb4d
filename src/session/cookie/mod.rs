//! The session cookie: names and pieces, sealing, and the record inside.

pub(crate) mod names;
pub(crate) mod record;
pub(crate) mod seal;
