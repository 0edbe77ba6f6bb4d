//! The users that addresses and other targets belong to, in the shared store. A directory names a
//! user by the address or by the ID at the identity provider, and an app by its own ID; a bearer
//! token may have the ID at the environment only.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::{join, try_join_all};

use super::lifetimes::MAX_LIFETIME;
use super::{Session, Sessions};
use crate::revocation::{RevocationTarget, TargetKey};
use crate::shared_store::{Change, KeyNamespace, StoreError, StoreKey};
use crate::util::telemetry;

/// How many users are kept for a target. A user with single sign-on has two keys.
const MAX_USERS: usize = 32;
/// How often an update is retried after a concurrent login with the same target.
const MAX_TRIES: usize = 16;
const CONTENDED: &str = "other logins keep changing the users of a name";

/// Begins a value, followed by the keys of users, the latest one last.
const VERSION: &str = "1 ";

impl Sessions {
    /// Records which user the targets of a session belong to. Longer than sessions last: a client
    /// may renew its bearer tokens without them.
    pub(super) async fn link_user(&self, session: &Session) {
        let Err(error) = self.try_link_user(session).await else { return };
        telemetry::internal_error("linked_user", &error);
        if matches!(error, StoreError::Full { .. }) {
            return;
        }
        let (sessions, session) = (self.clone(), session.clone());
        self.tasks().retry("user of a session", move || {
            let (sessions, session) = (sessions.clone(), session.clone());
            async move { sessions.try_link_user(&session).await.is_ok() }
        });
    }

    async fn try_link_user(&self, session: &Session) -> Result<(), StoreError> {
        let links = session.record().linked_users(session.principal());
        try_join_all(links.iter().map(|(target, users)| self.link_target(*target, users)))
            .await
            .map(drop)
    }

    async fn link_target(
        &self,
        target: TargetKey,
        users: &BTreeSet<TargetKey>,
    ) -> Result<(), StoreError> {
        let key = self.linked_users_key(target);
        let excess = self
            .store()
            .update(&key, MAX_LIFETIME, MAX_TRIES, |seen| {
                let mut all = decode(seen)?;
                all.retain(|user| !users.contains(user));
                all.extend(users);
                let excess = all.len().saturating_sub(MAX_USERS);
                Ok(Change::Set(encode(all.get(excess..).unwrap_or_default()), excess))
            })
            .await?
            .ok_or_else(|| StoreError::Unavailable(CONTENDED.into()))?;
        telemetry::directory_user_names_dropped(excess);
        Ok(())
    }

    /// Ends the sessions with these targets, and those of the users whom the targets belong to,
    /// with their bearer tokens. The former end in this process even if the store fails. Continues
    /// when the client disconnects. Returns the users.
    pub(super) async fn revoke_with_users(
        &self,
        targets: &[RevocationTarget<'_>],
    ) -> Result<Vec<RevocationTarget<'static>>, StoreError> {
        let linked = targets.iter().filter(|target| target.is_linked_to_users());
        let linked: Vec<TargetKey> = linked.map(|target| target.key()).collect();
        let sessions = self.clone();
        let users = self.tasks().spawn("revocation of users", async move {
            let users = sessions.linked_users(&linked).await?;
            sessions.revoke_all(&users, None).await.map(|()| users)
        });
        let (revoked, users) = join(self.revoke_all(targets, None), users).await;
        revoked.and(users.unwrap_or_else(|panic| Err(StoreError::Unavailable(panic.into()))))
    }

    /// Returns the users whom these targets belong to.
    async fn linked_users(
        &self,
        targets: &[TargetKey],
    ) -> Result<Vec<RevocationTarget<'static>>, StoreError> {
        let linked = try_join_all(targets.iter().map(async |target| {
            decode(self.store().get(&self.linked_users_key(*target)).await?.as_deref())
        }))
        .await?;
        let users: BTreeSet<TargetKey> = linked.into_iter().flatten().collect();
        Ok(users.into_iter().map(RevocationTarget::Recorded).collect())
    }

    fn linked_users_key(&self, target: TargetKey) -> StoreKey {
        self.store_key(KeyNamespace::SessionMarker, &format!("users of {}", target.text()))
    }
}

fn encode(users: &[TargetKey]) -> Bytes {
    let users = users.iter().map(TargetKey::text);
    [VERSION, &users.collect::<Vec<_>>().join(" ")].concat().into()
}

fn decode(value: Option<&[u8]>) -> Result<Vec<TargetKey>, StoreError> {
    let Some(value) = value else { return Ok(Vec::new()) };
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| {
            text.strip_prefix(VERSION)?.split_ascii_whitespace().map(TargetKey::from_text).collect()
        })
        .ok_or_else(StoreError::unknown_format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_format_is_neither_read_nor_replaced() {
        let users: Vec<TargetKey> =
            ["usr_1", "usr_2"].map(|id| RevocationTarget::User(id).key()).into();
        assert_eq!(decode(Some(&encode(&users))).unwrap(), users);
        assert_eq!(decode(Some(&encode(&[]))).unwrap(), []);
        assert_eq!(decode(None).unwrap(), []);
        let newer = String::from_utf8(encode(&users).to_vec()).unwrap().replacen('1', "2", 1);
        for value in [newer.as_str(), "", "1 x"] {
            assert!(decode(Some(value.as_bytes())).is_err(), "{value}");
        }
    }
}
