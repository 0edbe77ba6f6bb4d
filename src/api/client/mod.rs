//! Sends calls of the REST API and parses their responses.

pub(crate) mod error_body;
pub(crate) mod pagination;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod retry;
pub(crate) mod transport;
