//! Requests and responses on the wire.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::sandbox::SandboxClient;
use url::form_urlencoded;

/// A request and its response.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    /// As sent.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) content_type: Option<String>,
    pub(super) body: Bytes,
    pub(super) status: StatusCode,
    pub(super) response_type: Option<String>,
    pub(super) response: Bytes,
}

impl Exchange {
    /// Whether it is a call such as `GET /api/v1/sessions/{session_id}`.
    pub(super) fn is_of(&self, call: &str) -> bool {
        let (method, template) = call.split_once(' ').unwrap();
        self.method == method && fits(template, &self.path).is_some()
    }
}

/// The parameters of a path, if it matches the template. A colon begins a verb: those in parameters
/// are encoded.
pub(super) fn fits<'a>(template: &'a str, path: &str) -> Option<Vec<(&'a str, String)>> {
    let (mut template, mut path) = (template, path);
    let mut parameters = Vec::new();
    while let Some((literal, rest)) = template.split_once('{') {
        let (name, rest) = rest.split_once('}').unwrap();
        path = path.strip_prefix(literal)?;
        let end = path.find(['/', ':']).unwrap_or(path.len());
        let (value, after) = path.split_at(end);
        if value.is_empty() {
            return None;
        }
        let value = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
        parameters.push((name, value.into_owned()));
        (template, path) = (rest, after);
    }
    (template == path).then_some(parameters)
}

/// A client of the sandbox that records exchanges.
#[derive(Clone)]
pub(super) struct Recorder {
    client: SandboxClient,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Recorder {
    pub(super) fn new(client: SandboxClient) -> Self {
        Self { client, exchanges: Arc::default() }
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap().clone()
    }
}

impl HttpClient for Recorder {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        Box::pin(async move {
            let response = self.client.send(request.clone()).await?;
            let (uri, query) = (request.uri(), request.uri().query().unwrap_or_default());
            let content_type = |headers: &http::HeaderMap| {
                headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned())
            };
            self.exchanges.lock().unwrap().push(Exchange {
                method: request.method().clone(),
                path: uri.path().to_owned(),
                query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
                content_type: content_type(request.headers()),
                body: request.body().clone(),
                status: response.status(),
                response_type: content_type(response.headers()),
                response: response.body().clone(),
            });
            Ok(response)
        })
    }
}
