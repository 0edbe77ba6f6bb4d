use std::fmt;

use serde_json::{Map, Value};

use super::connected_account::ConnectedAccount;
use super::connection::Connection;
use super::directory::Directory;
use super::directory_group::DirectoryGroup;
use super::directory_user::DirectoryUser;
use super::domain::OrganizationDomain;
use super::membership::OrgMembership;
use super::organization::Organization;
use super::role::{Permission, Role};
use super::user::UserWithSession;
use crate::model::lenient;

macro_rules! payloads {
    ($($(#[$doc:meta])* $type:literal => $variant:ident($object:ident),)+) => {
        /// What has happened, with what it happened to.
        ///
        /// One variant for each type of event that is documented, named after it.
        #[derive(Clone, PartialEq)]
        #[non_exhaustive]
        pub enum EventPayload {
            $(
                #[doc = concat!("`", $type, "`: ")]
                $(#[$doc])*
                $variant(Box<$object>),
            )+
            /// Anything else, with its data as it came.
            Unknown(Map<String, Value>),
        }

        // By hand: without what is known about people, or the secret of a domain.
        impl fmt::Debug for EventPayload {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant(_) => concat!(stringify!($variant), "(..)"),)+
                    Self::Unknown(_) => "Unknown(..)",
                })
            }
        }

        impl EventPayload {
    /// The account, where the event is about a connected one.
    #[must_use]
    pub fn connected_account(&self) -> Option<&ConnectedAccount> {
        match self {
            Self::ConnectedAccountCreated(account)
            | Self::ConnectedAccountDeleted(account)
            | Self::ConnectedAccountMagicLinkGenerated(account)
            | Self::ConnectedAccountOauthSucceeded(account)
            | Self::ConnectedAccountOauthTokensFetched(account)
            | Self::ConnectedAccountStatusUpdated(account)
            | Self::ConnectedAccountTokenRefreshFailed(account)
            | Self::ConnectedAccountTokenRefreshSucceeded(account)
            | Self::ConnectedAccountUpdated(account) => Some(account),
            _ => None,
        }
    }

            /// Never fails: what does not fit reads as absent.
            pub(super) fn read(event_type: &str, data: &Value) -> Self {
                match event_type {
                    $($type => Self::$variant(lenient::read(data)),)+
                    _ => Self::Unknown(data.as_object().cloned().unwrap_or_default()),
                }
            }

            #[cfg(test)]
            pub(super) const TYPES: &[&str] = &[$($type),+];
        }
    };
}

