//! The session cookie: names, pieces, sealing and content.

pub(crate) mod names;
pub(crate) mod record;
pub(crate) mod seal;
