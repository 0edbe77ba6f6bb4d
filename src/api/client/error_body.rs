//! The body of an error, in whichever way it is written.

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value};

/// Maximum length of a message, in characters.
pub(super) const MAX_MESSAGE: usize = 300;

/// Error code of errors that come from a tool's provider, not from the environment.
const TOOL_ERROR: &str = "TOOL_ERROR";

/// Names of the codes of gRPC, from 1.
const GRPC_CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Errors in the formats of gateways, of the API's `ErrorInfo` and of OAuth servers.
#[derive(Default)]
pub(in crate::api) struct ErrorBody(Map<String, Value>);

impl ErrorBody {
    pub(in crate::api) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self)
    }

    /// Whether the API has written it: it has an error code of Scalekit, a code of gRPC, or the error of
    /// a tool. Other gateways respond with JSON, too.
    pub(in crate::api) fn is_of_the_api(&self) -> bool {
        self.error_codes().any(Value::is_string)
            || self.tool_error_info().is_some()
            || self.grpc_code().is_some()
    }

    /// The code of gRPC (`google.rpc.Code`), which is written as a number or by its name.
    fn grpc_code(&self) -> Option<usize> {
        match self.0.get("code")? {
            Value::String(name) => {
                GRPC_CODES.iter().position(|known| known == name).map(|index| index + 1)
            }
            number => {
                let code = usize::try_from(number.as_u64()?).ok()?;
                (1..=GRPC_CODES.len()).contains(&code).then_some(code)
            }
        }
    }

    pub(in crate::api) fn is_tool_error(&self) -> bool {
        self.error_code() == Some(TOOL_ERROR) || self.tool_error_info().is_some()
    }

    /// The most specific error code.
    pub(in crate::api) fn error_code(&self) -> Option<&str> {
        self.error_codes()
            .chain(["code", "error"].into_iter().filter_map(|name| self.0.get(name)))
            .filter_map(Value::as_str)
            .find(|text| is_code(text))
    }

    /// Error codes of Scalekit, the most specific first.
    fn error_codes(&self) -> impl Iterator<Item = &Value> {
        self.details().filter_map(|detail| detail.get("error_code")).chain(self.0.get("error_code"))
    }

    /// A text of the tool's error.
    pub(in crate::api) fn tool_error_text(&self, name: &str) -> Option<&str> {
        self.tool_error_info()?.get(name)?.as_str()
    }

    fn tool_error_info(&self) -> Option<&Value> {
        self.details()
            .find_map(|detail| detail.get("tool_error_info"))
            .or_else(|| self.0.get("tool_error_info"))
            .filter(|info| info.is_object())
    }

    /// The message, with the invalid fields.
    pub(in crate::api) fn explanation(&self) -> Option<String> {
        let fields = self
            .details()
            .filter_map(|detail| {
                detail.get("validation_error_info")?.get("field_violations")?.as_array()
            })
            .flatten()
            .filter_map(|violation| {
                let description = violation.get("description").and_then(Value::as_str);
                let field = violation.get("field")?.as_str()?;
                Some(format!("{field}: {}", description.unwrap_or("rejected")))
            });
        let parts: Vec<_> = self.message().map(str::to_owned).into_iter().chain(fields).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    pub(in crate::api) fn message(&self) -> Option<&str> {
        ["message", "error_description", "error"]
            .into_iter()
            .filter_map(|name| self.0.get(name))
            .chain(self.0.get("error").and_then(|error| error.get("message")))
            .filter_map(Value::as_str)
            .find(|text| !text.is_empty())
    }

    fn details(&self) -> impl Iterator<Item = &Value> {
        self.0.get("details").and_then(Value::as_array).into_iter().flatten()
    }
}

/// Whether the error comes from a tool's provider, through the environment.
pub(in crate::api) fn is_tool_error(response: &Response<Bytes>) -> bool {
    ErrorBody::parse(response.body()).is_some_and(|body| body.is_tool_error())
}

/// Whether the environment's gateway rejected the access token.
pub(in crate::api) fn is_unauthenticated(response: &Response<Bytes>) -> bool {
    let Some(body) = ErrorBody::parse(response.body()) else { return false };
    body.error_code().unwrap_or_default().eq_ignore_ascii_case("UNAUTHENTICATED")
        || body.grpc_code() == Some(GRPC_CODES.len())
}

fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn is_secret(word: &str, client_secret: &str) -> bool {
    // "eyJ" is the base64url prefix of a token's `{"`.
    word.contains("eyJ") || word.contains(client_secret)
}

/// The text without e-mail addresses.
pub(in crate::api) fn without_addresses(text: &str) -> String {
    redact(text, contains_address)
}

/// Whether a word may contain an e-mail address. Too many words are redacted rather than too few.
fn contains_address(word: &str) -> bool {
    // An address may be escaped, even twice.
    let word = word.replace("%25", "%").replace("%40", "@");
    let Some((before, after)) = word.rsplit_once('@') else { return false };
    let names_type = !before.contains(char::is_alphanumeric) && !after.contains('.');
    after.contains(char::is_alphanumeric) && !names_type
}

/// A foreign error code, unless it has another form or may be a secret.
pub(in crate::api) fn presentable_code(code: &str, secret: &str) -> Option<String> {
    (is_code(code) && !is_secret(code, secret)).then(|| code.to_owned())
}

/// Sanitizes foreign text for logs.
pub(in crate::api) fn presentable(text: &str, secret: &str) -> Option<String> {
    let text: String = text
        .replace(secret, "[redacted]")
        .chars()
        .take(4 * MAX_MESSAGE)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let text: String =
        redact(&text, |word| is_secret(word, secret)).chars().take(MAX_MESSAGE).collect();
    (!text.is_empty()).then_some(text)
}

fn redact(text: &str, is_redacted: impl Fn(&str) -> bool) -> String {
    text.split_whitespace()
        .map(|word| if is_redacted(word) { "[redacted]" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}
