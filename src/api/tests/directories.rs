use time::macros::datetime;

use super::played::Played;
use super::*;
use crate::api::directories::{Directory, DirectoryGroup, DirectoryUser};
use crate::model::{DirectoryProvider, DirectoryType};

const OKTA: &str = r#"{
    "id":"dir_1","name":"Azure AD","organization_id":"org_1","enabled":true,
    "directory_type":"SCIM","directory_provider":"OKTA","status":"IN_PROGRESS",
    "directory_endpoint":"https://acme.scalekit.dev/api/v1/directoies/dir_1/scim/v2",
    "email":"john.doe@scalekit.cloud","groups_tracked":"ALL",
    "last_synced_at":"2024-10-01T00:00:00Z","total_users":10,"total_groups":"3",
    "stats":{"total_users":"10","total_groups":3,"user_updated_at":"2024-10-01T00:00:01Z",
        "group_updated_at":"2024-10-01T00:00:02Z"},
    "secrets":[{"id":"s1","directory_id":"dir_1","secret_suffix":"Nzg5","status":"INACTIVE",
        "create_time":"2024-10-01T00:00:00Z","expire_time":"2025-10-01T00:00:00Z",
        "last_used_time":null}],
    "role_assignments":{"assignments":[{"group_id":"dirgroup_1","role_name":"admin"}]},
    "attribute_mappings":{"attributes":[{"key":"mail","map_to":"email"}]},
    "something_new":[]}"#;

