//! Memberships of users in organizations: roles, permissions and invitations.
//!
//! Roles and permissions are in the user's access token from the next refresh on. The session of a
//! user who is removed ends at its next refresh, or at once when your app applies the webhook
//! `user.organization_membership_deleted` with [`Deprovisioning`](crate::session::Deprovisioning).
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_scalekit::api::memberships::{MembershipUpdate, InitialMembership};
//! # use tower_scalekit::Sandbox;
//!
//! # let sandbox = Sandbox::new();
//! # let globex = sandbox.organizations().list().remove(1).id;
//! # let john = sandbox.users().get("john@acme.test").ok_or("no john")?.id;
//! let memberships = sandbox.scalekit().api().memberships();
//! let mut member = InitialMembership::default();
//! member.roles = vec!["member".to_owned()];
//! member.send_invitation_email = Some(false);
//! let user = memberships.create(&globex, &john, &member).await?;
//! assert_eq!(user.memberships.len(), 2);
//!
//! let mut promotion = MembershipUpdate::default();
//! promotion.roles = Some(vec!["admin".to_owned()]);
//! memberships.update(&globex, &john, &promotion).await?;
//! let permissions = memberships.permissions(&globex, &john).await?;
//! assert!(permissions.iter().any(|known| known.name == "workspace_data:write"));
//!
//! memberships.delete(&globex, &john).await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

use super::roles::{Permission, Role};
use super::users::{UserDetails, UserKey};
use super::{Api, ApiError, ApiRequest};
use crate::model::MembershipStatus;
use crate::model::wire;

/// API for memberships. Returned by [`Api::memberships`].
#[derive(Clone, Debug)]
pub struct MembershipsApi {
    api: Api,
}

impl MembershipsApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Adds an existing user to an organization (`org_…`), by default with an invitation by e-mail.
    /// Never retried.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if either does not exist, [`ApiError::Conflict`] if the user is a
    /// member; see [`ApiError`].
    #[doc(alias(
        "createMembership",
        "create_membership",
        "createMembershipByExternalId",
        "create_membership_by_external_id"
    ))]
    pub async fn create(
        &self,
        organization_id: &str,
        user: impl Into<UserKey<'_>>,
        membership: &InitialMembership,
    ) -> Result<UserDetails, ApiError> {
        self.one(Method::POST, organization_id, user.into())
            .query_option("send_invitation_email", membership.send_invitation_email)
            .json(membership)
            .send_member("user")
            .await
    }

    /// Changes the roles or the metadata of a member.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the user is not a member; see [`ApiError`].
    #[doc(alias("updateMembership", "update_membership", "assignUserRoles", "assign_user_roles"))]
    pub async fn update(
        &self,
        organization_id: &str,
        user: impl Into<UserKey<'_>>,
        update: &MembershipUpdate,
    ) -> Result<UserDetails, ApiError> {
        self.one(Method::PATCH, organization_id, user.into()).json(update).send_member("user").await
    }

    /// Removes a user from an organization permanently. Without a membership, the user remains.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the user is not a member, and if an earlier attempt of this call
    /// succeeded although its response was an error; see [`ApiError`].
    #[doc(alias(
        "deleteMembership",
        "delete_membership",
        "deleteMembershipByExternalId",
        "delete_membership_by_external_id"
    ))]
    pub async fn delete(
        &self,
        organization_id: &str,
        user: impl Into<UserKey<'_>>,
    ) -> Result<(), ApiError> {
        self.one(Method::DELETE, organization_id, user.into()).send_empty().await
    }

    /// Sends the invitation of a user (`usr_…`) again: a reminder, or a new invitation if the
    /// former one has expired.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the user is not invited; see [`ApiError`].
    #[doc(alias("resendInvite", "resend_invite"))]
    pub async fn resend_invitation(
        &self,
        organization_id: &str,
        user_id: &str,
    ) -> Result<Invitation, ApiError> {
        self.api
            .request(
                Method::PATCH,
                "/api/v1/invites/organizations/{organization_id}/users/{id}/resend",
            )
            .path_parameter("organization_id", organization_id)
            .path_parameter("id", user_id)
            .json(&serde_json::Map::new())
            .send_member("invite")
            .await
    }

    /// Returns the roles of a member (`usr_…`).
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the user is not a member; see [`ApiError`].
    #[doc(alias("listUserRoles", "list_user_roles"))]
    pub async fn roles(&self, organization_id: &str, user_id: &str) -> Result<Vec<Role>, ApiError> {
        self.of_member(organization_id, user_id, "roles").send_list("roles").await
    }

    /// Returns the permissions of a member (`usr_…`): those of all roles, inherited ones included.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the user is not a member; see [`ApiError`].
    #[doc(alias("listUserPermissions", "list_user_permissions"))]
    pub async fn permissions(
        &self,
        organization_id: &str,
        user_id: &str,
    ) -> Result<Vec<Permission>, ApiError> {
        self.of_member(organization_id, user_id, "permissions").send_list("permissions").await
    }

    fn one(&self, method: Method, organization_id: &str, user: UserKey<'_>) -> ApiRequest {
        user.request(&self.api, method, "/api/v1/memberships/organizations/{organization_id}")
            .path_parameter("organization_id", organization_id)
    }

    fn of_member(&self, organization_id: &str, user_id: &str, what: &str) -> ApiRequest {
        let path = format!("/api/v1/organizations/{{organization_id}}/users/{{user_id}}/{what}");
        self.api
            .request(Method::GET, path)
            .path_parameter("organization_id", organization_id)
            .path_parameter("user_id", user_id)
    }
}

