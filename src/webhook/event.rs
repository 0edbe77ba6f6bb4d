use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::payload::EventPayload;
use crate::model::lenient::{self, member_text};
use crate::model::wire;
use crate::util::json::{self, parse_event};

/// An event of the environment. Cheap to clone.
///
/// An extractor for handlers behind `WebhookVerify`.
///
/// Serializes in the current form of the envelope, with the members that have an accessor here and
/// the fields of the [payload](EventPayload), without a domain's secret. [`raw`](Self::raw) has the
/// other members.
#[derive(Clone)]
pub struct WebhookEvent {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    event_type: String,
    occurred_at: Option<OffsetDateTime>,
    environment_id: Option<String>,
    organization_id: Option<String>,
    spec_version: Option<String>,
    display_name: Option<String>,
    payload: EventPayload,
    body: Bytes,
    /// Parsed when it is read first.
    raw: OnceLock<Map<String, Value>>,
    is_complete: bool,
}

impl WebhookEvent {
    /// Parses the body of a delivery, with the current envelope or with that of older guides, whose
    /// time is called `timestamp`. Parsing does not authenticate the sender: verify the signature
    /// first.
    ///
    /// Only `id`, `type` and `data` are required. A malformed field reads as absent.
    ///
    /// Parsing takes time and memory proportional to the body: about a millisecond for the largest one
    /// that is read by default, and up to three for a megabyte of values in arrays. The extractor of
    /// axum handlers parses more than 256 KiB on a thread for blocking work. Only the envelope
    /// and the members of `data` can make it fail. Some deeper values are omitted, and
    /// [`is_complete`](Self::is_complete) returns false then:
    ///
    /// - more than 24 Ki values in arrays and below the members of the data's objects;
    /// - values that are nested more than 100 levels deep;
    /// - members whose name begins with `$serde_json::private::`;
    /// - all values in arrays and deep inside, if one of them is a number or an escape that Rust cannot
    ///   represent.
    ///
    /// # Errors
    /// Returned when the body is not a JSON object, when it lacks one of the three members, or when
    /// the envelope or `data` has a duplicate member.
    pub fn parse(body: &[u8]) -> Result<Self, EventError> {
        Self::parse_bytes(Bytes::copy_from_slice(body))
    }

    pub(crate) fn parse_bytes(body: Bytes) -> Result<Self, EventError> {
        let json::Event { members: mut envelope, is_complete } =
            parse_event(&body).map_err(|_| EventError::Malformed)?;
        let id = member_text(&envelope, "id").ok_or(EventError::Missing("id"))?;
        let event_type = member_text(&envelope, "type").ok_or(EventError::Missing("type"))?;
        let Some(Value::Object(data)) = envelope.remove("data") else {
            return Err(EventError::Missing("data"));
        };
        let organization_id = member_text(&envelope, "organization_id")
            .or_else(|| member_text(&data, "organization_id"));
        let payload = EventPayload::read(&event_type, data);
        let inner = Inner {
            id,
            event_type,
            occurred_at: ["occurred_at", "timestamp"]
                .into_iter()
                .find_map(|name| lenient::timestamp_of(envelope.get(name)?)),
            environment_id: member_text(&envelope, "environment_id"),
            organization_id: organization_id
                .or_else(|| payload.organization_id().map(str::to_owned)),
            spec_version: member_text(&envelope, "spec_version"),
            display_name: member_text(&envelope, "display_name"),
            payload,
            body,
            raw: OnceLock::new(),
            is_complete,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// `evt_…`. The same for each delivery of the event.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The event type, for instance `organization.directory.user_created`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.inner.event_type
    }

    /// Time of the event. Events may arrive in another order.
    #[must_use]
    pub fn occurred_at(&self) -> Option<OffsetDateTime> {
        self.inner.occurred_at
    }

    /// The environment (`env_…`).
    #[must_use]
    pub fn environment_id(&self) -> Option<&str> {
        self.inner.environment_id.as_deref()
    }

    /// The organization (`org_…`) of the envelope, else that of the data. Roles, permissions and
    /// connected accounts usually have none.
    #[must_use]
    pub fn organization_id(&self) -> Option<&str> {
        self.inner.organization_id.as_deref()
    }

    /// The version of the envelope, for instance `1`.
    #[must_use]
    pub fn spec_version(&self) -> Option<&str> {
        self.inner.spec_version.as_deref()
    }

    /// Display name of the event, for instance `Directory User Created`.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        self.inner.display_name.as_deref()
    }

    /// The typed payload.
    #[must_use]
    pub fn payload(&self) -> &EventPayload {
        &self.inner.payload
    }

    /// The whole event, including all unknown members, if it [is complete](Self::is_complete). The
    /// first call parses it.
    #[must_use]
    pub fn raw(&self) -> &Map<String, Value> {
        let Inner { body, raw, .. } = &*self.inner;
        // It was parsed before, without an error.
        raw.get_or_init(|| parse_event(body).map(|event| event.members).unwrap_or_default())
    }

    /// Whether [`raw`](Self::raw) and [`payload`](Self::payload) have all values of the body.
    /// [`parse`](Self::parse) lists those that are omitted. The request's bytes always have them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.inner.is_complete
    }
}

impl PartialEq for WebhookEvent {
    fn eq(&self, other: &Self) -> bool {
        self.raw() == other.raw() && self.is_complete() == other.is_complete()
    }
}

impl Serialize for WebhookEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Envelope<'e> {
            spec_version: Option<&'e str>,
            id: &'e str,
            #[serde(rename = "type")]
            event_type: &'e str,
            #[serde(serialize_with = "wire::timestamp::serialize")]
            occurred_at: Option<OffsetDateTime>,
            environment_id: Option<&'e str>,
            organization_id: Option<&'e str>,
            data: &'e EventPayload,
            display_name: Option<&'e str>,
        }
        Envelope {
            spec_version: self.spec_version(),
            id: self.id(),
            event_type: self.event_type(),
            occurred_at: self.occurred_at(),
            environment_id: self.environment_id(),
            organization_id: self.organization_id(),
            data: self.payload(),
            display_name: self.display_name(),
        }
        .serialize(serializer)
    }
}

// Manual impl: payloads contain personal data, and the raw one also a domain's secret.
impl fmt::Debug for WebhookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEvent")
            .field("id", &self.inner.id)
            .field("event_type", &self.inner.event_type)
            .field("occurred_at", &self.inner.occurred_at)
            .field("organization_id", &self.inner.organization_id)
            .finish_non_exhaustive()
    }
}

/// Returned when the body of a delivery is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It is not a JSON object, or the top level or `data` has a duplicate member.
    #[error("the body is not a JSON object with unique members")]
    Malformed,
    /// A required member is missing or has the wrong type.
    #[error("the body has no {0}")]
    Missing(&'static str),
}
