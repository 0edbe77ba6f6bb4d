use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};

use super::{HttpClient, HttpClientError, SendLimits, read_response};
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
}

impl HttpClient for ReqwestClient {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        Box::pin(async move {
            let limits = SendLimits::from_request(&request);
            let failed = |error: reqwest::Error| {
                // The URL may contain an identifier; the cause is enough.
                let error = error.without_url();
                if error.is_timeout() {
                    HttpClientError::Timeout(limits.timeout)
                } else if error.is_connect() {
                    HttpClientError::Connect(error.into())
                } else {
                    HttpClientError::Exchange(error.into())
                }
            };
            let mut request = reqwest::Request::try_from(request).map_err(failed)?;
            *request.timeout_mut() = Some(limits.timeout);
            let response: Response<reqwest::Body> =
                self.client.execute(request).await.map_err(failed)?.into();
            let (parts, body) = response.into_parts();
            Ok(Response::from_parts(parts, read_response(body, limits.max_body_bytes).await?))
        })
    }
}
