//! The targets by which the session of a record can be revoked, and those of its user.

use std::collections::{BTreeMap, BTreeSet};

use super::SessionRecord;
use crate::revocation::{RevocableSession, RevocationTarget, TargetKey};
use crate::session::User;
use crate::token::{Claims, ORGANIZATION_CLAIMS, Principal};

impl SessionRecord {
    /// Returns the targets by which the session of this principal can be revoked.
    pub(in crate::session) fn revocable(&self, principal: &Principal) -> RevocableSession {
        let (id_token_claims, user) = (self.id_token_claims(), self.user());
        let (subject, login_subject) = (principal.subject(), self.body.login_subject.as_deref());
        let organization = self.organization(principal, &id_token_claims);
        let targets = [
            Some(RevocationTarget::Record(self.id())),
            Some(RevocationTarget::User(subject)),
            login_subject.map(RevocationTarget::User),
            // Logouts refer to the session by the `sid` of the ID token.
            principal
                .session_id()
                .or_else(|| id_token_claims.text_or_none("sid"))
                .map(RevocationTarget::EnvironmentSession),
            organization.map(RevocationTarget::Organization),
            Some(RevocationTarget::user_in(organization, subject)),
            login_subject.map(|user| RevocationTarget::user_in(organization, user)),
            login_subject.and_then(|user| idp_target(organization, user)),
            idp_target(organization, subject),
            email_target(organization, &user),
        ];
        RevocableSession::new(
            targets.into_iter().flatten(),
            self.body.position,
            self.body.issued_at,
        )
    }

    /// Returns the other targets of the user, by their keys, each with the keys by which bearer
    /// tokens of the user can be revoked. A directory's targets lead only to tokens in its
    /// organization, and to tokens without one of a login by that organization's identity provider.
    pub(in crate::session) fn linked_users(
        &self,
        principal: &Principal,
    ) -> BTreeMap<TargetKey, BTreeSet<TargetKey>> {
        let (id_token_claims, user) = (self.id_token_claims(), self.user());
        let login_subject = self.login_subject().unwrap_or(principal.subject());
        let own_id = Some(RevocationTarget::User(principal.subject()))
            .filter(|_| principal.subject() != login_subject);
        let organization = self.organization(principal, &id_token_claims);
        let login_user = User::from_claims(&id_token_claims);
        let login_organization = organization_of(&id_token_claims);
        let of_session =
            (organization, login_subject, email_target(organization, &user), !self.is_local());
        // The app may have set another organization than that of the login.
        let of_login = self.body.profile.as_ref().map(|_| {
            let email = email_target(login_organization, &login_user);
            (login_organization, &*login_user.id, email, true)
        });

        let mut links = BTreeMap::<TargetKey, BTreeSet<TargetKey>>::new();
        for (organization, user, email, is_of_login) in
            [Some(of_session), of_login].into_iter().flatten()
        {
            let at_idp = idp_target(organization, user);
            let users = [
                Some(RevocationTarget::user_in(organization, user)),
                at_idp
                    .filter(|_| is_of_login)
                    .map(|_| RevocationTarget::UserInNoOrganization(user)),
            ];
            for target in [own_id, email, at_idp].into_iter().flatten() {
                let users = users.iter().flatten().map(|user| user.key());
                links.entry(target.key()).or_default().extend(users);
            }
        }
        links
    }

    /// Returns the organization of the session. With modular single sign-on, only the ID token names
    /// it.
    fn organization<'a>(
        &self,
        principal: &'a Principal,
        id_token_claims: &'a Claims,
    ) -> Option<&'a str> {
        principal
            .organization_id()
            .or_else(|| organization_of(id_token_claims).filter(|_| !self.is_local()))
    }
}

fn organization_of(id_token_claims: &Claims) -> Option<&str> {
    ORGANIZATION_CLAIMS.into_iter().find_map(|name| id_token_claims.text_or_none(name))
}

/// Returns the target by which sessions with a user's e-mail address can be revoked.
fn email_target<'a>(organization: Option<&'a str>, user: &'a User) -> Option<RevocationTarget<'a>> {
    (!user.email.is_empty()).then(|| RevocationTarget::email_in(organization, &user.email))
}

/// Returns the target with the ID at the identity provider, in the subject of a modular single
/// sign-on: `conn_…;ID`.
fn idp_target<'a>(organization: Option<&'a str>, subject: &'a str) -> Option<RevocationTarget<'a>> {
    let (_, id) = subject.strip_prefix("conn_")?.split_once(';')?;
    organization
        .filter(|_| !id.is_empty())
        .map(|organization| RevocationTarget::OrganizationIdpUser(organization, id))
}
