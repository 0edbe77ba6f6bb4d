//! `/deliveries`: webhook endpoints and the latest deliveries.

use bytes::Bytes;
use http::{Response, StatusCode};
use time::OffsetDateTime;

use super::{Html, shell};
use crate::sandbox::environment::Environment;
use crate::sandbox::respond::timestamp;
use crate::sandbox::state::webhooks::{Delivery, DeliveryAttempt, DeliveryState, Webhooks};

/// Maximum number of deliveries on the page.
const SHOWN: usize = 50;

pub(crate) fn deliveries(environment: &Environment) -> Response<Bytes> {
    let state = environment.lock();
    let webhooks = &state.webhooks;
    let endpoints = webhooks.endpoints.iter().map(|endpoint| {
        let values = [
            ("secret", Html::text(endpoint.secret().expose())),
            ("url", Html::text(&endpoint.url)),
        ];
        Html::fill(include_str!("endpoint_row.html"), &values)
    });
    let endpoints =
        or_hint(Html::all(endpoints), "None yet: the program that runs the sandbox adds them.");
    let latest = webhooks.deliveries().rev().take(SHOWN).map(|delivery| row(webhooks, delivery));
    let latest = or_hint(Html::all(latest), "No events yet.");
    let problem = match webhooks.client {
        Some(_) => Html::empty(),
        None => {
            let text =
                "Nothing is sent: the program that runs the sandbox has not set an HTTP client.";
            Html::fill(include_str!("notice.html"), &[("text", Html::text(text))])
        }
    };
    let values = [("deliveries", latest), ("endpoints", endpoints), ("problem", problem)];
    let main = Html::fill(include_str!("deliveries.html"), &values);
    shell(StatusCode::OK, "Webhook deliveries", main)
}

fn row(webhooks: &Webhooks, delivery: &Delivery) -> Html {
    let (label, tone, due) = match delivery.state {
        DeliveryState::Delivered => ("Delivered", "good", None),
        DeliveryState::Failed => ("Failed", "bad", None),
        DeliveryState::Pending { due } => ("Waiting", "strong", Some(due)),
    };
    let attempts = delivery.attempts.iter().map(attempt);
    let next = due
        .map_or(Html::empty(), |due| Html::fill("<li>Due {{time}}</li>", &[("time", time(due))]));
    let url = webhooks
        .endpoints
        .iter()
        .find(|endpoint| endpoint.id == delivery.endpoint_id)
        .map_or("a removed endpoint", |endpoint| endpoint.url.as_str());
    let body = String::from_utf8_lossy(&delivery.body);
    let values = [
        ("attempts", Html::all(attempts)),
        ("body", Html::text(&body)),
        ("label", Html::text(label)),
        ("message_id", Html::text(&delivery.message_id)),
        ("next", next),
        ("tone", Html::text(tone)),
        ("type", Html::text(&delivery.event_type)),
        ("url", Html::text(url)),
    ];
    Html::fill(include_str!("delivery_row.html"), &values)
}

fn attempt(attempt: &DeliveryAttempt) -> Html {
    let outcome = match (&attempt.status, &attempt.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => error.clone(),
        (None, None) => String::new(),
    };
    let values = [("outcome", Html::text(&outcome)), ("time", time(attempt.at))];
    Html::fill("<li>{{time}}: {{outcome}}</li>", &values)
}

/// Rounded to seconds.
pub(crate) fn time(time: OffsetDateTime) -> Html {
    let time = timestamp(time.replace_nanosecond(0).unwrap_or(time));
    Html::text(time.as_str().unwrap_or_default())
}

pub(crate) fn or_hint(list: Html, hint: &str) -> Html {
    match list.0.is_empty() {
        true => Html::fill(r#"<li class="hint">{{hint}}</li>"#, &[("hint", Html::text(hint))]),
        false => list,
    }
}
