use super::played::Played;
use super::*;
use crate::api::EnabledState;
use crate::api::connections::{Connection, ConnectionProvider, ConnectionStatus, ConnectionType};

const LISTED: &str = r#"{
    "id":"conn_1","key_id":"conn_k","organization_id":"org_1","organization_name":"Acme",
    "provider":"OKTA","provider_key":"okta","type":"SAML","status":"COMPLETED","enabled":true,
    "domains":["acme.test","acme.example"],"mcp_server_url":"https://acme.scalekit.dev/mcp/1",
    "something_new":1}"#;

fn list(connections: &[&str]) -> String {
    format!(r#"{{"connections":[{}]}}"#, connections.join(","))
}

#[tokio::test]
async fn connections_are_listed_in_three_ways() {
    let response = list(&[LISTED, r#"{"id":"conn_2"}"#]);
    let (environment, api) = Played::responses([
        (200, response.as_str()),
        (200, "{}"),
        (200, r#"{"connections":null}"#),
    ]);
    let connections = api.connections();
    let [okta, other] = connections.list().await.unwrap().try_into().unwrap();
    assert_eq!(other, Connection { id: "conn_2".to_owned(), ..Default::default() });
    assert!(connections.list_by_organization("org_1&x").await.unwrap().is_empty());
    assert!(connections.list_by_domain("acme.test").await.unwrap().is_empty());
    assert_eq!(
        environment.requests(),
        [
            "GET /api/v1/connections?include=all",
            "GET /api/v1/connections?organization_id=org_1%26x&include=all",
            "GET /api/v1/connections?domain=acme.test&include=all",
        ]
    );
    assert_eq!(okta.id, "conn_1");
    assert_eq!(okta.key_id.as_deref(), Some("conn_k"));
    assert_eq!(okta.organization_id.as_deref(), Some("org_1"));
    assert_eq!(okta.organization_name.as_deref(), Some("Acme"));
    assert_eq!(okta.provider, Some(ConnectionProvider::Okta));
    assert_eq!(okta.provider_key.as_deref(), Some("okta"));
    assert_eq!(okta.connection_type, Some(ConnectionType::Saml));
    assert_eq!(okta.status, Some(ConnectionStatus::Completed));
    assert_eq!(okta.enabled, Some(true));
    assert_eq!(okta.domains, ["acme.test", "acme.example"]);
    assert_eq!(okta.mcp_server_url.as_deref(), Some("https://acme.scalekit.dev/mcp/1"));
    assert!(okta.is_sso() && !other.is_sso());
}

#[tokio::test]
async fn a_connection_is_read_enabled_disabled_and_deleted() {
    let got = r#"{"connection":{"id":"conn_1","type":"OIDC","enabled":false,
        "domains":[{"domain":"acme.test","id":"dom_1"},{"name":"acme.example"},{}],
        "oidc_config":{"client_secret":"hunter2"}}}"#;
    let already = r#"{"enabled":true,"error_message":"The connection is already enabled"}"#;
    let (environment, api) = Played::responses([
        (200, got),
        (404, r#"{"code":5}"#),
        (200, "{}"),
        (200, already),
        (200, r#"{"enabled":false,"error_message":""}"#),
        (200, "{}"),
    ]);
    let connections = api.connections();
    let connection = connections.get("org_1", "conn_1").await.unwrap();
    assert_eq!(connection.domains, ["acme.test", "acme.example"]);
    assert!(!format!("{connection:?}").contains("hunter2"));
    let unknown = connections.get("org_1", "conn:2").await.unwrap_err();
    assert!(matches!(unknown, ApiError::NotFound(_)));
    let empty = connections.get("org_1", "conn_3").await.unwrap_err();
    assert!(matches!(empty, ApiError::UnexpectedResponse { .. }));
    let on = connections.enable("org_1", "conn_1").await.unwrap();
    assert_eq!(on.error_message.as_deref(), Some("The connection is already enabled"));
    let off = connections.disable("org_1", "conn_1").await.unwrap();
    assert_eq!(off, EnabledState { enabled: Some(false), error_message: None });
    connections.delete("org_1", "conn_1").await.unwrap();
    let path = "/api/v1/organizations/org_1/connections";
    assert_eq!(
        environment.requests(),
        [
            format!("GET {path}/conn_1"),
            format!("GET {path}/conn%3A2"),
            format!("GET {path}/conn_3"),
            format!("PATCH {path}/conn_1:enable"),
            format!("PATCH {path}/conn_1:disable"),
            format!("DELETE {path}/conn_1"),
        ]
    );
}

#[tokio::test]
async fn only_enabled_single_sign_on_is_offered_whatever_is_listed() {
    let with = |members: &str| format!(r#"{{"id":"conn_1",{members}}}"#);
    let good = [
        with(r#""type":"SAML","enabled":true,"status":"COMPLETED","domains":["ACME.test"]"#),
        with(r#""type":"OIDC","enabled":true"#),
    ];
    let bad = [
        with(r#""type":"SAML","enabled":false,"domains":["acme.test"]"#),
        with(r#""type":"SAML","domains":["acme.test"]"#),
        with(r#""enabled":true,"domains":["acme.test"]"#),
        with(r#""type":"OAUTH","enabled":true,"domains":["acme.test"]"#),
        with(r#""type":"PASSWORDLESS","enabled":true,"domains":["acme.test"]"#),
        with(r#""type":"SAML","enabled":true,"status":"DRAFT","domains":["acme.test"]"#),
        with(r#""type":"SAML","enabled":true,"status":"NEW_WORD","domains":["acme.test"]"#),
        with(r#""type":"SAML","enabled":true,"domains":["mail.acme.test","acme.test.evil.test"]"#),
    ];
    let all: Vec<_> = good.iter().chain(&bad).map(String::as_str).collect();
    let response = list(&all);
    let (environment, api) = Played::responses([(200, response.as_str()), (200, &response)]);
    let connections = api.connections();
    let found = connections.enabled_for_domain("Acme.TEST").await.unwrap();
    assert_eq!(found.len(), good.len(), "{found:?}");
    assert_eq!(connections.enabled_for_email("Jane@acme.test").await.unwrap(), found);
    assert_eq!(environment.requests(), ["GET /api/v1/connections?domain=acme.test"; 2]);
}

#[tokio::test]
async fn invalid_domains_and_addresses_cause_no_request() {
    let (environment, api) = Played::responses([]);
    let connections = api.connections();
    for text in ["", "acme test", "acme.test&include=all", "jane@acme.test"] {
        assert!(connections.enabled_for_domain(text).await.unwrap().is_empty(), "{text}");
    }
    for text in ["", "acme.test", "a@acme.test@evil.test", "a@acme.test\r\nbcc: x"] {
        assert!(connections.enabled_for_email(text).await.unwrap().is_empty(), "{text}");
    }
    assert_eq!(environment.requests(), [""; 0]);
}

#[tokio::test]
async fn the_sandbox_responds_like_an_environment() {
    let sandbox = Sandbox::new();
    let api = sandbox.scalekit().api();
    let connections = api.connections();
    let all = connections.list().await.unwrap();
    assert_eq!(all.len(), sandbox.connections().list().len());
    let globex = sandbox.organizations().list().remove(1);
    let of_globex = connections.list_by_organization(&globex.id).await.unwrap();
    assert_eq!(of_globex, all[1..2]);
    let one = connections.get(&globex.id, &globex.connection_id).await.unwrap();
    assert_eq!((&one.id, &one.domains), (&all[1].id, &all[1].domains));
    assert_eq!(one.provider, Some(ConnectionProvider::MicrosoftAd));

    connections.disable(&globex.id, &globex.connection_id).await.unwrap();
    assert!(connections.enabled_for_email("gita@globex.test").await.unwrap().is_empty());
    assert_eq!(connections.list_by_domain("globex.test").await.unwrap()[0].enabled, Some(false));
    connections.enable(&globex.id, &globex.connection_id).await.unwrap();
    assert_eq!(connections.enabled_for_email("gita@globex.test").await.unwrap(), of_globex);
    connections.delete(&globex.id, &globex.connection_id).await.unwrap();
    let gone = connections.get(&globex.id, &globex.connection_id).await.unwrap_err();
    assert!(matches!(gone, ApiError::NotFound(_)));
}
