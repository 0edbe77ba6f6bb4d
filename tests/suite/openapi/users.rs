//! Users, memberships, roles and permissions.

use futures::TryStreamExt as _;
use tower_scalekit::Sandbox;
use tower_scalekit::api::memberships::{InitialMembership, MembershipUpdate, MembershipsApi};
use tower_scalekit::api::roles::{
    NewRole, OrganizationRolesApi, PermissionType, PermissionsApi, RoleUpdate, RolesApi,
};
use tower_scalekit::api::users::{NewMember, UserKey, UserUpdate, UsersApi};
use tower_scalekit::api::{Api, ListRequest};
use tower_scalekit::model::MembershipStatus;

use super::calls::{Calls, call};
use crate::support::JOHN;

impl Calls {
    pub(super) async fn users(&mut self, api: &Api, sandbox: &Sandbox) {
        let calls = self;
        let users = &api.users();
        let organizations = sandbox.organizations().list();
        let (acme, globex) = (&organizations[0].id, &organizations[1].id);
        let metadata = || [("team".to_owned(), "alpha".to_owned())].into();

        let mut new = NewMember::new("ada@acme.test");
        new.external_id = Some("user/42".to_owned());
        new.metadata = metadata();
        new.membership.roles = vec!["member".to_owned()];
        new.membership.metadata = metadata();
        new.membership.inviter_email = Some("jane@acme.test".to_owned());
        new.membership.send_invitation_email = Some(true);
        new.user_profile.name = Some("Ada King".to_owned());
        new.user_profile.given_name = Some("Ada".to_owned());
        new.user_profile.family_name = Some("King".to_owned());
        new.user_profile.preferred_username = Some("ada".to_owned());
        new.user_profile.phone_number = Some("+14155552671".to_owned());
        new.user_profile.picture = Some("https://acme.test/ada.png".to_owned());
        new.user_profile.gender = Some("female".to_owned());
        new.user_profile.locale = Some("en-GB".to_owned());
        new.user_profile.groups = Some(vec!["engineering".to_owned()]);
        new.user_profile.custom_attributes = Some(metadata());
        new.user_profile.metadata = Some(metadata());
        let ada = call!(calls, UsersApi::create(users, acme, &new)).await.unwrap();
        assert_eq!(ada.user_profile.name.as_deref(), Some("Ada King"));
        assert_eq!(ada.user_profile.groups, ["engineering"]);
        assert_eq!(ada.metadata, new.metadata);
        let membership = ada.membership(acme).unwrap();
        assert_eq!(membership.status, Some(MembershipStatus::PendingInvite));
        assert_eq!(membership.permissions, ["workspace_data:read"]);
        assert_eq!(membership.inviter_email, new.membership.inviter_email);
        users.create(acme, &new).await.unwrap_err();

        let external = UserKey::ExternalId("user/42");
        assert_eq!(call!(calls, UsersApi::get(users, &ada.id)).await.unwrap(), ada);
        assert_eq!(users.get(external).await.unwrap(), ada);
        let mut update = UserUpdate::default();
        update.metadata = Some([("team".to_owned(), "beta".to_owned())].into());
        update.user_profile.given_name = Some("Augusta".to_owned());
        call!(calls, UsersApi::update(users, &ada.id, &update)).await.unwrap();
        update.external_id = Some("user/43".to_owned());
        let changed = users.update(external, &update).await.unwrap();
        assert_eq!(changed.user_profile.name.as_deref(), Some("Augusta King"));

        let all = call!(calls, UsersApi::list(users));
        let pages = call!(calls, ListRequest::page_size(all, 2));
        let all: Vec<_> = call!(calls, ListRequest::stream(pages)).try_collect().await.unwrap();
        assert_eq!(all.len(), sandbox.users().list().len());
        let own = call!(calls, UsersApi::list_by_organization(users, acme));
        assert_eq!(own.page_size(1).stream().try_collect::<Vec<_>>().await.unwrap().len(), 3);
        let found = call!(calls, UsersApi::search(users, "ADA@"));
        assert_eq!(found.stream().try_collect::<Vec<_>>().await.unwrap(), [changed]);
        let found = call!(calls, UsersApi::search_in_organization(users, globex, "ada@"));
        assert_eq!(found.stream().try_collect::<Vec<_>>().await.unwrap(), []);

        calls.memberships(api, sandbox, globex, &ada.id).await;
        call!(calls, UsersApi::delete(users, &ada.id)).await.unwrap();
        users.get(&ada.id).await.unwrap_err();
        new.membership.send_invitation_email = None;
        users.create(acme, &new).await.unwrap();
        users.delete(external).await.unwrap();
    }

