//! The simulated Gmail: a mailbox shared by all accounts, its tools, and the API behind the proxy.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

use super::{Effect, Tool, ToolFailure};
use crate::sandbox::parameters::Parameters;
use crate::sandbox::respond::{self, timestamp};

pub(super) static TOOLS: [Tool; 2] = [
    Tool {
        id: "tol_58327482062864392",
        name: "gmail_fetch_mails",
        provider: "GMAIL",
        tag: "email",
        title: "Fetch e-mails",
        description: "Fetch emails from a connected Gmail account, newest first.",
        effect: Effect::Reads,
        input: r#"{
            "type": "object",
            "properties": {
                "query": { "type": "string", "description": "A search as in Gmail, such as is:unread" },
                "max_results": { "type": "integer", "minimum": 1, "maximum": 500 }
            }
        }"#,
        run: |input| {
            let mails: Vec<_> = search(input.text("query")?.unwrap_or_default(), input.since)
                .iter()
                .take(input.count("max_results", 10, 500)?)
                .map(Mail::structured)
                .collect();
            Ok(json!({ "messages": mails }))
        },
    },
    Tool {
        id: "tol_58327482062864393",
        name: "gmail_get_message_by_id",
        provider: "GMAIL",
        tag: "email",
        title: "Get an e-mail",
        description: "Get an email of a connected Gmail account by its id.",
        effect: Effect::Reads,
        input: r#"{
            "type": "object",
            "required": ["message_id"],
            "properties": { "message_id": { "type": "string" } }
        }"#,
        run: |input| {
            find(input.required("message_id")?, input.since)
                .map(|mail| mail.structured())
                .ok_or_else(|| ToolFailure::not_found("Requested entity was not found."))
        },
    },
];

/// An e-mail of the mailbox.
#[derive(Clone, Debug)]
struct Mail {
    id: &'static str,
    sender: &'static str,
    subject: &'static str,
    snippet: &'static str,
    unread: bool,
    date: OffsetDateTime,
}

type Row = (&'static str, &'static str, &'static str, &'static str, bool, i64);

/// ID, sender, subject, snippet, unread, minutes before the sandbox started.
const MAILBOX: [Row; 12] = [
    (
        "18f3a9c2d4e5b601",
        "Priya Nair <priya@acme.test>",
        "Launch checklist for Thursday",
        "Two items are still open: the status page and the rollback drill. Can you take one of them?",
        true,
        12,
    ),
    (
        "18f3a9b1c7d8e902",
        "GitHub <noreply@github.test>",
        "[acme/agent] CI passed on main",
        "All checks have passed on main: build, clippy, tests. Duration: 4 min 12 s.",
        false,
        47,
    ),
    (
        "18f3a97e5f60a203",
        "John Doe <john@acme.test>",
        "Re: Pricing page copy",
        "I like the second version better, but the last sentence promises more than we ship.",
        true,
        95,
    ),
    (
        "18f3a912b3c4d504",
        "Calendar <calendar@acme.test>",
        "Invitation: Design review, tomorrow 10:00",
        "Jane Roe has invited you to Design review. Where: room Ada, or by video.",
        true,
        180,
    ),
    (
        "18f3a8d0e1f2a305",
        "Gita Rao <gita@globex.test>",
        "Signed order form",
        "Attached is the signed order form for 200 seats. When can our IT start with SSO?",
        true,
        320,
    ),
    (
        "18f3a86b9c0d1e06",
        "Acme Travel <travel@acme.test>",
        "Your train to Berlin",
        "Coach 7, seat 42. The ticket is attached; have your ID ready on board.",
        false,
        700,
    ),
    (
        "18f3a7f4a5b6c707",
        "Zoë Brandt <zoe@acme.test>",
        "Lunch on Friday?",
        "The new ramen place has opened around the corner. Friday at half past twelve?",
        true,
        1_330,
    ),
    (
        "18f3a77d8e9fa008",
        "AccountStatus <status@acme.test>",
        "Resolved: slow webhooks in eu-west",
        "This incident has been resolved. Deliveries were delayed by up to four minutes.",
        false,
        1_500,
    ),
    (
        "18f3a6c1d2e3f409",
        "Ravi Menon <ravi@acme.test>",
        "Interview notes: backend candidate",
        "Strong on databases, curious, asked the right questions about our on-call rota.",
        true,
        2_160,
    ),
    (
        "18f3a5e9f0a1b20a",
        "Newsletter <news@rust.test>",
        "This week in Rust",
        "Async closures in practice, a tour of tower layers, and the call for participation.",
        true,
        2_900,
    ),
    (
        "18f3a4b7c8d9ea0b",
        "Finance <finance@acme.test>",
        "Expense report approved",
        "Your report of 132.40 EUR has been approved and will be paid with the next run.",
        false,
        4_320,
    ),
    (
        "18f3a3a5b6c7d80c",
        "Security <security@acme.test>",
        "New sign-in to your account",
        "We noticed a new sign-in from Chromium on Linux. If this was you, there is nothing to do.",
        true,
        5_800,
    ),
];

