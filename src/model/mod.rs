//! How values of the wire are read: strictly in responses of the API, leniently in webhooks.

pub(crate) mod lenient;
pub(crate) mod wire;
