//! Sends due messages.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::http_client::{HttpClient, send_within_limits};
use crate::sandbox::environment::Environment;

/// Interval at which the background task sends due messages.
const POLL: Duration = Duration::from_millis(500);

pub(crate) async fn deliver_due(environment: &Environment) -> usize {
    let Some(client) = environment.lock().webhooks.client.clone() else { return 0 };
    let endpoints: Vec<_> = environment
        .lock()
        .webhooks
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.id.clone(), Arc::clone(&endpoint.turn)))
        .collect();
    let sent = endpoints.iter().map(async |(id, turn)| {
        let _turn = turn.lock().await;
        deliver_due_to(environment, client.as_ref(), id).await
    });
    join_all(sent).await.into_iter().sum()
}

/// Messages that become due meanwhile are left for the next call, so that this ends.
async fn deliver_due_to(
    environment: &Environment,
    client: &dyn HttpClient,
    endpoint_id: &str,
) -> usize {
    let due = environment.lock().webhooks.due(endpoint_id, environment.now());
    let mut attempts = 0;
    for number in due {
        let Some((attempt, request)) =
            environment.lock().webhooks.attempt(number, environment.now())
        else {
            continue;
        };
        let outcome = match request {
            Ok(request) => {
                let response = send_within_limits(client, request).await;
                attempt.outcome(response.map(|response| response.status()))
            }
            Err(error) => attempt.outcome(Err(error)),
        };
        environment.lock().webhooks.attempted(&attempt, outcome);
        attempts += 1;
    }
    attempts
}

pub(crate) fn start(environment: &Arc<Environment>) {
    let mut state = environment.lock();
    // A task that ended with its runtime is replaced.
    if state.webhooks.background.as_ref().is_some_and(|task| !task.is_finished()) {
        return;
    }
    let environment = Arc::downgrade(environment);
    let task = tokio::spawn(async move {
        while let Some(environment) = environment.upgrade() {
            deliver_due(&environment).await;
            drop(environment);
            tokio::time::sleep(POLL).await;
        }
    });
    state.webhooks.background = Some(task.abort_handle());
}
