//! Messages signed by the libraries of senders, also verified by Scalekit's SDK.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::process::Command;
use tower_scalekit::webhook_verify::{WebhookSecret, verify};

use super::support::{Program, installed};

fn node() -> Option<Program> {
    let folder = installed("node_modules/standardwebhooks")?;
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", include_str!("webhooks.mjs")]);
    Program::start(command.current_dir(folder))
}

fn python() -> Option<Program> {
    let folder = installed("python/standardwebhooks")?;
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("webhooks.py")]);
    Program::start(command.env("PYTHONPATH", folder.join("python")))
}

fn messages() -> impl Iterator<Item = Value> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let secrets = [24_u8, 32, 64].map(|length| {
        let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
        format!("whsec_{}", STANDARD.encode(bytes))
    });
    let bodies =
        ["{}", "{\"type\": \"a.b\",\n \"data\": {\"name\": \"Jos\u{e9}\"}}", "", "not JSON"];
    secrets.into_iter().flat_map(move |secret| {
        bodies.map(|body| json!({"secret": secret, "id": "msg_1", "at": now, "body": body}))
    })
}

/// Whether this crate accepts it.
fn accepts(message: &Value, signature: &str) -> bool {
    let text = |name: &str| message[name].as_str().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", text("id").parse().unwrap());
    headers.insert("webhook-timestamp", message["at"].to_string().parse().unwrap());
    headers.insert("webhook-signature", signature.parse().unwrap());
    let secret = WebhookSecret::new(text("secret")).unwrap();
    verify(&headers, text("body").as_bytes(), &[secret], OffsetDateTime::now_utc()).is_ok()
}

#[tokio::test]
async fn signatures_of_senders_libraries_are_accepted() {
    let (Some(mut node), Some(mut python)) = (node(), python()) else { return };
    for message in messages() {
        let by_node = node.ask(&message).await;
        let by_python = python.ask(&message).await;
        let signatures =
            [&by_node, &by_python].map(|response| response["signatures"].as_array().unwrap());
        let signatures: Vec<_> = signatures.into_iter().flatten().collect();
        assert_eq!(signatures.len(), 3);
        for signature in signatures {
            assert!(accepts(&message, signature.as_str().unwrap()), "{message} {signature}");
        }
    }
}

/// Without malformed candidates, one of which makes the SDK reject all.
#[tokio::test]
async fn scalekits_sdk_accepts_the_same_signatures() {
    let Some(mut node) = node() else { return };
    for mut message in messages() {
        let good = node.ask(&message).await["signatures"][0].as_str().unwrap().to_owned();
        let other = format!("v1,{}", STANDARD.encode([7; 32]));
        let candidates = [
            good.clone(),
            format!("{other} {good}"),
            format!("{good} {other}"),
            format!("v1a,AAAA {good}"),
            format!("v2,{good}"),
            other,
            good.replace("v1,", "v1"),
            format!("{good}A"),
        ];
        message["candidates"] = json!(candidates);
        let evaluated = node.ask(&message).await;
        let by_sdk: Vec<bool> =
            evaluated["accepted"].as_array().unwrap().iter().map(|yes| *yes == true).collect();
        let by_us: Vec<bool> =
            candidates.iter().map(|candidate| accepts(&message, candidate)).collect();
        assert_eq!(by_us, [true, true, true, true, false, false, false, false], "{message}");
        for (ours, theirs) in by_us.iter().zip(&by_sdk) {
            assert!(!ours || *theirs, "{message}: {by_sdk:?}");
        }
    }
}
