//! Compares every call of `src/api` and every response of the sandbox with Scalekit's OpenAPI
//! document, taken strictly: anything that the document does not contain is an error.
//!
//! New calls are added to [`calls`].

mod agents;
mod api_keys;
mod calls;
mod document;
mod exchange;
mod organizations;
mod passwordless;
mod planted;
mod reference;
mod single_sign_on;
mod source;
mod users;

use std::collections::BTreeSet;

use tower_scalekit::{Sandbox, Scalekit};

use self::calls::Calls;
use self::document::Document;
use self::exchange::{Exchange, Recorder};

/// Calls that the document does not contain, with their source.
const UNDOCUMENTED: [(&str, &str); 6] = [
    (
        "POST /api/v1/connections/{connection_id}/auth-requests/{login_request_id}/user",
        "described in the guide to MCP servers with a login of their own",
    ),
    ("GET /api/v1/tokens", API_KEYS),
    ("POST /api/v1/tokens", API_KEYS),
    ("POST /api/v1/tokens:invalidate", API_KEYS),
    ("POST /api/v1/tokens:update", API_KEYS),
    ("POST /api/v1/tokens:validate", API_KEYS),
];

const API_KEYS: &str = "scalekit/v1/tokens/tokens.proto in @scalekit-sdk/node 2.11";

#[tokio::test]
async fn every_call_and_every_response_is_as_documented() {
    let (exchanges, calls) = recorded().await;
    let document = Document::load();
    let mut undocumented = BTreeSet::new();
    let mut wrong = Vec::new();
    for exchange in &exchanges {
        match UNDOCUMENTED.iter().find(|(call, _)| exchange.is_of(call)) {
            Some((call, _)) => {
                undocumented.insert(*call);
            }
            None => wrong.extend(document.faults(exchange)),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(undocumented.len(), UNDOCUMENTED.len(), "an exception that is no longer needed");

    let public = source::public_functions();
    let made: BTreeSet<String> = calls.made.iter().map(|&name| name.to_owned()).collect();
    let forgotten: Vec<_> = public.difference(&made).collect();
    assert!(forgotten.is_empty(), "public in src/api and not called here: {forgotten:?}");
    assert!(public.len() > 25, "hardly anything was found in src/api: {public:?}");
}

/// All exchanges of all calls, except those that the document does not cover.
async fn recorded() -> (Vec<Exchange>, Calls) {
    let sandbox = Sandbox::new();
    let recorder = Recorder::new(sandbox.client());
    let secret = sandbox.client_secret().clone();
    let scalekit = Scalekit::builder(sandbox.environment_url(), sandbox.client_id(), secret);
    let scalekit = scalekit.http_client(recorder.clone()).clock(sandbox.clock().clock());
    let calls = Calls::make_all(&sandbox, &scalekit.build().unwrap().api()).await;
    calls::fail(&sandbox, &recorder).await;
    let mut exchanges = recorder.exchanges();
    // The proxy's are those of the services behind it.
    exchanges.retain(|exchange| {
        exchange.path != "/oauth/token" && !exchange.path.starts_with("/proxy/")
    });
    (exchanges, calls)
}
