//! Scalekit's SDK for Node.

use serde_json::json;
use tokio::process::Command;

use super::sdk::{self, Sdk};
use super::support::installed;

async fn start() -> Option<Sdk> {
    let folder = installed("node_modules/@scalekit-sdk/node")?;
    let mut command = Command::new("node");
    // A script passed as text resolves packages from the working directory.
    command.args(["--input-type=module", "--eval", include_str!("node_sdk.mjs")]);
    Sdk::start(command.current_dir(folder)).await
}

#[tokio::test]
async fn a_user_logs_in_with_pkce() {
    let Some(mut sdk) = start().await else { return };
    // RFC 7636, appendix B.
    let challenge = json!({
        "codeChallenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "codeChallengeMethod": "S256",
    });
    let verifier = json!({ "codeVerifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" });
    sdk::a_user_logs_in(&mut sdk, [challenge, verifier]).await;
}

sdk::tests!(
    tokens_are_validated,
    tokens_are_refreshed,
    a_user_logs_out,
    idp_initiated_logins_are_decoded,
    the_proxy_returns_the_same_responses,
);
