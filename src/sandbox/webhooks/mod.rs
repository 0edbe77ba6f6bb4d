//! Webhooks: signed, retried and repeatable.

mod control;
pub(crate) mod delivery;
mod endpoint;
pub(crate) mod form;

pub use self::endpoint::WebhookEndpoint;
