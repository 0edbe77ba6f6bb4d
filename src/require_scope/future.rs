use std::convert::Infallible;

use crate::middleware::response_future::response_future;

// A principal is there or not: nothing to wait for.
response_future!(Infallible, "RequireScopeService");