payloads! {
    /// a user is about to connect an account.
    "connected_account.created" => ConnectedAccountCreated(ConnectedAccount),
    /// an account is no longer connected.
    "connected_account.deleted" => ConnectedAccountDeleted(ConnectedAccount),
    /// there is a link by which a user connects an account.
    "connected_account.magic_link_generated" => ConnectedAccountMagicLinkGenerated(ConnectedAccount),
    /// a user has connected an account.
    "connected_account.oauth_succeeded" => ConnectedAccountOauthSucceeded(ConnectedAccount),
    /// tokens of an account have been fetched.
    "connected_account.oauth_tokens_fetched" => ConnectedAccountOauthTokensFetched(ConnectedAccount),
    /// an account has another status, see [`ConnectedAccount::old_status`].
    "connected_account.status_updated" => ConnectedAccountStatusUpdated(ConnectedAccount),
    /// an account's tokens could not be renewed.
    "connected_account.token_refresh_failed" => ConnectedAccountTokenRefreshFailed(ConnectedAccount),
    /// an account's tokens have been renewed.
    "connected_account.token_refresh_succeeded" =>
        ConnectedAccountTokenRefreshSucceeded(ConnectedAccount),
    /// something about an account has changed.
    "connected_account.updated" => ConnectedAccountUpdated(ConnectedAccount),
    /// a group has come into a directory.
    "organization.directory.group_created" => DirectoryGroupCreated(DirectoryGroup),
    /// a group has left a directory.
    "organization.directory.group_deleted" => DirectoryGroupDeleted(DirectoryGroup),
    /// something about a directory's group has changed.
    "organization.directory.group_updated" => DirectoryGroupUpdated(DirectoryGroup),
    /// a user has come into a directory.
    "organization.directory.user_created" => DirectoryUserCreated(DirectoryUser),
    /// a user has left a directory. Only ids and e-mail address are told.
    "organization.directory.user_deleted" => DirectoryUserDeleted(DirectoryUser),
    /// something about a person in a directory has changed. Most providers end a user's access
    /// with this, by [`active`](DirectoryUser::active) being false.
    "organization.directory.user_updated" => DirectoryUserUpdated(DirectoryUser),
    /// a directory is no longer kept in step.
    "organization.directory_disabled" => DirectoryDisabled(Directory),
    /// a directory is kept in step.
    "organization.directory_enabled" => DirectoryEnabled(Directory),
    /// there is a new organization.
    "organization.created" => OrganizationCreated(Organization),
    /// an organization is no more.
    "organization.deleted" => OrganizationDeleted(Organization),
    /// something about an organization has changed.
    "organization.updated" => OrganizationUpdated(Organization),
    /// an organization has a new domain.
    "organization.domain_created" => OrganizationDomainCreated(OrganizationDomain),
    /// an organization no longer has a domain.
    "organization.domain_deleted" => OrganizationDomainDeleted(OrganizationDomain),
    /// the DNS does not show that a domain is the organization's.
    "organization.domain_dns_verification_failed" =>
        OrganizationDomainDnsVerificationFailed(OrganizationDomain),
    /// the DNS shows that a domain is the organization's.
    "organization.domain_dns_verification_success" =>
        OrganizationDomainDnsVerificationSuccess(OrganizationDomain),
    /// there is a new permission.
    "permission.created" => PermissionCreated(Permission),
    /// a permission is no more.
    "permission.deleted" => PermissionDeleted(Permission),
    /// something about a permission has changed.
    "permission.updated" => PermissionUpdated(Permission),
    /// there is a new role.
    "role.created" => RoleCreated(Role),
    /// a role is no more.
    "role.deleted" => RoleDeleted(Role),
    /// something about a role has changed.
    "role.updated" => RoleUpdated(Role),
    /// an organization has a new connection to its identity provider.
    "organization.sso_created" => SsoCreated(Connection),
    /// an organization's connection to its identity provider is no more.
    "organization.sso_deleted" => SsoDeleted(Connection),
    /// an organization no longer logs in through its identity provider.
    "organization.sso_disabled" => SsoDisabled(Connection),
    /// an organization logs in through its identity provider.
    "organization.sso_enabled" => SsoEnabled(Connection),
    /// a user has logged in.
    "user.login" => UserLogin(UserWithSession),
    /// a user has logged out.
    "user.logout" => UserLogout(UserWithSession),
    /// a user has been invited into an organization.
    "user.organization_invitation" => UserOrganizationInvitation(OrgMembership),
    /// a user has become a member of an organization.
    "user.organization_membership_created" => UserOrganizationMembershipCreated(OrgMembership),
    /// a user is no longer a member of an organization.
    "user.organization_membership_deleted" => UserOrganizationMembershipDeleted(OrgMembership),
    /// something about a membership has changed.
    "user.organization_membership_updated" => UserOrganizationMembershipUpdated(OrgMembership),
    /// a user has signed up.
    "user.signup" => UserSignup(OrgMembership),
}

impl EventPayload {
    /// The organization, where the data does not call it `organization_id`.
    pub(super) fn organization_id(&self) -> Option<&str> {
        match self {
            Self::OrganizationCreated(organization)
            | Self::OrganizationDeleted(organization)
            | Self::OrganizationUpdated(organization) => organization.id.as_deref(),
            Self::UserOrganizationInvitation(membership)
            | Self::UserOrganizationMembershipCreated(membership)
            | Self::UserOrganizationMembershipDeleted(membership)
            | Self::UserOrganizationMembershipUpdated(membership)
            | Self::UserSignup(membership) => membership.organization.id.as_deref(),
            Self::UserLogin(user) | Self::UserLogout(user) => {
                user.user_session.organization_id.as_deref()
            }
            _ => None,
        }
    }
}
