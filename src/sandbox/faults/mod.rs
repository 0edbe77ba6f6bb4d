//! Faults of endpoints.

pub(crate) mod control;

use bytes::Bytes;
use http::Request;

use crate::sandbox::environment::Environment;
use crate::sandbox::state::faults::FaultAction;

/// Counts the request and returns the fault that replaces or precedes its response.
pub(crate) fn next_action(
    environment: &Environment,
    request: &Request<Bytes>,
) -> Option<FaultAction> {
    environment.lock().endpoint_faults.next_action(request)
}
