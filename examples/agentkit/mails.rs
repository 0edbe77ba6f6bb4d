//! Unread e-mails, by a tool call: no URL, no token, no parsing of Gmail's responses.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use tower_scalekit::Scalekit;
use tower_scalekit::api::connected_accounts::AccountKey;
use tower_scalekit::api::tools::{ExecuteError, ToolCall};

use crate::terminal::{json, line};

/// The result of the tool.
pub enum Mails {
    List(Vec<Mail>),
    /// A shape that this example does not support.
    Other(Map<String, Value>),
}

#[derive(Deserialize)]
pub struct Mail {
    pub subject: String,
    pub from: String,
    pub snippet: String,
    pub date: String,
}

impl Mails {
    /// The latest five.
    pub async fn unread(scalekit: &Scalekit, user: &AccountKey) -> Result<Self, ExecuteError> {
        let call = ToolCall::new("gmail_fetch_mails", user)
            .parameter("query", "is:unread")
            .parameter("max_results", 5);
        let data = scalekit.api().tools().execute(&call).await?.data;
        let messages = data.get("messages").cloned().unwrap_or_default();
        Ok(serde_json::from_value(messages).map_or(Self::Other(data), Self::List))
    }
}

impl Mail {
    /// The time, to the minute if it can be parsed.
    pub fn time(&self) -> String {
        let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
        OffsetDateTime::parse(&self.date, &Rfc3339)
            .ok()
            .and_then(|date| date.format(format).ok())
            .unwrap_or_else(|| self.date.clone())
    }
}

impl fmt::Display for Mails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(mails) if mails.is_empty() => writeln!(f, "no unread mail"),
            Self::List(mails) => {
                writeln!(f, "{} unread mails", mails.len())?;
                for (number, mail) in (1..).zip(mails) {
                    writeln!(f, "{number}. {}", line(&mail.subject))?;
                    writeln!(f, "   {}, {}", line(&mail.from), line(&mail.time()))?;
                    writeln!(f, "   {}", line(&mail.snippet))?;
                }
                Ok(())
            }
            Self::Other(data) => writeln!(f, "{}", json(data).map_err(|_| fmt::Error)?),
        }
    }
}