#[tokio::test]
async fn directories_are_listed_and_read() {
    let (listed, got) = (
        format!(r#"{{"directories":[{OKTA},{{"id":"dir_2"}}]}}"#),
        format!(r#"{{"directory":{OKTA}}}"#),
    );
    let (environment, api) = Played::responses([
        (200, listed.as_str()),
        (200, &listed),
        (200, &got),
        (404, r#"{"code":5}"#),
    ]);
    let directories = api.directories();
    let [okta, other] = directories.list("org_1").await.unwrap().try_into().unwrap();
    assert_eq!(other, Directory { id: "dir_2".to_owned(), ..Default::default() });
    assert_eq!(directories.primary("org_1").await.unwrap(), okta);
    assert_eq!(directories.get("org_1", "dir_1").await.unwrap(), okta);
    let unknown = directories.get("org_1", "dir:2").await.unwrap_err();
    assert!(matches!(unknown, ApiError::NotFound(_)));
    assert_eq!(
        environment.requests(),
        [
            "GET /api/v1/organizations/org_1/directories",
            "GET /api/v1/organizations/org_1/directories",
            "GET /api/v1/organizations/org_1/directories/dir_1",
            "GET /api/v1/organizations/org_1/directories/dir%3A2",
        ]
    );

    assert_eq!(okta.id, "dir_1");
    assert_eq!(okta.name.as_deref(), Some("Azure AD"));
    assert_eq!(okta.organization_id.as_deref(), Some("org_1"));
    assert_eq!(okta.enabled, Some(true));
    assert_eq!(okta.directory_type, Some(DirectoryType::Scim));
    assert_eq!(okta.directory_provider, Some(DirectoryProvider::Okta));
    assert!(okta.directory_endpoint.unwrap().ends_with("/scim/v2"));
    assert_eq!(okta.status.as_deref(), Some("IN_PROGRESS"));
    assert_eq!(okta.email.as_deref(), Some("john.doe@scalekit.cloud"));
    assert_eq!(okta.groups_tracked.as_deref(), Some("ALL"));
    assert_eq!(okta.last_synced_at, Some(datetime!(2024-10-01 00:00 UTC)));
    assert_eq!((okta.total_users, okta.total_groups), (Some(10), Some(3)));
    let stats = okta.stats.unwrap();
    assert_eq!((stats.total_users, stats.total_groups), (Some(10), Some(3)));
    assert_eq!(stats.user_updated_at, Some(datetime!(2024-10-01 00:00:01 UTC)));
    assert_eq!(stats.group_updated_at, Some(datetime!(2024-10-01 00:00:02 UTC)));
    let secret = &okta.secrets[0];
    assert_eq!(secret.secret_suffix.as_deref(), Some("Nzg5"));
    assert_eq!(secret.expire_time, Some(datetime!(2025-10-01 00:00 UTC)));
    assert_eq!(secret.last_used_time, None);
    assert_eq!(okta.role_assignments.assignments[0].role_name.as_deref(), Some("admin"));
    assert_eq!(okta.attribute_mappings.attributes[0].map_to.as_deref(), Some("email"));
}

#[tokio::test]
async fn an_organization_without_a_directory_is_distinguished_from_an_unknown_one() {
    let (_, api) =
        Played::responses([(200, "{}"), (200, r#"{"directories":null}"#), (404, r#"{"code":5}"#)]);
    for _ in 0..2 {
        let none = api.directories().primary("org_1").await.unwrap_err();
        assert!(
            matches!(&none, ApiError::NoDirectory { organization_id } if organization_id == "org_1")
        );
        assert_eq!(none.to_string(), "organization org_1 has no directory");
        assert_eq!(none.response(), None);
    }
    let unknown = api.directories().primary("org_2").await.unwrap_err();
    assert!(matches!(unknown, ApiError::NotFound(_)));
}

#[tokio::test]
async fn a_directory_is_enabled_and_disabled() {
    let (environment, api) = Played::responses([
        (200, r#"{"enabled":true,"error_message":"The directory is already enabled"}"#),
        (200, r#"{"enabled":false,"error_message":""}"#),
    ]);
    let on = api.directories().enable("org_1", "dir_1").await.unwrap();
    assert_eq!(on.enabled, Some(true));
    assert_eq!(on.error_message.as_deref(), Some("The directory is already enabled"));
    let off = api.directories().disable("org_1", "dir_1").await.unwrap();
    assert_eq!((off.enabled, off.error_message), (Some(false), None));
    assert_eq!(
        environment.requests(),
        [
            "PATCH /api/v1/organizations/org_1/directories/dir_1:enable",
            "PATCH /api/v1/organizations/org_1/directories/dir_1:disable",
        ]
    );
}

#[tokio::test]
async fn users_are_listed_to_the_last_page() {
    let (environment, api) = Played::responses([
        (
            200,
            r#"{"users":[{"id":"diruser_1","email":"johndoe","emails":["a@acme.test","b@acme.test"],
            "preferred_username":"johndoe","given_name":"John","family_name":"Doe",
            "updated_at":"2024-10-01T00:00:00Z","groups":[{"id":"dirgroup_1","display_name":"Admins"}],
            "user_detail":{"title":"Dr.","level":7},"something_new":1}],
            "next_page_token":"p2","prev_page_token":"","total_size":"2"}"#,
        ),
        (
            200,
            r#"{"users":[{"id":"diruser_2","emails":null,"groups":null,"user_detail":null,
            "updated_at":""}],"next_page_token":""}"#,
        ),
    ]);
    let list = api
        .directories()
        .users("org_1", "dir_1")
        .page_size(30)
        .include_detail(true)
        .directory_group_id("dirgroup_1")
        .updated_after(datetime!(2024-10-01 02:00:00.5 +02:00));
    let users: Vec<DirectoryUser> = list.stream().try_collect().await.unwrap();
    let path = "GET /api/v1/organizations/org_1/directories/dir_1/users?page_size=30&\
                include_detail=true&directory_group_id=dirgroup_1&\
                updated_after=2024-10-01T02%3A00%3A00.5%2B02%3A00";
    assert_eq!(environment.requests(), [path.to_owned(), format!("{path}&page_token=p2")]);

    let [john, unnamed] = users.try_into().unwrap();
    assert_eq!(john.id, "diruser_1");
    assert_eq!(john.email.as_deref(), Some("johndoe"));
    assert_eq!(john.emails, ["a@acme.test", "b@acme.test"]);
    assert_eq!(john.preferred_username.as_deref(), Some("johndoe"));
    assert_eq!(john.given_name.as_deref(), Some("John"));
    assert_eq!(john.family_name.as_deref(), Some("Doe"));
    assert_eq!(john.updated_at, Some(datetime!(2024-10-01 00:00 UTC)));
    assert_eq!(john.groups[0].display_name, "Admins");
    assert_eq!(john.user_detail["title"], "Dr.");
    let expected = DirectoryUser { id: "diruser_2".to_owned(), ..Default::default() };
    assert_eq!(unnamed, expected);
}

#[tokio::test]
async fn groups_are_listed_to_the_last_page() {
    let (environment, api) = Played::responses([
        (
            200,
            r#"{"groups":[{"id":"dirgroup_1","display_name":"Admins","total_users":"10",
            "updated_at":"2024-10-01T00:00:00Z","group_detail":{"a":1}}],"next_page_token":"p2"}"#,
        ),
        (
            200,
            r#"{"groups":[{"id":"dirgroup_2","total_users":10},
                {"id":"dirgroup_3","group_detail":null,"total_users":null}]}"#,
        ),
    ]);
    let list = api
        .directories()
        .groups("org_1", "dir_1")
        .page_size(5)
        .updated_after(datetime!(2024-10-01 00:00 UTC))
        .include_detail(false)
        .include_external_groups(true);
    let groups: Vec<DirectoryGroup> = list.stream().try_collect().await.unwrap();
    let path = "GET /api/v1/organizations/org_1/directories/dir_1/groups?page_size=5&\
                updated_after=2024-10-01T00%3A00%3A00Z&include_detail=false&\
                include_external_groups=true";
    assert_eq!(environment.requests(), [path.to_owned(), format!("{path}&page_token=p2")]);
    let [admins, others, bare] = groups.try_into().unwrap();
    assert_eq!((admins.total_users, others.total_users), (Some(10), Some(10)));
    assert_eq!(admins.group_detail["a"], 1);
    assert_eq!(bare, DirectoryGroup { id: "dirgroup_3".to_owned(), ..Default::default() });
}

