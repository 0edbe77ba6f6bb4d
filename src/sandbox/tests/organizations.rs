use http::Method;
use serde_json::json as value;

use super::api::bearer;
use super::*;

async fn send(sandbox: &Sandbox, method: Method, target: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}/api/v1/organizations{target}", sandbox.environment_url()))
        .header(header::AUTHORIZATION, bearer(sandbox).await)
        .body(Bytes::from(body.to_owned()))
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    (response.status(), json(&response))
}

#[tokio::test]
async fn an_organization_is_created_changed_and_deleted() {
    let sandbox = Sandbox::new();
    let new =
        value!({ "display_name": "Initech", "external_id": "t7", "metadata": { "plan": "gold" } });
    let (status, made) = send(&sandbox, Method::POST, "", &new.to_string()).await;
    assert_eq!(status, StatusCode::CREATED);
    let one = format!("/{}", string(&made["organization"], "id"));
    assert_eq!(made["organization"]["metadata"], value!({ "plan": "gold" }));

    sandbox.clock().advance(std::time::Duration::from_secs(60));
    let change =
        value!({ "external_id": "", "slug": "initech.io", "logo_url": "https://x.test/l" });
    let (status, changed) = send(&sandbox, Method::PATCH, &one, &change.to_string()).await;
    let changed = &changed["organization"];
    assert_eq!((status, &changed["slug"]), (StatusCode::OK, &"initech.io".into()));
    assert_eq!(changed["display_name"], "Initech", "absent fields are not changed");
    assert!(changed.get("external_id").is_none());
    assert_ne!(changed["update_time"], changed["create_time"]);
    assert_eq!(send(&sandbox, Method::GET, &one, "").await.1["organization"], *changed);

    assert_eq!(send(&sandbox, Method::DELETE, &one, "").await, (StatusCode::OK, value!({})));
    assert_eq!(send(&sandbox, Method::GET, &one, "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(send(&sandbox, Method::DELETE, &one, "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn invalid_organizations_are_rejected() {
    let sandbox = Sandbox::new();
    let before = sandbox.organizations().list();
    let acme = format!("/{}", before[0].id);
    let (long, many) = ("x".repeat(201), (0..11).map(|n| (format!("key{n}"), "x".into())));
    let many: serde_json::Map<_, _> = many.collect();
    for body in [
        value!("no object"),
        value!({ "display_name": "" }),
        value!({ "display_name": long }),
        value!({ "display_name": "A", "slug": "-a" }),
        value!({ "display_name": "A", "slug": "a..b" }),
        value!({ "display_name": "A", "slug": "A" }),
        value!({ "display_name": "A", "logo_url": "http://x.test" }),
        value!({ "display_name": "A", "metadata": { "no": "x" } }),
        value!({ "display_name": "A", "metadata": { "plan": "" } }),
        value!({ "display_name": "A", "metadata": many }),
    ] {
        for (method, target) in [(Method::POST, ""), (Method::PATCH, acme.as_str())] {
            let (status, _) = send(&sandbox, method, target, &body.to_string()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        }
    }
    assert_eq!(send(&sandbox, Method::POST, "", "{}").await.0, StatusCode::BAD_REQUEST);
    let taken = r#"{"display_name":"A","external_id":"ext_org_123"}"#;
    assert_eq!(send(&sandbox, Method::POST, "", taken).await.0, StatusCode::CONFLICT);
    assert_eq!(sandbox.organizations().list(), before);
    assert_eq!(send(&sandbox, Method::PATCH, &acme, taken).await.0, StatusCode::OK, "its own");
}

#[tokio::test]
async fn deleting_an_organization_deletes_its_data_and_shifts_no_page() {
    let sandbox = Sandbox::new();
    let organizations = sandbox.organizations().list();
    let (acme, next) = (&organizations[0], &organizations[1]);
    let directory = sandbox.directories().first_id(&acme.id).unwrap();
    let session = sandbox.tokens().access_token("jane@acme.test");
    let session = string(&claims(&session), "sid").to_owned();
    let (_, first) = send(&sandbox, Method::GET, "?page_size=1", "").await;

    assert_eq!(send(&sandbox, Method::DELETE, &format!("/{}", acme.id), "").await.0, 200);
    assert!(sandbox.users().get("jane@acme.test").is_none());
    assert!(!sandbox.users().revoke_session(&session), "it has ended");
    assert_eq!(sandbox.directories().first_id(&acme.id), None);
    assert!(sandbox.directories().users(&directory).is_empty());
    let page = format!("?page_size=1&page_token={}", string(&first, "next_page_token"));
    let (_, second) = send(&sandbox, Method::GET, &page, "").await;
    assert_eq!(second["organizations"][0]["id"], next.id.as_str());
    let (_, left) = send(&sandbox, Method::GET, "", "").await;
    assert_eq!(left["total_size"], organizations.len() - 1);
}
