use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::json as value;

use super::api::{bearer, call};
use super::webhooks::Inbox;
use super::*;
use crate::sandbox::{NewDirectoryGroup, NewDirectoryUser};

/// Acme's ID and that of its directory.
fn acme(sandbox: &Sandbox) -> (String, String) {
    let organization = sandbox.organizations().list().remove(0).id;
    let directory = sandbox.directories().first_id(&organization).unwrap();
    (organization, directory)
}

fn strings<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| string(item, name)).collect()
}

fn sample(name: &str) -> Value {
    serde_json::from_str(match name {
        "directory_disabled" => {
            include_str!("../../../tests/data/webhooks/organization.directory_disabled.json")
        }
        "directory_enabled" => {
            include_str!("../../../tests/data/webhooks/organization.directory_enabled.json")
        }
        "directory.group_created" => {
            include_str!("../../../tests/data/webhooks/organization.directory.group_created.json")
        }
        "directory.group_deleted" => {
            include_str!("../../../tests/data/webhooks/organization.directory.group_deleted.json")
        }
        "directory.group_updated" => {
            include_str!("../../../tests/data/webhooks/organization.directory.group_updated.json")
        }
        "directory.user_created" => {
            include_str!("../../../tests/data/webhooks/organization.directory.user_created.json")
        }
        "directory.user_deleted" => {
            include_str!("../../../tests/data/webhooks/organization.directory.user_deleted.json")
        }
        "directory.user_updated" => {
            include_str!("../../../tests/data/webhooks/organization.directory.user_updated.json")
        }
        _ => panic!("there is no sample of {name}"),
    })
    .unwrap()
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn organizations_are_listed_and_found() {
    let sandbox = Sandbox::new();
    let bearer = bearer(&sandbox).await;
    let get = async |target: &str| call(&sandbox, Method::GET, target, &bearer).await;
    let (_, list) = get("/organizations").await;
    assert_eq!(
        strings(&list["organizations"], "display_name"),
        ["Acme", "Globex", "Test Organization"]
    );
    assert_eq!(list["total_size"], 3);
    let (_, first) = get("/organizations?page_size=1").await;
    sandbox.organizations().add("Initech", &[]);
    let next = string(&first, "next_page_token");
    let (_, second) = get(&format!("/organizations?page_size=1&page_token={next}")).await;
    assert_eq!(strings(&second["organizations"], "display_name"), ["Globex"]);
    let (_, found) = get("/organizations?external_id=ext_org_123").await;
    assert_eq!(strings(&found["organizations"], "display_name"), ["Acme"]);
    let id = string(&found["organizations"][0], "id");
    let (_, by_id) = get(&format!("/organizations/{id}")).await;
    let (_, by_external_id) = get("/organizations:external/ext_org_123").await;
    assert_eq!(by_id["organization"], found["organizations"][0]);
    assert_eq!(by_external_id, by_id);
    assert_eq!(by_id["organization"]["settings"]["features"][1]["enabled"], true);
    assert!(string(&by_id["organization"], "create_time").ends_with('Z'));
}

#[tokio::test]
async fn a_directory_is_read_disabled_and_enabled() {
    let sandbox = at_fixed_time();
    let bearer = bearer(&sandbox).await;
    let (organization, directory) = acme(&sandbox);
    let list = format!("/organizations/{organization}/directories");
    let one = format!("{list}/{directory}");
    let (_, listed) = call(&sandbox, Method::GET, &list, &bearer).await;
    let (_, got) = call(&sandbox, Method::GET, &one, &bearer).await;
    assert_eq!(listed["directories"], value!([got["directory"]]));
    let expected = value!({
        "id": directory,
        "name": "Okta",
        "organization_id": organization,
        "enabled": true,
        "directory_type": "SCIM",
        "directory_provider": "OKTA",
        "directory_endpoint":
            format!("{}/api/v1/directories/{directory}/scim/v2", sandbox.environment_url()),
        "groups_tracked": "ALL",
        "last_synced_at": "2025-10-09T08:53:20Z",
        "total_groups": 2,
        "total_users": 4,
        "stats": {
            "total_groups": 2,
            "total_users": 4,
            "group_updated_at": "2025-10-09T08:53:20Z",
            "user_updated_at": "2025-10-09T08:53:20Z",
        },
        "secrets": [],
    });
    assert_eq!(got["directory"], expected);

    for (verb, enabled) in [("disable", false), ("enable", true)] {
        let target = format!("{one}:{verb}");
        let (_, response) = call(&sandbox, Method::PATCH, &target, &bearer).await;
        assert_eq!(response, value!({ "enabled": enabled, "error_message": "" }));
        let (_, response) = call(&sandbox, Method::PATCH, &target, &bearer).await;
        let message = format!("The directory is already {verb}d");
        assert_eq!(response, value!({ "enabled": enabled, "error_message": message }));
        let (_, got) = call(&sandbox, Method::GET, &one, &bearer).await;
        assert_eq!(got["directory"]["enabled"], enabled);
    }

    let founded = sandbox.organizations().add("Initech", &[]).id;
    assert_eq!(sandbox.directories().first_id(&founded), None);
    let added = sandbox.directories().add(&founded).unwrap();
    assert_eq!(sandbox.directories().first_id(&founded), Some(added));
    assert_eq!(sandbox.directories().add("org_1"), None);
}

#[tokio::test]
async fn users_are_listed_by_group_and_time_and_in_detail() {
    let sandbox = at_fixed_time();
    let bearer = bearer(&sandbox).await;
    let (organization, directory) = acme(&sandbox);
    let list = format!("/organizations/{organization}/directories/{directory}/users");
    let get = async |query: &str| {
        call(&sandbox, Method::GET, &format!("{list}?{query}"), &bearer).await.1
    };
    let all = get("").await;
    let addresses = ["jane@acme.test", "john@acme.test", "zoe@acme.test", "ravi@acme.test"];
    assert_eq!(strings(&all["users"], "email"), addresses);
    assert_eq!(all["total_size"], 4);
    let groups = sandbox.directories().groups(&directory);
    let jane = value!({
        "id": sandbox.directories().users(&directory)[0].id,
        "email": "jane@acme.test",
        "emails": ["jane@acme.test"],
        "preferred_username": "jane@acme.test",
        "given_name": "Jane",
        "family_name": "Roe",
        "updated_at": "2025-10-09T08:53:20Z",
        "groups": [{
            "id": groups[0].id,
            "display_name": "Engineering",
            "total_users": 2,
            "updated_at": "2025-10-09T08:53:20Z",
        }],
    });
    assert_eq!(all["users"][0], jane);
    assert_eq!(get("include_detail=false").await, all);
    let detail = &get("include_detail=true").await["users"][0]["user_detail"];
    assert_eq!((&detail["department"], &detail["active"]), (&"Engineering".into(), &true.into()));
    assert_eq!(detail["groups"], value!([{ "id": groups[0].id, "name": "Engineering" }]));

    let of_group = get(&format!("directory_group_id={}", groups[1].id)).await;
    assert_eq!(strings(&of_group["users"], "email"), ["zoe@acme.test"]);
    assert_eq!(get("directory_group_id=dirgroup_1").await["total_size"], 0);

    sandbox.clock().advance(Duration::from_secs(60));
    let ravi = &sandbox.directories().users(&directory)[3].id;
    assert!(sandbox.directories().update_user(ravi, |ravi| ravi.family_name = "Pillai".to_owned()));
    let changed = get("updated_after=2025-10-09T08:53:20Z").await;
    assert_eq!(strings(&changed["users"], "family_name"), ["Pillai"]);
    assert_eq!(get("updated_after=2025-10-09T08:54:20Z").await["total_size"], 0);
    assert_eq!(get("updated_after=2025-10-09T10:53:19%2B02:00").await["total_size"], 4);
}

#[tokio::test]
async fn groups_are_listed_with_those_that_are_not_tracked_on_request() {
    let sandbox = at_fixed_time();
    let bearer = bearer(&sandbox).await;
    let (organization, directory) = acme(&sandbox);
    let list = format!("/organizations/{organization}/directories/{directory}/groups");
    let get = async |query: &str| {
        call(&sandbox, Method::GET, &format!("{list}?{query}"), &bearer).await.1
    };
    let tracked = get("").await;
    assert_eq!(strings(&tracked["groups"], "display_name"), ["Engineering", "Finance"]);
    let all = get("include_external_groups=true").await;
    let names = ["Engineering", "Finance", "Everyone"];
    assert_eq!(strings(&all["groups"], "display_name"), names);
    assert_eq!((&all["groups"][2]["total_users"], &all["total_size"]), (&4.into(), &3.into()));
    assert!(tracked["groups"][0].get("group_detail").is_none());
    let detail = &get("include_detail=true").await["groups"][0]["group_detail"];
    assert_eq!(detail["displayName"], "Engineering");

    sandbox.clock().advance(Duration::from_secs(1));
    let legal = sandbox.directories().add_group(&directory, "Legal");
    let changed = get("updated_after=2025-10-09T08:53:20Z").await;
    assert_eq!(strings(&changed["groups"], "id"), [legal.id]);
    let first = get("page_size=2").await;
    let next = string(&first, "next_page_token");
    let second = get(&format!("page_size=2&page_token={next}")).await;
    assert_eq!(strings(&second["groups"], "display_name"), ["Legal"]);
    let previous = string(&second, "prev_page_token");
    assert_eq!(get(&format!("page_size=2&page_token={previous}")).await, first);
}

#[tokio::test]
async fn pages_neither_miss_nor_repeat_users_despite_changes() {
    let sandbox = Sandbox::new();
    let bearer = bearer(&sandbox).await;
    let (organization, directory) = acme(&sandbox);
    let many = (0..96).map(|number| NewDirectoryUser::new(&format!("user{number}@acme.test")));
    assert_eq!(sandbox.directories().seed_users(&directory, many).len(), 96);
    let list = format!("/organizations/{organization}/directories/{directory}/users");
    let page = async |query: &str| {
        call(&sandbox, Method::GET, &format!("{list}?{query}"), &bearer).await.1
    };
    for (query, expected) in
        [("", 10), ("page_size=0", 10), ("page_size=7", 7), ("page_size=31", 30)]
    {
        assert_eq!(page(query).await["users"].as_array().unwrap().len(), expected, "{query}");
    }
    let expected: Vec<_> =
        sandbox.directories().users(&directory).into_iter().map(|user| user.id).collect();
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let response = page(&format!("page_size=9&page_token={token}")).await;
        seen.extend(strings(&response["users"], "id").into_iter().map(str::to_owned));
        string(&response, "next_page_token").clone_into(&mut token);
        if token.is_empty() {
            break;
        }
        // The first user seen is removed, the one the next page begins with is removed, and a user
        // is added.
        let next = expected.get(seen.len()).cloned();
        sandbox.directories().remove_user(&seen[seen.len() - 9]);
        if let Some(next) = next.filter(|_| seen.len() == 18) {
            assert!(sandbox.directories().remove_user(&next));
            seen.push(next);
        }
        if seen.len() < 60 {
            sandbox.directories().add_user(&directory, "late@acme.test");
        }
    }
    let late = seen.split_off(expected.len());
    assert_eq!(seen, expected);
    assert!(!late.is_empty());
}

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let sandbox = Sandbox::new();
    let bearer = bearer(&sandbox).await;
    let (organization, directory) = acme(&sandbox);
    let directories = format!("/organizations/{organization}/directories");
    let globex = &sandbox.organizations().list()[1].id;
    let users = format!("{directories}/{directory}/users");
    let groups = format!("{directories}/{directory}/groups");
    let (_, page) = call(&sandbox, Method::GET, &format!("{users}?page_size=1"), &bearer).await;
    let token = string(&page, "next_page_token");
    for (method, target, expected) in [
        (Method::GET, "/organizations/usr_1".to_owned(), 400),
        (Method::GET, "/organizations/org_1".to_owned(), 404),
        (Method::GET, "/organizations:external/x".to_owned(), 404),
        (Method::GET, "/organizations?page_token=b3JnXzE".to_owned(), 400),
        (Method::PUT, "/organizations".to_owned(), 501),
        (Method::GET, "/organizations/org_1/directories".to_owned(), 404),
        (Method::GET, format!("{directories}/x"), 400),
        (Method::GET, format!("{directories}/dir_1"), 404),
        (Method::GET, format!("/organizations/{globex}/directories/{directory}"), 404),
        (Method::GET, format!("/organizations/{globex}/directories/{directory}/users"), 404),
        (Method::GET, format!("{directories}/{directory}:enable"), 501),
        (Method::PATCH, format!("{directories}/{directory}:delete"), 501),
        (Method::PATCH, format!("{directories}/dir_1:enable"), 404),
        (Method::GET, format!("{users}?page_size=many"), 400),
        (Method::GET, format!("{users}?page_token=x"), 400),
        (Method::GET, format!("{groups}?page_token={token}"), 400),
        (Method::GET, format!("{users}?updated_after=yesterday"), 400),
        (Method::GET, format!("{users}?include_detail=maybe"), 400),
        (Method::GET, format!("{groups}?include_external_groups=2"), 400),
    ] {
        let (status, body) = call(&sandbox, method, &target, &bearer).await;
        assert_eq!(status, expected, "{target}");
        assert!(body["code"].is_number() && body["message"].is_string(), "{body}");
    }
    let (status, _) = call(&sandbox, Method::GET, &users, "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_change_causes_the_documented_event() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    let (organization, directory) = acme(&sandbox);
    assert_eq!(sandbox.webhooks().deliver_due().await, 0, "the initial data causes no events");

    let group = NewDirectoryGroup::new("Avengers").dp_id("00g1");
    let group = sandbox.directories().add_group(&directory, group);
    let mut user = NewDirectoryUser::new("dayton@acme.test")
        .name("Dayton", "Jaquelin")
        .department("Research")
        .dp_id("00u1")
        .preferred_username("dayton")
        .groups([&group.id, "dirgroup_1"])
        .roles(["billing_admin"])
        .custom_attribute("mobile_phone_number", "1-579-4072");
    let attributes = [
        "cost_center",
        "division",
        "employee_id",
        "language",
        "locale",
        "nickname",
        "organization",
        "phone_number",
        "profile",
        "title",
        "user_type",
        "zoneinfo",
    ];
    for name in attributes {
        user = user.attribute(name, "x");
    }
    let user = sandbox.directories().add_user(&directory, user);
    assert!(sandbox.directories().update_user(&user.id, |user| {
        user.active = false;
        user.id = "diruser_1".to_owned();
        user.department = None;
        user.attributes.retain(|name, _| name == "nickname" || name == "phone_number");
        user.attributes.insert("picture".to_owned(), "https://acme.test/d.jpg".into());
        user.attributes.insert("address".to_owned(), value!({ "postal_code": "64112" }));
    }));
    assert!(sandbox.directories().update_group(&group.id, |group| {
        group.external_id = Some("ext".to_owned());
    }));
    assert!(sandbox.directories().remove_user(&user.id));
    assert!(!sandbox.directories().remove_user(&user.id));
    assert!(sandbox.directories().remove_group(&group.id));
    assert!(!sandbox.directories().remove_group(&group.id));
    assert!(sandbox.directories().set_enabled(&directory, false));
    assert!(sandbox.directories().set_enabled(&directory, false), "no change, no event");
    sandbox.directories().add_user(&directory, "unseen@acme.test");
    assert!(sandbox.directories().set_enabled(&directory, true));
    assert!(!sandbox.directories().set_enabled("dir_1", true));

    let expected = [
        "directory.group_created",
        "directory.user_created",
        "directory.user_updated",
        "directory.group_updated",
        "directory.user_deleted",
        "directory.group_deleted",
        "directory_disabled",
        "directory_enabled",
    ];
    assert_eq!(sandbox.webhooks().deliver_due().await, expected.len());
    let events: Vec<Value> = inbox.events();
    for (event, name) in events.iter().zip(expected) {
        let sample = sample(name);
        assert_eq!(members(event), members(&sample), "{name}");
        assert_eq!(members(&event["data"]), members(&sample["data"]), "{name}");
        for name in ["type", "object", "display_name", "spec_version"] {
            assert_eq!(event[name], sample[name]);
        }
        assert!(string(event, "id").starts_with("evt_"));
        assert_eq!(event["environment_id"], sandbox.environment_id());
        assert_eq!(event["organization_id"], organization.as_str());
        assert_eq!(event["data"]["organization_id"], organization.as_str());
        assert_eq!(event["occurred_at"], "2025-10-09T08:53:20.000000000Z");
    }
    let ids: BTreeSet<_> = events.iter().map(|event| string(event, "id")).collect();
    assert_eq!(ids.len(), events.len());
    let (created, updated, deleted) = (&events[1]["data"], &events[2]["data"], &events[4]["data"]);
    assert_eq!(created["groups"], value!([{ "id": group.id, "name": "Avengers" }]));
    assert_eq!(created["name"], "Dayton Jaquelin");
    assert_eq!(created["roles"], value!([{ "role_name": "billing_admin" }]));
    assert_eq!((&updated["id"], &updated["active"]), (&created["id"], &false.into()));
    assert_eq!((&deleted["dp_id"], &deleted["email"]), (&"00u1".into(), &created["email"]));
    assert_eq!(events[5]["data"]["dp_id"], "00g1");
    assert_eq!(events[6]["data"]["enabled"], false);
}

