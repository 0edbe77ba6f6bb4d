//! The targets of directory users, in the shared store. An event has the user's current address
//! only, while a session has the one of its login.

use bytes::Bytes;
use time::OffsetDateTime;

use super::Sessions;
use super::lifetimes::MAX_LIFETIME;
use crate::revocation::{RevocationTarget, TargetKey};
use crate::shared_store::{Change, KeyNamespace, StoreError};
use crate::util::telemetry;
use crate::webhook::{EventPayload, WebhookEvent};

/// How many targets of a user are kept: sixteen addresses, each with two targets.
const MAX_TARGETS: usize = 32;
/// How often an update is retried after a concurrent change by another event of the user.
const MAX_TRIES: usize = 16;
const CONTENDED: &str = "other events keep changing this directory user";

/// An event about a directory user.
pub(super) struct DirectoryEvent<'a> {
    pub(super) event: &'a WebhookEvent,
    pub(super) organization: &'a str,
    pub(super) user_id: &'a str,
    /// The targets of the user's sessions, as far as the event has them.
    pub(super) targets: &'a [RevocationTarget<'a>],
    /// Whether the user may log in, if the event says so.
    pub(super) is_active: Option<bool>,
}

/// What the events about a directory user contained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownUser {
    /// The targets of the user's sessions, those of the latest event last.
    pub(super) targets: Vec<TargetKey>,
    /// Whether the user was deleted or deactivated, by the latest event that says so. An event that
    /// occurred earlier and arrives later still has targets of sessions that must end.
    pub(super) has_ended: bool,
    /// When that event occurred, in microseconds. Zero if there was none.
    decided_at: i64,
}

impl KnownUser {
    const VERSION: u8 = 1;

    /// Adds what the event contains. Returns the targets that are dropped. An event from the future
    /// counts as current, so that it hides no later one.
    fn add(&mut self, event: &DirectoryEvent<'_>, now: OffsetDateTime) -> Vec<TargetKey> {
        for target in event.targets.iter().map(|target| target.key()) {
            self.targets.retain(|known| *known != target);
            self.targets.push(target);
        }
        let at = event.event.occurred_at().map_or(now, |at| at.min(now));
        let at = i64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX);
        if let Some(is_active) = event.is_active.filter(|_| at >= self.decided_at) {
            (self.has_ended, self.decided_at) = (!is_active, at);
        }
        let excess = self.targets.len().saturating_sub(MAX_TARGETS);
        if self.has_ended || event.is_active == Some(false) {
            // The sessions of all targets are about to end. If that fails, the event arrives again,
            // with the latest targets.
            return self.targets.split_off(self.targets.len() - excess);
        }
        self.targets.drain(..excess).collect()
    }

    /// `version ‖ whether the user has ended ‖ since when ‖ targets`
    fn encode(&self) -> Bytes {
        [&[Self::VERSION, self.has_ended.into()][..], &self.decided_at.to_be_bytes()]
            .concat()
            .into_iter()
            .chain(self.targets.iter().flat_map(|TargetKey(target)| *target))
            .collect()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let ([Self::VERSION, has_ended], rest) = value.split_first_chunk()? else { return None };
        let (decided_at, targets) = rest.split_first_chunk()?;
        let (targets, []) = targets.as_chunks() else { return None };
        Some(Self {
            targets: targets.iter().copied().map(TargetKey).collect(),
            has_ended: *has_ended != 0,
            decided_at: i64::from_be_bytes(*decided_at),
        })
    }
}

impl Sessions {
    /// Records what an event contains about a directory user, and returns all that is known.
    pub(super) async fn record_directory_user(
        &self,
        event: &DirectoryEvent<'_>,
    ) -> Result<KnownUser, StoreError> {
        let id = TargetKey::of("directory user", &[event.organization, event.user_id]).text();
        let key = self.store_key(KeyNamespace::DirectoryUser, &id);
        let now = self.now();
        let (mut user, mut dropped, mut is_first) = (KnownUser::default(), Vec::new(), true);
        let recorded = self
            .store()
            .update(&key, MAX_LIFETIME, MAX_TRIES, |seen| {
                // Replacing that of a newer version would lose its targets.
                let known = seen
                    .map(|value| KnownUser::decode(value).ok_or_else(StoreError::unknown_format))
                    .transpose()?;
                is_first = known.is_none();
                user = known.unwrap_or_default();
                dropped = user.add(event, now);
                Ok(Change::Set(user.encode(), ()))
            })
            .await;
        match recorded {
            Ok(Some(())) => telemetry::directory_user_names_dropped(dropped.len()),
            Ok(None) => return Err(StoreError::Unavailable(CONTENDED.into())),
            // If the store is full, this event still ends sessions with all known targets. One that
            // ends none must arrive again.
            Err(error @ StoreError::Full { .. })
                if user.has_ended || event.is_active == Some(false) =>
            {
                telemetry::internal_error("directory_user", &error);
            }
            Err(error) => return Err(error),
        }
        if is_first && !matches!(event.event.payload(), EventPayload::DirectoryUserCreated(_)) {
            telemetry::directory_user_without_history(event.event.event_type());
        }
        if user.has_ended || event.is_active == Some(false) {
            user.targets.extend(dropped);
        }
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
    }