    async fn memberships(&mut self, api: &Api, sandbox: &Sandbox, globex: &str, ada: &str) {
        let calls = self;
        let memberships = &api.memberships();
        let mut new = InitialMembership::default();
        new.roles = vec!["admin".to_owned()];
        new.inviter_email = Some("gita@globex.test".to_owned());
        new.metadata = [("team".to_owned(), "alpha".to_owned())].into();
        new.send_invitation_email = Some(false);
        let john = &sandbox.users().get(JOHN).unwrap().id;
        let user =
            call!(calls, MembershipsApi::create(memberships, globex, john, &new)).await.unwrap();
        assert_eq!(user.membership(globex).unwrap().status, Some(MembershipStatus::Active));
        memberships.create(globex, john, &new).await.unwrap_err();

        let mut update = MembershipUpdate::default();
        update.roles = Some(vec!["member".to_owned()]);
        update.metadata = Some([("team".to_owned(), "beta".to_owned())].into());
        let user = call!(calls, MembershipsApi::update(memberships, globex, john, &update));
        assert_eq!(user.await.unwrap().membership(globex).unwrap().roles[0].name, "member");
        let roles = call!(calls, MembershipsApi::roles(memberships, globex, john)).await.unwrap();
        assert_eq!((roles.len(), roles[0].name.as_str()), (1, "member"));
        let permissions = call!(calls, MembershipsApi::permissions(memberships, globex, john));
        assert_eq!(permissions.await.unwrap()[0].name, "workspace_data:read");
        call!(calls, MembershipsApi::delete(memberships, globex, john)).await.unwrap();
        memberships.roles(globex, john).await.unwrap_err();

        let key = UserKey::ExternalId("user/43");
        memberships.create(globex, key, &InitialMembership::default()).await.unwrap();
        sandbox.clock().advance(std::time::Duration::from_secs(16 * 24 * 3600));
        let sent = call!(calls, MembershipsApi::resend_invitation(memberships, globex, ada));
        assert_eq!(sent.await.unwrap().resent_count, 1);
        let user = memberships.update(globex, key, &update).await.unwrap();
        let status = user.membership(globex).unwrap().status.clone();
        assert_eq!(status, Some(MembershipStatus::PendingInvite), "a new invitation");
        memberships.delete(globex, key).await.unwrap();
        memberships.resend_invitation(globex, john).await.unwrap_err();
    }

