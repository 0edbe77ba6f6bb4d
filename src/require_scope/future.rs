use std::convert::Infallible;

use crate::guard::response_future;

// A principal is there or not: nothing to wait for.
response_future!(Infallible, "RequireScopeService");
