//! Deserialization helpers: strict for responses of the API, lenient for webhooks.

pub(crate) mod lenient;
pub(crate) mod wire;
