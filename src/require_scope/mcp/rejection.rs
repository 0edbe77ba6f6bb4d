//! Rejections of MCP requests: see [MCP](crate::guides::responses#mcp).

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::headers::Mismatch;
use crate::middleware::rejection::{
    OVERLOADED, REQUEST_TIMEOUT, Rejection, json_response, unavailable_response,
};
use crate::require_scope::ScopeRejection;

/// Why [`RequireMcpScope`](super::RequireMcpScope) rejected a request, and the ID of the request.
///
/// The body of the response is an error of JSON-RPC, except behind an optional layer, where the
/// response to an anonymous request is that of a required one. The code is that of MCP or JSON-RPC,
/// or else the HTTP status. `data` of a missing scope has the members `error` and `scope` of the
/// challenge.
#[derive(Clone, Debug)]
pub struct McpRejection {
    error: McpError,
    request_id: Option<Box<str>>,
}

/// Why a request to an MCP server was rejected.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum McpError {
    /// The message is valid JSON, but no message of JSON-RPC, lacks the name of its tool, or parsers
    /// read it differently, for instance because of a duplicate member.
    /// Responds with 400 and `-32600`.
    AmbiguousMessage,
    /// Several messages, which the revision in `MCP-Protocol-Version` does not allow. Responds with
    /// 400 and `-32600`.
    Batch,
    /// The body, which contains the operation, could not be read. Responds with 400.
    FailedToBufferBody,
    /// A header that repeats a part of the message does not match it, or is missing. Responds with
    /// 400 and `-32020`.
    HeaderMismatch {
        /// The name of the header.
        header: HeaderName,
        /// Whether the revision requires the header, and it is missing.
        is_missing: bool,
    },
    /// The body was dropped, because unfinished bodies exceeded their memory bound. Responds with
    /// 503 and `Retry-After`.
    Overloaded,
    /// The body is not a JSON object. Responds with 400 and `-32700`.
    ParseError,
    /// The body exceeds the [size limit](crate::middleware::BodyLimits::max_bytes). Responds with
    /// 413.
    PayloadTooLarge,
    /// The body, which contains the operation, timed out. Responds with 408.
    RequestTimeout,
    /// The principal does not meet the requirements of the operation, or there is none.
    Scope(ScopeRejection),
    /// The body has a `Content-Encoding`. A layer that decodes it belongs outside of this one.
    /// Responds with 415.
    UnsupportedContentEncoding,
}

impl McpRejection {
    pub(super) fn new(error: McpError, request_id: Option<Box<str>>) -> Self {
        Self { error, request_id }
    }

    /// Why the request was rejected.
    #[must_use]
    pub fn error(&self) -> &McpError {
        &self.error
    }

    /// The ID of the request as JSON, if it could be read.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

impl From<ScopeRejection> for McpError {
    fn from(rejection: ScopeRejection) -> Self {
        Self::Scope(rejection)
    }
}

impl From<Mismatch> for McpError {
    fn from(Mismatch { header, is_missing }: Mismatch) -> Self {
        Self::HeaderMismatch { header, is_missing }
    }
}

impl McpError {
    fn message(&self) -> String {
        match self {
            Self::AmbiguousMessage => "The message is not a valid request".to_owned(),
            Self::Batch => "Send one message per request".to_owned(),
            Self::FailedToBufferBody => "The body could not be read".to_owned(),
            Self::HeaderMismatch { header, is_missing: true } => {
                format!("Header mismatch: {header} is missing")
            }
            Self::HeaderMismatch { header, is_missing: false } => {
                format!("Header mismatch: {header} does not match the body")
            }
            Self::Overloaded => OVERLOADED.to_owned(),
            Self::ParseError => "The body is not a JSON object".to_owned(),
            Self::PayloadTooLarge => "The body is too large".to_owned(),
            Self::RequestTimeout => REQUEST_TIMEOUT.to_owned(),
            Self::Scope(ScopeRejection::Insufficient { description, .. }) => {
                format!("Required {description}")
            }
            Self::Scope(_) => "The request cannot be authorized. See the server's log".to_owned(),
            Self::UnsupportedContentEncoding => "Send the body without encoding".to_owned(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::AmbiguousMessage
            | Self::Batch
            | Self::FailedToBufferBody
            | Self::HeaderMismatch { .. }
            | Self::ParseError => StatusCode::BAD_REQUEST,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Scope(_) => StatusCode::FORBIDDEN,
            Self::UnsupportedContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

impl Rejection for McpRejection {
    fn code(&self) -> &'static str {
        match &self.error {
            McpError::AmbiguousMessage => "ambiguous_message",
            McpError::Batch => "batch",
            McpError::FailedToBufferBody => "failed_to_buffer_body",
            McpError::HeaderMismatch { .. } => "header_mismatch",
            McpError::Overloaded => "overloaded",
            McpError::ParseError => "parse_error",
            McpError::PayloadTooLarge => "payload_too_large",
            McpError::RequestTimeout => "request_timeout",
            McpError::Scope(rejection) => rejection.code(),
            McpError::UnsupportedContentEncoding => "unsupported_content_encoding",
        }
    }

    fn response(&self) -> Response<Bytes> {
        let message = self.error.message();
        let mut response = match &self.error {
            McpError::Scope(rejection @ ScopeRejection::Insufficient { .. }) => {
                rejection.response()
            }
            McpError::Scope(rejection) => return rejection.response(),
            McpError::Overloaded => unavailable_response(&message),
            other => json_response(other.status(), self.code(), &message),
        };
        if let McpError::UnsupportedContentEncoding = self.error {
            // RFC 9110, section 15.5.16.
            response.headers_mut().insert(header::ACCEPT_ENCODING, IDENTITY);
        }
        let code = match &self.error {
            McpError::HeaderMismatch { .. } => HEADER_MISMATCH,
            McpError::ParseError => PARSE_ERROR,
            McpError::AmbiguousMessage | McpError::Batch => INVALID_REQUEST,
            // The specifications leave these codes to applications.
            _ => i32::from(response.status().as_u16()),
        };
        let data = match &self.error {
            McpError::Scope(ScopeRejection::Insufficient { challenge, .. }) => Some(ErrorData {
                error: self.code(),
                scope: challenge.as_ref().map(|challenge| challenge.scope_text()),
            }),
            _ => None,
        };
        *response.body_mut() = error_body(self.request_id(), code, &message, data);
        response
    }
}

/// The value of `Accept-Encoding` that allows no compression.
pub(super) const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

const HEADER_MISMATCH: i32 = -32020;
const INVALID_REQUEST: i32 = -32600;
pub(super) const INTERNAL_ERROR: i32 = -32603;
const PARSE_ERROR: i32 = -32700;

#[derive(Serialize)]
pub(super) struct ErrorData {
    error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

#[derive(Serialize)]
struct JsonRpcError<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ErrorData>,
}

/// An error of JSON-RPC. Without a readable ID it has none, as MCP specifies.
pub(super) fn error_body(
    id: Option<&str>,
    code: i32,
    message: &str,
    data: Option<ErrorData>,
) -> Bytes {
    let error = serde_json::to_string(&JsonRpcError { code, message, data }).unwrap_or_default();
    // The ID is JSON as it was read from a valid message.
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{error}}}").into()
}
