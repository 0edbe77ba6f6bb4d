//! Spans of work outside of the process, and of background tasks. Their names and fields are stable,
//! and follow OpenTelemetry's semantic conventions where these have one.

use std::time::Duration;

use http::{Method, StatusCode, Uri};
use tracing::Span;
use tracing::field::Empty;

use super::telemetry::TARGET;

/// The span of a request to the environment or another issuer, with the fields of OpenTelemetry's
/// conventions for HTTP clients, except the URL: it may contain a secret.
pub(crate) fn http_request_span(method: &Method, url: &Uri) -> Span {
    tracing::info_span!(
        target: TARGET,
        "http_request",
        "otel.kind" = "client",
        "otel.name" = format_args!("{method} {}", url_template(url.path())),
        "http.request.method" = method.as_str(),
        "server.address" = url.host(),
        "server.port" = url.port_u16(),
        "url.template" = %url_template(url.path()),
        "http.response.status_code" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    )
}

/// Records the end of a request: the status of its response, or why there is none.
pub(crate) fn http_request_finished(
    span: &Span,
    result: Result<StatusCode, &'static str>,
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables))] duration: Duration,
) {
    match result {
        Ok(status) => {
            span.record("http.response.status_code", status.as_u16());
            if status.is_client_error() || status.is_server_error() {
                span.record("error.type", status.as_str()).record("otel.status_code", "ERROR");
            }
        }
        Err(error) => {
            span.record("error.type", error).record("otel.status_code", "ERROR");
        }
    }
    #[cfg(feature = "metrics")]
    metrics::histogram!(
        "tower_scalekit_http_client_request_duration_seconds",
        "outcome" => match result {
            Ok(status) => match status.as_u16() / 100 {
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                _ => "5xx",
            },
            Err("timeout") => "timeout",
            Err(_) => "failed",
        }
    )
    .record(duration);
}

/// A path without the IDs in it: its first three segments, as far as they are plain words. The path
/// of a proxied call is that of another service, and any word in it may be an ID.
fn url_template(path: &str) -> String {
    if path.starts_with("/proxy/") {
        return "/proxy/*".to_owned();
    }
    let mut segments = path.trim_start_matches('/').split('/');
    let mut template = String::new();
    for segment in segments.by_ref().take(3) {
        template += "/";
        template += if is_plain_word(segment) { segment } else { "*" };
    }
    if segments.next().is_some() { template + "/*" } else { template }
}

fn is_plain_word(segment: &str) -> bool {
    segment.len() <= 40
        && segment
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// The span of an operation of the shared store.
pub(crate) fn store_operation_span(operation: &'static str) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "shared_store",
        "otel.kind" = "client",
        "otel.name" = format_args!("shared_store {operation}"),
        "db.operation.name" = operation,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    )
}

/// Records the end of an operation of the shared store; `error` is why it failed.
pub(crate) fn store_operation_finished(
    span: &Span,
    error: Option<&'static str>,
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables))] operation: &'static str,
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables))] duration: Duration,
) {
    if let Some(error) = error {
        span.record("error.type", error).record("otel.status_code", "ERROR");
    }
    #[cfg(feature = "metrics")]
    metrics::histogram!(
        "tower_scalekit_shared_store_operation_duration_seconds",
        "operation" => operation
    )
    .record(duration);
}

/// The span of a task that outlives the request which has started it: a trace of its own, linked to
/// the request's.
pub(crate) fn background_task_span(name: &'static str) -> Span {
    let span =
        tracing::info_span!(target: TARGET, parent: None, "background_task", "otel.name" = name);
    span.follows_from(Span::current());
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_urls_have_no_ids() {
        for (path, template) in [
            ("/oauth/token", "/oauth/token"),
            ("/api/v1/organizations", "/api/v1/organizations"),
            ("/api/v1/organizations/org_1/users", "/api/v1/organizations/*"),
            ("/proxy/mails/jane@acme.test/1", "/proxy/*"),
            ("/proxy/users/jane", "/proxy/*"),
            ("/proxy/jane%40acme.test", "/proxy/*"),
            ("/", "/"),
        ] {
            assert_eq!(url_template(path), template);
        }
    }
}
