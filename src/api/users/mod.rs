//! Users of your app.
//!
//! A user is a member of one organization or of several; [`memberships`](super::memberships) has
//! their roles and invitations.
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::TryStreamExt as _;
//! use tower_scalekit::api::users::{NewMember, UserKey, UserUpdate};
//! use tower_scalekit::model::MembershipStatus;
//! # use tower_scalekit::Sandbox;
//!
//! # let sandbox = Sandbox::new();
//! # let acme = sandbox.organizations().list().remove(0).id;
//! let users = sandbox.scalekit().api().users();
//! let mut ada = NewMember::new("ada@acme.test");
//! ada.external_id = Some("user-42".to_owned());
//! ada.membership.roles = vec!["admin".to_owned()];
//! ada.membership.send_invitation_email = Some(true);
//! let ada = users.create(&acme, &ada).await?;
//! assert_eq!(ada.memberships[0].status, Some(MembershipStatus::PendingInvite));
//!
//! let mut update = UserUpdate::default();
//! update.user_profile.given_name = Some("Ada".to_owned());
//! let ada = users.update(UserKey::ExternalId("user-42"), &update).await?;
//! assert_eq!(ada.user_profile.given_name.as_deref(), Some("Ada"));
//!
//! let found: Vec<_> = users.search("ada@").stream().try_collect().await?;
//! assert_eq!(found, [ada.clone()]);
//! users.delete(&ada.id).await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

mod details;

use http::Method;

pub use self::details::{NewMember, NewUserProfile, UserDetails, UserUpdate};
use super::{Api, ApiError, ApiRequest, ListRequest};

/// API for users. Returned by [`Api::users`].
#[derive(Clone, Debug)]
pub struct UsersApi {
    api: Api,
}

impl UsersApi {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Creates a user as a member of an organization (`org_…`), by default with an invitation by
    /// e-mail. Never retried: after an error that leaves the result open, search for the address.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if a user has this address; see [`ApiError`].
    #[doc(alias("createUserAndMembership", "create_user_and_membership"))]
    pub async fn create(
        &self,
        organization_id: &str,
        user: &NewMember,
    ) -> Result<UserDetails, ApiError> {
        self.in_organization(Method::POST, organization_id, "")
            .query_option("send_invitation_email", user.membership.send_invitation_email)
            .json(user)
            .send_member("user")
            .await
    }

    /// Returns a user with the user's memberships.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it does not exist; see [`ApiError`].
    #[doc(alias("getUser", "get_user", "getUserByExternalId", "get_user_by_external_id"))]
    pub async fn get(&self, user: impl Into<UserKey<'_>>) -> Result<UserDetails, ApiError> {
        self.one(Method::GET, user.into()).send_member("user").await
    }

    /// Lists all users of the environment.
    #[doc(alias("listUsers", "list_users"))]
    pub fn list(&self) -> ListRequest<UserDetails> {
        ListRequest::new(self.api.request(Method::GET, "/api/v1/users"), "users")
    }

    /// Lists the users of an organization (`org_…`), invited ones included.
    #[doc(alias("listOrganizationUsers", "list_organization_users"))]
    pub fn list_by_organization(&self, organization_id: &str) -> ListRequest<UserDetails> {
        ListRequest::new(self.in_organization(Method::GET, organization_id, ""), "users")
    }

    /// Searches for users by a part of their address, ID or external ID, at least three characters.
    #[doc(alias("searchUsers", "search_users"))]
    pub fn search(&self, query: &str) -> ListRequest<UserDetails> {
        searched(self.api.request(Method::GET, "/api/v1/users:search"), query)
    }

    /// The same in an organization (`org_…`).
    #[doc(alias("searchOrganizationUsers", "search_organization_users"))]
    pub fn search_in_organization(
        &self,
        organization_id: &str,
        query: &str,
    ) -> ListRequest<UserDetails> {
        searched(self.in_organization(Method::GET, organization_id, ":search"), query)
    }

    /// Changes the fields that `update` contains.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the user does not exist; see [`ApiError`].
    #[doc(alias(
        "updateUser",
        "update_user",
        "updateUserByExternalId",
        "update_user_by_external_id"
    ))]
    pub async fn update(
        &self,
        user: impl Into<UserKey<'_>>,
        update: &UserUpdate,
    ) -> Result<UserDetails, ApiError> {
        self.one(Method::PATCH, user.into()).json(update).send_member("user").await
    }

    /// Deletes a user permanently, from all organizations. The environment ends the user's
    /// sessions; your app's own cookies end at their next refresh, or at once by
    /// [`Sessions::revoke_user`](crate::Sessions::revoke_user).
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if the user does not exist, and if an earlier attempt of this call
    /// succeeded although its response was an error; see [`ApiError`].
    #[doc(alias(
        "deleteUser",
        "delete_user",
        "deleteUserByExternalId",
        "delete_user_by_external_id"
    ))]
    pub async fn delete(&self, user: impl Into<UserKey<'_>>) -> Result<(), ApiError> {
        self.one(Method::DELETE, user.into()).send_empty().await
    }

    fn one(&self, method: Method, user: UserKey<'_>) -> ApiRequest {
        user.request(&self.api, method, "/api/v1")
    }

    fn in_organization(&self, method: Method, organization_id: &str, verb: &str) -> ApiRequest {
        self.api
            .request(method, format!("/api/v1/organizations/{{organization_id}}/users{verb}"))
            .path_parameter("organization_id", organization_id)
    }
}

fn searched(request: ApiRequest, query: &str) -> ListRequest<UserDetails> {
    let problem =
        (query.chars().count() < 3).then_some("a search text has fewer than three characters");
    ListRequest::new(request.query("query", query).problem(problem), "users")
}

/// How a call names its user. `&str` is the environment's ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserKey<'a> {
    /// Your app's ID of the user.
    ExternalId(&'a str),
    /// `usr_…`
    Id(&'a str),
}

impl UserKey<'_> {
    /// A call of the user below `prefix`.
    pub(super) fn request(self, api: &Api, method: Method, prefix: &str) -> ApiRequest {
        match self {
            Self::ExternalId(id) => api
                .request(method, format!("{prefix}/users:external/{{external_id}}"))
                .path_parameter("external_id", id),
            Self::Id(id) => {
                api.request(method, format!("{prefix}/users/{{id}}")).path_parameter("id", id)
            }
        }
    }
}

impl<'a> From<&'a str> for UserKey<'a> {
    fn from(id: &'a str) -> Self {
        Self::Id(id)
    }
}

impl<'a> From<&'a String> for UserKey<'a> {
    fn from(id: &'a String) -> Self {
        Self::Id(id)
    }
}
