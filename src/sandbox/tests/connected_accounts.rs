//! The pages where a user connects an account.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::Map;

use super::Sandbox;
use crate::api::connected_accounts::{AccountKey, Credentials, NewConnectedAccount};
use crate::sandbox::connected_accounts::tools::{ToolRun, execute};
use crate::sandbox::state::connected_accounts::AccountSelector;
use crate::sandbox::state::history::MAX_KNOWN;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The path of a link to a new account at Gmail.
async fn linked(sandbox: &Sandbox, user_verify_url: Option<&str>) -> String {
    linked_at(sandbox, "gmail", user_verify_url).await
}

async fn linked_at(sandbox: &Sandbox, connection: &str, user_verify_url: Option<&str>) -> String {
    let accounts = sandbox.scalekit().api().connected_accounts();
    let user = AccountKey::new(connection, "<b>user");
    accounts.get_or_create(&NewConnectedAccount::new(&user)).await.unwrap();
    let link = match user_verify_url {
        None => accounts.authorization_link(&user).await,
        Some(url) => accounts.verified_authorization_link(&user, url, "s t&a").await,
    };
    link.unwrap().url().path().to_owned()
}

fn send(
    sandbox: &Sandbox,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> Response<Bytes> {
    let request = Request::builder().method(method).uri(target);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    sandbox.environment.route(&request.body(Bytes::from(body)).unwrap())
}

fn status(sandbox: &Sandbox) -> &'static str {
    sandbox.connected_accounts().list()[0].status
}

fn location(response: &Response<Bytes>) -> &str {
    response.headers()[header::LOCATION].to_str().unwrap()
}

