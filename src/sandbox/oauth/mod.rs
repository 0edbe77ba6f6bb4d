//! The OAuth 2.0 and OpenID Connect endpoints.

pub(crate) mod authorize;
pub(crate) mod client_auth;
pub(crate) mod discovery;
pub(crate) mod dpop;
pub(crate) mod logout;
pub(crate) mod token_endpoint;
