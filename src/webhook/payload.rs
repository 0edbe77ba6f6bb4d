use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::connected_account::ConnectedAccountData;
use super::connection::ConnectionData;
use super::directory::DirectoryData;
use super::directory_group::DirectoryGroupData;
use super::directory_user::DirectoryUserData;
use super::domain::OrganizationDomain;
use super::membership::OrganizationMembership;
use super::organization::OrganizationData;
use super::role::{PermissionData, RoleData};
use super::user::UserWithSession;
use crate::model::lenient;

macro_rules! payloads {
    ($($(#[$doc:meta])* $type:literal => $variant:ident($object:ident),)+) => {
        /// Payload of an event.
        ///
        /// One variant for each documented event type, with the type's name. Serializes to the
        /// event's `data`.
        #[derive(Clone, PartialEq, Serialize)]
        #[serde(untagged)]
        #[non_exhaustive]
        pub enum EventPayload {
            $(
                #[doc = concat!("`", $type, "`: ")]
                $(#[$doc])*
                $variant(Box<$object>),
            )+
            /// Any other event, with its data as JSON.
            Unknown(Map<String, Value>),
        }

        // Manual impl: omits personal data and the secret of a domain.
        impl fmt::Debug for EventPayload {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant(_) => concat!(stringify!($variant), "(..)"),)+
                    Self::Unknown(_) => "Unknown(..)",
                })
            }
        }

        impl EventPayload {
            /// Never fails: malformed fields read as absent.
            pub(super) fn read(event_type: &str, data: Map<String, Value>) -> Self {
                match event_type {
                    $($type => Self::$variant(lenient::read(Value::Object(data))),)+
                    _ => Self::Unknown(data),
                }
            }

            #[cfg(test)]
            pub(super) const TYPES: &[&str] = &[$($type),+];
        }
    };
}

payloads! {
    /// the user of an account has to authorize it.
    "connected_account.created" => ConnectedAccountCreated(ConnectedAccountData),
    /// an account was disconnected.
    "connected_account.deleted" => ConnectedAccountDeleted(ConnectedAccountData),
    /// an authorization link was created.
    "connected_account.magic_link_generated" => ConnectedAccountMagicLinkGenerated(ConnectedAccountData),
    /// an account was connected.
    "connected_account.oauth_succeeded" => ConnectedAccountOauthSucceeded(ConnectedAccountData),
    /// tokens of an account were fetched.
    "connected_account.oauth_tokens_fetched" => ConnectedAccountOauthTokensFetched(ConnectedAccountData),
    /// the status of an account changed, see [`ConnectedAccountData::old_status`].
    "connected_account.status_updated" => ConnectedAccountStatusUpdated(ConnectedAccountData),
    /// the tokens of an account could not be refreshed.
    "connected_account.token_refresh_failed" => ConnectedAccountTokenRefreshFailed(ConnectedAccountData),
    /// the tokens of an account were refreshed.
    "connected_account.token_refresh_succeeded" =>
        ConnectedAccountTokenRefreshSucceeded(ConnectedAccountData),
    /// an account was changed.
    "connected_account.updated" => ConnectedAccountUpdated(ConnectedAccountData),
    /// a group was added to a directory.
    "organization.directory.group_created" => DirectoryGroupCreated(DirectoryGroupData),
    /// a group was removed from a directory.
    "organization.directory.group_deleted" => DirectoryGroupDeleted(DirectoryGroupData),
    /// a group of a directory was changed.
    "organization.directory.group_updated" => DirectoryGroupUpdated(DirectoryGroupData),
    /// a user was added to a directory.
    "organization.directory.user_created" => DirectoryUserCreated(DirectoryUserData),
    /// a user was removed from a directory. Contains only IDs and e-mail address.
    "organization.directory.user_deleted" => DirectoryUserDeleted(DirectoryUserData),
    /// a user of a directory was changed. Most providers end a user's access by setting
    /// [`active`](DirectoryUserData::active) to false.
    "organization.directory.user_updated" => DirectoryUserUpdated(DirectoryUserData),
    /// synchronization of a directory was disabled.
    "organization.directory_disabled" => DirectoryDisabled(DirectoryData),
    /// synchronization of a directory was enabled.
    "organization.directory_enabled" => DirectoryEnabled(DirectoryData),
    /// an organization was created.
    "organization.created" => OrganizationCreated(OrganizationData),
    /// an organization was deleted.
    "organization.deleted" => OrganizationDeleted(OrganizationData),
    /// an organization was changed.
    "organization.updated" => OrganizationUpdated(OrganizationData),
    /// a domain was added to an organization.
    "organization.domain_created" => OrganizationDomainCreated(OrganizationDomain),
    /// a domain was removed from an organization.
    "organization.domain_deleted" => OrganizationDomainDeleted(OrganizationDomain),
    /// the DNS verification of a domain failed.
    "organization.domain_dns_verification_failed" =>
        OrganizationDomainDnsVerificationFailed(OrganizationDomain),
    /// the DNS verification of a domain succeeded.
    "organization.domain_dns_verification_success" =>
        OrganizationDomainDnsVerificationSuccess(OrganizationDomain),
    /// a permission was created.
    "permission.created" => PermissionCreated(PermissionData),
    /// a permission was deleted.
    "permission.deleted" => PermissionDeleted(PermissionData),
    /// a permission was changed.
    "permission.updated" => PermissionUpdated(PermissionData),
    /// a role was created.
    "role.created" => RoleCreated(RoleData),
    /// a role was deleted.
    "role.deleted" => RoleDeleted(RoleData),
    /// a role was changed.
    "role.updated" => RoleUpdated(RoleData),
    /// a connection of an organization was created.
    "organization.sso_created" => SsoCreated(ConnectionData),
    /// a connection of an organization was deleted.
    "organization.sso_deleted" => SsoDeleted(ConnectionData),
    /// a connection of an organization was disabled.
    "organization.sso_disabled" => SsoDisabled(ConnectionData),
    /// a connection of an organization was enabled.
    "organization.sso_enabled" => SsoEnabled(ConnectionData),
    /// a user logged in.
    "user.login" => UserLogin(UserWithSession),
    /// a user logged out.
    "user.logout" => UserLogout(UserWithSession),
    /// a user was invited to an organization.
    "user.organization_invitation" => UserOrganizationInvitation(OrganizationMembership),
    /// a user became a member of an organization.
    "user.organization_membership_created" => UserOrganizationMembershipCreated(OrganizationMembership),
    /// a user left an organization.
    "user.organization_membership_deleted" => UserOrganizationMembershipDeleted(OrganizationMembership),
    /// a membership was changed.
    "user.organization_membership_updated" => UserOrganizationMembershipUpdated(OrganizationMembership),
    /// a user signed up.
    "user.signup" => UserSignup(OrganizationMembership),
}

impl EventPayload {
    /// The account, if the event is about a connected one.
    #[must_use]
    pub fn connected_account(&self) -> Option<&ConnectedAccountData> {
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

    /// The organization, if the data does not name it `organization_id`.
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
