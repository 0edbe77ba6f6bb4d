//! An independent sender of webhooks, with retries.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::app::{HttpClient, World};

/// 5 s, 30 s, 2 min, 5 min and 15 min, with ten milliseconds for each second.
const PAUSES: [u64; 5] = [50, 300, 1_200, 3_000, 9_000];

#[derive(Clone)]
pub struct Message {
    pub id: String,
    pub event_type: String,
    pub body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Genuine,
    /// Another body than the one that was signed.
    Tampered,
    /// Signed more than five minutes ago.
    Stale,
}

#[derive(Clone)]
pub struct Sender {
    http: HttpClient,
    key: hmac::Key,
    url: String,
}

impl Sender {
    pub fn new(world: &World, app_url: &str) -> Self {
        let secret = world.endpoint.secret();
        let key = STANDARD.decode(secret.expose().trim_start_matches("whsec_")).unwrap();
        Self {
            http: world.http.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            url: format!("{app_url}/webhook"),
        }
    }

    /// Sends until there is a final response, at most six times: 2xx, or 400 for messages that are
    /// not genuine.
    pub async fn deliver(&self, message: &Message, kind: Kind) -> Result<StatusCode, String> {
        let mut last = String::new();
        for pause in PAUSES.map(Some).into_iter().chain([None]) {
            match self.http.request(self.signed(message, kind)).await {
                Ok(response) if response.status().is_success() || kind != Kind::Genuine => {
                    return Ok(response.status());
                }
                Ok(response) => last = response.status().to_string(),
                Err(error) => last = error.to_string(),
            }
            sleep(Duration::from_millis(pause.unwrap_or_default())).await;
        }
        Err(last)
    }

    fn signed(&self, message: &Message, kind: Kind) -> Request<Full<Bytes>> {
        let age = if kind == Kind::Stale { 400 } else { 0 };
        let at = OffsetDateTime::now_utc().unix_timestamp() - age;
        let signed = [format!("{}.{at}.", message.id).as_bytes(), &message.body].concat();
        let signature = STANDARD.encode(hmac::sign(&self.key, &signed));
        let mut body = message.body.to_vec();
        if kind == Kind::Tampered {
            body.push(b' ');
        }
        Request::post(&self.url)
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", format!("v1,{signature}"))
            .body(Full::from(body))
            .unwrap()
    }
}

/// All events of the environment so far, oldest first.
pub fn messages(world: &World) -> Vec<Message> {
    let deliveries = world.sandbox.webhooks().deliveries().into_iter();
    let message = deliveries.map(|delivery| Message {
        id: delivery.message_id,
        event_type: delivery.event_type,
        body: delivery.body,
    });
    message.collect()
}
