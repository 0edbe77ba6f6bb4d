//! `setup`: its output for valid settings, and for each invalid one.

use std::future::IntoFuture as _;
use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tower_scalekit::sandbox::{Endpoint, Fault};

use crate::running::{Environment, run, run_with};

const PAGE: &str = "a web page instead of JSON, perhaps from a proxy";

#[tokio::test(flavor = "multi_thread")]
async fn it_names_the_first_organization() {
    let environment = Environment::serve().await;
    let (code, output, errors) = run("setup", &environment.settings()).await;
    let (url, id) = (environment.url(), environment.sandbox.client_id());
    let expected =
        format!("{url} accepts the credentials of {id}\nName of the first organization: Acme\n");
    assert_eq!((code, output.as_str(), errors.as_str()), (Some(0), expected.as_str(), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_without_organizations_is_accepted() {
    let environment = Environment::serve().await;
    environment.sandbox.faults().add(Endpoint::Api, Fault::Response(Response::new("{}".into())));
    let (code, output, errors) = run("setup", &environment.settings()).await;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(output.ends_with("\nIt has no organization yet: create one in the dashboard\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_settings_it_fails_and_names_the_sandbox() {
    for settings in [&[][..], &[("SCALEKIT_CLIENT_SECRET", "")]] {
        let line = "SCALEKIT_CLIENT_ID is not set; SCALEKIT_CLIENT_SECRET is not set; \
                    SCALEKIT_ENVIRONMENT_URL is not set\n\
                    They are in the dashboard at Developers > Settings > API credentials. To try it \
                    without an account: --sandbox";
        assert_ends(settings, 2, line).await;
    }
    let (code, output, errors) = run_with("setup", &["--sand"], &[]).await;
    let expected = "error: --sand: the only option is --sandbox\n";
    assert_eq!((code, output.as_str(), errors.as_str()), (Some(2), "", expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_for_a_sandbox_it_uses_one() {
    let (code, output, errors) = run_with("setup", &["--sandbox"], &[]).await;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let lines: Vec<_> = output.lines().collect();
    let url = lines[0].strip_prefix("sandbox on ").unwrap();
    assert!(lines[1].starts_with(&format!("{url} accepts the credentials of skc_")), "{output}");
    assert_eq!(lines[2..], ["Name of the first organization: Acme"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_settings_exit_with_2() {
    let url = ("SCALEKIT_ENVIRONMENT_URL", "https://acme.scalekit.dev");
    let short = ("SCALEKIT_ENV_URL", "https://acme.scalekit.dev");
    let plain = ("SCALEKIT_ENVIRONMENT_URL", "http://acme.scalekit.dev");
    let id = ("SCALEKIT_CLIENT_ID", "skc_1");
    let secret = ("SCALEKIT_CLIENT_SECRET", "s3cret");
    let empty = ("SCALEKIT_CLIENT_SECRET", "");
    for (settings, line) in [
        (vec![id, secret], "SCALEKIT_ENVIRONMENT_URL is not set"),
        (vec![url, secret], "SCALEKIT_CLIENT_ID is not set"),
        (vec![url, id], "SCALEKIT_CLIENT_SECRET is not set"),
        (vec![short, id, empty], "SCALEKIT_CLIENT_SECRET is not set"),
        (vec![secret], "SCALEKIT_CLIENT_ID is not set; SCALEKIT_ENVIRONMENT_URL is not set"),
        (
            vec![plain, id],
            "SCALEKIT_CLIENT_SECRET is not set; \
             SCALEKIT_ENVIRONMENT_URL: must be https (http only on loopback)",
        ),
    ] {
        assert_ends(&settings, 2, line).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_url_exits_with_2() {
    let credentials = [("SCALEKIT_CLIENT_ID", "skc_1"), ("SCALEKIT_CLIENT_SECRET", "s3cret")];
    for (url, reason) in [
        ("http://acme.scalekit.dev", "must be https (http only on loopback)"),
        ("acme.scalekit.dev", "not a URL, expected https://….scalekit.com"),
        ("https://acme.scalekit.dev/?a", "must not have a query or fragment"),
        (
            "https://acme.scalekit.dev/workspace",
            "must not have a path, expected https://….scalekit.com",
        ),
        ("https://skc_1:s3cret@acme.scalekit.dev", "must not contain a user or password"),
    ] {
        for name in ["SCALEKIT_ENVIRONMENT_URL", "SCALEKIT_ENV_URL"] {
            let settings = [&credentials[..], &[(name, url)]].concat();
            assert_ends(&settings, 2, &format!("{name}: {reason}")).await;
        }
    }
    let two = [
        ("SCALEKIT_ENVIRONMENT_URL", "https://acme.scalekit.dev"),
        ("SCALEKIT_ENV_URL", "https://acme.scalekit.com"),
    ];
    let line = "SCALEKIT_ENVIRONMENT_URL: differs from SCALEKIT_ENV_URL; set only one of the two";
    assert_ends(&[&credentials[..], &two].concat(), 2, line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_exit_with_1() {
    let environment = Environment::serve().await;
    let url = environment.url();
    for wrong in [("SCALEKIT_CLIENT_ID", "skc_404"), ("SCALEKIT_CLIENT_SECRET", "not-it")] {
        let settings = with(&environment, wrong);
        let line = format!(
            "{url}: the environment rejected the credentials: invalid_client \
             (check client id and secret)"
        );
        assert_ends(&settings, 1, &line).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host_exits_with_1() {
    let environment = Environment::serve().await;
    // A port that was just released.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let line = format!(
        "{url}: the API is unavailable: no access token: could not connect: Connection refused \
         (os error 111) (check the environment URL, the network and any proxy)"
    );
    assert_ends(&with(&environment, ("SCALEKIT_ENVIRONMENT_URL", &url)), 1, &line).await;

    // A port without TLS.
    let url = environment.url().replace("http://", "https://");
    let line = format!(
        "{url}: the API is unavailable: no access token: could not connect: received corrupt \
         message of type InvalidContentType (check the environment URL, the network and any proxy)"
    );
    assert_ends(&with(&environment, ("SCALEKIT_ENVIRONMENT_URL", &url)), 1, &line).await;

    environment.sandbox.faults().add(Endpoint::Token, Fault::Unreachable);
    let line = format!(
        "{}: the API is unavailable: no access token: the exchange failed: connection closed \
         before message completed (check the environment URL, the network and any proxy)",
        environment.url()
    );
    assert_ends(&environment.settings(), 1, &line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untrusted_certificate_exits_with_1() {
    let environment = Environment::serve().await;
    let url = format!("https://localhost:{}", serve_untrusted_tls().await);
    let line = format!(
        "{url}: the API is unavailable: no access token: could not connect: invalid peer \
         certificate: UnknownIssuer (check the environment URL, the network and any proxy)"
    );
    assert_ends(&with(&environment, ("SCALEKIT_ENVIRONMENT_URL", &url)), 1, &line).await;
}

/// A port with a self-signed certificate, like an intercepting proxy.
async fn serve_untrusted_tls() -> u16 {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            // The client disconnects.
            let _ = acceptor.accept(connection).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_another_service_exits_with_1() {
    let environment = Environment::serve().await;
    let url = environment.url();
    for (status, body, what) in [
        (StatusCode::MOVED_PERMANENTLY, "", "a redirect"),
        (StatusCode::NOT_FOUND, "Not Found", "an error that is not a token endpoint's"),
        (StatusCode::NOT_FOUND, "<!doctype html>", PAGE),
        (StatusCode::OK, "{}", "200 without tokens"),
    ] {
        let response = Response::builder().status(status).header(header::LOCATION, "/elsewhere");
        let response = response.body(Bytes::from(body)).unwrap();
        environment.sandbox.faults().add_times(Endpoint::Token, 1, Fault::Response(response));
        assert_ends(&environment.settings(), 1, &unexpected(url, what)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_responds_with_a_page_exits_with_1() {
    let environment = Environment::serve().await;
    let url = environment.url();
    for endpoint in [Endpoint::Token, Endpoint::Api] {
        environment.sandbox.faults().add_times(endpoint, 1, Fault::Html);
        assert_ends(&environment.settings(), 1, &unexpected(url, PAGE)).await;
        let page = Response::builder().status(StatusCode::FORBIDDEN).body("<html>Blocked".into());
        environment.sandbox.faults().add_times(endpoint, 1, Fault::Response(page.unwrap()));
        assert_ends(&environment.settings(), 1, &unexpected(url, PAGE)).await;
    }

    // A captive portal that responds to every request with a page.
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let pages = Router::new().fallback(|method: Method| async move {
        let allowed = method != Method::CONNECT;
        let status = if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN };
        (status, Html("<h1>Accept the terms</h1>"))
    });
    tokio::spawn(axum::serve(proxy, pages).into_future());
    let settings = with(&environment, ("http_proxy", &address));
    assert_ends(&settings, 1, &unexpected(url, PAGE)).await;

    // It accepts no https.
    let url = "https://acme.scalekit.dev";
    let mut settings = with(&environment, ("SCALEKIT_ENVIRONMENT_URL", url));
    settings.push(("https_proxy", &address));
    let line = format!(
        "{url}: the API is unavailable: no access token: could not connect: tunnel error: \
         unsuccessful (check the environment URL, the network and any proxy)"
    );
    assert_ends(&settings, 1, &line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_environment_exits_with_1() {
    let environment = Environment::serve().await;
    let url = environment.url();
    environment
        .sandbox
        .faults()
        .add(Endpoint::Token, Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    let line = format!(
        "{url}: the API is unavailable: no access token: it responded with 503 Service Unavailable \
         (try again later)"
    );
    assert_ends(&environment.settings(), 1, &line).await;
    environment.sandbox.faults().clear(Endpoint::Token);

    environment.sandbox.faults().add(Endpoint::Api, Fault::Status(StatusCode::FORBIDDEN));
    let line = format!(
        "{url}: the API does not allow this: 403 Forbidden: the sandbox is configured to fail"
    );
    assert_ends(&environment.settings(), 1, &line).await;
}

fn unexpected(url: &str, what: &str) -> String {
    format!(
        "{url}: the environment sent an unexpected response: {what} (check the environment URL)"
    )
}

/// The settings of an environment, with one replaced.
fn with<'a>(environment: &'a Environment, setting: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    let mut settings = environment.settings();
    settings.retain(|(name, _)| *name != setting.0);
    settings.push(setting);
    settings
}

/// Asserts the exit code and the exact output.
async fn assert_ends(settings: &[(&str, &str)], code: i32, line: &str) {
    let (ended, output, errors) = run("setup", settings).await;
    assert_eq!((errors, output.as_str(), ended), (format!("error: {line}\n"), "", Some(code)));
}
