use time::macros::datetime;

use super::played::Played;
use super::*;
use crate::api::organizations::PortalFeature;

fn link(location: &str) -> String {
    let location = Value::from(location);
    format!(
        r#"{{"link":{{"id":"lnk_1","expire_time":"2026-02-06T14:48:00Z","location":{location}}}}}"#
    )
}

#[tokio::test]
async fn a_link_is_created_for_features() {
    let response = link("https://acme.scalekit.dev:8443/magicLink/8930509d?x=1");
    let (environment, api) =
        Played::responses([(200, response.as_str()), (200, &response), (200, &response)]);
    let organizations = api.organizations();
    let made = organizations.portal_link("org/1", &[]).await.unwrap();
    assert_eq!(made.id.as_deref(), Some("lnk_1"));
    assert_eq!(made.expire_time, Some(datetime!(2026-02-06 14:48 UTC)));
    assert_eq!(made.location.expose(), "https://acme.scalekit.dev:8443/magicLink/8930509d?x=1");
    assert_eq!(made.frame_source(), "https://acme.scalekit.dev:8443");
    organizations.portal_link("org_1", &[PortalFeature::Sso]).await.unwrap();
    let both = [PortalFeature::Sso, PortalFeature::DirSync];
    organizations.portal_link("org_1", &both).await.unwrap();
    assert_eq!(
        environment.requests(),
        [
            "PUT /api/v1/organizations/org%2F1/portal_links",
            "PUT /api/v1/organizations/org_1/portal_links?features=sso",
            "PUT /api/v1/organizations/org_1/portal_links?features=sso&features=dir_sync",
        ]
    );
}

#[tokio::test]
async fn a_link_is_not_printed() {
    let response = link("https://acme.scalekit.dev/magicLink/8930509d");
    let (_, api) = Played::responses([(200, response.as_str())]);
    let made = api.organizations().portal_link("org_1", &[]).await.unwrap();
    let printed = format!("{made:?}");
    assert!(printed.contains("lnk_1") && printed.contains("[redacted]"), "{printed}");
    assert!(!printed.contains("8930509d"), "{printed}");
}

#[tokio::test]
async fn a_relative_link_is_resolved_against_the_environment() {
    let response = link("/magicLink/8930509d");
    let (_, api) = Played::responses([(200, response.as_str())]);
    let made = api.organizations().portal_link("org_1", &[]).await.unwrap();
    assert_eq!(made.location.expose(), "https://acme.scalekit.dev/magicLink/8930509d");
    assert_eq!(made.frame_source(), "https://acme.scalekit.dev");
}

#[tokio::test]
async fn invalid_links_are_rejected_and_not_logged() {
    let odd = [
        "javascript:alert('8930509d')",
        "data:text/html,8930509d",
        "https://a;script-src 'unsafe-inline'/8930509d",
        "https://a;b/8930509d",
        "https://*.evil.test/8930509d",
        "https://a,b/8930509d",
        "https://a'b/8930509d",
    ];
    let mut responses: Vec<_> = odd.iter().map(|location| link(location)).collect();
    responses.extend(["{}", r#"{"link":null}"#, r#"{"link":{"id":"lnk_1"}}"#].map(str::to_owned));
    for response in responses {
        let (_, api) = Played::responses([(200, response.as_str())]);
        let rejected = api.organizations().portal_link("org_1", &[]).await.unwrap_err();
        assert!(matches!(rejected, ApiError::UnexpectedResponse { .. }), "{response}");
        assert!(!format!("{rejected} {rejected:?}").contains("8930509d"));
    }
}

#[tokio::test(start_paused = true)]
async fn creating_a_link_is_retried() {
    let response = link("https://acme.scalekit.dev/magicLink/2");
    let (environment, api) = Played::responses([(503, ""), (200, response.as_str())]);
    api.organizations().portal_link("org_1", &[]).await.unwrap();
    assert_eq!(environment.requests().len(), 2);
}

#[tokio::test]
async fn the_sandbox_opens_its_portal_once() {
    let sandbox = Sandbox::new();
    let acme = sandbox.organizations().list().remove(0).id;
    let organizations = sandbox.scalekit().api().organizations();
    let made = organizations.portal_link(&acme, &[PortalFeature::Sso]).await.unwrap();
    let lifetime = made.expire_time.unwrap() - sandbox.clock().clock().now();
    assert!(lifetime > time::Duration::seconds(55) && lifetime <= time::Duration::minutes(1));
    assert_eq!(made.frame_source(), sandbox.environment_url());
    for expected in [StatusCode::FOUND, StatusCode::NOT_FOUND] {
        let request = http::Request::get(made.location.expose()).body(Bytes::new()).unwrap();
        let opened = crate::http_client::HttpClient::send(&sandbox.client(), request).await;
        assert_eq!(opened.unwrap().status(), expected);
    }
    let unknown = organizations.portal_link("org_1", &[]).await.unwrap_err();
    assert!(matches!(unknown, ApiError::NotFound(_)));
}
