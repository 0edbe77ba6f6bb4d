//! Webhook messages, when they are due, and the result of each attempt.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::task::AbortHandle;

use crate::http_client::{HttpClient, SendLimits};
use crate::sandbox::state::ids::new_id;
use crate::sandbox::state::webhook_endpoint::EndpointData;
use crate::sandbox::state::webhook_envelope::envelope;

/// The delivery of a message to one endpoint.
#[derive(Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// `msg_…`, the `webhook-id` of all attempts.
    pub message_id: String,
    /// For instance `organization.directory.user_created`.
    pub event_type: String,
    /// The endpoint.
    pub endpoint_id: String,
    /// The body, exactly as it is signed and sent.
    pub body: Bytes,
    /// All attempts so far, oldest first.
    pub attempts: Vec<DeliveryAttempt>,
    /// The status.
    pub state: DeliveryState,
}

// Manual impl: the body may be confidential.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message_id", &self.message_id)
            .field("event_type", &self.event_type)
            .field("endpoint_id", &self.endpoint_id)
            .field("attempts", &self.attempts)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// One request to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryAttempt {
    /// Its time, by the sandbox's clock: the `webhook-timestamp`, in seconds.
    pub at: OffsetDateTime,
    /// The status of the response, if any.
    pub status: Option<StatusCode>,
    /// Why there was no response.
    pub error: Option<String>,
}

/// Status of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryState {
    /// An attempt got 2xx.
    Delivered,
    /// Six attempts failed.
    Failed,
    /// Another attempt follows.
    Pending {
        /// Its earliest time, by the sandbox's clock.
        due: OffsetDateTime,
    },
}

/// The delays after failed attempts.
const PAUSES: [Duration; 5] = [
    Duration::seconds(5),
    Duration::seconds(30),
    Duration::minutes(2),
    Duration::minutes(5),
    Duration::minutes(15),
];

/// Timeout of an attempt.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Number of finished deliveries that are retained.
const HISTORY: usize = 10_000;

#[derive(Default)]
pub(crate) struct Webhooks {
    pub(crate) client: Option<Arc<dyn HttpClient>>,
    pub(crate) endpoints: Vec<EndpointData>,
    pub(crate) background: Option<AbortHandle>,
    /// By number, in the order of events.
    messages: BTreeMap<u64, Message>,
    finished: usize,
    next_number: u64,
}

/// A message to one endpoint.
#[derive(Debug)]
struct Message {
    delivery: Delivery,
    /// Attempts since the last redelivery.
    tried: usize,
    /// Number of redeliveries: an attempt from before the last one is ignored.
    round: u64,
}

/// A due attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    number: u64,
    round: u64,
    at: OffsetDateTime,
}

impl Webhooks {
    pub(crate) fn add_endpoint(&mut self, url: &str) -> String {
        let endpoint = EndpointData::new(url);
        let id = endpoint.id.clone();
        self.endpoints.push(endpoint);
        id
    }

    pub(crate) fn endpoint_mut(&mut self, id: &str) -> Option<&mut EndpointData> {
        self.endpoints.iter_mut().find(|endpoint| endpoint.id == id)
    }

    pub(crate) fn remove_endpoint(&mut self, id: &str) {
        self.endpoints.retain(|endpoint| endpoint.id != id);
        self.messages.retain(|_, message| message.is_finished() || message.endpoint_id() != id);
    }

    /// Adds a message for each endpoint, all with the same ID.
    pub(crate) fn emit(&mut self, event_type: &str, data: Value, now: OffsetDateTime) -> String {
        let message_id = new_id("msg");
        if self.endpoints.is_empty() {
            return message_id;
        }
        let body = Bytes::from(envelope(event_type, data, now).to_string());
        for endpoint in &self.endpoints {
            let delivery = Delivery {
                message_id: message_id.clone(),
                event_type: event_type.to_owned(),
                endpoint_id: endpoint.id.clone(),
                body: body.clone(),
                attempts: Vec::new(),
                state: DeliveryState::Pending { due: now },
            };
            self.messages.insert(self.next_number, Message { delivery, tried: 0, round: 0 });
            self.next_number += 1;
        }
        message_id
    }

    pub(crate) fn deliveries(&self) -> impl DoubleEndedIterator<Item = &Delivery> {
        self.messages.values().map(|message| &message.delivery)
    }

