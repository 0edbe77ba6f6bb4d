//! The fields of each object type.

use serde_json::{Map, json};
use time::macros::datetime;

use super::*;
use crate::model::{
    ConnectedAccountStatus, DirectoryProvider, DirectoryType, DomainType, DomainVerificationMethod,
    DomainVerificationStatus, RegionCode, SessionStatus,
};
use crate::webhook::*;

macro_rules! payload {
    ($event:expr, $variant:ident) => {
        match $event.payload() {
            EventPayload::$variant(object) => object.clone(),
            other => panic!("{other:?}"),
        }
    };
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn an_organization_is_read() {
    let acme = payload!(example("organization.deleted"), OrganizationDeleted);
    assert_eq!((acme.id, acme.display_name), (some("org_1234567890"), some("AcmeCorp")));
    assert_eq!(acme.external_id, some("org_external_123"));
    assert_eq!(acme.region_code, Some(RegionCode::Us));
    assert_eq!(acme.create_time, Some(datetime!(2025-12-09 09:25:02.02 UTC)));
    assert_eq!(acme.update_time, Some(datetime!(2025-12-09 09:25:02.025330364 UTC)));
    assert_eq!(acme.deleted_at, Some(datetime!(2025-12-09 10:25:45.337417 UTC)));
    assert!(acme.metadata.is_empty());
    assert!(acme.settings.has("sso") && !acme.settings.has("dir_sync"));
}

#[test]
fn a_domain_is_read_and_its_secret_not_printed() {
    let domain = payload!(example("organization.domain_created"), OrganizationDomainCreated);
    assert_eq!((&domain.id, &domain.domain), (&some("dom_1234567890"), &some("acmecorp.com")));
    assert_eq!(domain.domain_type, Some(DomainType::OrganizationDomain));
    assert_eq!(domain.organization_id, some("org_1234567890"));
    assert_eq!(domain.environment_id, some("env_1234567890"));
    assert_eq!(domain.txt_record_key, some("scalekit-domain-verification"));
    assert_eq!(domain.verification_status, Some(DomainVerificationStatus::Pending));
    assert_eq!(domain.verification_method, Some(DomainVerificationMethod::Dns));
    assert_eq!(domain.updated_at, Some(datetime!(2024-01-15 11:00:00.123456789 UTC)));
    assert!(!format!("{domain:?}").contains("<redacted>"), "the secret is not printed");
    assert_eq!(domain.txt_record_secret.unwrap().expose(), "<redacted>");
}

#[test]
fn a_membership_is_read_with_organization_and_user() {
    let signup = payload!(example("user.signup"), UserSignup);
    assert_eq!(signup.organization.id, some("org_102690563312124938"));
    assert_eq!(signup.organization.display_name, None, "empty text is none");
    assert_eq!(signup.user.id, some("usr_102701193205121289"));
    assert_eq!(signup.user.email, some("john.doe@example.com"));
    assert_eq!(signup.user.external_id, None);
    let profile = signup.user.user_profile;
    assert_eq!((profile.id, profile.name), (some("usp_102701193205186825"), some("John Doe")));
    assert_eq!((profile.given_name, profile.family_name), (some("John"), some("doe")));
    assert_eq!(profile.email_verified, Some(true));
    assert_eq!(profile.phone_number_verified, Some(false));
    assert!(profile.external_identities.is_empty() && profile.groups.is_empty());

    let deleted = example("user.organization_membership_deleted");
    let deleted = payload!(deleted, UserOrganizationMembershipDeleted);
    let [google] = deleted.user.user_profile.external_identities.try_into().unwrap();
    assert_eq!(google.connection_id, some("conn_97896332307464201"));
    assert_eq!(google.connection_provider, some("GOOGLE"));
    assert_eq!(google.connection_type, some("OAUTH"));
    assert_eq!(google.connection_user_id, some("105055379523565727691"));
    assert_eq!(google.is_social, Some(true));
    assert_eq!(google.created_time, Some(datetime!(2025-12-09 12:04:41.47 UTC)));
    assert_eq!(google.last_login_time, Some(datetime!(2025-12-09 12:04:41.469311 UTC)));
    assert_eq!(google.last_synced_time, google.last_login_time);
    assert_eq!(google.updated_time, Some(datetime!(2025-12-09 12:04:41.473087 UTC)));
    assert_eq!(google.raw_attributes, some("{}"));
}

#[test]
fn a_user_is_read_with_the_session() {
    let logout = payload!(example("user.logout"), UserLogout);
    assert_eq!(logout.user.email, some("john.doe@acmecorp.com"));
    assert_eq!(logout.user.last_login_time, Some(datetime!(2025-12-09 12:04:41.48 UTC)));
    let session = logout.user_session;
    assert_eq!(session.session_id, some("ses_102701193356116233"));
    assert_eq!(session.user_id, some("usr_102701193205121289"));
    assert_eq!(session.organization_id, some("org_102701193188409609"));
    assert_eq!(session.status, Some(SessionStatus::Active));
    assert_eq!(session.created_at, Some(datetime!(2025-12-09 12:04:41.48 UTC)));
    assert_eq!(session.updated_at, Some(datetime!(2025-12-09 12:04:41.748512 UTC)));
    assert_eq!(session.last_active_at, Some(datetime!(2025-12-09 12:04:41.747206 UTC)));
    assert_eq!(session.absolute_expires_at, Some(datetime!(2026-01-08 12:04:41.737394 UTC)));
    assert_eq!(session.idle_expires_at, Some(datetime!(2025-12-16 12:04:41.737395 UTC)));
    assert_eq!((session.expired_at, session.logout_at), (None, None));
    assert_eq!(session.authenticated_organizations, ["org_102701193188409609"]);
    assert_eq!(session.device.browser, some("Chrome"));
    assert_eq!(session.device.location.unwrap().city, some("Patna"));
}

#[test]
fn a_directory_is_read() {
    let directory = payload!(example("organization.directory_disabled"), DirectoryDisabled);
    assert_eq!(directory.id, some("dir_53879621145330183"));
    assert_eq!(directory.organization_id, some("org_53879494091473415"));
    assert_eq!(directory.directory_type, Some(DirectoryType::Scim));
    assert_eq!(directory.provider, Some(DirectoryProvider::Okta));
    assert_eq!(directory.enabled, Some(false));
    assert_eq!(directory.updated_at, Some(datetime!(2025-01-06 18:45:21.04978184 UTC)));
}

#[test]
fn a_directory_user_is_read() {
    let user = payload!(example("organization.directory.user_created"), DirectoryUserCreated);
    let raw = json!({
        "active": true, "cost_center": "QAUZJUHSTYCN", "department": "HNXJPGISMIFN",
        "division": "MJFUEYJOKICN", "dp_id": "<id from IDP>",
        "email": "flavio@runolfsdottir.co.duk", "employee_id": "AWNEDTILGaIZN",
        "family_name": "Jaquelin", "given_name": "Dayton", "id": "diruser_53891546960887884",
        "language": "se", "locale": "LLWLEWESPLDC", "name": "QDRGUZZDYMFU",
        "nickname": "DTUODYKGFPPC", "organization": "AUIITQVUQGVH",
        "organization_id": "org_53879494091473415", "phone_number": "1-579-4072",
        "preferred_username": "kuntala1233a", "profile": "YMIUQUHKGVAX",
        "title": "FKQBHCWJXZSC", "user_type": "RBQFJSQEFAEH", "zoneinfo": "America/Araguaina",
    });
    let read = json!({
        "active": user.active, "cost_center": user.cost_center, "department": user.department,
        "division": user.division, "dp_id": user.dp_id, "email": user.email,
        "employee_id": user.employee_id, "family_name": user.family_name,
        "given_name": user.given_name, "id": user.id, "language": user.language,
        "locale": user.locale, "name": user.name, "nickname": user.nickname,
        "organization": user.organization, "organization_id": user.organization_id,
        "phone_number": user.phone_number, "preferred_username": user.preferred_username,
        "profile": user.profile, "title": user.title, "user_type": user.user_type,
        "zoneinfo": user.zoneinfo,
    });
    assert_eq!(read, raw);
    assert_eq!(user.custom_attributes["mobile_phone_number"], "1-579-4072");
    let [group] = user.groups.try_into().unwrap();
    assert_eq!((group.id, group.name), (some("dirgroup_12312312312312"), some("Group Name")));
    assert_eq!(user.roles[0].role_name, some("billing_admin"));

    let updated = payload!(example("organization.directory.user_updated"), DirectoryUserUpdated);
    assert_eq!(updated.address["postal_code"], "64112");
    assert_eq!(updated.picture, some("https://image.com/profile.jpg"));

    let deleted = payload!(example("organization.directory.user_deleted"), DirectoryUserDeleted);
    let expected = DirectoryUserData {
        id: some("diruser_12312312312312"),
        organization_id: some("org_12312312312312"),
        dp_id: some("<scim_external_id>"),
        email: some("john.doe@example.com"),
        ..DirectoryUserData::default()
    };
    assert_eq!(*deleted, expected, "and nothing else");
}

#[test]
fn a_directory_group_is_read() {
    let group = payload!(example("organization.directory.group_deleted"), DirectoryGroupDeleted);
    let expected = DirectoryGroupData {
        id: some("dirgroup_40072007005503806"),
        organization_id: some("org_39802449573184223"),
        directory_id: some("dir_39802485862301855"),
        display_name: some("Admins"),
        external_id: None,
        dp_id: some("7c66a173-79c6-4270-ac78-8f35a8121e0a"),
        raw_attributes: Map::new(),
    };
    assert_eq!(*group, expected);
}

#[test]
fn a_connection_is_read() {
    let connection = payload!(example("organization.sso_enabled"), SsoEnabled);
    let expected = ConnectionData {
        id: some("conn_94567862424830277"),
        organization_id: some("org_83544995172188677"),
        connection_type: some("OIDC"),
        provider: some("OKTA"),
        enabled: Some(true),
        status: some("COMPLETED"),
    };
    assert_eq!(*connection, expected);
}

#[test]
fn a_role_and_a_permission_are_read() {
    let role = payload!(example("role.created"), RoleCreated);
    let expected = RoleData {
        id: some("role_1234567890"),
        name: some("viewer"),
        display_name: some("Viewer"),
        description: some("Viewer role with read-only access"),
        extends: some("member"),
    };
    assert_eq!(*role, expected);
    let permission = payload!(example("permission.created"), PermissionCreated);
    let expected = PermissionData {
        id: some("perm_1234567890"),
        name: some("data:manage"),
        description: some("Permission to manage data"),
    };
    assert_eq!(*permission, expected);
}

#[test]
fn a_connected_account_is_read() {
    let account =
        payload!(example("connected_account.status_updated"), ConnectedAccountStatusUpdated);
    let expected = ConnectedAccountData {
        id: some("ca_133400349586228019"),
        identifier: some("john@acmecorp.com"),
        connection_id: some("conn_133400101014995480"),
        connection_name: some("gmail"),
        provider: some("GMAIL"),
        authorization_type: some("OAUTH"),
        status: Some(ConnectedAccountStatus::Expired),
        old_status: Some(ConnectedAccountStatus::Active),
        token_expires_at: None,
        last_used_at: None,
    };
    assert_eq!(*account, expected);
    let deleted = payload!(example("connected_account.deleted"), ConnectedAccountDeleted);
    assert_eq!(deleted.last_used_at, Some(datetime!(2025-12-02 06:00:01.374253 UTC)));
    assert_eq!(deleted.token_expires_at, Some(datetime!(2025-12-02 06:59:57.237447 UTC)));
}

#[test]
fn a_malformed_field_reads_as_absent_without_affecting_others() {
    let body = json!({"id": "evt_1", "type": "organization.directory.user_updated", "data": {
        "id": "diruser_1", "email": ["a@acme.test"], "name": null, "given_name": "",
        "employee_id": 4711, "active": "False", "groups": [{"id": "dirgroup_1"}, "Admins", null],
        "roles": {}, "raw_attributes": "{}", "address": null, "something_new": 1,
    }});
    let event = event(&body).unwrap();
    let user = payload!(event, DirectoryUserUpdated);
    let expected = DirectoryUserData {
        id: some("diruser_1"),
        employee_id: some("4711"),
        active: Some(false),
        groups: vec![UserGroup { id: some("dirgroup_1"), name: None }],
        ..DirectoryUserData::default()
    };
    assert_eq!(*user, expected);
    assert_eq!(event.raw()["data"], body["data"]);
}