#[tokio::test]
async fn only_browsers_get_the_consent_page() {
    let sandbox = Sandbox::new();
    let link = linked(&sandbox, None).await;
    let page = send(&sandbox, Method::GET, &link, &[("accept", "text/html,*/*;q=0.8")], "");
    assert_eq!(page.status(), StatusCode::OK);
    let html = std::str::from_utf8(page.body()).unwrap();
    assert!(html.contains("Connect Gmail?") && html.contains("&lt;b&gt;user"), "{html}");
    assert_eq!(status(&sandbox), "PENDING_AUTH");
    let done = send(&sandbox, Method::GET, &link, &[("accept", "*/*")], "");
    assert_eq!((done.status(), location(&done)), (StatusCode::FOUND, "/connected"));
    assert_eq!(status(&sandbox), "ACTIVE");
    let again = send(&sandbox, Method::GET, &link, &[], "");
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_the_pages_own_form_is_accepted() {
    let sandbox = Sandbox::new();
    let link = linked(&sandbox, None).await;
    let theirs = [FORM, ("sec-fetch-site", "cross-site")];
    let rejected = send(&sandbox, Method::POST, &link, &theirs, "action=allow");
    assert_eq!(rejected.status(), StatusCode::FORBIDDEN);
    let empty = send(&sandbox, Method::POST, &link, &[], "action=allow");
    assert_eq!(empty.status(), StatusCode::BAD_REQUEST);
    assert_eq!(status(&sandbox), "PENDING_AUTH");
    let denied = send(&sandbox, Method::POST, &link, &[FORM], "action=deny");
    assert_eq!((denied.status(), status(&sandbox)), (StatusCode::OK, "PENDING_AUTH"));
    let late = send(&sandbox, Method::POST, &link, &[FORM], "action=allow");
    assert_eq!((late.status(), status(&sandbox)), (StatusCode::NOT_FOUND, "PENDING_AUTH"));
}

#[tokio::test]
async fn the_page_of_a_service_with_api_keys_asks_for_one() {
    let sandbox = Sandbox::new();
    let link = linked_at(&sandbox, "exa", Some("https://app.test/verify")).await;
    let page = send(&sandbox, Method::GET, &link, &[("accept", "text/html")], "");
    let html = std::str::from_utf8(page.body()).unwrap();
    assert!(html.contains("Connect Exa?") && html.contains("name=\"api_key\""), "{html}");
    assert!(!html.contains("<ul"), "no scopes");
    let back = send(&sandbox, Method::POST, &link, &[FORM], "action=allow&api_key=k-1");
    let back = location(&back).to_owned();
    let accounts = sandbox.scalekit().api().connected_accounts();
    let user = AccountKey::new("exa", "<b>user");
    assert!(accounts.credentials(&user).await.unwrap().is_none(), "not before the verification");
    let id = back.split(['=', '&']).nth(1).unwrap();
    accounts.verify_user(id, "<b>user").await.unwrap();
    let Some(Credentials::Static(key)) = accounts.credentials(&user).await.unwrap() else {
        panic!("no key")
    };
    assert_eq!(key.expose()["api_key"], "k-1");

    let slack = linked_at(&sandbox, "slack", None).await;
    let page = send(&sandbox, Method::GET, &slack, &[("accept", "text/html")], "");
    let html = std::str::from_utf8(page.body()).unwrap();
    assert!(html.contains("Connect Slack?") && html.contains("chat:write"), "{html}");
    assert!(!html.contains("api_key"), "{html}");
}

#[tokio::test]
async fn links_and_pending_verifications_expire() {
    let sandbox = Sandbox::new();
    let hour = std::time::Duration::from_secs(60 * 60);
    let link = linked(&sandbox, None).await;
    sandbox.clock().advance(hour);
    assert_eq!(send(&sandbox, Method::GET, &link, &[], "").status(), StatusCode::NOT_FOUND);

    let link = linked(&sandbox, Some("https://app.test/verify?a=b")).await;
    let back = send(&sandbox, Method::GET, &link, &[], "");
    let back = location(&back).to_owned();
    assert!(back.starts_with("https://app.test/verify?a=b&auth_request_id="), "{back}");
    assert!(back.ends_with("&state=s+t%26a"), "{back}");
    let id = back.split(['=', '&']).nth(3).unwrap();
    sandbox.clock().advance(hour);
    let accounts = sandbox.scalekit().api().connected_accounts();
    accounts.verify_user(id, "<b>user").await.unwrap_err();
    assert_eq!(status(&sandbox), "PENDING_VERIFICATION");
}

#[tokio::test]
async fn the_last_page_links_to_loopback_only() {
    let sandbox = Sandbox::new();
    let page = |application: &str| {
        let target = format!("/connected?application={application}");
        let page = send(&sandbox, Method::GET, &target, &[], "");
        String::from_utf8(page.body().to_vec()).unwrap()
    };
    assert!(page("http://127.0.0.1:3000").contains(r#"<a href="http://127.0.0.1:3000">"#));
    for elsewhere in [
        "https://evil.test",
        "http://127.0.0.1:1@evil.test",
        "javascript://localhost/%250aalert(1)",
        "data:text/html,x",
        "",
    ] {
        assert!(!page(elsewhere).contains("<a "), "{elsewhere}");
    }
    let accounts = sandbox.scalekit().api().connected_accounts();
    let user = AccountKey::new("gmail", "user");
    accounts.create(&NewConnectedAccount::new(&user)).await.unwrap();
    accounts.verified_authorization_link(&user, "javascript:alert(1)", "s").await.unwrap_err();
}

#[test]
fn the_last_tools_that_were_executed_are_known() {
    let sandbox = Sandbox::new();
    let account = AccountSelector::Id(sandbox.connected_accounts().add("slack", "user_123"));
    for number in 0..=MAX_KNOWN {
        let (state, tool) = (&mut sandbox.environment.lock(), "slack_list_channels");
        let run = execute(state, tool, &account, &Map::new(), Some(&number.to_string()));
        assert!(matches!(run, ToolRun::Done(_)), "{run:?}");
    }
    let runs = sandbox.connected_accounts().tool_runs();
    assert_eq!(runs.len(), MAX_KNOWN);
    assert_eq!(runs[0].agent_run_id.as_deref(), Some("1"));
}
