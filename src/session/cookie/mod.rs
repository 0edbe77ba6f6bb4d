//! The session cookie: names, chunks, sealing and content.

pub(crate) mod names;
pub(crate) mod record;
pub(crate) mod seal;