    pub(crate) fn redeliver(&mut self, message_id: &str, now: OffsetDateTime) -> bool {
        let mut is_known = false;
        for message in self.messages.values_mut() {
            if message.delivery.message_id == message_id
                && self.endpoints.iter().any(|endpoint| endpoint.id == message.endpoint_id())
            {
                self.finished -= usize::from(message.is_finished());
                message.delivery.state = DeliveryState::Pending { due: now };
                message.tried = 0;
                message.round += 1;
                is_known = true;
            }
        }
        is_known
    }

    /// The numbers of an endpoint's due messages.
    pub(crate) fn due(&self, endpoint_id: &str, now: OffsetDateTime) -> Vec<u64> {
        self.messages
            .iter()
            .filter(|(_, message)| message.endpoint_id() == endpoint_id && message.is_due(now))
            .map(|(number, _)| *number)
            .collect()
    }

    /// The attempt of a message, if it is still due, and its request. The endpoint's URL may be
    /// invalid.
    pub(crate) fn attempt(
        &self,
        number: u64,
        now: OffsetDateTime,
    ) -> Option<(Attempt, http::Result<Request<Bytes>>)> {
        let message = self.messages.get(&number).filter(|message| message.is_due(now))?;
        let Delivery { message_id, endpoint_id, body, .. } = &message.delivery;
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.id == *endpoint_id)?;
        let request = Request::post(&endpoint.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "Scalekit-Sandbox")
            .header("webhook-id", message_id)
            .header("webhook-timestamp", now.unix_timestamp())
            .header("webhook-signature", endpoint.signatures(message_id, now, body))
            .extension(SendLimits { timeout: TIMEOUT, ..SendLimits::default() })
            .body(body.clone());
        Some((Attempt { number, round: message.round, at: now }, request))
    }

    /// Records the result of an attempt.
    pub(crate) fn attempted(&mut self, attempt: &Attempt, outcome: DeliveryAttempt) {
        let Some(message) = self.messages.get_mut(&attempt.number) else { return };
        let is_delivered = outcome.status.is_some_and(|status| status.is_success());
        message.delivery.attempts.push(outcome);
        if message.round != attempt.round {
            return;
        }
        message.delivery.state = match PAUSES.get(message.tried) {
            _ if is_delivered => DeliveryState::Delivered,
            Some(pause) => DeliveryState::Pending { due: attempt.at.saturating_add(*pause) },
            None => DeliveryState::Failed,
        };
        message.tried += 1;
        if message.is_finished() {
            self.finished += 1;
            self.forget();
        }
    }

    fn forget(&mut self) {
        if self.finished <= HISTORY {
            return;
        }
        let oldest = self.messages.iter().find(|(_, message)| message.is_finished());
        if let Some(number) = oldest.map(|(number, _)| *number) {
            self.messages.remove(&number);
            self.finished -= 1;
        }
    }
}

impl Message {
    fn endpoint_id(&self) -> &str {
        &self.delivery.endpoint_id
    }

    fn is_due(&self, now: OffsetDateTime) -> bool {
        matches!(self.delivery.state, DeliveryState::Pending { due } if due <= now)
    }

    fn is_finished(&self) -> bool {
        !matches!(self.delivery.state, DeliveryState::Pending { .. })
    }
}

impl Attempt {
    /// The result.
    pub(crate) fn outcome<E: fmt::Display>(
        &self,
        response: Result<http::StatusCode, E>,
    ) -> DeliveryAttempt {
        let (status, error) = match response {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error.to_string())),
        };
        DeliveryAttempt { at: self.at, status, error }
    }
}

// Manual impl: a client has no Debug.
impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_finished_deliveries_are_dropped() {
        let mut webhooks = Webhooks::default();
        webhooks.add_endpoint("https://app.test/");
        let now = OffsetDateTime::UNIX_EPOCH;
        for _ in 0..HISTORY + 3 {
            webhooks.emit("organization.created", Value::Null, now);
        }
        let ids: Vec<_> = webhooks.deliveries().map(|sent| sent.message_id.clone()).collect();
        for number in 1..u64::try_from(ids.len()).unwrap() {
            let (attempt, _) = webhooks.attempt(number, now).unwrap();
            let outcome = attempt.outcome(Ok::<_, http::Error>(http::StatusCode::OK));
            webhooks.attempted(&attempt, outcome);
        }
        let kept: Vec<_> = webhooks.deliveries().map(|sent| sent.message_id.clone()).collect();
        assert_eq!(kept.len(), HISTORY + 1);
        assert_eq!((&kept[0], &kept[1]), (&ids[0], &ids[3]), "pending deliveries are kept");
        assert!(!webhooks.redeliver(&ids[1], now));
        assert!(webhooks.redeliver(&ids[3], now));
    }
}
