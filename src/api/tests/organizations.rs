use serde_json::json;

use super::played::Played;
use super::*;
use crate::api::organizations::{NewOrganization, Organization, OrganizationUpdate};
use crate::model::{OrganizationSettings, RegionCode};

const ACME: &str = r#"{"organization":{
    "id":"org_59615193906282635","display_name":"Megasoft","external_id":"my_unique_id",
    "slug":"acme","logo_url":"https://cdn.example.com/acme-logo.png","region_code":"US",
    "create_time":"2025-02-15T06:23:44.560000Z","update_time":"2025-02-15T06:24:44.123456789Z",
    "metadata":{"industry":"technology"},
    "settings":{"features":[{"name":"sso","enabled":true},{"name":"dir_sync","enabled":false}]},
    "something_new":{"a":1}}}"#;

#[tokio::test]
async fn all_pages_are_read_with_the_same_filters() {
    let (environment, api) = Played::responses([
        (
            200,
            r#"{"organizations":[{"id":"org_1"},{"id":"org_2"}],"next_page_token":"a+b/=","total_size":3}"#,
        ),
        (200, r#"{"organizations":[],"next_page_token":"c"}"#),
        (200, r#"{"organizations":[{"id":"org_3"}],"next_page_token":"","total_size":"3"}"#),
    ]);
    let list = api.organizations().list().page_size(100).external_id("tenant 7&x");
    let all: Vec<Organization> = list.stream().try_collect().await.unwrap();
    let ids: Vec<_> = all.iter().map(|organization| organization.id.as_str()).collect();
    assert_eq!(ids, ["org_1", "org_2", "org_3"]);
    let first = "GET /api/v1/organizations?page_size=100&external_id=tenant+7%26x";
    assert_eq!(
        environment.requests(),
        [
            first.to_owned(),
            format!("{first}&page_token=a%2Bb%2F%3D"),
            format!("{first}&page_token=c"),
        ]
    );
}

#[tokio::test]
async fn a_response_without_items_is_an_empty_list() {
    for nothing in ["{}", r#"{"organizations":null,"next_page_token":null}"#] {
        let (environment, api) = Played::responses([(200, nothing)]);
        let all: Vec<Organization> =
            api.organizations().list().stream().try_collect().await.unwrap();
        assert!(all.is_empty());
        assert_eq!(environment.requests(), ["GET /api/v1/organizations"]);
    }
}

#[tokio::test]
async fn an_organization_is_read_by_either_id() {
    let (environment, api) =
        Played::responses([(200, ACME), (200, ACME), (404, r#"{"code":5}"#), (200, "{}")]);
    let organizations = api.organizations();
    let acme = organizations.get("org_59615193906282635").await.unwrap();
    assert_eq!(organizations.get_by_external_id("tenant/7").await.unwrap(), acme);
    assert_eq!(acme.id, "org_59615193906282635");
    assert_eq!(acme.display_name, "Megasoft");
    assert_eq!(acme.external_id.as_deref(), Some("my_unique_id"));
    assert_eq!(acme.slug.as_deref(), Some("acme"));
    assert_eq!(acme.logo_url.as_deref(), Some("https://cdn.example.com/acme-logo.png"));
    assert_eq!(acme.region_code, Some(RegionCode::Us));
    assert_eq!(acme.create_time.unwrap().microsecond(), 560_000);
    assert_eq!(acme.update_time.unwrap().nanosecond(), 123_456_789);
    assert_eq!(acme.metadata["industry"], "technology");
    assert!(acme.settings.has("sso") && !acme.settings.has("dir_sync"));

    let unknown = organizations.get("org_1").await.unwrap_err();
    assert!(matches!(unknown, ApiError::NotFound(_)), "{unknown}");
    let empty = organizations.get("org_2").await.unwrap_err();
    assert!(matches!(empty, ApiError::UnexpectedResponse { .. }), "{empty}");
    assert_eq!(
        environment.requests(),
        [
            "GET /api/v1/organizations/org_59615193906282635",
            "GET /api/v1/organizations:external/tenant%2F7",
            "GET /api/v1/organizations/org_1",
            "GET /api/v1/organizations/org_2",
        ]
    );
}

#[tokio::test]
async fn only_fields_that_are_set_are_serialized() {
    let (environment, api) =
        Played::responses([(201, ACME), (201, ACME), (200, ACME), (200, ACME), (200, "{}")]);
    let organizations = api.organizations();
    let mut acme = NewOrganization::new("Acme");
    organizations.create(&acme).await.unwrap();
    acme.external_id = Some("t7".to_owned());
    acme.slug = Some("acme".to_owned());
    acme.logo_url = Some("https://acme.test/logo.png".to_owned());
    acme.metadata.insert("plan".to_owned(), "gold".to_owned());
    organizations.create(&acme).await.unwrap();

    let mut update = OrganizationUpdate { slug: Some(String::new()), ..Default::default() };
    organizations.update("org_1", &update).await.unwrap();
    update.slug = None;
    update.display_name = Some("Acme Corp".to_owned());
    update.external_id = Some("t8".to_owned());
    update.logo_url = Some("https://acme.test/logo.svg".to_owned());
    update.metadata = Some([("plan".to_owned(), "tin".to_owned())].into());
    organizations.update("org_1", &update).await.unwrap();
    organizations.delete("org_1").await.unwrap();

    let calls = environment.take();
    let made = calls.iter().map(|call| (call.method().as_str(), call.uri().path()));
    let (all, one) = ("/api/v1/organizations", "/api/v1/organizations/org_1");
    let expected = [("POST", all), ("POST", all), ("PATCH", one), ("PATCH", one), ("DELETE", one)];
    assert_eq!(made.collect::<Vec<_>>(), expected);
    let bodies = calls.iter().map(|call| serde_json::from_slice(call.body()).unwrap_or_default());
    assert_eq!(
        bodies.collect::<Vec<Value>>(),
        [
            json!({"display_name": "Acme"}),
            json!({"display_name": "Acme", "external_id": "t7", "slug": "acme",
                "logo_url": "https://acme.test/logo.png", "metadata": {"plan": "gold"}}),
            json!({"slug": ""}),
            json!({"display_name": "Acme Corp", "external_id": "t8",
                "logo_url": "https://acme.test/logo.svg", "metadata": {"plan": "tin"}}),
            Value::Null,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn only_deletion_is_retried() {
    let (environment, api) =
        Played::responses([(503, ""), (503, ""), (503, ""), (503, ""), (200, "")]);
    let organizations = api.organizations();
    organizations.create(&NewOrganization::new("Acme")).await.unwrap_err();
    organizations.update("org_1", &OrganizationUpdate::default()).await.unwrap_err();
    assert_eq!(environment.requests().len(), 2);
    organizations.delete("org_1").await.unwrap();
    assert_eq!(environment.requests().len(), 3);
}

#[test]
fn all_fields_but_the_id_may_be_missing_null_or_unknown() {
    let bare = Organization { id: "org_1".to_owned(), ..Default::default() };
    for body in [
        r#"{"id":"org_1"}"#,
        r#"{"id":"org_1","create_time":"","metadata":null,"settings":null,"region_code":null}"#,
        r#"{"id":"org_1","display_name":null,"create_time":null,"settings":{"features":null}}"#,
    ] {
        assert_eq!(serde_json::from_str::<Organization>(body).unwrap(), bare, "{body}");
    }
    let far: Organization = serde_json::from_str(r#"{"id":"org_1","region_code":"AQ"}"#).unwrap();
    assert_eq!(far.region_code, Some(RegionCode::Unknown("AQ".to_owned())));
    let text = r#"{"features":[{"name":"sso"},{"enabled":null}]}"#;
    let settings: OrganizationSettings = serde_json::from_str(text).unwrap();
    assert!(!settings.has("sso"));
}

#[tokio::test]
async fn what_the_api_returns_serializes_as_it_was_received() {
    let organization = json!({
        "id": "org_1",
        "display_name": "Acme",
        "external_id": "tenant 7",
        "slug": null,
        "logo_url": null,
        "region_code": "EU",
        "create_time": "2025-01-22T10:30:00Z",
        "update_time": null,
        "metadata": {"plan": "pro"},
        "settings": {"features": [{"enabled": true, "name": "sso"}]},
    });
    let body = json!({ "organization": organization }).to_string();
    let (_, api) = Played::responses([(200, body.as_str())]);
    let received = api.organizations().get("org_1").await.unwrap();
    assert_eq!(serde_json::to_value(received).unwrap(), organization);
}

#[tokio::test]
async fn an_id_that_is_missing_is_an_unexpected_response() {
    for id in ["{}", r#"{"id":null}"#, r#"{"id":""}"#] {
        let body = format!(r#"{{"organization":{id}}}"#);
        let (_, api) = Played::responses([(200, body.as_str())]);
        let error = api.organizations().get("org_1").await.unwrap_err();
        assert!(matches!(error, ApiError::UnexpectedResponse { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_first_item_needs_no_other_crate_and_one_page() {
    let page = r#"{"organizations":[{"id":"org_1"},{"id":"org_2"}],"next_page_token":"2"}"#;
    let (environment, api) = Played::responses([(200, page)]);
    let mut organizations = api.organizations().list().stream();
    assert_eq!(organizations.next().await.unwrap().unwrap().id, "org_1");
    assert_eq!(environment.requests().len(), 1);
}
