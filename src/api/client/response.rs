//! Parses responses: the result of the call, or an error with its origin.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::api::error::{ApiError, ErrorResponse, Unavailable};
use crate::api::tools::ToolError;
use crate::http_client::{WEB_PAGE, is_web_page};
use crate::scalekit::Scalekit;

/// Maximum length of a message, in characters.
const MAX_MESSAGE: usize = 300;

/// Error code of errors that come from a tool's provider, not from the environment.
const TOOL_ERROR: &str = "TOOL_ERROR";

/// Deserializes a successful response, or returns the error.
pub(in crate::api) fn read<T: DeserializeOwned>(
    response: &Response<Bytes>,
    scalekit: &Scalekit,
) -> Result<T, ApiError> {
    let status = response.status();
    if !status.is_success() {
        return Err(failure(response, scalekit));
    }
    let body: &[u8] = if response.body().is_empty() { b"null" } else { response.body() };
    let otherwise = "its body is not the JSON of this call";
    serde_json::from_slice(body).map_err(|_| unexpected(response, otherwise))
}

fn unexpected(response: &Response<Bytes>, otherwise: &'static str) -> ApiError {
    let what = if is_web_page(response) { WEB_PAGE } else { otherwise };
    ApiError::UnexpectedResponse { what, status: Some(response.status()) }
}

fn failure(response: &Response<Bytes>, scalekit: &Scalekit) -> ApiError {
    let status = response.status();
    let body = ErrorBody::parse(response.body());
    let is_of_the_api = body.is_some() || response.body().is_empty();
    let body = body.unwrap_or_default();
    let secret = scalekit.client_secret().expose();
    let answer = ErrorResponse {
        status,
        error_code: body.error_code().filter(|code| !is_secret(code, secret)).map(str::to_owned),
        message: body.explanation().and_then(|text| presentable(&without_addresses(&text), secret)),
    };
    match status {
        StatusCode::UNAUTHORIZED => ApiError::Unauthorized(answer),
        StatusCode::TOO_MANY_REQUESTS => {
            let retry_after = retry_after(response, scalekit.clock().now());
            ApiError::RateLimited { response: answer, retry_after }
        }
        _ if status.is_server_error() => ApiError::Unavailable(Unavailable::Failing(answer)),
        _ if status.is_redirection() => {
            ApiError::UnexpectedResponse { what: "a redirect", status: Some(status) }
        }
        _ if !status.is_client_error() => unexpected(response, "neither a success nor an error"),
        // A proxy's page does not say what the environment knows or allows.
        _ if !is_of_the_api => unexpected(response, "an error that is not the API's"),
        StatusCode::FORBIDDEN => ApiError::Forbidden(answer),
        StatusCode::NOT_FOUND => ApiError::NotFound(answer),
        StatusCode::CONFLICT => ApiError::Conflict(answer),
        _ => ApiError::InvalidRequest(answer),
    }
}

/// Whether the error comes from a tool's provider, through the environment.
pub(in crate::api) fn is_of_a_tool(response: &Response<Bytes>) -> bool {
    let body = ErrorBody::parse(response.body());
    body.is_some_and(|body| body.is_of_a_tool())
}

/// Whether the environment's gateway rejected the access token.
pub(in crate::api) fn is_unauthenticated(response: &Response<Bytes>) -> bool {
    let Some(body) = ErrorBody::parse(response.body()) else { return false };
    let code = body.error_code().unwrap_or_default();
    code.eq_ignore_ascii_case("UNAUTHENTICATED") || body.0.get("code") == Some(&Value::from(16))
}

/// The error of a tool's provider, if the environment includes it.
pub(in crate::api) fn tool_error(
    response: &Response<Bytes>,
    scalekit: &Scalekit,
) -> Option<ToolError> {
    let body = ErrorBody::parse(response.body())?;
    if response.status().is_success() || !body.is_of_a_tool() {
        return None;
    }
    let info = body.tool_error_info();
    let text = |name: &str| info.and_then(|info| info.get(name)).and_then(Value::as_str);
    let message = text("tool_error_message").filter(|text| !text.is_empty()).or(body.message());
    let secret = scalekit.client_secret().expose();
    Some(ToolError {
        status: response.status(),
        execution_id: text("execution_id").filter(|text| is_code(text)).map(str::to_owned),
        code: text("tool_error_code").filter(|text| is_code(text)).map(str::to_owned),
        message: message.and_then(|message| presentable(message, secret)),
    })
}

/// `Retry-After` as a duration, from seconds or from a date.
pub(in crate::api) fn retry_after(
    response: &Response<Bytes>,
    now: OffsetDateTime,
) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    Some(Duration::try_from(date - now).unwrap_or_default())
}

