//! Shared by all tasks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::RwLock;
use tokio::time::{Instant, timeout};

use crate::app::Replica;
use crate::disturbances::Disturbance;
use crate::environment::Environment;
use crate::figures::Figures;

pub(crate) struct World {
    pub(crate) environment: Environment,
    pub(crate) replicas: [Arc<Replica>; 2],
    pub(crate) figures: Figures,
    /// The token endpoint fails.
    pub(crate) token_fault: Disturbance,
    /// Held shared by every operation, and exclusively while all wall clocks step: on one machine
    /// they step at once.
    pub(crate) clocks: RwLock<()>,
    pub(crate) end: Instant,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A request without a response, because its replica was stopped.
#[derive(Debug)]
pub(crate) struct Stopped;

impl World {
    pub(crate) async fn start(end: Instant) -> Self {
        let environment = Environment::start().await;
        let replicas = Replica::start_two(&environment).await;
        Self {
            environment,
            replicas,
            figures: Figures::default(),
            token_fault: Disturbance::default(),
            clocks: RwLock::default(),
            end,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    pub(crate) async fn pause(&self, time: Duration) {
        tokio::time::sleep_until((Instant::now() + time).min(self.end)).await;
    }

    /// Sends a request to a replica and counts its response.
    pub(crate) async fn send(
        &self,
        kind: &'static str,
        replica: usize,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, Stopped> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let address = self.replicas[replica].address;
        *request.uri_mut() = format!("http://{address}{path}").parse().unwrap();
        let (what, started) = (format!("{} {path}", request.method()), Instant::now());
        let response = async {
            let (head, body) = self.client.request(request).await.map_err(drop)?.into_parts();
            let body = body.collect().await.map_err(drop)?.to_bytes();
            Ok::<_, ()>(Response::from_parts(head, body))
        };
        match timeout(Duration::from_secs(20), response).await {
            Ok(Ok(response)) => {
                self.figures.count(kind, response.status().as_str(), started.elapsed());
                Ok(response)
            }
            Ok(Err(())) => {
                self.figures.count(kind, "none", started.elapsed());
                if !self.replicas[replica].stop.was_active_since(started) {
                    self.figures.wrong(format!("{what}: no response of a replica that runs"));
                }
                Err(Stopped)
            }
            Err(_) => {
                self.figures.wrong(format!("{what}: no response in 20 s"));
                Err(Stopped)
            }
        }
    }
}

/// xorshift64*
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % bound
    }

    pub(crate) fn pick<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len() as u64) as usize]
    }

    pub(crate) fn replica(&mut self) -> usize {
        self.below(2) as usize
    }

    pub(crate) fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(body.into())).unwrap()
}

/// Whether the inner service was called.
pub(crate) fn reached_inner(response: &Response<Bytes>) -> bool {
    response.headers().contains_key(crate::app::INNER)
}
