//! Logouts reach all replicas.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::figures::Figures;
use crate::server::State;
use crate::site::{Answer, Jar, Site};
use crate::store::Store;

/// When every replica must reject the session.
const PROPAGATION: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Logs out on one replica, and measures until the others reject the session.
pub(crate) async fn check(site: &Site, rounds: usize, figures: &mut Figures) {
    let (mut longest, mut after_outage) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        let jar = warm_session(site).await;
        site.log_out(0, &jar).await;
        longest = longest.max(rejected(site, &jar, figures).await);

        let Store::Single { networks, .. } = &site.store else { continue };
        let jar = warm_session(site).await;
        networks[2].set(State::Silent);
        sleep(Duration::from_secs(1)).await;
        site.log_out(0, &jar).await;
        // The session is known to be valid there, and so are all sessions while Redis is lost.
        for _ in 0..20 {
            site.me(&site.replicas[2].address, &jar).await;
            sleep(POLL_INTERVAL * 5).await;
        }
        networks[2].set(State::Connected);
        after_outage = after_outage.max(rejected(site, &jar, figures).await);
    }
    println!("revocation: on all replicas after at most {longest:.1?}");
    println!("revocation: on a replica that was cut off, {after_outage:.1?} after its return");
}

/// A session that each replica has accepted.
async fn warm_session(site: &Site) -> Jar {
    let jar = site.log_in("jane@acme.test").await;
    for replica in &site.replicas {
        let answer = site.me(&replica.address, &jar).await;
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    }
    jar
}

/// How long it takes until all replicas reject a session.
async fn rejected(site: &Site, jar: &Jar, figures: &mut Figures) -> Duration {
    let started = Instant::now();
    for (number, replica) in site.replicas.iter().enumerate() {
        while !matches!(site.me(&replica.address, jar).await, Answer::LoggedOut) {
            if started.elapsed() > PROPAGATION * 5 {
                break;
            }
            sleep(POLL_INTERVAL).await;
        }
        if started.elapsed() > PROPAGATION {
            figures.wrong(format!(
                "replica {number} accepts an ended session for {:?}",
                started.elapsed()
            ));
        }
    }
    started.elapsed()
}