#[tokio::test]
async fn a_stream_ends_after_an_error_and_with_an_unwritable_time() {
    let (environment, api) = Played::responses([
        (200, r#"{"users":[{"id":"diruser_1"}],"next_page_token":"2"}"#),
        (403, r#"{"code":7}"#),
    ]);
    let mut users = api.directories().users("org_1", "dir_1").stream();
    assert!(users.try_next().await.unwrap().is_some());
    assert!(matches!(users.try_next().await, Err(ApiError::Forbidden(_))));
    assert_eq!(users.try_next().await.unwrap(), None);
    let path = "GET /api/v1/organizations/org_1/directories/dir_1/users";
    assert_eq!(environment.requests(), [path.to_owned(), format!("{path}?page_token=2")]);

    let before_christ = datetime!(-0044-03-15 12:00 UTC);
    let mut users = api.directories().users("org_1", "dir_1").updated_after(before_christ).stream();
    assert!(matches!(users.try_next().await, Err(ApiError::InvalidCall(_))));
    assert_eq!(environment.requests(), [""; 0]);
}

#[test]
fn unknown_values_are_kept() {
    let text =
        r#"{"id":"dir_1","directory_type":"CARRIER_PIGEON","directory_provider":"Keycloak"}"#;
    let directory: Directory = serde_json::from_str(text).unwrap();
    let pigeon = DirectoryType::Unknown("CARRIER_PIGEON".to_owned());
    assert_eq!(directory.directory_type, Some(pigeon));
    assert_eq!(directory.directory_provider.unwrap().as_str(), "Keycloak");
}
