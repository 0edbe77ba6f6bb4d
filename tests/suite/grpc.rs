//! A gRPC service behind a bearer guard, over HTTP/2 on a socket.

#[path = "../../examples/grpc_service/status.rs"]
mod status;

use http::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_scalekit::require_token::{ApiKeyVerifier, TokenRejection};
use tower_scalekit::sandbox::{Endpoint, Fault, TokenFault};
use tower_scalekit::{RequireToken, Sandbox};

use self::status::as_grpc_status;
use crate::support::{JANE, World, sandbox_builder, token_layer};

fn guard(sandbox: &Sandbox) -> RequireToken {
    token_layer(sandbox).on_rejection(as_grpc_status)
}

async fn serve(sandbox: &Sandbox) -> Channel {
    serve_behind(guard(sandbox)).await
}

async fn serve_behind(guard: RequireToken) -> Channel {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("todos", tonic_health::ServingStatus::Serving).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(guard).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn check(channel: &Channel, authorization: Option<&str>) -> Result<ServingStatus, Status> {
    let mut request = tonic::Request::new(HealthCheckRequest { service: "todos".to_owned() });
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().unwrap());
    }
    let response = HealthClient::new(channel.clone()).check(request).await?;
    Ok(response.into_inner().status())
}

#[tokio::test]
async fn a_grpc_service_requires_a_token_and_rejects_with_a_grpc_status() {
    let sandbox = sandbox_builder().build();
    let channel = serve(&sandbox).await;
    let good = format!("Bearer {}", sandbox.tokens().access_token(JANE));
    for _ in 0..2 {
        assert_eq!(check(&channel, Some(&good)).await.unwrap(), ServingStatus::Serving);
    }
    let mut expired = sandbox.tokens().access_token_draft(JANE);
    TokenFault::Expired.apply(&mut expired);
    let expired = format!("Bearer {}", sandbox.tokens().sign_draft(&expired));
    for rejected in [None, Some("Bearer garbage"), Some("Basic YTpi"), Some(&*expired)] {
        let status = check(&channel, rejected).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "send a token"));
    }
}

#[tokio::test]
async fn a_grpc_service_rejects_the_token_of_a_revoked_user() {
    let world = World::new();
    let guard = guard(&world.sandbox).reject_revoked(&world.sessions.revocations());
    let channel = serve_behind(guard).await;
    let token = world.sandbox.tokens().access_token_draft(JANE);
    let bearer = format!("Bearer {}", world.sandbox.tokens().sign_draft(&token));
    assert_eq!(check(&channel, Some(&bearer)).await.unwrap(), ServingStatus::Serving);
    world.sessions.revoke_user(token.claims["sub"].as_str().unwrap()).await.unwrap();
    let status = check(&channel, Some(&bearer)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn unavailable_keys_are_unavailable_and_not_unauthenticated() {
    let sandbox = sandbox_builder().build();
    let channel = serve(&sandbox).await;
    sandbox.faults().add(Endpoint::Keys, Fault::Unreachable);
    let good = format!("Bearer {}", sandbox.tokens().access_token(JANE));
    let status = check(&channel, Some(&good)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    sandbox.faults().clear(Endpoint::Keys);
    sandbox.clock().advance(std::time::Duration::from_secs(1));
    assert_eq!(check(&channel, Some(&good)).await.unwrap(), ServingStatus::Serving);
}

#[tokio::test]
async fn an_api_key_that_cannot_be_validated_is_unavailable_and_not_unauthenticated() {
    let sandbox = sandbox_builder().build();
    let verifier = ApiKeyVerifier::new(&sandbox.scalekit());
    let channel = serve_behind(guard(&sandbox).api_keys(&verifier)).await;
    sandbox.faults().add(Endpoint::Api, Fault::Unreachable);
    let key = format!("Bearer {}", "a1B2".repeat(8));
    let status = check(&channel, Some(&key)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "try again"));
    sandbox.faults().clear(Endpoint::Api);
    sandbox.clock().advance(std::time::Duration::from_secs(1));
    let status = check(&channel, Some(&key)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_streaming_call_goes_through() {
    let sandbox = sandbox_builder().build();
    let channel = serve(&sandbox).await;
    let mut request = tonic::Request::new(HealthCheckRequest { service: "todos".to_owned() });
    let good = format!("Bearer {}", sandbox.tokens().access_token(JANE));
    request.metadata_mut().insert("authorization", good.parse().unwrap());
    let mut watched = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn a_rejection_is_trailers_only() {
    let inner = service_fn(|_: Request<tonic::body::Body>| async {
        Ok::<_, std::convert::Infallible>(Response::new(tonic::body::Body::empty()))
    });
    let service = guard(&sandbox_builder().build()).layer(inner);
    let request = Request::post("/grpc.health.v1.Health/Check");
    let response =
        service.oneshot(request.body(tonic::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "16");
    assert!(http_body::Body::is_end_stream(response.body()));
    assert!(matches!(response.extensions().get(), Some(TokenRejection::MissingToken { .. })));
}