#[tokio::test]
async fn a_change_of_membership_changes_the_user() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    let (_, directory) = acme(&sandbox);
    let (users, groups) =
        (sandbox.directories().users(&directory), sandbox.directories().groups(&directory));
    let (jane, finance) = (&users[0].id, &groups[1].id);
    assert!(sandbox.directories().add_group_member(jane, finance));
    assert!(!sandbox.directories().add_group_member(jane, finance), "they are in it already");
    assert!(sandbox.directories().remove_group_member(jane, finance));
    assert!(!sandbox.directories().remove_group_member(jane, finance));
    let globex = sandbox.directories().first_id(&sandbox.organizations().list()[1].id).unwrap();
    let operations = &sandbox.directories().groups(&globex)[0].id;
    assert!(!sandbox.directories().add_group_member(jane, operations), "of another directory");
    sandbox.clock().advance(Duration::from_secs(1));
    assert!(sandbox.directories().remove_group(finance));
    assert!(sandbox.directories().user(&users[2].id).unwrap().updated_at > users[2].updated_at);
    // A group that is not tracked causes no event.
    sandbox.directories().add_group(&directory, NewDirectoryGroup::new("All").external());

    sandbox.webhooks().deliver_due().await;
    let sent: Vec<_> = inbox.events();
    let sent = sent.iter().map(|event| (string(event, "type"), string(&event["data"], "id")));
    let updated = "organization.directory.user_updated";
    let expected = [
        (updated, jane.as_str()),
        (updated, jane),
        (updated, &users[2].id),
        ("organization.directory.group_deleted", finance),
    ];
    assert_eq!(sent.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn five_thousand_users_cause_one_event_each() {
    let sandbox = at_fixed_time();
    let inbox = Inbox::of(&sandbox);
    let (_, directory) = acme(&sandbox);
    let many = (0..5000).map(|number| NewDirectoryUser::new(&format!("user{number}@acme.test")));
    assert_eq!(sandbox.directories().add_users(&directory, many).len(), 5000);
    assert_eq!(sandbox.directories().users(&directory).len(), 5004);
    assert_eq!(sandbox.webhooks().deliver_due().await, 5000);
    let events = inbox.events();
    assert_eq!(events[4999]["data"]["email"], "user4999@acme.test");
}

#[test]
#[should_panic(expected = "there is no directory dir_1")]
fn adding_to_an_unknown_directory_panics() {
    Sandbox::new().directories().add_user("dir_1", "ada@acme.test");
}
