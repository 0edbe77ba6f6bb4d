//! MCP resources: each is an authorization server with dynamic client registration and tokens of
//! its own. Also the MCP servers of configurations.

pub(crate) mod control;
pub(crate) mod documents;
pub(crate) mod gateway;
mod metadata;
mod registration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use crate::sandbox::environment::Environment;
use crate::sandbox::respond::{self, allow_methods};

/// `GET` of the authorization server's metadata, at each of the URLs that clients try.
pub(crate) fn metadata(
    environment: &Environment,
    request: &Request<Bytes>,
    id: &str,
) -> Response<Bytes> {
    open(environment, request, id, &Method::GET, || metadata::document(environment, id))
}

/// `POST /api/v1/resources/{id}/clients:register`
pub(crate) fn register(
    environment: &Environment,
    request: &Request<Bytes>,
    id: &str,
) -> Response<Bytes> {
    open(environment, request, id, &Method::POST, || {
        registration::register(environment, request, id)
    })
}

/// An endpoint with CORS for web pages of any origin.
pub(crate) fn open(
    environment: &Environment,
    request: &Request<Bytes>,
    id: &str,
    allowed: &Method,
    endpoint: impl FnOnce() -> Response<Bytes>,
) -> Response<Bytes> {
    respond::readable_everywhere(match request.method() {
        _ if !is_known(environment, id) => not_found(environment),
        &Method::OPTIONS => respond::preflight(allowed),
        method => allow_methods(&[allowed.clone(), Method::OPTIONS], method, endpoint),
    })
}

pub(crate) fn is_known(environment: &Environment, id: &str) -> bool {
    environment.lock().resources.get(id).is_some()
}

/// Names the resources that exist: the ID is in the code of the app that is developed.
fn not_found(environment: &Environment) -> Response<Bytes> {
    let state = environment.lock();
    let known: Vec<_> = state.resources.iter().map(|resource| resource.id.as_str()).collect();
    respond::api_error(
        StatusCode::NOT_FOUND,
        5,
        &format!("Not Found. The resources of this sandbox are: {}", known.join(", ")),
    )
}
