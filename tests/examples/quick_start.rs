//! `quick_start`, the program of the README: without an account, and with half of the settings.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::processes::PATIENCE;
use crate::running::{command, run};

#[tokio::test(flavor = "multi_thread")]
async fn without_settings_it_starts_a_sandbox() {
    let mut quick_start = command("quick_start", &[]);
    let mut program = quick_start.stderr(Stdio::piped()).spawn().unwrap();
    // Printed before the port is bound, which another program may use.
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let mut next = async || timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let sandbox = next().await;
    assert!(sandbox.starts_with("sandbox on http://127.0.0.1:"), "{sandbox}");
    assert!(sandbox.contains(" (no SCALEKIT_ variable is set)"), "{sandbox}");
    assert!(sandbox.ends_with("; log in as jane@acme.test"), "{sandbox}");
    assert!(next().await.starts_with("no log: call tracing_subscriber::fmt::init()"));
    assert_eq!(next().await, "SESSION_SECRET is not set: sessions end when this process does");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_configuration_is_an_error() {
    let id = ("SCALEKIT_CLIENT_ID", "skc_1");
    let url = ("SCALEKIT_ENVIRONMENT_URL", "https://acme.scalekit.dev");
    for (settings, error) in [
        (
            &[id][..],
            "SCALEKIT_CLIENT_SECRET is not set; SCALEKIT_ENVIRONMENT_URL is not set; \
             sandbox: is not started, because a SCALEKIT_ variable is set: SCALEKIT_CLIENT_ID",
        ),
        (
            &[id, url],
            "SCALEKIT_CLIENT_SECRET is not set; sandbox: is not started, because a SCALEKIT_ \
             variable is set: SCALEKIT_CLIENT_ID, SCALEKIT_ENVIRONMENT_URL",
        ),
        (
            &[("SCALEKIT_WEBHOOK_SECRET", "x")],
            "SCALEKIT_CLIENT_ID is not set; SCALEKIT_CLIENT_SECRET is not set; \
             SCALEKIT_ENVIRONMENT_URL is not set; sandbox: is not started, because a SCALEKIT_ \
             variable is set: SCALEKIT_WEBHOOK_SECRET",
        ),
    ] {
        let (code, output, errors) = run("quick_start", settings).await;
        // The exit code of a `main` that returns an error.
        assert_eq!((code, output, errors), (Some(1), String::new(), format!("Error: {error}\n")));
    }
}