/// A user's membership of an organization. Fields that the environment omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Membership {
    /// The organization (`org_…`).
    #[serde(deserialize_with = "wire::required")]
    pub organization_id: String,
    /// The organization's name.
    #[serde(default, deserialize_with = "wire::text")]
    pub name: Option<String>,
    /// The organization's display name.
    #[serde(default, deserialize_with = "wire::text")]
    pub display_name: Option<String>,
    /// Whether the user is a member or invited.
    #[serde(rename = "membership_status", default, deserialize_with = "wire::open_enum")]
    pub status: Option<MembershipStatus>,
    /// Roles in the organization.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub roles: Vec<Role>,
    /// The permissions of these roles, inherited ones included.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub permissions: Vec<String>,
    /// Your app's metadata of the membership.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub metadata: BTreeMap<String, String>,
    /// When the user joined.
    #[serde(default, with = "wire::timestamp")]
    pub join_time: Option<OffsetDateTime>,
    /// When the invitation was created.
    #[serde(default, with = "wire::timestamp")]
    pub created_at: Option<OffsetDateTime>,
    /// When the user accepted the invitation.
    #[serde(default, with = "wire::timestamp")]
    pub accepted_at: Option<OffsetDateTime>,
    /// When the invitation expires.
    #[serde(default, with = "wire::timestamp")]
    pub expires_at: Option<OffsetDateTime>,
    /// Who has invited the user.
    #[serde(default, deserialize_with = "wire::text")]
    pub inviter_email: Option<String>,
    /// How the user became a member, for instance `invitation` or `jit_using_sso`.
    #[serde(default, deserialize_with = "wire::text")]
    pub provisioning_method: Option<String>,
}

/// A membership to create.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct InitialMembership {
    /// Names of roles. Default: the organization's default role of members.
    #[serde(serialize_with = "roles", skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Your app's metadata of the membership: keys of 3 to 25 characters, values of 1 to 256.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The e-mail address of the user who invites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inviter_email: Option<String>,
    /// Whether the user is invited by e-mail and becomes a member by accepting. Without it, the user
    /// is a member at once. Default: the environment's, true.
    #[serde(skip)]
    pub send_invitation_email: Option<bool>,
}

/// Changes to a membership. `None` keeps a field.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct MembershipUpdate {
    /// Names of all roles of the member from now on.
    #[serde(serialize_with = "new_roles", skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// Your app's metadata of the membership: keys of 3 to 25 characters, values of 1 to 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

fn roles<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(|name| BTreeMap::from([("name", name)])))
}

fn new_roles<S: Serializer>(names: &Option<Vec<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    roles(names.as_deref().unwrap_or_default(), serializer)
}

/// An invitation of a user to an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Invitation {
    /// The organization (`org_…`).
    #[serde(deserialize_with = "wire::text")]
    pub organization_id: Option<String>,
    /// The invited user (`usr_…`).
    #[serde(deserialize_with = "wire::text")]
    pub user_id: Option<String>,
    /// For instance `pending_invite`.
    #[serde(deserialize_with = "wire::text")]
    pub status: Option<String>,
    /// Who has invited the user.
    #[serde(deserialize_with = "wire::text")]
    pub inviter_email: Option<String>,
    /// Time of creation.
    #[serde(with = "wire::timestamp")]
    pub created_at: Option<OffsetDateTime>,
    /// Expiry.
    #[serde(with = "wire::timestamp")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was sent again.
    #[serde(with = "wire::timestamp")]
    pub resent_at: Option<OffsetDateTime>,
    /// How often it was sent again.
    #[serde(deserialize_with = "wire::count")]
    pub resent_count: u64,
}
