use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};

use super::{HttpClient, HttpClientError, SendLimits, read_body};
use crate::error::{ConfigError, ConfigProblem};

/// [`HttpClient`] based on reqwest.
#[derive(Clone, Debug)]
pub struct ReqwestClient {
    client: reqwest::Client,
}

impl ReqwestClient {
    /// Creates a client with this crate's defaults.
    ///
    /// # Errors
    /// When TLS cannot be initialized.
    pub fn new() -> Result<Self, ConfigError> {
        Self::from_builder(reqwest::Client::builder())
    }

    /// Creates a client with your own settings: proxy, certificates, DNS, connection pool.
    ///
    /// Redirects and automatic retries are disabled whatever the builder's settings are, because a
    /// repeated or redirected token request would spend or leak its secret.
    ///
    /// # Errors
    /// When reqwest cannot build the client.
    pub fn from_builder(builder: reqwest::ClientBuilder) -> Result<Self, ConfigError> {
        builder
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()
            .map(|client| Self { client })
            .map_err(|error| ConfigProblem::invalid("http_client", error.to_string()).into())
    }

    async fn execute(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<reqwest::Response, reqwest::Error> {
        let mut request = reqwest::Request::try_from(request)?;
        *request.timeout_mut() = Some(timeout);
        self.client.execute(request).await
    }
}

impl HttpClient for ReqwestClient {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        Box::pin(async move {
            let SendLimits { timeout, max_body_bytes } = SendLimits::from_request(&request);
            match self.execute(request, timeout).await {
                Ok(response) => read_body(response.into(), max_body_bytes).await,
                Err(error) if error.is_timeout() => Err(HttpClientError::Timeout(timeout)),
                // The URL may contain an identifier; the cause is enough.
                Err(error) if error.is_connect() => {
                    Err(HttpClientError::Connect(error.without_url().into()))
                }
                Err(error) => Err(HttpClientError::Exchange(error.without_url().into())),
            }
        })
    }
}
