//! `/deliveries`: webhook endpoints and the latest deliveries.

use bytes::Bytes;
use http::{Response, StatusCode};
use time::OffsetDateTime;

use super::{Html, notice, shell};
use crate::sandbox::respond::timestamp;
use crate::sandbox::state::webhooks::{Delivery, DeliveryAttempt, DeliveryState, Webhooks};

/// Maximum number of deliveries on the page.
const SHOWN: usize = 50;

pub(crate) fn deliveries(webhooks: &Webhooks) -> Response<Bytes> {
    let endpoints = webhooks.endpoints.iter().map(|endpoint| {
        Html::fill(
            include_str!("endpoint_row.html"),
            &[
                ("secret", Html::text(endpoint.secret().expose())),
                ("url", Html::text(&endpoint.url)),
            ],
        )
    });
    let latest = webhooks.deliveries().rev().take(SHOWN).map(|delivery| row(webhooks, delivery));
    let problem = match webhooks.client {
        Some(_) => None,
        None => {
            Some("Nothing is sent: the program that runs the sandbox has not set an HTTP client.")
        }
    };
    shell(
        StatusCode::OK,
        "Webhook deliveries",
        include_str!("deliveries.html"),
        &[
            ("deliveries", or_hint(latest, "No events yet.")),
            (
                "endpoints",
                or_hint(endpoints, "None yet: the program that runs the sandbox adds them."),
            ),
            ("problem", notice(problem)),
        ],
    )
}

fn row(webhooks: &Webhooks, delivery: &Delivery) -> Html {
    let (label, tone, next) = match delivery.state {
        DeliveryState::Delivered => ("Delivered", "good", Html::empty()),
        DeliveryState::Failed => ("Failed", "bad", Html::empty()),
        DeliveryState::Pending { due } => {
            let next = Html::fill("<li>Due {{time}}</li>", &[("time", time(due))]);
            ("Waiting", "strong", next)
        }
    };
    let url = webhooks
        .endpoints
        .iter()
        .find(|endpoint| endpoint.id == delivery.endpoint_id)
        .map_or("a removed endpoint", |endpoint| endpoint.url.as_str());
    Html::fill(
        include_str!("delivery_row.html"),
        &[
            ("attempts", Html::all(delivery.attempts.iter().map(attempt))),
            ("body", Html::text(&String::from_utf8_lossy(&delivery.body))),
            ("label", Html::text(label)),
            ("message_id", Html::text(&delivery.message_id)),
            ("next", next),
            ("tone", Html::text(tone)),
            ("type", Html::text(&delivery.event_type)),
            ("url", Html::text(url)),
        ],
    )
}

fn attempt(attempt: &DeliveryAttempt) -> Html {
    let outcome = match (&attempt.status, &attempt.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => error.clone(),
        (None, None) => String::new(),
    };
    Html::fill(
        "<li>{{time}}: {{outcome}}</li>",
        &[("outcome", Html::text(&outcome)), ("time", time(attempt.at))],
    )
}

/// Rounded to seconds.
pub(crate) fn time(time: OffsetDateTime) -> Html {
    let time = timestamp(time.replace_nanosecond(0).unwrap_or(time));
    Html::text(time.as_str().unwrap_or_default())
}

/// A list, or a hint if it is empty.
pub(crate) fn or_hint(items: impl Iterator<Item = Html>, hint: &str) -> Html {
    let list = Html::all(items);
    match list.is_empty() {
        true => Html::fill(r#"<li class="hint">{{hint}}</li>"#, &[("hint", Html::text(hint))]),
        false => list,
    }
}
