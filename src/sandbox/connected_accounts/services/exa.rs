//! The simulated Exa, a search engine with API keys: a few pages.

use serde_json::{Value, json};

use super::{Effect, Tool, ToolFailure, ToolInput};

pub(super) static TOOLS: [Tool; 1] = [Tool {
    id: "tol_58327482062864421",
    name: "exa_search",
    provider: "EXA",
    tag: "search",
    title: "Search the web",
    description: "Search the web with a connected Exa account.",
    effect: Effect::Reads,
    input: r#"{
        "type": "object",
        "required": ["query"],
        "properties": {
            "query": { "type": "string" },
            "num_results": { "type": "integer", "minimum": 1, "maximum": 100 }
        }
    }"#,
    run: search,
}];

/// URL, title, text.
const PAGES: [(&str, &str, &str); 3] = [
    (
        "https://tower.test/guide",
        "Middleware with tower",
        "A layer wraps a service, and the service that it returns wraps the inner one.",
    ),
    (
        "https://oauth.test/step-up",
        "Step-up authentication",
        "A resource server challenges a token whose authentication is too old.",
    ),
    (
        "https://scim.test/deprovisioning",
        "How users are deprovisioned",
        "Most directories set a user inactive; few delete the user.",
    ),
];

/// Pages with any word of the query.
fn search(input: &ToolInput<'_>) -> Result<Value, ToolFailure> {
    let query = input.required("query")?.to_lowercase();
    let results: Vec<_> = PAGES
        .iter()
        .filter(|(_, title, text)| {
            let page = format!("{title} {text}").to_lowercase();
            query.split_whitespace().any(|word| page.contains(word))
        })
        .take(input.count("num_results", 10, 100)?)
        .map(|(url, title, text)| json!({ "url": url, "title": title, "text": text }))
        .collect();
    Ok(json!({ "results": results }))
}
