//! A client that returns prepared responses and records its requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};

use crate::Scalekit;
use crate::api::Api;
use crate::http_client::{HttpClient, HttpClientError};

#[derive(Clone, Default)]
pub(super) struct Played {
    responses: Arc<Mutex<VecDeque<(u16, String)>>>,
    calls: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl Played {
    /// The API of an environment that returns these responses, each once and in this order.
    pub(super) fn responses<'a>(
        responses: impl IntoIterator<Item = (u16, &'a str)>,
    ) -> (Self, Api) {
        let played = Self::default();
        let responses = responses.into_iter().map(|(status, body)| (status, body.to_owned()));
        played.responses.lock().unwrap().extend(responses);
        let scalekit = Scalekit::builder("https://acme.scalekit.dev", "skc_1", "s3cret");
        let api = scalekit.http_client(played.clone()).build().unwrap().api();
        (played, api)
    }

    /// The requests since the last call: method and target.
    pub(super) fn requests(&self) -> Vec<String> {
        let calls = self.take();
        calls.iter().map(|call| format!("{} {}", call.method(), target(call))).collect()
    }

    pub(super) fn take(&self) -> Vec<Request<Bytes>> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl HttpClient for Played {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        let (status, body) = if request.uri().path() == "/oauth/token" {
            assert_eq!(request.method(), Method::POST);
            (200, r#"{"access_token":"t","expires_in":3600,"token_type":"Bearer"}"#.to_owned())
        } else {
            assert_eq!(request.headers()["authorization"], "Bearer t");
            self.calls.lock().unwrap().push(request);
            self.responses.lock().unwrap().pop_front().expect("one call too many")
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Box::pin(async { Ok(response) })
    }
}

fn target(request: &Request<Bytes>) -> &str {
    request.uri().path_and_query().unwrap().as_str()
}
