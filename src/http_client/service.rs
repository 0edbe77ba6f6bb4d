use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{HttpClient, HttpClientError, SendLimits, read_body};

/// Any cloneable `tower::Service` of requests as an [`HttpClient`].
///
/// Each request is sent to a clone of the service, which is driven to readiness first. Do not add a
/// retry layer that repeats `POST` requests: refresh tokens and codes are single-use.
#[derive(Clone)]
pub struct ServiceClient<S> {
    service: S,
}

impl<S> ServiceClient<S> {
    /// Wraps the service.
    #[must_use]
    pub fn new(service: S) -> Self {
        Self { service }
    }
}

impl<S> fmt::Debug for ServiceClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceClient").finish_non_exhaustive()
    }
}

impl<S, B> HttpClient for ServiceClient<S>
where
    S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        let mut service = self.service.clone();
        Box::pin(async move {
            let limit = SendLimits::from_request(&request).max_body_bytes;
            std::future::poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(|error| HttpClientError::Connect(error.into()))?;
            let response = service
                .call(request)
                .await
                .map_err(|error| HttpClientError::Exchange(error.into()))?;
            read_body(response, limit).await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Full;
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn a_response_over_the_limit_is_an_error() {
        let client = ServiceClient::new(service_fn(|_: Request<Bytes>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![0; 100]))))
        }));
        let mut request = Request::new(Bytes::new());
        request.extensions_mut().insert(SendLimits { max_body_bytes: 99, ..SendLimits::default() });
        let error = client.send(request).await.unwrap_err();
        assert!(matches!(error, HttpClientError::BodyTooLarge { limit: 99 }), "{error}");
        assert_eq!(client.send(Request::new(Bytes::new())).await.unwrap().body().len(), 100);
    }
}
