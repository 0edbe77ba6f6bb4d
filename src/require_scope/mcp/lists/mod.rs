//! Removes from lists what the principal may not use.

mod event_stream;
mod json;
mod message;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use thiserror::Error;

use self::event_stream::Events;
use super::operation::Operation;
use super::rejection::{INTERNAL_ERROR, error_body};
use super::rules::Rules;
use crate::middleware::rejection::JSON;
use crate::middleware::response_body::{BodyChange, BodyFilter};
use crate::middleware::response_future::OnResponse;
use crate::token::Principal;
use crate::util::telemetry;

/// Size limit of a response in JSON, and of an event.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A list in a result, and how its items are used.
#[derive(Debug)]
struct List {
    /// The method that returns it.
    method: &'static str,
    /// The member of the result.
    member: &'static str,
    /// The method that uses an item.
    used_by: &'static str,
    /// The member of an item that names it.
    name: &'static str,
}

const LISTS: [List; 4] = [
    List { method: "tools/list", member: "tools", used_by: "tools/call", name: "name" },
    List { method: "prompts/list", member: "prompts", used_by: "prompts/get", name: "name" },
    List { method: "resources/list", member: "resources", used_by: "resources/read", name: "uri" },
    List {
        method: "resources/templates/list",
        member: "resourceTemplates",
        used_by: "resources/read",
        name: "uriTemplate",
    },
];

/// Why a list cannot be filtered.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
enum ListError {
    #[error("the response is compressed: put the layer that compresses outside of RequireMcpScope")]
    Compressed,
    #[error("the list is neither application/json nor text/event-stream")]
    ContentType,
    #[error("the response is malformed")]
    Malformed,
    #[error("the response is larger than {MAX_BYTES} bytes")]
    TooLarge,
}

/// Filters a response.
pub(crate) struct ListFilter {
    access: Access,
    /// The ID of the request. Responses on a stream have their own.
    id: Option<Box<str>>,
    format: Option<Format>,
    error: Option<ListError>,
}

/// What may be in a list.
struct Access {
    rules: Arc<Rules>,
    principal: Principal,
    /// The list that the result must contain. `None`: messages may contain any list.
    expected: Option<&'static List>,
}

enum Format {
    Json(Vec<u8>),
    EventStream(Events),
    /// The rest of a result with large content.
    Other,
}

impl ListFilter {
    /// For a call of `method`, or for a stream, whose client may resume that of a call. Results of
    /// other methods are filtered, too: a server may send a list there, if a client uses its ID for
    /// another request while it is pending.
    pub(super) fn new(
        method: Option<&str>,
        id: Option<Box<str>>,
        rules: &Arc<Rules>,
        principal: &Principal,
    ) -> Self {
        Self {
            access: Access {
                rules: Arc::clone(rules),
                principal: principal.clone(),
                expected: LISTS.iter().find(|list| method == Some(list.method)),
            },
            id,
            format: None,
            error: None,
        }
    }

    /// The format of a successful response. `None`: it is not filtered.
    fn format_of(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Option<Format>, ListError> {
        // Clients read the result of a successful response only.
        if !status.is_success() {
            return Ok(None);
        }
        // The response to a notification; or the result follows on a stream, as in the first revision.
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            self.access.expected = None;
        }
        let media_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok()?.split(';').next())
            .unwrap_or_default()
            .trim();
        let format = if media_type.eq_ignore_ascii_case("application/json") {
            Format::Json(Vec::new())
        } else if media_type.eq_ignore_ascii_case("text/event-stream") {
            Format::EventStream(Events::default())
        } else if self.access.expected.is_some() {
            return Err(ListError::ContentType);
        } else {
            return Ok(None);
        };
        match headers.contains_key(header::CONTENT_ENCODING) {
            true => Err(ListError::Compressed),
            false => Ok(Some(format)),
        }
    }

    /// The error that replaces the rest of the response.
    fn error(&self, error: ListError) -> Bytes {
        telemetry::internal_error("filter_lists", &error);
        error_body(
            self.id.as_deref(),
            INTERNAL_ERROR,
            "The response could not be filtered. See the server's log",
            None,
        )
    }

    /// Ends the response after an error.
    fn complete(
        &mut self,
        result: Result<(), ListError>,
        filtered: &mut Vec<u8>,
    ) -> ControlFlow<()> {
        let Err(error) = result else { return ControlFlow::Continue(()) };
        let error = self.error(error);
        match self.format.take() {
            Some(Format::EventStream(_)) => {
                filtered.extend([b"data: ", &*error, b"\n\n"].concat());
            }
            _ => filtered.extend_from_slice(&error),
        }
        ControlFlow::Break(())
    }
}

impl OnResponse for Option<Box<ListFilter>> {
    fn poll_response(
        &mut self,
        _: &mut Context<'_>,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Poll<()> {
        let Some(filter) = self else { return Poll::Ready(()) };
        match filter.format_of(status, headers) {
            Ok(None) => *self = None,
            changed => {
                // They describe the bytes of the complete list.
                for name in [
                    header::CONTENT_LENGTH,
                    header::ETAG,
                    header::HeaderName::from_static("content-digest"),
                    header::HeaderName::from_static("repr-digest"),
                ] {
                    headers.remove(name);
                }
                match changed {
                    Ok(format) => filter.format = format,
                    Err(error) => {
                        filter.error = Some(error);
                        headers.remove(header::CONTENT_ENCODING);
                        headers.insert(header::CONTENT_TYPE, JSON);
                    }
                }
            }
        }
        Poll::Ready(())
    }

    fn body_change(self) -> BodyChange {
        match self {
            None => BodyChange::None,
            Some(filter) => match filter.error {
                Some(error) => BodyChange::Replace(filter.error(error)),
                None => BodyChange::Filter(filter),
            },
        }
    }
}

impl BodyFilter for ListFilter {
    fn push(&mut self, data: &[u8], filtered: &mut Vec<u8>) -> ControlFlow<()> {
        let result = match &mut self.format {
            None => Err(ListError::Malformed),
            Some(Format::Json(body)) => {
                body.extend_from_slice(data);
                if body.len() <= MAX_BYTES {
                    Ok(())
                } else if self.access.is_content(body) {
                    filtered.append(body);
                    self.format = Some(Format::Other);
                    Ok(())
                } else {
                    Err(ListError::TooLarge)
                }
            }
            Some(Format::Other) => {
                filtered.extend_from_slice(data);
                Ok(())
            }
            Some(Format::EventStream(events)) => events.push(data, &self.access, filtered),
        };
        self.complete(result, filtered)
    }

    fn finish(&mut self, filtered: &mut Vec<u8>) {
        let result = match &mut self.format {
            None => Err(ListError::Malformed),
            Some(Format::Other) => Ok(()),
            Some(Format::Json(body)) if body.is_empty() && self.access.expected.is_none() => Ok(()),
            Some(Format::Json(body)) => self.access.filter(body).map(|changed| {
                filtered.extend_from_slice(changed.as_deref().unwrap_or(body));
            }),
            Some(Format::EventStream(events)) => events.finish(&self.access, filtered),
        };
        let _ = self.complete(result, filtered);
    }
}

impl Access {
    /// Whether the principal may use an item of a list.
    fn permits(&self, list: &List, name: String) -> bool {
        let operation = Operation::Call { method: list.used_by.to_owned(), name: Some(name) };
        self.rules.rule(&operation).is_none_or(|rule| rule.permits(&self.principal))
    }
}
