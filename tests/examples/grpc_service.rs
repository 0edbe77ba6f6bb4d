//! `grpc_service`, with a client of tonic.

use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::running::{Environment, start};

#[tokio::test(flavor = "multi_thread")]
async fn calls_require_a_token() {
    let environment = Environment::serve().await;
    let mut settings = environment.settings();
    settings.extend([("BIND", "127.0.0.1:0"), ("RUST_LOG", "tower_scalekit=trace")]);
    let service = start("grpc_service", &[], &settings);
    let url = service.said("listening on ");
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let call = || Request::new(HealthCheckRequest { service: "todos".to_owned() });
    let rejected = health.check(call()).await.unwrap_err();
    assert_eq!((rejected.code(), rejected.message()), (Code::Unauthenticated, "send a token"));

    let token = environment.sandbox.tokens().access_token("jane@acme.test");
    let mut authorized = call();
    authorized.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let checked = health.check(authorized).await.unwrap().into_inner();
    assert_eq!(checked.status(), ServingStatus::Serving);
    let log = service.errors();
    assert!(log.contains("token_verified") && !log.contains(&token), "{log}");
}
