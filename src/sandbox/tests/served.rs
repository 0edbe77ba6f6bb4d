use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::sandbox::{Endpoint, Fault};

const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// The response on a socket to a request with these lines, until the server closes it.
async fn exchange_lines(address: SocketAddr, lines: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    // A connection closed without a response may also be reset.
    let _ = stream.read_to_string(&mut response).await;
    response
}

#[tokio::test]
async fn a_served_sandbox_responds_at_its_url() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(ANY_PORT).await.unwrap();
    let address = server.local_addr();
    assert_eq!(sandbox.environment_url(), format!("http://{address}"));
    assert_eq!(server.environment_url(), sandbox.environment_url());

    let host = format!("host: {address}");
    let discovery =
        exchange_lines(address, &["GET /.well-known/openid-configuration HTTP/1.1", &host]).await;
    assert!(discovery.starts_with("HTTP/1.1 200 OK"), "{discovery}");
    assert!(discovery.contains(&format!("\"issuer\":\"http://{address}\"")), "{discovery}");
    let localhost = format!("host: localhost:{}", address.port());
    let index = exchange_lines(address, &["GET / HTTP/1.1", &localhost]).await;
    assert!(index.contains(&format!("SCALEKIT_ENVIRONMENT_URL=http://{address}\n")));
    assert!(index.contains(sandbox.client_secret().expose()));

    // The in-process client and the socket are the same environment.
    let tokens = log_in(&sandbox, "jane@acme.test").await;
    assert_eq!(claims(string(&tokens, "access_token"))["iss"], sandbox.environment_url());

    // Idle connections do not delay a shutdown.
    let mut idle = TcpStream::connect(address).await.unwrap();
    server.shutdown().await;
    assert_eq!(idle.read(&mut [0]).await.unwrap_or_default(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_foreign_host_name_is_rejected() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(ANY_PORT).await.unwrap();
    let address = server.local_addr();
    for host in [
        format!("host: evil.test:{}", address.port()),
        "host: 127.0.0.1:1".to_owned(),
        "host: 127.0.0.1".to_owned(),
        format!("host: {address}\r\nhost: {address}"),
        "x-no: host".to_owned(),
    ] {
        let response = exchange_lines(address, &["GET / HTTP/1.1", &host]).await;
        let status = response.split(' ').nth(1).unwrap_or_default();
        assert!(["400", "421"].contains(&status), "{host}: {response}");
        assert!(!response.contains(sandbox.client_secret().expose()));
    }
}

#[tokio::test]
async fn faults_reach_the_socket() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(ANY_PORT).await.unwrap();
    let address = server.local_addr();
    let host = format!("host: {address}");
    let keys = ["GET /keys HTTP/1.1", &host];
    sandbox.faults().add_times(Endpoint::Keys, 1, Fault::Unreachable);
    sandbox.faults().add_times(Endpoint::Keys, 1, Fault::Status(StatusCode::BAD_GATEWAY));
    assert_eq!(exchange_lines(address, &keys).await, "");
    assert!(exchange_lines(address, &keys).await.starts_with("HTTP/1.1 502"));
    assert!(exchange_lines(address, &keys).await.starts_with("HTTP/1.1 200"));
    assert_eq!(sandbox.requests().count(Endpoint::Keys), 3);

    let lines = ["POST /oauth/token HTTP/1.1", &host, "content-length: 70000"];
    let body = "x".repeat(70_000);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
    let (mut reader, mut writer) = stream.split();
    let sending = async { drop(writer.write_all(request.as_bytes()).await) };
    let mut status = [0; 12];
    let (_, read) = tokio::join!(sending, reader.read_exact(&mut status));
    read.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
}

#[tokio::test]
async fn dropping_the_server_closes_it_even_while_a_request_waits() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(ANY_PORT).await.unwrap();
    let address = server.local_addr();
    sandbox.faults().add(Endpoint::Keys, Fault::Delay(std::time::Duration::from_secs(3600)));
    let host = format!("host: {address}");
    let waiting =
        tokio::spawn(async move { exchange_lines(address, &["GET /keys HTTP/1.1", &host]).await });
    while sandbox.requests().count(Endpoint::Keys) == 0 {
        tokio::task::yield_now().await;
    }
    drop(server);
    assert_eq!(waiting.await.unwrap(), "");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn http_2_is_rejected_with_a_message() {
    let server = Sandbox::new().serve(ANY_PORT).await.unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    // With a request behind it, which the server does not read.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    // SETTINGS, then GOAWAY with HTTP_1_1_REQUIRED.
    assert_eq!(received[..9], [0, 0, 0, 4, 0, 0, 0, 0, 0]);
    assert_eq!((received[12], received[25]), (7, 0xd));
    assert_eq!(usize::from(received[11]), received.len() - 18);
    let message = String::from_utf8_lossy(&received[26..]);
    assert!(message.contains("HTTP/1.1") && message.contains("gRPC"), "{message}");
}

#[tokio::test]
async fn a_grpc_request_over_http_1_is_rejected_with_a_message() {
    let server = Sandbox::new().serve(ANY_PORT).await.unwrap();
    let address = server.local_addr();
    let path = "POST /scalekit.v1.organizations.OrganizationService/ListOrganization HTTP/1.1";
    let host = format!("host: {address}");
    let response =
        exchange_lines(address, &[path, &host, "content-type: application/grpc-web+proto"]).await;
    assert!(response.starts_with("HTTP/1.1 501"), "{response}");
    assert!(response.contains("grpc-status: 12"), "{response}");
    assert!(response.contains("the gRPC API, which the typed clients"), "{response}");
}

#[tokio::test]
async fn only_loopback_addresses_are_served() {
    let error = Sandbox::new().serve(([0, 0, 0, 0], 0).into()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
