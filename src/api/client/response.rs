//! Parses responses: the result of the call, or an error with its origin.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::error_body::{ErrorBody, presentable, presentable_code, without_addresses};
use crate::api::error::{ApiError, ErrorResponse, Unavailable};
use crate::http_client::{WEB_PAGE, is_web_page};
use crate::scalekit::Scalekit;

const OTHER_JSON: &str = "its body is not the JSON of this call";

/// Deserializes a successful response, or returns the error.
pub(in crate::api) fn read<T: DeserializeOwned>(
    response: &Response<Bytes>,
    scalekit: &Scalekit,
) -> Result<T, ApiError> {
    if !response.status().is_success() {
        return Err(failure(response, scalekit));
    }
    let body: &[u8] = if response.body().is_empty() { b"null" } else { response.body() };
    serde_json::from_slice(body).map_err(|_| unexpected(response, OTHER_JSON))
}

/// The members of a successful response, or the error.
pub(in crate::api) fn read_members<'a>(
    response: &'a Response<Bytes>,
    scalekit: &Scalekit,
) -> Result<Members<'a>, ApiError> {
    read(response, scalekit).map(|members| Members { members, response })
}

/// The members of a response.
pub(in crate::api) struct Members<'a> {
    members: Map<String, Value>,
    response: &'a Response<Bytes>,
}

impl Members<'_> {
    /// Deserializes a member. Null counts as absent.
    pub(in crate::api) fn get<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, ApiError> {
        serde_json::from_value(self.members.remove(name).unwrap_or_default())
            .map_err(|_| unexpected(self.response, OTHER_JSON))
    }
}

fn unexpected(response: &Response<Bytes>, otherwise: &'static str) -> ApiError {
    ApiError::UnexpectedResponse {
        what: if is_web_page(response) { WEB_PAGE } else { otherwise },
        status: Some(response.status()),
    }
}

fn failure(response: &Response<Bytes>, scalekit: &Scalekit) -> ApiError {
    let status = response.status();
    let body = ErrorBody::parse(response.body()).unwrap_or_default();
    let is_of_the_api = body.is_of_the_api();
    let secret = scalekit.client_secret().expose();
    let error_response = ErrorResponse {
        status,
        error_code: body.error_code().and_then(|code| presentable_code(code, secret)),
        message: body.explanation().and_then(|text| presentable(&without_addresses(&text), secret)),
    };
    match status {
        StatusCode::UNAUTHORIZED => ApiError::Unauthorized(error_response),
        StatusCode::TOO_MANY_REQUESTS => ApiError::RateLimited {
            response: error_response,
            retry_after: retry_after(response, scalekit.clock().now()),
        },
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED if is_of_the_api => {
            ApiError::NotImplemented(error_response)
        }
        _ if status.is_server_error() || is_of_the_connection(status) => {
            ApiError::Unavailable(Unavailable::Failing(error_response))
        }
        _ if status.is_redirection() => {
            ApiError::UnexpectedResponse { what: "a redirect", status: Some(status) }
        }
        _ if !status.is_client_error() => unexpected(response, "neither a success nor an error"),
        // A proxy does not know what the environment has or allows.
        _ if !is_of_the_api => unexpected(response, "an error that is not the API's"),
        StatusCode::FORBIDDEN => ApiError::Forbidden(error_response),
        StatusCode::NOT_FOUND => ApiError::NotFound(error_response),
        StatusCode::CONFLICT => ApiError::Conflict(error_response),
        _ => ApiError::InvalidRequest(error_response),
    }
}

