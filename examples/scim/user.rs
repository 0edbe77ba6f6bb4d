//! A user, from the two sources, and as shown by `/users`.

use serde::Serialize;
use time::OffsetDateTime;
use tower_scalekit::api::directories;
use tower_scalekit::webhook::{self, EventPayload, WebhookEvent};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct User {
    pub id: String,
    pub email: String,
    pub name: String,
    pub given_name: String,
    pub family_name: String,
    /// `None` if it is unknown.
    pub active: Option<bool>,
}

impl User {
    /// Keeps the values that a partial event does not contain.
    pub fn completed(mut self, before: Self) -> Self {
        let is_renamed = !self.given_name.is_empty() || !self.family_name.is_empty();
        for (field, before) in [
            (&mut self.email, before.email),
            (&mut self.given_name, before.given_name),
            (&mut self.family_name, before.family_name),
        ] {
            if field.is_empty() {
                *field = before;
            }
        }
        if self.name.is_empty() && !is_renamed {
            self.name = before.name;
        }
        self.named()
    }

    /// A user without a full name has one of its parts.
    fn named(mut self) -> Self {
        if self.name.is_empty() {
            let parts = format!("{} {}", self.given_name, self.family_name);
            parts.trim().clone_into(&mut self.name);
        }
        self
    }
}

/// From the listing, with details, which contain whether the user is active.
impl From<directories::DirectoryUser> for User {
    fn from(user: directories::DirectoryUser) -> Self {
        let name = user.user_detail.get("name").and_then(|name| name.as_str());
        Self {
            name: name.unwrap_or_default().to_owned(),
            active: user.active(),
            id: user.id,
            email: user.email.unwrap_or_default(),
            given_name: user.given_name.unwrap_or_default(),
            family_name: user.family_name.unwrap_or_default(),
        }
        .named()
    }
}

/// From an event, which may be partial.
impl From<&webhook::DirectoryUserData> for User {
    fn from(user: &webhook::DirectoryUserData) -> Self {
        Self {
            id: user.id.clone().unwrap_or_default(),
            email: user.email.clone().unwrap_or_default(),
            given_name: user.given_name.clone().unwrap_or_default(),
            family_name: user.family_name.clone().unwrap_or_default(),
            name: user.name.clone().unwrap_or_default(),
            active: user.active,
        }
    }
}

/// The content of an event about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub user: User,
    pub organization_id: String,
    pub happened_at: i64,
    pub deletes: bool,
}

impl Change {
    /// `None` for other events, and for events that identify no user.
    ///
    /// An event with a future time counts as current, so that it hides no later one.
    pub fn of(event: &WebhookEvent, now: OffsetDateTime) -> Option<Self> {
        let (user, deletes) = match event.payload() {
            EventPayload::DirectoryUserCreated(user) | EventPayload::DirectoryUserUpdated(user) => {
                (user, false)
            }
            EventPayload::DirectoryUserDeleted(user) => (user, true),
            _ => return None,
        };
        let user = User::from(&**user);
        let is_identified = !user.id.is_empty() || !user.email.is_empty();
        is_identified.then(|| Self {
            user,
            organization_id: event.organization_id().unwrap_or_default().to_owned(),
            happened_at: nanoseconds(event.occurred_at().map_or(now, |at| at.min(now))),
            deletes,
        })
    }
}

/// The format of times in SQLite, valid until the year 2262.
pub fn nanoseconds(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}