/// Errors in the formats of gateways, of the API's `ErrorInfo` and of OAuth servers.
#[derive(Default)]
struct ErrorBody(Map<String, Value>);

impl ErrorBody {
    fn is_of_a_tool(&self) -> bool {
        self.error_code() == Some(TOOL_ERROR) || self.tool_error_info().is_some()
    }

    fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self)
    }

    /// The most specific error code.
    fn error_code(&self) -> Option<&str> {
        let details = self.0.get("details").and_then(Value::as_array).into_iter().flatten();
        let of_details = details.filter_map(|detail| detail.get("error_code"));
        let of_body = ["error_code", "code", "error"].into_iter();
        let candidates = of_details.chain(of_body.filter_map(|name| self.0.get(name)));
        candidates.filter_map(Value::as_str).find(|text| is_code(text))
    }

    fn tool_error_info(&self) -> Option<&Value> {
        let details = self.0.get("details").and_then(Value::as_array).into_iter().flatten();
        let mut infos = details.filter_map(|detail| detail.get("tool_error_info"));
        infos.next().or_else(|| self.0.get("tool_error_info")).filter(|info| info.is_object())
    }

    /// The message, with the invalid fields.
    fn explanation(&self) -> Option<String> {
        let details = self.0.get("details").and_then(Value::as_array).into_iter().flatten();
        let fields = details
            .filter_map(|detail| detail.get("validation_error_info")?.get("field_violations"))
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(|violation| {
                let text = |name| violation.get(name).and_then(Value::as_str);
                Some(format!("{}: {}", text("field")?, text("description").unwrap_or("rejected")))
            });
        let parts: Vec<_> = self.message().map(str::to_owned).into_iter().chain(fields).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn message(&self) -> Option<&str> {
        let own = ["message", "error_description", "error"];
        let own = own.into_iter().filter_map(|name| self.0.get(name));
        let nested = self.0.get("error").and_then(|error| error.get("message"));
        let mut texts = own.chain(nested).filter_map(Value::as_str);
        texts.find(|text| !text.is_empty())
    }
}

