//! The environment as an in-process HTTP client.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};

use super::environment::Environment;
use super::router::Dropped;
use crate::http_client::{HttpClient, HttpClientError};

/// Reaches a sandbox in the same process. Returned by [`Sandbox::client`](super::Sandbox::client).
///
/// A request to another scheme, host or port fails to connect.
#[derive(Clone, Debug)]
pub struct SandboxClient {
    environment: Arc<Environment>,
}

impl SandboxClient {
    pub(crate) fn new(environment: Arc<Environment>) -> Self {
        Self { environment }
    }

    fn reaches(&self, uri: &Uri) -> bool {
        let target = (uri.scheme_str(), uri.host(), port(uri));
        self.environment
            .lock()
            .environment_url
            .parse::<Uri>()
            .is_ok_and(|own| target == (own.scheme_str(), own.host(), port(&own)))
    }
}

impl HttpClient for SandboxClient {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        Box::pin(async move {
            if !self.reaches(request.uri()) {
                return Err(HttpClientError::Connect("only the sandbox is reachable".into()));
            }
            self.environment.respond(request).await.map_err(|dropped| match dropped {
                Dropped::ResponseLost => HttpClientError::Exchange("the response was lost".into()),
                Dropped::NotConnected => HttpClientError::Connect("connection refused".into()),
            })
        })
    }
}

fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    })
}
