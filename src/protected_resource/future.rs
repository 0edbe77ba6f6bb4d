use std::convert::Infallible;

use crate::middleware::response_future::response_future;

// The path says it all: nothing to wait for.
response_future!(Infallible, "ProtectedResourceMetadataService");