    /// Adds an event with this address that occurred then.
    fn add(user: &mut KnownUser, email: &str, ends: bool, seconds: i64) -> Vec<TargetKey> {
        let occurred_at = at(seconds).format(&time::format_description::well_known::Rfc3339);
        let event = json!({
            "id": "evt_1",
            "type": "organization.directory.user_updated",
            "occurred_at": occurred_at.unwrap(),
            "data": {},
        });
        let event = WebhookEvent::parse(event.to_string().as_bytes()).unwrap();
        let targets = [RevocationTarget::OrganizationEmail("org_1", email)];
        let event = DirectoryEvent {
            event: &event,
            organization: "org_1",
            user_id: "diruser_1",
            targets: &targets,
            is_active: Some(!ends),
        };
        user.add(&event, at(1000))
    }

    #[test]
    fn a_record_is_what_was_encoded() {
        let mut user = KnownUser::default();
        assert_eq!(KnownUser::decode(&user.encode()), Some(user.clone()));
        add(&mut user, "maiden@acme.test", false, 1);
        assert_eq!(KnownUser::decode(&user.encode()), Some(user.clone()));
        add(&mut user, "married@acme.test", true, 2);
        let encoded = user.encode();
        assert_eq!(encoded.len(), 2 + 8 + 2 * 16);
        assert_eq!(KnownUser::decode(&encoded), Some(user));
        assert_eq!(KnownUser::decode(&encoded[..encoded.len() - 1]), None);
        let other_version = [&[2], &encoded[1..]].concat();
        assert_eq!(KnownUser::decode(&other_version), None);
        assert_eq!(KnownUser::decode(b""), None);
    }

    #[test]
    fn the_latest_names_are_kept_once_each() {
        let mut user = KnownUser::default();
        for number in 0..MAX_TARGETS {
            assert_eq!(add(&mut user, &format!("{number}@acme.test"), false, 1), []);
        }
        let key = |email: &str| RevocationTarget::OrganizationEmail("org_1", email).key();
        // The oldest one becomes the latest.
        assert_eq!(add(&mut user, "0@acme.test", false, 1), []);
        assert_eq!(add(&mut user, "new@acme.test", false, 1), [key("1@acme.test")]);
        assert_eq!(user.targets.len(), MAX_TARGETS);
        assert!(user.targets.contains(&key("0@acme.test")));
        assert_eq!(user.targets.last(), Some(&key("new@acme.test")));

        // While the user has ended, the earlier ones are kept.
        assert_eq!(add(&mut user, "end@acme.test", true, 2), [key("end@acme.test")]);
        assert_eq!(add(&mut user, "late@acme.test", false, 1), [key("late@acme.test")]);
        assert_eq!(user.targets.first(), Some(&key("2@acme.test")));
        assert_eq!(add(&mut user, "back@acme.test", false, 3), [key("2@acme.test")]);
        // Also if the end arrives late.
        assert_eq!(add(&mut user, "early@acme.test", true, 2), [key("early@acme.test")]);
    }

    #[test]
    fn an_earlier_end_does_not_end_a_user_who_is_active_again() {
        let mut user = KnownUser::default();
        add(&mut user, "a@acme.test", false, 10);
        add(&mut user, "a@acme.test", true, 9);
        assert!(!user.has_ended);
        let mut user = KnownUser::decode(&user.encode()).unwrap();
        add(&mut user, "a@acme.test", true, 8);
        assert!(!user.has_ended);
        add(&mut user, "a@acme.test", true, 11);
        assert!(user.has_ended);
    }

    #[test]
    fn an_earlier_event_does_not_bring_a_user_back() {
        let mut user = KnownUser::default();
        add(&mut user, "a@acme.test", true, 10);
        add(&mut user, "a@acme.test", false, 9);
        assert!(user.has_ended);
        // An earlier end does not replace a later one.
        add(&mut user, "a@acme.test", true, 5);
        add(&mut user, "a@acme.test", false, 7);
        assert!(user.has_ended);
        add(&mut user, "a@acme.test", false, 10);
        assert!(!user.has_ended, "at the same time, the order of arrival decides");
        // From the future: it counts as current.
        add(&mut user, "a@acme.test", true, 5000);
        add(&mut user, "a@acme.test", false, 999);
        assert!(user.has_ended);
        add(&mut user, "a@acme.test", false, 1000);
        assert!(!user.has_ended);
    }
}
