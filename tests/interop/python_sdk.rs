//! Scalekit's SDK for Python. It can send a code verifier, but no challenge, so PKCE is not tested.

use serde_json::json;
use tokio::process::Command;

use super::sdk::{self, Sdk};
use super::support::installed;

async fn start() -> Option<Sdk> {
    let folder = installed("python/scalekit")?;
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("python_sdk.py")]);
    Sdk::start(command.env("PYTHONPATH", folder.join("python"))).await
}

#[tokio::test]
async fn a_user_logs_in() {
    let Some(mut sdk) = start().await else { return };
    sdk::a_user_logs_in(&mut sdk, [json!({}), json!({})]).await;
}

sdk::tests!(
    tokens_are_validated,
    tokens_are_refreshed,
    a_user_logs_out,
    idp_initiated_logins_are_decoded,
    the_proxy_returns_the_same_responses,
);
