//! A gRPC service that requires bearer tokens: `RequireToken` around tonic.
//!
//! `cargo run --example grpc_service`. The service is the standard health check; in its place, add
//! the services that are generated from your own definitions. The audience is `API_AUDIENCE`, or the
//! client ID, which is the audience of the environment's user tokens.

#[path = "../common/mod.rs"]
mod common;
mod status;

use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower_scalekit::RequireToken;

use crate::common::OrExit as _;
use crate::status::as_grpc_status;

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let audience =
        common::setting("API_AUDIENCE").unwrap_or_else(|| setup.scalekit.client_id().to_owned());
    let tokens = RequireToken::for_audience(&setup.scalekit, audience)
        .or_exit(2)
        .on_rejection(as_grpc_status);

    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("todos", tonic_health::ServingStatus::Serving).await;
    let stop = common::stop_signal();
    setup.print_urls();
    if let Some((sandbox, _)) = &setup.sandbox {
        let token = sandbox.tokens().access_token("jane@acme.test");
        eprintln!("send the metadata authorization: Bearer {token}");
    }
    let served = Server::builder()
        .layer(tokens)
        .add_service(health)
        .serve_with_incoming_shutdown(TcpIncoming::from(setup.listener), stop);
    served.await.or_exit(1);
}
