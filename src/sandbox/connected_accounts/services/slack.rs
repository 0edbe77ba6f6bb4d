//! The simulated Slack: three channels of a workspace, with the messages that tools have sent.

use serde_json::{Value, json};
use time::Duration;

use super::{Effect, Tool, ToolFailure, ToolInput};

const SEND: &str = "slack_send_message";

pub(super) static TOOLS: [Tool; 3] = [
    Tool {
        id: "tol_58327482062864401",
        name: "slack_list_channels",
        provider: "SLACK",
        tag: "messaging",
        title: "List channels",
        description: "List the channels of a connected Slack workspace.",
        effect: Effect::Reads,
        input: r#"{ "type": "object", "properties": {} }"#,
        run: |_| {
            Ok(json!({
                "channels": CHANNELS
                    .map(|(id, name, topic)| json!({ "id": id, "name": name, "topic": topic })),
            }))
        },
    },
    Tool {
        id: "tol_58327482062864402",
        name: "slack_fetch_conversation_history",
        provider: "SLACK",
        tag: "messaging",
        title: "Fetch messages",
        description: "Fetch the messages of a Slack channel, newest first.",
        effect: Effect::Reads,
        input: r#"{
            "type": "object",
            "required": ["channel"],
            "properties": {
                "channel": { "type": "string", "description": "The ID or the name of the channel" },
                "limit": { "type": "integer", "minimum": 1, "maximum": 999 }
            }
        }"#,
        run: history,
    },
    Tool {
        id: "tol_58327482062864403",
        name: SEND,
        provider: "SLACK",
        tag: "messaging",
        title: "Send a message",
        description: "Send a message to a Slack channel.",
        effect: Effect::Adds,
        input: r#"{
            "type": "object",
            "required": ["channel", "text"],
            "properties": {
                "channel": { "type": "string", "description": "The ID or the name of the channel" },
                "text": { "type": "string" }
            }
        }"#,
        run: |input| {
            let (id, ..) = channel(input.required("channel")?)?;
            let text = input.required("text")?;
            Ok(json!({ "channel": id, "message": { "user": "U01AGENT", "text": text } }))
        },
    },
];

/// ID, name, topic.
type Channel = (&'static str, &'static str, &'static str);

const CHANNELS: [Channel; 3] = [
    ("C01GENERAL", "general", "Company-wide announcements"),
    ("C01LAUNCH0", "launch", "Launch on Thursday"),
    ("C01RANDOM0", "random", "Lunch, cats, everything else"),
];

/// Channel, sender, text, minutes before the sandbox started. Newest first.
const MESSAGES: [(&str, &str, &str, i64); 4] = [
    ("C01LAUNCH0", "U01PRIYA0", "Status page is done. The rollback drill is still open.", 20),
    ("C01RANDOM0", "U01ZOE000", "The new ramen place is open. Friday?", 75),
    ("C01GENERAL", "U01JOHN00", "Welcome to Mina, who joins us from Example Inc.", 240),
    ("C01LAUNCH0", "U01RAVI00", "Load test: 12k requests per second, no errors.", 400),
];

/// By ID or name, with or without `#`.
fn channel(named: &str) -> Result<Channel, ToolFailure> {
    let named = named.trim_start_matches('#');
    CHANNELS
        .into_iter()
        .find(|(id, name, _)| [*id, *name].contains(&named))
        .ok_or_else(|| ToolFailure::not_found("channel_not_found"))
}

fn history(input: &ToolInput<'_>) -> Result<Value, ToolFailure> {
    let (id, ..) = channel(input.required("channel")?)?;
    let sent: Vec<_> = input
        .former(SEND)
        .filter(|params| {
            let named = params.get("channel").and_then(Value::as_str).unwrap_or_default();
            channel(named).is_ok_and(|(known, ..)| known == id)
        })
        .map(|params| ("U01AGENT", params.get("text").and_then(Value::as_str), 0))
        .collect();
    let former = MESSAGES
        .iter()
        .filter(|(channel, ..)| *channel == id)
        .map(|(_, user, text, minutes)| (*user, Some(*text), *minutes));
    let messages: Vec<_> = sent
        .into_iter()
        .rev()
        .chain(former)
        .take(input.count("limit", 100, 999)?)
        .map(|(user, text, minutes)| {
            let sent_at = (input.since - Duration::minutes(minutes)).unix_timestamp();
            json!({ "user": user, "text": text, "ts": format!("{sent_at}.000000") })
        })
        .collect();
    Ok(json!({ "messages": messages }))
}
