//! Rejections of layers: a typed reason, its default response and the renderer that
//! `on_rejection` sets.
//!
//! Each layer has one enum that implements [`Rejection`]; the
//! [responses](crate::guides::responses) are listed in the guides. The typed rejection is always in the
//! response's extensions.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use serde::Serialize;

use super::page;
use crate::challenge::{Challenge, expose_challenge};
use crate::util::cache_control::NO_STORE;
use crate::util::telemetry;

/// A rejected request and its default response.
///
/// Passed to the closure of `.on_rejection(..)`, which returns the response to send. Keep the
/// default's headers (challenge, `Location`, `Set-Cookie`, `Retry-After`) unless you mean to change
/// how clients react: start from [`into_default_response`](Self::into_default_response) and replace
/// its body.
pub struct RejectionContext<'a, R> {
    rejection: &'a R,
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    response: Response<Bytes>,
}

impl<R> RejectionContext<'_, R> {
    /// Why the request was rejected.
    #[must_use]
    pub fn rejection(&self) -> &R {
        self.rejection
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.method
    }

    /// The request's URI.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        self.uri
    }

    /// The request's headers. They contain credentials: do not log them.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.headers
    }

    /// The default response.
    #[must_use]
    pub fn into_default_response(self) -> Response<Bytes> {
        self.response
    }
}

// Manual impl: headers and query contain credentials.
impl<R: fmt::Debug> fmt::Debug for RejectionContext<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectionContext")
            .field("rejection", self.rejection)
            .field("method", self.method)
            .field("path", &self.uri.path())
            .finish_non_exhaustive()
    }
}

/// A reason to reject a request, with its default response.
pub(crate) trait Rejection: Clone + fmt::Debug + Send + Sync + 'static {
    /// A stable code for metrics and logs.
    fn code(&self) -> &'static str;

    /// The default response.
    fn response(&self) -> Response<Bytes>;
}

