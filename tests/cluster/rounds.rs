//! Rounds: many simultaneous requests of a session whose access token has expired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::time::sleep;

use crate::disturbances::Disturbance;
use crate::figures::{Figures, Round};
use crate::random::Random;
use crate::server::eventually;
use crate::site::{Jar, Outcome, REPLICAS, Site};

/// Requests of a round.
const REQUESTS: usize = 300;
/// The lease of a replica that was killed, and a wait for it.
const LONGEST_OUTAGE: Duration = Duration::from_secs(35);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// All requests of each session are accepted, after one refresh.
pub(crate) async fn undisturbed(site: &Arc<Site>, rounds: usize, figures: &mut Figures) {
    for jar in site.expired_sessions(rounds).await {
        let (before, started) = (site.environment.refreshes(), Instant::now());
        let mut round = Round::new(Disturbance::None);
        let outcomes = join_all(requests(site, &jar, REQUESTS)).await;
        round.took = started.elapsed();
        let mut expiries: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome.as_ref().unwrap() {
                Outcome::Accepted { expires_at, .. } => Some(expires_at),
                _ => None,
            })
            .collect();
        expiries.sort_unstable();
        expiries.dedup();
        if expiries.len() != 1 {
            figures.wrong(format!("one session expires at {expiries:?}"));
        }
        round.refreshes = site.environment.refreshes() - before;
        if round.refreshes != 1 {
            figures.wrong(format!("{} refreshes of one session", round.refreshes));
        }
        outcomes.into_iter().for_each(|outcome| round.count(&outcome.unwrap(), figures));
        figures.add(round);
    }
}

/// The session survives a disturbance in the middle of its refresh.
pub(crate) async fn disturbed(
    site: &Arc<Site>,
    jar: &Jar,
    disturbance: Disturbance,
    has_grace: bool,
    random: &mut Random,
    figures: &mut Figures,
) {
    let (before, mut round) = (site.environment.refreshes(), Round::new(disturbance));
    disturbance.prepare(site, random);
    let holder = random.below(REPLICAS as u64) as usize;
    let first = request(site, &site.replicas[holder].address, jar);
    eventually("the refresh begins", async || site.environment.refreshes() > before).await;
    let others = requests(site, jar, REQUESTS - 1);
    disturbance.strike(site, holder, random).await;
    let ended = Instant::now();
    let mut outcomes = join_all(others).await;
    outcomes.push(first.await);
    site.environment.clear_faults();
    let mut newest = jar.clone();
    let mut is_logged_out = false;
    for outcome in outcomes {
        let outcome = outcome.unwrap();
        is_logged_out |= matches!(outcome, Outcome::LoggedOut);
        if !matches!(outcome, Outcome::LoggedOut) {
            round.count(&outcome, figures);
        }
        if let Outcome::Accepted { jar, .. } = outcome {
            newest = jar;
        }
    }
    is_logged_out |= !recovers(site, [jar.clone(), newest], figures).await;
    round.took = ended.elapsed();
    round.refreshes = site.environment.refreshes() - before;
    round.logouts = is_logged_out.into();
    if is_logged_out && (has_grace || !disturbance.may_end_session()) {
        figures.wrong(format!("{disturbance:?} has ended a session"));
    }
    figures.add(round);
}

/// Whether each replica accepts the cookies from before and after the refresh, after an outage.
async fn recovers(site: &Site, jars: [Jar; 2], figures: &mut Figures) -> bool {
    let started = Instant::now();
    for replica in &site.replicas {
        for jar in &jars {
            loop {
                match site.me(&replica.address, jar).await {
                    Outcome::Accepted { .. } => break,
                    Outcome::LoggedOut => return false,
                    Outcome::Unavailable | Outcome::Lost if started.elapsed() < LONGEST_OUTAGE => {
                        sleep(POLL_INTERVAL).await;
                    }
                    outcome => {
                        figures.wrong(format!("after {:?}: {outcome:?}", started.elapsed()));
                        break;
                    }
                }
            }
        }
    }
    true
}

type Request = tokio::task::JoinHandle<Outcome>;

/// Starts requests through nginx.
fn requests(site: &Arc<Site>, jar: &Jar, count: usize) -> Vec<Request> {
    (0..count).map(|_| request(site, &site.address, jar)).collect()
}

fn request(site: &Arc<Site>, address: &str, jar: &Jar) -> Request {
    let (site, address, jar) = (Arc::clone(site), address.to_owned(), jar.clone());
    tokio::spawn(async move { site.me(&address, &jar).await })
}
