//! A model without intelligence, on a loopback port: it reads e-mails, posts their subjects and
//! reports.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_scalekit::clock::Clock;

use crate::Failure;

/// Serves the model until the program ends. Returns its base URL and its API key.
pub async fn serve() -> Result<(String, String), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    let key = format!("sk-scripted-{}", Clock::system().now().unix_timestamp_nanos());
    let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(key.clone());
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok((url, key))
}

async fn complete(
    State(key): State<String>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    if given != Some(format!("Bearer {key}").as_bytes()) {
        let error = json!({ "error": { "message": "Incorrect API key provided." } });
        return (StatusCode::UNAUTHORIZED, Json(error));
    }
    let message = next(&request);
    let reason = if message["tool_calls"].is_array() { "tool_calls" } else { "stop" };
    let choice = json!({ "index": 0, "message": message, "finish_reason": reason });
    let body = json!({
        "object": "chat.completion", "model": request["model"], "choices": [choice],
    });
    (StatusCode::OK, Json(body))
}

/// The script: its state are the results of the calls so far.
fn next(request: &Value) -> Value {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let results: Vec<_> = messages
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["content"].as_str().unwrap_or_default())
        .collect();
    match results[..] {
        [] => {
            let arguments = json!({ "query": "is:unread", "max_results": 3 });
            call("call_0", "gmail_fetch_mails", &arguments)
        }
        [mails] => {
            let text = format!("Unread mail: {}", subjects(mails).join("; "));
            let arguments = json!({ "channel": "general", "text": text });
            call("call_1", "slack_send_message", &arguments)
        }
        [.., sent] => {
            let text = match serde_json::from_str::<Value>(sent) {
                Ok(_) => "I have posted your unread mail to #general.".to_owned(),
                Err(_) => format!("I have posted nothing: {sent}"),
            };
            json!({ "role": "assistant", "content": text })
        }
    }
}

fn call(id: &str, name: &str, arguments: &Value) -> Value {
    let function = json!({ "name": name, "arguments": arguments.to_string() });
    json!({
        "role": "assistant",
        "content": null,
        "tool_calls": [{ "id": id, "type": "function", "function": function }],
    })
}

fn subjects(mails: &str) -> Vec<String> {
    let mails: Value = serde_json::from_str(mails).unwrap_or_default();
    let mails = mails["messages"].as_array().cloned().unwrap_or_default();
    mails.iter().filter_map(|mail| Some(mail["subject"].as_str()?.to_owned())).collect()
}
