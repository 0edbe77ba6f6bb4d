use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::payload::EventPayload;
use crate::model::lenient;
use crate::util::json::{self, parse_event};

/// Something that has happened in the environment. Cheap to clone.
///
/// In a handler behind `WebhookVerify` it is an extractor.
#[derive(Clone, PartialEq)]
pub struct WebhookEvent(Arc<Event>);

#[derive(PartialEq)]
struct Event {
    id: String,
    event_type: String,
    occurred_at: Option<OffsetDateTime>,
    environment_id: Option<String>,
    organization_id: Option<String>,
    spec_version: Option<String>,
    display_name: Option<String>,
    payload: EventPayload,
    raw: Map<String, Value>,
    is_complete: bool,
}

impl WebhookEvent {
    /// Reads the body of a delivery, in the envelope of today or in that of the older guides, whose
    /// time is called `timestamp`. It says nothing about who sent it: verify the signature first.
    ///
    /// Only `id`, `type` and `data` are required. A field that does not fit reads as absent.
    ///
    /// Parsing takes time and memory proportional to the body. Only the envelope and the members of
    /// `data` can make it fail. Some values deeper inside are left out, and
    /// [`is_complete`](Self::is_complete) is false then:
    ///
    /// - more than 64 Ki values in arrays and below the members of the data's objects;
    /// - values that are nested more than 100 levels deep;
    /// - members whose name begins with `$serde_json::private::`;
    /// - all values in arrays and deep inside, if one of them is a number or an escape that Rust cannot
    ///   represent.
    ///
    /// # Errors
    /// Returned when the body is no JSON object, when it lacks one of the three members, or when the
    /// envelope or `data` has a member twice.
    pub fn parse(body: &[u8]) -> Result<Self, EventError> {
        let json::Event { members: raw, is_complete } =
            parse_event(body).map_err(|_| EventError::Malformed)?;
        let text = |name: &str| raw.get(name).and_then(lenient::text_of);
        let id = text("id").ok_or(EventError::Missing("id"))?;
        let event_type = text("type").ok_or(EventError::Missing("type"))?;
        let data = raw.get("data").filter(|data| data.is_object());
        let data = data.ok_or(EventError::Missing("data"))?;

        let time = |name: &str| raw.get(name).and_then(lenient::timestamp_of);
        let payload = EventPayload::read(&event_type, data);
        let organization_id = text("organization_id")
            .or_else(|| data.get("organization_id").and_then(lenient::text_of))
            .or_else(|| payload.organization_id().map(str::to_owned));
        Ok(Self(Arc::new(Event {
            id,
            event_type,
            occurred_at: time("occurred_at").or_else(|| time("timestamp")),
            environment_id: text("environment_id"),
            organization_id,
            spec_version: text("spec_version"),
            display_name: text("display_name"),
            payload,
            raw,
            is_complete,
        })))
    }

    /// `evt_…`. An event that is delivered again keeps it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// What kind of thing has happened, for instance `organization.directory.user_created`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// When it happened. Events may arrive in another order.
    #[must_use]
    pub fn occurred_at(&self) -> Option<OffsetDateTime> {
        self.0.occurred_at
    }

    /// The environment it happened in (`env_…`).
    #[must_use]
    pub fn environment_id(&self) -> Option<&str> {
        self.0.environment_id.as_deref()
    }

    /// The organization it is about (`org_…`): that of the envelope, else that of the data. Roles,
    /// permissions and connected accounts mostly have none.
    #[must_use]
    pub fn organization_id(&self) -> Option<&str> {
        self.0.organization_id.as_deref()
    }

    /// The version of the envelope, for instance `1`.
    #[must_use]
    pub fn spec_version(&self) -> Option<&str> {
        self.0.spec_version.as_deref()
    }

    /// A name of the event for people, for instance `Directory User Created`.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        self.0.display_name.as_deref()
    }

    /// What has happened, to be matched on.
    #[must_use]
    pub fn payload(&self) -> &EventPayload {
        &self.0.payload
    }

    /// The whole event, with all that has no name here, if it [is complete](Self::is_complete).
    #[must_use]
    pub fn raw(&self) -> &Map<String, Value> {
        &self.0.raw
    }

    /// Whether [`raw`](Self::raw) and [`payload`](Self::payload) have all values of the body.
    /// [`parse`](Self::parse) lists those that are left out. The bytes of the request always have
    /// them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.is_complete
    }
}

// By hand: payloads hold what is known about people, and the raw one also a domain's secret.
impl fmt::Debug for WebhookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEvent")
            .field("id", &self.0.id)
            .field("event_type", &self.0.event_type)
            .field("occurred_at", &self.0.occurred_at)
            .field("organization_id", &self.0.organization_id)
            .finish_non_exhaustive()
    }
}

/// The body of a delivery is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It is no JSON object, or has a member twice: of an event, on the top level or in `data`.
    #[error("the body is not a JSON object whose members are named once")]
    Malformed,
    /// It lacks a member, or that is of another kind.
    #[error("the body has no {0}")]
    Missing(&'static str),
}
