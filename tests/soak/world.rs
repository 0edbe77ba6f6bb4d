//! A deployment, with what all of its tasks share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::RwLock;
use tokio::time::{Instant, timeout};
use tower_scalekit::clock::ManualClock;

use crate::app::Replica;
use crate::disturbances::Disturbance;
use crate::environment::Environment;
use crate::figures::Figures;
use crate::messages::{is_session, set_cookies};
use crate::store::Store;

/// What an app loses when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stops {
    /// Nothing: it waits for its background tasks. A refresh token is used once, because the
    /// environment does not accept it again.
    Clean,
    /// Refreshes in progress. Another replica repeats them once their lease has expired, while the
    /// environment still accepts the token.
    Killed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Deployment {
    pub(crate) stops: Stops,
    pub(crate) store_backed: bool,
    /// A replica that has not read the revocations yet rejects requests.
    pub(crate) rejects_stale: bool,
}

impl Deployment {
    fn refresh_grace(self) -> Duration {
        Duration::from_secs(if self.stops == Stops::Clean { 0 } else { 30 })
    }
}

pub(crate) struct World {
    pub(crate) deployment: Deployment,
    pub(crate) environment: Environment,
    pub(crate) replicas: [Arc<Replica>; 2],
    pub(crate) store: Store,
    pub(crate) figures: Arc<Figures>,
    /// The token endpoint fails.
    pub(crate) token_fault: Disturbance,
    pub(crate) store_fault: Disturbance,
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
    pub(crate) async fn start(
        deployment: Deployment,
        figures: Arc<Figures>,
        end: Instant,
        in_redis: bool,
    ) -> Option<Arc<Self>> {
        let environment = Environment::start(deployment.refresh_grace()).await;
        let clocks = [ManualClock::running(), ManualClock::running()];
        let store = match in_redis {
            true => Store::in_redis().await?,
            false => Store::in_memory(clocks[0].clock()),
        };
        let replicas = Replica::start_two(&environment, &store, clocks, deployment).await;
        Some(Arc::new(Self {
            deployment,
            environment,
            replicas,
            store,
            figures,
            token_fault: Disturbance::default(),
            store_fault: Disturbance::default(),
            clocks: RwLock::default(),
            end,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }))
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Records an unexpected response.
    pub(crate) fn wrong(&self, what: String) {
        self.figures.wrong(self.deployment.stops, what);
    }

    /// Counts an event.
    pub(crate) fn happened(&self, event: &'static str) {
        self.figures.happened(self.deployment.stops, event);
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
        // As behind a load balancer, both replicas have the host of the redirect URI.
        let host = self.replicas[0].address.to_string();
        request.headers_mut().insert(header::HOST, host.parse().unwrap());
        let (what, started) = (format!("{} {path}", request.method()), Instant::now());
        let response = async {
            let (head, body) = self.client.request(request).await.map_err(drop)?.into_parts();
            let body = body.collect().await.map_err(drop)?.to_bytes();
            Ok::<_, ()>(Response::from_parts(head, body))
        };
        match timeout(Duration::from_secs(20), response).await {
            Ok(Ok(response)) => {
                self.figures.count(kind, response.status().as_str(), started.elapsed());
                self.check_unavailable(&what, &response);
                Ok(response)
            }
            Ok(Err(())) => {
                self.figures.count(kind, "none", started.elapsed());
                if !self.replicas[replica].stop.was_active_since(started) {
                    self.wrong(format!("{what}: no response of a replica that runs"));
                }
                Err(Stopped)
            }
            Err(_) => {
                self.figures.count(kind, "late", started.elapsed());
                self.wrong(format!("{what}: no response in 20 s"));
                Err(Stopped)
            }
        }
    }

    /// A response of 503 says when to retry, and keeps the session's cookie.
    fn check_unavailable(&self, what: &str, response: &Response<Bytes>) {
        if response.status() != StatusCode::SERVICE_UNAVAILABLE {
            return;
        }
        if !response.headers().contains_key(header::RETRY_AFTER) {
            self.wrong(format!("{what}: 503 without Retry-After"));
        }
        if set_cookies(response).any(|cookie| is_session(&cookie)) {
            self.wrong(format!("{what}: 503 changes the session's cookie"));
        }
    }
}

/// Whether the inner service was called.
pub(crate) fn reached_inner(response: &Response<Bytes>) -> bool {
    response.headers().contains_key(crate::app::INNER)
}