    pub(super) async fn roles(&mut self, api: &Api, sandbox: &Sandbox) {
        let calls = self;
        let permissions = &api.permissions();
        for name in ["invoices:read", "invoices:approve"] {
            let made = call!(calls, PermissionsApi::create(permissions, name, "Invoices"));
            assert_eq!(made.await.unwrap().name, name);
        }
        permissions.create("invoices:read", "").await.unwrap_err();
        permissions.create("no name", "").await.unwrap_err();
        let changed = call!(calls, PermissionsApi::update(permissions, "invoices:read", "Reads"));
        assert_eq!(changed.await.unwrap().description.as_deref(), Some("Reads"));
        call!(calls, PermissionsApi::get(permissions, "invoices:read")).await.unwrap();
        let all = call!(calls, PermissionsApi::list(permissions, None)).page_size(3);
        assert_eq!(all.stream().try_collect::<Vec<_>>().await.unwrap().len(), 4);
        let scalekit = permissions.list(Some(PermissionType::Scalekit));
        assert_eq!(scalekit.stream().try_collect::<Vec<_>>().await.unwrap(), []);

        let roles = &api.roles();
        let mut new = NewRole::new("auditor");
        new.description = Some("Reads invoices".to_owned());
        new.extends = Some("member".to_owned());
        new.permissions = vec!["invoices:read".to_owned()];
        call!(calls, RolesApi::create(roles, &new)).await.unwrap();
        roles.create(&new).await.unwrap_err();
        let auditor = call!(calls, RolesApi::get(roles, "auditor")).await.unwrap();
        assert_eq!(auditor.permissions.len(), 2);
        assert_eq!(auditor.permissions[1].role_name.as_deref(), Some("member"));
        assert_eq!(call!(calls, RolesApi::list(roles)).await.unwrap().len(), 3);
        let dependents = call!(calls, RolesApi::dependents(roles, "member")).await.unwrap();
        assert_eq!(dependents.len(), 2);
        let mut circle = RoleUpdate::default();
        circle.extends = Some("auditor".to_owned());
        roles.update("member", &circle).await.unwrap_err();
        let mut update = RoleUpdate::default();
        update.display_name = Some("Auditor".to_owned());
        update.description = Some("Reads and approves invoices".to_owned());
        update.extends = Some(String::new());
        update.permissions = Some(vec![]);
        let changed = call!(calls, RolesApi::update(roles, "auditor", &update)).await.unwrap();
        assert_eq!((changed.extends, &changed.display_name), (None, &update.display_name));
        let added = ["invoices:approve", "invoices:read"];
        let added = call!(calls, RolesApi::add_permissions(roles, "auditor", &added));
        assert_eq!(added.await.unwrap().len(), 2);
        let removed =
            call!(calls, RolesApi::remove_permission(roles, "auditor", "invoices:approve"));
        removed.await.unwrap();
        let own = call!(calls, RolesApi::permissions(roles, "admin")).await.unwrap();
        assert_eq!(own.len(), 1);
        let effective = call!(calls, RolesApi::effective_permissions(roles, "admin"));
        assert_eq!(effective.await.unwrap().len(), 2);
        assert_eq!(call!(calls, RolesApi::users_count(roles, "admin")).await.unwrap(), 2);
        let (creator, member) = (Some("admin"), Some("auditor"));
        let defaults = call!(calls, RolesApi::set_defaults(roles, creator, member));
        assert_eq!(defaults.await.unwrap().default_member.unwrap().name, "auditor");
        roles.delete("member", None).await.unwrap_err();

        let acme = &sandbox.organizations().list()[0].id;
        let own = &api.organization_roles(acme);
        let approver = NewRole::new("approver");
        call!(calls, OrganizationRolesApi::create(own, &approver)).await.unwrap();
        let made = call!(calls, OrganizationRolesApi::get(own, "approver")).await.unwrap();
        assert!(made.is_org_role);
        assert_eq!(call!(calls, OrganizationRolesApi::list(own)).await.unwrap().len(), 4);
        roles.get("approver").await.unwrap_err();
        call!(calls, OrganizationRolesApi::update(own, "approver", &update)).await.unwrap();
        own.update("auditor", &update).await.unwrap_err();
        let default = call!(calls, OrganizationRolesApi::set_default_member(own, "approver"));
        assert_eq!(default.await.unwrap().default_member.unwrap().name, "approver");
        let mut invited = NewMember::new("eve@acme.test");
        invited.membership.send_invitation_email = Some(false);
        let eve = api.users().create(acme, &invited).await.unwrap();
        assert_eq!(eve.membership(acme).unwrap().roles[0].name, "approver");
        own.delete("approver", None).await.unwrap_err();
        let deleted = call!(calls, OrganizationRolesApi::delete(own, "approver", Some("auditor")));
        deleted.await.unwrap();
        let roles_of_eve = api.memberships().roles(acme, &eve.id).await.unwrap();
        assert_eq!(roles_of_eve[0].name, "auditor");
        call!(calls, RolesApi::delete(roles, "auditor", Some("member"))).await.unwrap();
        call!(calls, PermissionsApi::delete(permissions, "invoices:read")).await.unwrap();
        permissions.get("invoices:read").await.unwrap_err();
    }
}
