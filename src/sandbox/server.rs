//! The environment on a loopback port.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{self, Either};
use http::uri::Authority;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::environment::Environment;
use super::respond;
use super::router::{Dropped, MAX_BODY_BYTES};

/// How long a shutdown waits for requests in flight.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A sandbox that is served on a port. Dropping it closes the port and all connections.
#[derive(Debug)]
#[must_use = "the sandbox is served until this is dropped"]
pub struct SandboxServer {
    environment_url: String,
    local_addr: SocketAddr,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl SandboxServer {
    pub(crate) async fn start(
        environment: &Arc<Environment>,
        address: SocketAddr,
    ) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a sandbox is served on loopback addresses only",
            ));
        }
        let listener = TcpListener::bind(address).await?;
        let local_addr = listener.local_addr()?;
        let environment_url = format!("http://{local_addr}");
        environment.lock().environment_url.clone_from(&environment_url);
        let (stop, stopped) = watch::channel(());
        let task = tokio::spawn(accept(Arc::clone(environment), listener, local_addr, stopped));
        Ok(Self { environment_url, local_addr, stop, task })
    }

    /// The URL of the environment: `http://` and the bound address.
    #[must_use]
    pub fn environment_url(&self) -> &str {
        &self.environment_url
    }

    /// The bound address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops accepting connections, lets requests in flight finish, and returns when all
    /// connections are closed, after at most 5 s.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(());
        // After a timeout, the drop closes the remaining connections.
        let _ = tokio::time::timeout(DRAIN, &mut self.task).await;
    }
}

impl Drop for SandboxServer {
    fn drop(&mut self) {
        // The task owns the connections' tasks, which end with it.
        self.task.abort();
    }
}

async fn accept(
    environment: Arc<Environment>,
    listener: TcpListener,
    local_addr: SocketAddr,
    stopped: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    let mut stop = stopped.clone();
    let mut stop = pin!(stop.changed());
    loop {
        match future::select(pin!(listener.accept()), stop.as_mut()).await {
            Either::Left((Ok((stream, _)), _)) => {
                connections.spawn(serve_connection(
                    Arc::clone(&environment),
                    stream,
                    local_addr,
                    stopped.clone(),
                ));
            }
            // No file descriptors, or a connection that was closed at once: others may follow.
            Either::Left((Err(_), _)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Either::Right(_) => break,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(
    environment: Arc<Environment>,
    stream: TcpStream,
    local_addr: SocketAddr,
    mut stopped: watch::Receiver<()>,
) {
    let is_http2 =
        match future::select(pin!(starts_with_http2(&stream)), pin!(stopped.changed())).await {
            Either::Left((is_http2, _)) => is_http2,
            Either::Right(_) => return,
        };
    if is_http2 {
        return reject_http2(stream).await;
    }
    let service = service_fn(|request| response(&environment, request, local_addr));
    let mut http = http1::Builder::new();
    let mut connection =
        pin!(http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service));
    // Errors of a connection are ignored.
    if let Either::Right(_) = future::select(connection.as_mut(), pin!(stopped.changed())).await {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, section 3.4); no method of HTTP/1.1
/// begins like this.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Whether the client speaks HTTP/2, as gRPC clients do.
async fn starts_with_http2(stream: &TcpStream) -> bool {
    let mut start = [0; HTTP2_PREFACE.len()];
    let peeking = async {
        loop {
            let Ok(length) = stream.peek(&mut start).await else { return false };
            match start.get(..length) {
                Some(start) if length > 0 && HTTP2_PREFACE.starts_with(start) => {
                    if length == HTTP2_PREFACE.len() {
                        return true;
                    }
                    // The rest of the preface is on its way: peek again when it may be there.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                _ => return false,
            }
        }
    };
    tokio::time::timeout(BODY_TIMEOUT, peeking).await.unwrap_or(false)
}

/// Sends empty SETTINGS, and GOAWAY with `HTTP_1_1_REQUIRED` and a message, which gRPC clients print
/// (RFC 9113, sections 6.5 and 6.8).
async fn reject_http2(mut stream: TcpStream) {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: [u8; 6] = [7, 0, 0, 0, 0, 0];
    const LAST_STREAM: [u8; 4] = [0; 4];
    const HTTP_1_1_REQUIRED: [u8; 4] = [0, 0, 0, 0xd];
    let debug = respond::NO_GRPC.as_bytes();
    let [_, length @ ..] = u32::try_from(8 + debug.len()).unwrap_or(8).to_be_bytes();
    let frames =
        [&SETTINGS[..], &length, &GOAWAY, &LAST_STREAM, &HTTP_1_1_REQUIRED, debug].concat();
    if stream.write_all(&frames).await.is_ok() && stream.shutdown().await.is_ok() {
        // Until the client closes: data that was not read would reset the connection, and the
        // message with it.
        let _ =
            tokio::time::timeout(DRAIN, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
    }
}

/// Responds to one request; an error closes the connection without a response.
async fn response(
    environment: &Environment,
    request: Request<Incoming>,
    local_addr: SocketAddr,
) -> Result<Response<Full<Bytes>>, NoResponse> {
    if !is_for_us(&request, local_addr) {
        // Prevents DNS rebinding: a page under a name that resolves to 127.0.0.1 could read the
        // responses.
        return Ok(error(
            StatusCode::MISDIRECTED_REQUEST,
            "this sandbox responds to loopback hosts only",
        ));
    }
    let (head, body) = request.into_parts();
    let read = Limited::new(body, MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(reason)) if reason.is::<http_body_util::LengthLimitError>() => {
            return Ok(error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
        }
        Ok(Err(_)) | Err(_) => return Err(NoResponse),
    };
    match environment.respond(Request::from_parts(head, body)).await {
        Ok(response) => Ok(response.map(Full::new)),
        Err(Dropped::ResponseLost | Dropped::NotConnected) => Err(NoResponse),
    }
}

fn error(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    respond::api_error(status, 3, message).map(Full::new)
}

fn is_for_us<B>(request: &Request<B>, local_addr: SocketAddr) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback && authority.port_u16().unwrap_or(80) == local_addr.port()
}

/// Returned when a fault suppresses the response, or the request was aborted.
#[derive(Debug, thiserror::Error)]
#[error("no response")]
struct NoResponse;
