//! A plain hyper service, without axum, that requires bearer tokens.
//!
//! `cargo run --example hyper_service`. The audience is `API_AUDIENCE`, or the client ID, which is
//! the audience of the environment's user tokens. On the sandbox it prints a token for testing.

#[path = "../common/mod.rs"]
mod common;

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;
use tower::{ServiceBuilder, service_fn};
use tower_scalekit::{Principal, RequireToken};

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let audience =
        common::setting("API_AUDIENCE").unwrap_or_else(|| setup.scalekit.client_id().to_owned());
    let guard = common::or_exit(2, RequireToken::for_audience(&setup.scalekit, audience));
    let service = ServiceBuilder::new().layer(guard).service(service_fn(greet));

    let mut stop = pin!(common::stop_signal());
    setup.print_urls();
    if let Some((sandbox, _)) = &setup.sandbox {
        let token = sandbox.tokens().access_token("jane@acme.test");
        eprintln!("try: curl -H 'Authorization: Bearer {token}' {}/", setup.public_url);
    }

    let server = auto::Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = setup.listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let service = TowerToHyperService::new(service.clone());
                let connection = server.serve_connection(TokioIo::new(stream), service);
                let connection = connections.watch(connection.into_owned());
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(error, "connection ended");
                    }
                });
            }
            () = &mut stop => break,
        }
    }
    let _ = timeout(Duration::from_secs(10), connections.shutdown()).await;
}

async fn greet(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let subject = request.extensions().get::<Principal>().map_or("anonymous", Principal::subject);
    Ok(Response::new(Full::new(Bytes::from(format!("Hello, {subject}\n")))))
}
