//! Logouts reach all replicas.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::figures::Figures;
use crate::server::State;
use crate::site::{Jar, Outcome, Site};
use crate::store::Store;

/// When a replica that was cut off must have published its revocations.
const PUBLICATION: Duration = Duration::from_secs(2);
/// When every replica must reject a session whose revocation is published.
const PROPAGATION: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Logs out on one replica, and measures until the others reject the session.
pub(crate) async fn check(site: &Site, rounds: usize, figures: &mut Figures) {
    let [mut longest, mut after_outage, mut after_publication] = [Duration::ZERO; 3];
    for _ in 0..rounds {
        let jar = warm_session(site).await;
        site.log_out(0, &jar).await;
        longest = longest.max(rejected(site, &jar, 0, PROPAGATION, figures).await);

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
        after_outage = after_outage.max(rejected(site, &jar, 0, PROPAGATION, figures).await);

        // No more requests on the replica where the user logs out.
        let jar = warm_session(site).await;
        networks[0].set(State::Silent);
        site.log_out(0, &jar).await;
        sleep(Duration::from_secs(1)).await;
        networks[0].set(State::Connected);
        let published = rejected(site, &jar, 1, PUBLICATION + PROPAGATION, figures).await;
        after_publication = after_publication.max(published);
    }
    println!("revocation: on all replicas after at most {longest:.1?}");
    println!("revocation: on a replica that was cut off, {after_outage:.1?} after its return");
    println!("revocation: of a replica that was cut off, {after_publication:.1?} after its return");
}

/// A session that each replica has accepted.
async fn warm_session(site: &Site) -> Jar {
    let jar = site.log_in("jane@acme.test").await;
    for replica in &site.replicas {
        let outcome = site.me(&replica.address, &jar).await;
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    }
    jar
}

/// How long it takes until all replicas from this one on reject a session.
async fn rejected(
    site: &Site,
    jar: &Jar,
    first: usize,
    limit: Duration,
    figures: &mut Figures,
) -> Duration {
    let started = Instant::now();
    for (number, replica) in site.replicas.iter().enumerate().skip(first) {
        while !matches!(site.me(&replica.address, jar).await, Outcome::LoggedOut) {
            if started.elapsed() > limit * 5 {
                break;
            }
            sleep(POLL_INTERVAL).await;
        }
        if started.elapsed() > limit {
            figures.wrong(format!(
                "replica {number} accepts an ended session for {:?}",
                started.elapsed()
            ));
        }
    }
    started.elapsed()
}