fn is_code(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

fn is_secret(word: &str, client_secret: &str) -> bool {
    // "eyJ" is the base64url prefix of a token's `{"`.
    word.contains("eyJ") || word.contains(client_secret)
}

/// E-mail addresses are redacted.
fn without_addresses(text: &str) -> String {
    let words = text.split_whitespace();
    let words = words.map(|word| if contains_address(word) { "[redacted]" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Redacts too many words rather than too few.
fn contains_address(word: &str) -> bool {
    // Also if it was escaped, even twice.
    let word = word.replace("%25", "%").replace("%40", "@");
    let Some((before, after)) = word.rsplit_once('@') else { return false };
    let names_type = !before.contains(char::is_alphanumeric) && !after.contains('.');
    after.contains(char::is_alphanumeric) && !names_type
}

/// Sanitizes foreign text for logs.
fn presentable(text: &str, secret: &str) -> Option<String> {
    let text = text.replace(secret, "[redacted]");
    let letters = |letter: char| if letter.is_control() { ' ' } else { letter };
    let text: String = text.chars().take(4 * MAX_MESSAGE).map(letters).collect();
    let words = text.split_whitespace();
    let words = words.map(|word| if is_secret(word, secret) { "[redacted]" } else { word });
    let text: String = words.collect::<Vec<_>>().join(" ").chars().take(MAX_MESSAGE).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::UnreachableClient;

    fn answered(status: u16, body: &str) -> ApiError {
        let scalekit = Scalekit::builder("https://acme.scalekit.test", "skc_1", "hunter2hunter2");
        let scalekit = scalekit.http_client(UnreachableClient).build().unwrap();
        let response = Response::builder().status(status).body(Bytes::from(body.to_owned()));
        read::<Map<String, Value>>(&response.unwrap(), &scalekit).unwrap_err()
    }

    fn said(status: u16, body: &str) -> (Option<String>, Option<String>) {
        let error = answered(status, body);
        let answer = error.response().unwrap();
        assert_eq!(answer.status, status);
        (answer.error_code.clone(), answer.message.clone())
    }

    #[test]
    fn errors_are_read_in_all_formats() {
        let of = |code: &str, message: &str| (Some(code.to_owned()), Some(message.to_owned()));
        for (body, expected) in [
            (
                r#"{"code":5,"message":"m","details":[{"@type":"x"},{"error_code":"GONE"}]}"#,
                of("GONE", "m"),
            ),
            (
                r#"{"message":"m","details":[{"error_code":"BAD","validation_error_info":
                {"field_violations":[{"field":"a","description":"b"},{"field":"c"},7]}}]}"#,
                of("BAD", "m; a: b; c: rejected"),
            ),
            (r#"{"error_code":"GONE","error_description":"m"}"#, of("GONE", "m")),
            (r#"{"error":"gone","error_description":"m"}"#, of("gone", "m")),
            (r#"{"code":"GONE","message":"m"}"#, of("GONE", "m")),
            (r#"{"code":5,"error":{"message":"m"}}"#, (None, Some("m".to_owned()))),
            (r#"{"error":"It is gone."}"#, (None, Some("It is gone.".to_owned()))),
            (r#"{"error_code":"no code <b>","message":7}"#, (None, None)),
            ("{}", (None, None)),
            ("", (None, None)),
        ] {
            assert_eq!(said(404, body), expected, "{body}");
        }
    }

    #[test]
    fn statuses_determine_the_error() {
        let body = r#"{"code":3,"message":"m"}"#;
        for status in [400, 408, 412, 413, 422, 499] {
            assert!(matches!(answered(status, body), ApiError::InvalidRequest(_)), "{status}");
        }
        assert!(matches!(answered(401, "<html>"), ApiError::Unauthorized(_)));
        assert!(matches!(answered(403, body), ApiError::Forbidden(_)));
        assert!(matches!(answered(404, body), ApiError::NotFound(_)));
        assert!(matches!(answered(409, body), ApiError::Conflict(_)));
        assert!(matches!(answered(429, ""), ApiError::RateLimited { .. }));
        for status in [500, 501, 502, 503, 504] {
            assert!(matches!(answered(status, "<html>"), ApiError::Unavailable(_)), "{status}");
        }
        for (status, body) in [
            (200, "<html>"),
            (200, ""),
            (302, ""),
            (400, "<html>"),
            (403, "<html>"),
            (404, "<html>"),
            (404, "[]"),
        ] {
            let error = answered(status, body);
            assert!(matches!(error, ApiError::UnexpectedResponse { .. }), "{status} {body}");
        }
    }

    #[test]
    fn unexpected_responses_are_described() {
        for (status, body, named) in [
            (200, " <!doctype html>", WEB_PAGE),
            (403, "<html>", WEB_PAGE),
            (200, "[]", "its body is not the JSON of this call"),
            (302, "<html>", "a redirect"),
            (404, "Not Found", "an error that is not the API's"),
        ] {
            let ApiError::UnexpectedResponse { what, .. } = answered(status, body) else {
                panic!("{status} {body} is another error")
            };
            assert_eq!(what, named, "{status} {body}");
        }
    }

    #[test]
    fn messages_are_short_without_secrets_and_line_breaks() {
        let said = |message: &str| {
            said(400, &serde_json::json!({ "message": message }).to_string()).1.unwrap_or_default()
        };
        assert_eq!(said("bad\r\nfake log line\u{1b}[2J"), "bad fake log line [2J");
        assert_eq!(said("token Bearer=eyJhbGciOi.eyJ.x is bad"), "token [redacted] is bad");
        assert_eq!(said("secret is hunter2hunter2."), "secret is [redacted].");
        assert_eq!(said(&"é".repeat(5000)).chars().count(), MAX_MESSAGE);
        assert_eq!(said(" \n "), "");
        for address in [
            "<ada@acme.test>,",
            "'a.b+c%40acme.test'",
            "ada%2540acme.test",
            "to=ada@@localhost",
            "@ada@acme.test",
            "_@acme.test",
            "\u{e4}@\u{f6}.test",
        ] {
            assert_eq!(said(&format!("no {address} here")), "no [redacted] here", "{address}");
        }
        let others = "the field \"@type\" is @ 5 or user@";
        assert_eq!(said(others), others);
        let error = answered(404, r#"{"message":"not here","error_code":"GONE"}"#);
        let shown = "the API does not know this resource: 404 Not Found, GONE: not here";
        assert_eq!(error.to_string(), shown);
    }

    fn told(value: &str) -> Option<Duration> {
        let response = Response::builder().header("retry-after", value).body(Bytes::new()).unwrap();
        retry_after(&response, OffsetDateTime::from_unix_timestamp(1_445_412_420).unwrap())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(told("7"), Some(Duration::from_secs(7)));
        assert_eq!(told("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(told("Wed, 21 Oct 2015 07:26:00 GMT"), Some(Duration::ZERO), "in the past");
        for nonsense in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            assert_eq!(told(nonsense), None, "{nonsense}");
        }
    }
}
