use std::sync::Arc;

use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;

/// The levels of events.
#[derive(Clone, Default)]
struct Levels(Arc<Mutex<Vec<Level>>>);

impl<S: Subscriber> Layer<S> for Levels {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.lock().unwrap().push(*event.metadata().level());
    }
}

#[test]
fn an_event_that_requests_cause_has_its_level_once_in_a_while() {
    let levels = Levels::default();
    // A single subscriber would let other threads disable the event's callsites globally.
    let _second = Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(levels.clone());
    tracing::subscriber::with_default(subscriber, || {
        for count in 0..3 {
            limited!(warn, ("event", "of this test"), MINUTE, count, "event_of_this_test");
        }
    });
    assert_eq!(*levels.0.lock().unwrap(), [Level::WARN, Level::DEBUG, Level::DEBUG]);
}

#[test]
fn each_cause_is_logged_once_in_a_while() {
    assert!(should_log(("event", "a cause of this test"), LOG_INTERVAL));
    assert!(!should_log(("event", "a cause of this test"), LOG_INTERVAL));
    assert!(should_log(("event", "another cause of this test"), LOG_INTERVAL));
    assert!(should_log(("another event", "a cause of this test"), LOG_INTERVAL));
}
