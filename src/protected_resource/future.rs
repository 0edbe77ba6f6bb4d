use std::convert::Infallible;

use crate::guard::response_future;

// The path says it all: nothing to wait for.
response_future!(Infallible, "ProtectedResourceMetadataService");