/// Search results, newest first.
fn search(query: &str, since: OffsetDateTime) -> Vec<Mail> {
    MAILBOX
        .iter()
        .map(|(id, sender, subject, snippet, unread, minutes)| {
            let date = since - Duration::minutes(*minutes);
            Mail { id, sender, subject, snippet, unread: *unread, date }
        })
        .filter(|mail| query.split_whitespace().all(|term| mail.matches(term)))
        .collect()
}

fn find(id: &str, since: OffsetDateTime) -> Option<Mail> {
    search("", since).into_iter().find(|mail| mail.id == id)
}

impl Mail {
    /// The subset of Gmail's search that the sandbox supports.
    fn matches(&self, term: &str) -> bool {
        match term.split_once(':') {
            Some(("is", "unread")) => self.unread,
            Some(("is", "read")) => !self.unread,
            Some(("in", "inbox" | "anywhere")) => true,
            Some(("in" | "is" | "label" | "has", _)) => false,
            Some(("from", part)) => contains(self.sender, part),
            Some(("subject", part)) => contains(self.subject, part),
            _ => [self.sender, self.subject, self.snippet].iter().any(|text| contains(text, term)),
        }
    }

    /// The format of the tools.
    fn structured(&self) -> Value {
        json!({
            "id": self.id,
            "subject": self.subject,
            "from": self.sender,
            "snippet": self.snippet,
            "date": timestamp(self.date),
        })
    }

    /// The format of Gmail's API.
    fn resource(&self) -> Value {
        json!({
            "id": self.id,
            "threadId": self.id,
            "labelIds": match self.unread {
                true => &["INBOX", "UNREAD"][..],
                false => &["INBOX"][..],
            },
            "snippet": self.snippet,
            "internalDate": (self.date.unix_timestamp() * 1000).to_string(),
            "payload": { "mimeType": "text/plain", "headers": [
                { "name": "From", "value": self.sender },
                { "name": "Subject", "value": self.subject },
                { "name": "Date", "value": self.date.format(&Rfc2822).unwrap_or_default() },
            ]},
        })
    }
}

/// In any case.
fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// Gmail's own API, for an authorized user.
pub(super) fn proxied(
    request: &Request<Bytes>,
    path: &[&str],
    identifier: &str,
    since: OffsetDateTime,
) -> Response<Bytes> {
    let body = match (request.method(), path) {
        (&Method::GET, ["gmail", "v1", "users", "me", "profile"]) => json!({
            "emailAddress": format!("{identifier}@gmail.test"),
            "messagesTotal": MAILBOX.len(),
            "threadsTotal": MAILBOX.len(),
            "historyId": "1",
        }),
        (&Method::GET, ["gmail", "v1", "users", "me", "messages"]) => {
            let query = Parameters::from_query(request);
            let count = query.get("maxResults").and_then(|count| count.parse().ok()).unwrap_or(100);
            let found = search(query.get("q").unwrap_or_default(), since);
            let ids: Vec<_> = found
                .iter()
                .take(count)
                .map(|mail| json!({ "id": mail.id, "threadId": mail.id }))
                .collect();
            json!({ "messages": ids, "resultSizeEstimate": found.len() })
        }
        (&Method::GET, ["gmail", "v1", "users", "me", "messages", id]) => match find(id, since) {
            Some(mail) => mail.resource(),
            None => {
                return google_error(StatusCode::NOT_FOUND, "Requested entity was not found.");
            }
        },
        _ => return google_error(StatusCode::NOT_FOUND, "Not Found"),
    };
    respond::json(StatusCode::OK, &body)
}

/// An error in Google's format.
pub(super) fn google_error(status: StatusCode, message: &str) -> Response<Bytes> {
    let body = json!({
        "error": {
            "code": status.as_u16(),
            "message": message,
            "status": google_status(status),
        },
    });
    respond::json(status, &body)
}

pub(super) fn google_status(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "INVALID_ARGUMENT",
        StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
        StatusCode::FORBIDDEN => "PERMISSION_DENIED",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
        StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}
