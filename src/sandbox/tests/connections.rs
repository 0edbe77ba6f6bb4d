//! Connections in the API, their webhooks, and the admin portal.

use std::time::Duration;

use http::Method;
use serde_json::json as value;

use super::api::{bearer, call};
use super::*;
use crate::model::DomainType;

const ACME: &str = "org_59615193906282635";
const GLOBEX: &str = "org_59615194007076620";
const OKTA: &str = "conn_59615255777705100";
const ENTRA: &str = "conn_59615256201461900";

fn ids(list: &Value) -> Vec<&str> {
    list["connections"].as_array().unwrap().iter().map(|known| string(known, "id")).collect()
}

fn events(sandbox: &Sandbox) -> Vec<Value> {
    let deliveries = sandbox.webhooks().deliveries();
    deliveries.iter().map(|delivery| serde_json::from_slice(&delivery.body).unwrap()).collect()
}

#[tokio::test]
async fn connections_are_listed_and_read() {
    let sandbox = Sandbox::new();
    let bearer = bearer(&sandbox).await;
    let get = async |target: &str| call(&sandbox, Method::GET, target, &bearer).await;
    let (_, all) = get("/connections").await;
    let expected = value!({
        "id": OKTA,
        "key_id": OKTA,
        "organization_id": ACME,
        "organization_name": "Acme",
        "provider": "OKTA",
        "provider_key": "okta",
        "type": "SAML",
        "status": "COMPLETED",
        "enabled": true,
        "domains": ["acme.test"],
        "mcp_server_url": "",
    });
    assert_eq!(all["connections"][0], expected);
    assert_eq!(all["connections"].as_array().unwrap().len(), 3);
    for (query, expected) in [
        ("domain=acme.test", vec![OKTA]),
        ("domain=ACME.TEST", vec![OKTA]),
        ("domain=mail.acme.test", vec![]),
        ("domain=example.org", vec!["conn_70087756662964366"]),
        (&format!("organization_id={GLOBEX}"), vec![ENTRA]),
        ("organization_id=org_1", vec![]),
        (&format!("organization_id={GLOBEX}&domain=acme.test"), vec![]),
    ] {
        let (status, found) = get(&format!("/connections?{query}")).await;
        assert_eq!((status, ids(&found)), (StatusCode::OK, expected), "{query}");
    }
    assert_eq!(get("/connections?include=some").await.0, StatusCode::BAD_REQUEST);

    let (_, got) = get(&format!("/organizations/{ACME}/connections/{OKTA}")).await;
    assert_eq!(got["connection"]["domains"][0]["domain"], "acme.test");
    assert_eq!(got["connection"]["enabled"], true);
    for unknown in [format!("{ACME}/connections/{ENTRA}"), "org_1/connections/conn_1".to_owned()] {
        assert_eq!(get(&format!("/organizations/{unknown}")).await.0, StatusCode::NOT_FOUND);
    }
    let odd = format!("/organizations/{ACME}/connections/okta");
    assert_eq!(get(&odd).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn connections_are_disabled_and_deleted_with_events() {
    let sandbox = Sandbox::new();
    sandbox.webhooks().add_endpoint("https://app.example.com/webhooks");
    let bearer = bearer(&sandbox).await;
    let one = format!("/organizations/{ACME}/connections/{OKTA}");
    let patch = async |verb: &str| {
        let (status, body) = call(&sandbox, Method::PATCH, &format!("{one}:{verb}"), &bearer).await;
        assert_eq!(status, StatusCode::OK);
        body
    };
    assert_eq!(patch("disable").await, value!({ "enabled": false, "error_message": "" }));
    let again = patch("disable").await;
    assert_eq!(again["error_message"], "The connection is already disabled");
    let (_, active) = call(&sandbox, Method::GET, "/connections?domain=acme.test", &bearer).await;
    assert!(ids(&active).is_empty());
    let target = "/connections?domain=acme.test&include=all";
    let (_, all) = call(&sandbox, Method::GET, target, &bearer).await;
    assert_eq!((ids(&all), &all["connections"][0]["enabled"]), (vec![OKTA], &false.into()));
    assert_eq!(patch("enable").await["enabled"], true);
    let (status, nothing) = call(&sandbox, Method::DELETE, &one, &bearer).await;
    assert_eq!((status, nothing), (StatusCode::OK, value!({})));
    let (status, _) = call(&sandbox, Method::DELETE, &one, &bearer).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let sent = events(&sandbox);
    let samples = [
        include_str!("../../../tests/data/webhooks/organization.sso_disabled.json"),
        include_str!("../../../tests/data/webhooks/organization.sso_enabled.json"),
        include_str!("../../../tests/data/webhooks/organization.sso_deleted.json"),
    ];
    assert_eq!(sent.len(), samples.len());
    for (event, sample) in sent.iter().zip(samples) {
        let sample: Value = serde_json::from_str(sample).unwrap();
        for same in ["type", "object", "display_name"] {
            assert_eq!(event[same], sample[same]);
        }
        let members = |value: &Value| -> std::collections::BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(members(event), members(&sample));
        assert_eq!(members(&event["data"]), members(&sample["data"]));
        assert_eq!(event["organization_id"], ACME);
        assert_eq!(
            event["data"]["enabled"],
            match string(event, "type") {
                "organization.sso_enabled" => value!(true),
                "organization.sso_disabled" => value!(false),
                _ => Value::Null,
            }
        );
    }
}

/// A new link's ID and location.
async fn link(sandbox: &Sandbox, query: &str) -> (String, String) {
    let bearer = bearer(sandbox).await;
    let target = format!("/organizations/{ACME}/portal_links{query}");
    let (status, response) = call(sandbox, Method::PUT, &target, &bearer).await;
    assert_eq!(status, StatusCode::OK, "{response}");
    assert!(string(&response["link"], "expire_time").ends_with('Z'));
    (string(&response["link"], "id").to_owned(), string(&response["link"], "location").to_owned())
}

/// Opens a link and returns the path of its session.
async fn visit(sandbox: &Sandbox, query: &str) -> String {
    let (_, link) = link(sandbox, query).await;
    let opened = get(sandbox, &link, "").await;
    assert_eq!(opened.status(), StatusCode::FOUND);
    assert!(!opened.headers().contains_key(header::SET_COOKIE), "a frame does not send cookies");
    location(&opened).to_owned()
}

async fn page_at(sandbox: &Sandbox, path: &str) -> Response<Bytes> {
    get(sandbox, &format!("{}{path}", sandbox.environment_url()), "").await
}

#[tokio::test]
async fn a_link_opens_the_portal_once_within_a_minute() {
    let sandbox = Sandbox::new();
    let (id, location) = link(&sandbox, "").await;
    assert!(id.starts_with("lnk_") && !location.contains(&id));
    assert_eq!(get(&sandbox, &location, "").await.status(), StatusCode::FOUND);
    assert_eq!(get(&sandbox, &location, "").await.status(), StatusCode::NOT_FOUND, "once");

    let (_, with_timeout) = link(&sandbox, "").await;
    sandbox.clock().advance(Duration::from_secs(59));
    assert_eq!(get(&sandbox, &with_timeout, "").await.status(), StatusCode::FOUND);
    let (_, late) = link(&sandbox, "").await;
    sandbox.clock().advance(Duration::from_secs(60));
    assert_eq!(get(&sandbox, &late, "").await.status(), StatusCode::NOT_FOUND);

    let bearer = bearer(&sandbox).await;
    let of = async |target: &str| call(&sandbox, Method::PUT, target, &bearer).await.0;
    assert_eq!(of("/organizations/org_1/portal_links").await, StatusCode::NOT_FOUND);
    let odd = format!("/organizations/{ACME}/portal_links?features=everything");
    assert_eq!(of(&odd).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_administrator_disables_and_enables_single_sign_on() {
    let sandbox = Sandbox::new();
    sandbox.webhooks().add_endpoint("https://app.example.com/webhooks");
    let portal = visit(&sandbox, "?features=sso").await;
    let page = page_at(&sandbox, &portal).await;
    assert!(text(&page).contains("Okta (SAML)") && text(&page).contains("Disable"));
    assert!(!text(&page).contains("Directory sync"));

    let off = [("id", OKTA), ("action", "disable")];
    let response = post_form(&sandbox, &portal, &off).await.unwrap();
    assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, &*portal));
    assert!(!sandbox.connections().get(OKTA).unwrap().enabled);
    assert!(text(&page_at(&sandbox, &portal).await).contains("Enable"));
    post_form(&sandbox, &portal, &[("id", OKTA), ("action", "enable")]).await.unwrap();
    let types: Vec<_> = events(&sandbox).iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["organization.sso_disabled", "organization.sso_enabled"]);

    // Another organization's, or not included in the link.
    let directory = sandbox.directories().first_id(ACME).unwrap();
    for id in [ENTRA, &directory, "conn_1", ""] {
        let form = [("id", id), ("action", "disable")];
        let response = post_form(&sandbox, &portal, &form).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{id}");
    }
    assert!(sandbox.connections().get(ENTRA).unwrap().enabled);

    let both = visit(&sandbox, "?features=sso&features=dir_sync").await;
    let form = [("id", directory.as_str()), ("action", "disable")];
    post_form(&sandbox, &both, &form).await.unwrap();
    assert_eq!(events(&sandbox).last().unwrap()["type"], "organization.directory_disabled");
}

#[tokio::test]
async fn a_domain_selects_the_connection_once_an_administrator_has_verified_it() {
    let sandbox = Sandbox::new();
    let domains = sandbox.scalekit().api().domains();
    let domain =
        domains.create(ACME, "acme-labs.test", DomainType::OrganizationDomain).await.unwrap();
    let login = authorization_url(&sandbox, &[("login_hint", "eve@acme-labs.test")]);
    let selects_okta = async || text(&get(&sandbox, &login, "").await).contains("Okta");
    assert!(!selects_okta().await);

    let id = domain.id.as_str();
    let verify = [("id", id), ("action", "enable")];
    // Without single sign-on in the link, a made-up domain, and one that is not pending.
    let directories = visit(&sandbox, "?features=dir_sync").await;
    let portal = visit(&sandbox, "?features=sso").await;
    assert!(text(&page_at(&sandbox, &portal).await).contains("acme-labs.test"));
    let unknown = [("id", "dom_1"), ("action", "enable")];
    let disable = [("id", id), ("action", "disable")];
    for (page, form) in [(&directories, verify), (&portal, unknown), (&portal, disable)] {
        let rejected = post_form(&sandbox, page, &form).await.unwrap();
        assert_eq!(rejected.status(), StatusCode::NOT_FOUND, "{form:?}");
        assert!(!selects_okta().await);
    }
    let verified = post_form(&sandbox, &portal, &verify).await.unwrap();
    assert_eq!(verified.status(), StatusCode::SEE_OTHER);
    assert!(text(&page_at(&sandbox, &portal).await).contains("Verified"));
    assert!(selects_okta().await);
}

#[tokio::test]
async fn a_portal_session_lasts_six_hours_and_allows_frames() {
    let sandbox = Sandbox::new();
    let portal = visit(&sandbox, "").await;
    sandbox.clock().advance(Duration::from_secs(6 * 3600 - 1));
    let shown = page_at(&sandbox, &portal).await;
    sandbox.clock().advance(Duration::from_secs(1));
    let over = page_at(&sandbox, &portal).await;
    let form = [("id", OKTA), ("action", "disable")];
    let rejected = post_form(&sandbox, &portal, &form).await.unwrap();
    for (page, status) in [
        (&shown, StatusCode::OK),
        (&over, StatusCode::NOT_FOUND),
        (&rejected, StatusCode::NOT_FOUND),
    ] {
        assert_eq!(page.status(), status);
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("frame-ancestors"));
        assert!(!page.headers().contains_key("x-frame-options"));
        assert_eq!(
            page.headers()["referrer-policy"],
            "no-referrer",
            "the URL contains the session"
        );
    }
    assert!(sandbox.connections().get(OKTA).unwrap().enabled);
    let elsewhere = page_at(&sandbox, "/portal/x").await;
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);

    let other_page = get(&sandbox, &format!("{}/", sandbox.environment_url()), "").await;
    let policy = other_page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "only the portal is for frames");
}

#[tokio::test]
async fn a_form_of_another_site_is_rejected() {
    let sandbox = Sandbox::new();
    let portal = visit(&sandbox, "").await;
    let request = Request::post(format!("{}{portal}", sandbox.environment_url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-site")
        .body(Bytes::from(encoded(&[("id", OKTA), ("action", "disable")])))
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(sandbox.connections().get(OKTA).unwrap().enabled);
}
