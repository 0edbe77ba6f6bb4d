//! Client ID metadata documents, fetched as an authorization server does
//! (draft-ietf-oauth-client-id-metadata-document).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use serde_json::Value;

use crate::http_client::{HttpClient, SendLimits, send_within_limits};
use crate::sandbox::environment::Environment;
use crate::sandbox::parameters::Parameters;

/// The draft recommends 5 KB.
const MAX_BYTES: usize = 5 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);
const CACHED: Duration = Duration::from_secs(5 * 60);

/// Fetches the document of the client that a request to a resource names, if it is not known.
pub(crate) async fn fetch_if_named(environment: &Environment, request: &Request<Bytes>) {
    let path: Vec<_> = request.uri().path().split('/').collect();
    let parameters = match path.as_slice() {
        ["", "resources", _, "oauth", "authorize"] => Some(Parameters::from_query(request)),
        ["", "resources", _, "oauth", "token"] => Parameters::from_form(request),
        _ => None,
    };
    let Some(id) = parameters.as_ref().and_then(|parameters| parameters.get("client_id")) else {
        return;
    };
    let now = environment.now();
    let client = environment.lock().resources.clients.client_for_document(id, now);
    if let Some(client) = client {
        let fetched = fetch(&*client, id).await;
        environment.lock().resources.clients.fetched(id, fetched, now, now + CACHED);
    }
}

/// The document, or the reason why there is none, as a message for developers.
async fn fetch(client: &dyn HttpClient, url: &str) -> Result<Value, String> {
    let request = Request::get(url)
        .header(header::ACCEPT, "application/json")
        .extension(SendLimits { timeout: TIMEOUT, max_body_bytes: MAX_BYTES })
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let response = send_within_limits(client, request).await.map_err(|error| error.to_string())?;
    if response.status() != StatusCode::OK {
        return Err(format!("the response is {}; redirects are not followed", response.status()));
    }
    if !response.headers().get(header::CONTENT_TYPE).is_some_and(is_json) {
        return Err("the response is not application/json".to_owned());
    }
    serde_json::from_slice(response.body()).map_err(|_| "the response is not JSON".to_owned())
}

/// Whether a media type is `application/json` or `application/…+json`.
fn is_json(content_type: &HeaderValue) -> bool {
    let content_type = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
    content_type
        .split(';')
        .next()
        .and_then(|media_type| media_type.trim().strip_prefix("application/"))
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}