/// Whether a client error concerns the connection, or was caused by a server: timeouts, requests that
/// reached the wrong server or arrived too early, and calls that were cancelled (499, gRPC's
/// `CANCELLED`).
fn is_of_the_connection(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 421 | 425 | 499)
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
    Some(Duration::try_from(OffsetDateTime::parse(value, &Rfc2822).ok()? - now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::client::error_body::MAX_MESSAGE;
    use crate::http_client::UnreachableClient;

    fn error_of(status: u16, body: &str) -> ApiError {
        let scalekit = Scalekit::builder("https://acme.scalekit.test", "skc_1", "hunter2hunter2");
        let scalekit = scalekit.http_client(UnreachableClient).build().unwrap();
        let response = Response::builder().status(status).body(Bytes::from(body.to_owned()));
        read::<Map<String, Value>>(&response.unwrap(), &scalekit).unwrap_err()
    }

    fn described(status: u16, body: &str) -> (Option<String>, Option<String>) {
        let error = error_of(status, body);
        let error_response = error.response().unwrap();
        assert_eq!(error_response.status, status);
        (error_response.error_code.clone(), error_response.message.clone())
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
            assert_eq!(described(503, body), expected, "{body}");
        }
    }

    /// Errors of gateways and web frameworks.
    const OF_GATEWAYS: [&str; 9] = [
        "",
        "{}",
        r#"{"message":"no Route matched with those values"}"#,
        r#"{"code":404,"message":"not found"}"#,
        r#"{"statusCode":404,"message":"Resource not found"}"#,
        r#"{"error":{"code":404,"message":"m","status":"NOT_FOUND"}}"#,
        r#"{"error":"Not Found","path":"/api","status":404}"#,
        r#"{"code":"not_found","error_code":null,"details":[{"error_code":5}]}"#,
        r#"{"code":0,"details":"none"}"#,
    ];

    #[test]
    fn an_error_of_the_api_has_its_error_code_or_a_code_of_grpc() {
        for body in [
            r#"{"code":5,"message":"m","details":[]}"#,
            r#"{"code":16}"#,
            r#"{"code":"NOT_FOUND","message":"m"}"#,
            r#"{"details":[{"tool_error_info":{"tool_error_code":"GONE"}}]}"#,
            r#"{"error_code":"GONE","localized_message_info":{"message":"m"}}"#,
            r#"{"message":"m","details":[{"@type":"x"},{"error_code":"GONE"}]}"#,
        ] {
            assert!(matches!(error_of(404, body), ApiError::NotFound(_)), "{body}");
        }
        for body in OF_GATEWAYS {
            let error = error_of(404, body);
            assert!(matches!(error, ApiError::UnexpectedResponse { .. }), "{body}");
        }
    }

    #[test]
    fn statuses_determine_the_error() {
        let body = r#"{"code":3,"message":"m"}"#;
        for status in [400, 412, 413, 422] {
            assert!(matches!(error_of(status, body), ApiError::InvalidRequest(_)), "{status}");
        }
        for status in [408, 421, 425, 499] {
            for body in [body, "<html>", ""] {
                let error = error_of(status, body);
                assert!(matches!(error, ApiError::Unavailable(_)), "{status} {body}");
            }
        }
        assert!(matches!(error_of(401, "<html>"), ApiError::Unauthorized(_)));
        assert!(matches!(error_of(403, body), ApiError::Forbidden(_)));
        assert!(matches!(error_of(404, body), ApiError::NotFound(_)));
        assert!(matches!(error_of(409, body), ApiError::Conflict(_)));
        assert!(matches!(error_of(429, ""), ApiError::RateLimited { .. }));
        for status in [405, 501] {
            assert!(matches!(error_of(status, body), ApiError::NotImplemented(_)), "{status}");
        }
        for status in [500, 501, 502, 503, 504] {
            assert!(matches!(error_of(status, "<html>"), ApiError::Unavailable(_)), "{status}");
        }
        for (status, body) in [
            (200, "<html>"),
            (200, ""),
            (302, ""),
            (400, "<html>"),
            (403, "<html>"),
            (404, "<html>"),
            (404, "[]"),
        ]
        .into_iter()
        .chain(
            [400, 403, 404, 405, 409, 413]
                .into_iter()
                .flat_map(|status| OF_GATEWAYS.into_iter().map(move |body| (status, body))),
        ) {
            let error = error_of(status, body);
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
            let ApiError::UnexpectedResponse { what, .. } = error_of(status, body) else {
                panic!("{status} {body} is another error")
            };
            assert_eq!(what, named, "{status} {body}");
        }
    }

    #[test]
    fn messages_are_short_without_secrets_and_line_breaks() {
        let described = |message: &str| {
            described(400, &serde_json::json!({ "code": 3, "message": message }).to_string())
                .1
                .unwrap_or_default()
        };
        assert_eq!(described("bad\r\nfake log line\u{1b}[2J"), "bad fake log line [2J");
        assert_eq!(described("token Bearer=eyJhbGciOi.eyJ.x is bad"), "token [redacted] is bad");
        assert_eq!(described("secret is hunter2hunter2."), "secret is [redacted].");
        assert_eq!(described(&"é".repeat(5000)).chars().count(), MAX_MESSAGE);
        assert_eq!(described(" \n "), "");
        for address in [
            "<ada@acme.test>,",
            "'a.b+c%40acme.test'",
            "ada%2540acme.test",
            "to=ada@@localhost",
            "@ada@acme.test",
            "_@acme.test",
            "\u{e4}@\u{f6}.test",
        ] {
            assert_eq!(described(&format!("no {address} here")), "no [redacted] here", "{address}");
        }
        let others = "the field \"@type\" is @ 5 or user@";
        assert_eq!(described(others), others);
        let error = error_of(404, r#"{"message":"not here","error_code":"GONE"}"#);
        let shown = "the API does not know this resource: 404 Not Found, GONE: not here";
        assert_eq!(error.to_string(), shown);
    }

    fn parsed(value: &str) -> Option<Duration> {
        let response = Response::builder().header("retry-after", value).body(Bytes::new()).unwrap();
        retry_after(&response, OffsetDateTime::from_unix_timestamp(1_445_412_420).unwrap())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parsed("7"), Some(Duration::from_secs(7)));
        assert_eq!(parsed("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(parsed("Wed, 21 Oct 2015 07:26:00 GMT"), Some(Duration::ZERO), "in the past");
        for nonsense in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            assert_eq!(parsed(nonsense), None, "{nonsense}");
        }
    }
}