type Render<R> = dyn Fn(RejectionContext<'_, R>) -> Response<Bytes> + Send + Sync;

/// Renders rejections, by default or by the app's closure.
pub(crate) struct Renderer<R>(Option<Arc<Render<R>>>);

impl<R: Rejection> Renderer<R> {
    pub(crate) fn custom<F>(render: F) -> Self
    where
        F: Fn(RejectionContext<'_, R>) -> Response<Bytes> + Send + Sync + 'static,
    {
        Self(Some(Arc::new(render)))
    }

    pub(crate) fn render<B>(&self, rejection: R, request: &Request<B>) -> Response<Bytes> {
        self.render_for(rejection, request.method(), request.uri(), request.headers())
    }

    pub(crate) fn render_for(
        &self,
        rejection: R,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Response<Bytes> {
        telemetry::rejected(rejection.code());
        if is_preflight(method, headers) {
            telemetry::preflight_rejected();
        }
        let mut response = rejection.response();
        if let Some(render) = &self.0 {
            response =
                render(RejectionContext { rejection: &rejection, method, uri, headers, response });
        }
        response.extensions_mut().insert(rejection);
        response
    }
}

/// Whether the request is a CORS preflight (Fetch, CORS-preflight request).
fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds `on_rejection`, which sets this renderer, to a layer, route or builder.
macro_rules! on_rejection {
    ($target:ident, $rejection:ty, $($renderer:tt)+) => {
        impl $target {
            /// Customizes the rejection response. The typed rejection is always in the response's
            /// extensions.
            pub fn on_rejection<F>(mut self, render: F) -> Self
            where
                F: Fn($crate::middleware::RejectionContext<'_, $rejection>) -> http::Response<bytes::Bytes>
                    + Send
                    + Sync
                    + 'static,
            {
                self.$($renderer)+ = $crate::middleware::rejection::Renderer::custom(render);
                self
            }
        }
    };
}

pub(crate) use on_rejection;

impl<R> Default for Renderer<R> {
    fn default() -> Self {
        Self(None)
    }
}

impl<R> Clone for Renderer<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R> fmt::Debug for Renderer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Renderer(custom)" } else { "Renderer(default)" })
    }
}

/// The JSON body of all default responses.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    message: &'a str,
}

/// `{"error": .., "message": ..}` with `Cache-Control: no-store`.
pub(crate) fn json_response(status: StatusCode, error: &str, message: &str) -> Response<Bytes> {
    let body = serde_json::to_vec(&ErrorBody { error, message }).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 503 with `Retry-After`: a dependency of this server is unavailable.
pub(crate) fn unavailable_response(message: &str) -> Response<Bytes> {
    retry_response("temporarily_unavailable", message)
}

/// 503 with `Retry-After` for a speculative request (RFC 9110, section 15.6.4): browsers discard it
/// and send the request again when the user follows the link. Some frameworks show it, therefore
/// browsers get a page whose link continues. It is relative: the page contains nothing from the
/// request.
pub(crate) fn speculative_response(wants_html: bool) -> Response<Bytes> {
    let mut response = retry_response(SPECULATIVE_CODE, SPECULATIVE_MESSAGE);
    if wants_html {
        page::show(&mut response, page::with_link("Continue", SPECULATIVE_MESSAGE, "", "Continue"));
    }
    response
}

/// Code and message of that response.
pub(crate) const SPECULATIVE_CODE: &str = "speculative_request";
pub(crate) const SPECULATIVE_MESSAGE: &str = "This page was requested before you opened it";

fn retry_response(error: &str, message: &str) -> Response<Bytes> {
    let mut response = json_response(StatusCode::SERVICE_UNAVAILABLE, error, message);
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
    response
}

/// Adds a challenge.
pub(crate) fn challenged(mut response: Response<Bytes>, challenge: &Challenge) -> Response<Bytes> {
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.to_header_value());
    expose_challenge(response.headers_mut());
    response
}

/// 401 for a request without a token. The challenge has no error code if the request has no
/// credentials (RFC 6750, section 3.1).
pub(crate) fn missing_token_response(challenge: &Challenge) -> Response<Bytes> {
    challenged(
        json_response(
            StatusCode::UNAUTHORIZED,
            MISSING_TOKEN_CODE,
            "Send an access token as Authorization: Bearer",
        ),
        challenge,
    )
}

/// Code of that response.
pub(crate) const MISSING_TOKEN_CODE: &str = "missing_token";

/// The response of an extractor or layer whose required layer is missing.
pub(crate) fn misconfigured_response() -> Response<Bytes> {
    json_response(
        StatusCode::INTERNAL_SERVER_ERROR,
        "server_error",
        "The server is misconfigured. See its log",
    )
}

/// Messages for body limits: the memory bound is exceeded, or a body timed out.
pub(crate) const OVERLOADED: &str = "Too many requests are arriving slowly. Try again in a moment";
pub(crate) const REQUEST_TIMEOUT: &str = "The request took too long to arrive";

const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Closed;

    impl Rejection for Closed {
        fn code(&self) -> &'static str {
            "closed"
        }

        fn response(&self) -> Response<Bytes> {
            json_response(StatusCode::FORBIDDEN, "closed", "Closed until tomorrow")
        }
    }

    #[test]
    fn the_reason_is_in_the_extensions_of_default_and_custom_responses() {
        let request = Request::get("/door").body(()).unwrap();
        let default = Renderer::default().render(Closed, &request);
        assert_eq!(default.status(), StatusCode::FORBIDDEN);
        assert_eq!(default.extensions().get(), Some(&Closed));

        let custom = Renderer::custom(|rejected: RejectionContext<'_, Closed>| {
            assert_eq!(rejected.rejection(), &Closed);
            assert_eq!((rejected.method(), rejected.uri().path()), (&Method::GET, "/door"));
            assert!(rejected.headers().is_empty());
            let mut response = rejected.into_default_response();
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
            response
        });
        let custom = custom.clone().render(Closed, &request);
        assert_eq!(custom.status(), StatusCode::IM_A_TEAPOT);
        assert_eq!(custom.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(custom.extensions().get(), Some(&Closed));
    }

    #[test]
    fn the_log_says_where_the_cors_layer_belongs_when_a_preflight_is_rejected() {
        let logged = |method: Method, names: &[&str]| {
            let mut request = Request::builder().method(method).body(()).unwrap();
            for name in names {
                let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
                request.headers_mut().insert(name, HeaderValue::from_static("x"));
            }
            let log = Log::default();
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .with_writer(move || writer.clone())
                .finish();
            // A single subscriber would let other threads disable the events' callsites globally.
            let _second = tracing::Dispatch::new(
                tracing_subscriber::fmt().with_writer(std::io::sink).finish(),
            );
            tracing::subscriber::with_default(subscriber, || {
                Renderer::default().render(Closed, &request);
            });
            let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            let line = text.lines().find(|line| line.contains("put the CORS layer outside"))?;
            ["WARN", "DEBUG"].into_iter().find(|level| line.contains(level))
        };
        let both = ["origin", "access-control-request-method"];
        assert_eq!(logged(Method::OPTIONS, &both), Some("WARN"));
        assert_eq!(logged(Method::OPTIONS, &both), Some("DEBUG"), "any page can cause it");
        assert_eq!(logged(Method::OPTIONS, &both[..1]), None);
        assert_eq!(logged(Method::OPTIONS, &both[1..]), None);
        assert_eq!(logged(Method::GET, &both), None);
    }

    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
