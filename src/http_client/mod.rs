//! The HTTP client trait, through which all requests to the environment are sent.
//!
//! [`ReqwestClient`] (feature `reqwest`) is the default of [`Scalekit`](crate::Scalekit).
//! [`ServiceClient`] turns any `tower::Service` of requests into a client, so timeouts, proxies,
//! tracing or a hyper client compose in front of it. The sandbox is a client too.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower_scalekit::http_client::{HttpClient, ServiceClient};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let echo = tower::service_fn(|request: Request<Bytes>| async {
//!     Ok::<_, std::convert::Infallible>(Response::new(Full::new(request.into_body())))
//! });
//! let client = ServiceClient::new(echo);
//! let response = client.send(Request::new(Bytes::from("hello"))).await.unwrap();
//! assert_eq!(response.body(), "hello");
//! # }
//! ```

#[cfg(feature = "reqwest")]
mod reqwest_client;
mod service;

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::Instant;
use tracing::Instrument as _;

#[cfg(feature = "reqwest")]
pub use self::reqwest_client::ReqwestClient;
pub use self::service::ServiceClient;
use crate::util::spans;

/// Sends exactly one HTTP request: no retry, no redirect, bounded body, a timeout.
///
/// No retries, because refresh tokens are single-use; no redirects, because a 307 would re-post the
/// client secret. An implementation finds the request's [`SendLimits`] in its extensions. This
/// crate enforces the timeout in any case.
pub trait HttpClient: Send + Sync + 'static {
    /// Sends the request and reads the whole response.
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>>;
}

/// Limits of one request, in its extensions.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SendLimits {
    /// From sending to the last byte of the response. Default: 20 s.
    pub timeout: Duration,
    /// The largest response body that is read, in bytes. Default: 1 MiB.
    pub max_body_bytes: usize,
}

impl Default for SendLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(20), max_body_bytes: 1024 * 1024 }
    }
}

impl SendLimits {
    /// The limits of a request, or the default ones.
    #[must_use]
    pub fn from_request<B>(request: &Request<B>) -> Self {
        request.extensions().get().copied().unwrap_or_default()
    }
}

/// Returned when a request gets no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpClientError {
    /// The response body exceeds the limit.
    #[error("the response body exceeds {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The connection failed. The request was not sent, so it is safe to send it again.
    #[error("could not connect: {}", root_cause(.0.as_ref()))]
    Connect(#[source] Box<dyn StdError + Send + Sync>),
    /// The timeout has elapsed. The request may have been processed.
    #[error("no response within {0:?}")]
    Timeout(Duration),
    /// The connection was lost. The request may have been processed.
    #[error("the exchange failed: {}", root_cause(.0.as_ref()))]
    Exchange(#[source] Box<dyn StdError + Send + Sync>),
}

impl HttpClientError {
    fn code(&self) -> &'static str {
        match self {
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Connect(_) => "connect",
            Self::Exchange(_) => "exchange",
            Self::Timeout(_) => "timeout",
        }
    }
}

/// Enforces the request's timeout, also if the client does not.
pub(crate) async fn send_within_limits(
    client: &dyn HttpClient,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpClientError> {
    let SendLimits { timeout, max_body_bytes } = SendLimits::from_request(&request);
    let span = spans::http_request_span(request.method(), request.uri());
    let started = Instant::now();
    let sent = tokio::time::timeout(timeout, client.send(request)).instrument(span.clone()).await;
    let result = match sent {
        Err(_) => Err(HttpClientError::Timeout(timeout)),
        Ok(Ok(response)) if response.body().len() > max_body_bytes => {
            Err(HttpClientError::BodyTooLarge { limit: max_body_bytes })
        }
        Ok(result) => result,
    };
    spans::http_request_finished(
        &span,
        result.as_ref().map(Response::status).map_err(HttpClientError::code),
        started.elapsed(),
    );
    result
}

/// The root cause: clients wrap it in errors that only name the step that failed.
fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// Description of an HTML response, as proxies, portals and websites send.
pub(crate) const WEB_PAGE: &str = "a web page instead of JSON, perhaps from a proxy";

pub(crate) fn is_web_page(response: &Response<Bytes>) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/html"))
        || response.body().trim_ascii_start().starts_with(b"<")
}

/// Reads the body of a response, up to `limit` bytes.
async fn read_body<B>(
    response: Response<B>,
    limit: usize,
) -> Result<Response<Bytes>, HttpClientError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let (parts, body) = response.into_parts();
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(HttpClientError::BodyTooLarge { limit })
        }
        Err(error) => Err(HttpClientError::Exchange(error)),
    }
}

/// A client without a network.
#[cfg(test)]
pub(crate) struct UnreachableClient;

#[cfg(test)]
impl HttpClient for UnreachableClient {
    fn send(&self, _: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        Box::pin(async { Err(HttpClientError::Connect("there is no network here".into())) })
    }
}
