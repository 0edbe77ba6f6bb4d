//! A browser or another client of an example, which records the secrets of every exchange.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cookie::Cookie;
use http::{HeaderMap, Method, Request, Response, header, request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::form_urlencoded;

use crate::noted::Secrets;

#[derive(Clone)]
pub struct Visitor {
    client: Client<HttpConnector, Full<Bytes>>,
    cookies: Arc<Mutex<BTreeMap<String, String>>>,
    secrets: Secrets,
}

impl Visitor {
    pub fn new(secrets: Secrets) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, cookies: Arc::default(), secrets }
    }

    /// Another client with the same cookies, as of now.
    pub fn copy(&self) -> Self {
        let cookies = Arc::new(Mutex::new(self.cookies.lock().unwrap().clone()));
        Self { cookies, ..self.clone() }
    }

    /// Opens a page without following redirects.
    pub async fn get(&self, url: &str) -> Response<Bytes> {
        self.open(Request::get(url)).await
    }

    /// The same with another host in `Host`, as a proxy forwards a request.
    pub async fn get_as(&self, host: &str, url: &str) -> Response<Bytes> {
        self.open(Request::get(url).header("host", host)).await
    }

    async fn open(&self, request: request::Builder) -> Response<Bytes> {
        let request = request.header("accept", "text/html");
        let request = request.header("sec-fetch-site", "same-origin");
        self.send(request.body(Bytes::new()).unwrap()).await
    }

    /// Sends a form of the app's own page.
    pub async fn post(&self, url: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(url).header("accept", "text/html");
        let request = request.header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(form.into()).unwrap()).await
    }

    /// Sends a request with a bearer token.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        token: &str,
        body: &'static str,
    ) -> Response<Bytes> {
        let request = Request::builder().method(method).uri(url);
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.header("accept", "application/json, text/event-stream");
        let request = request.header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn send(&self, mut request: Request<Bytes>) -> Response<Bytes> {
        let cookies = self.cookies.lock().unwrap().clone();
        let cookies: Vec<_> =
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request.headers_mut().insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        self.secrets.read_request(&request);
        let response = self.client.request(request.map(Full::new)).await.unwrap();
        let (parts, body) = response.into_parts();
        self.keep(&parts.headers);
        let response = Response::from_parts(parts, body.collect().await.unwrap().to_bytes());
        self.secrets.read_response(&response);
        response
    }

    fn keep(&self, headers: &HeaderMap) {
        let mut cookies = self.cookies.lock().unwrap();
        for line in headers.get_all(header::SET_COOKIE) {
            let cookie = Cookie::parse(line.to_str().unwrap()).unwrap();
            if cookie.max_age().is_some_and(|age| age.is_zero()) {
                cookies.remove(cookie.name());
            } else {
                cookies.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
    }
}
