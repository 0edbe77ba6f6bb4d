//! Webhooks over several replicas.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join;
use futures::stream::{self, StreamExt as _};
use http::StatusCode;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::figures::Figures;
use crate::messages::{request, signed};
use crate::site::{REPLICAS, Site, WEBHOOK_SECRET};

const CONCURRENCY: usize = 32;

/// Delivers each message to each replica, to two of them at once. One handles it, and logs that it
/// has revoked a session.
pub(crate) async fn check(site: &Arc<Site>, messages: usize, figures: &mut Figures) {
    let handled = || {
        let logs = site.replicas.iter().map(|replica| replica.log());
        logs.map(|log| log.matches("deprovisioned event=").count()).sum::<usize>()
    };
    let (before, started) = (handled(), Instant::now());
    let deliveries = stream::iter(0..messages).map(|number| async move {
        let deliver = |replica: usize| deliver(site, number, (number + replica) % REPLICAS);
        join(deliver(0), deliver(1)).await;
        deliver(2).await;
    });
    deliveries.buffer_unordered(CONCURRENCY).collect::<Vec<_>>().await;
    let (handled, time) = (handled() - before, started.elapsed());
    println!(
        "webhooks: {messages} messages, {} deliveries, {handled} handled, in {time:.1?}",
        messages * REPLICAS,
    );
    if handled != messages {
        figures.wrong(format!("{messages} webhooks were handled {handled} times"));
    }
}

/// Sends a message until it is accepted.
async fn deliver(site: &Site, number: usize, replica: usize) {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let body = json!({
        "id": format!("evt_{number}"),
        "type": "user.logout",
        "data": {
            "user": { "id": "usr_none" },
            "user_session": { "session_id": format!("ses_{number}") },
        },
    });
    let body = body.to_string();
    let headers = signed("webhook", &format!("msg_{number}"), now, &body, &WEBHOOK_SECRET);
    let headers = headers.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    loop {
        let message = request("POST", "/webhooks/scalekit", &headers, body.clone());
        let response = site.send(&site.replicas[replica].address, message).await.unwrap();
        match response.status() {
            StatusCode::NO_CONTENT => return,
            // Another replica handles it at this moment.
            StatusCode::SERVICE_UNAVAILABLE => sleep(Duration::from_millis(20)).await,
            status => panic!("{status}"),
        }
    }
}
