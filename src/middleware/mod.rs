//! What layers and routes share: response future, bodies, rejections and pages.

pub(crate) mod body_limits;
pub(crate) mod page;
pub(crate) mod rejection;
pub(crate) mod replay_body;
pub(crate) mod response_body;
pub(crate) mod response_future;
pub(crate) mod route;
