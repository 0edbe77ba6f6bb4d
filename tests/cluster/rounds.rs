//! Rounds: many simultaneous requests of a session whose access token has expired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::time::sleep;

use crate::disturbances::Disturbance;
use crate::figures::{Figures, Round};
use crate::random::Random;
use crate::server::eventually;
use crate::site::{Answer, Jar, REPLICAS, Site};

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
        let answers = join_all(requests(site, &jar, REQUESTS)).await;
        round.took = started.elapsed();
        let mut expiries: Vec<_> = answers
            .iter()
            .filter_map(|answer| match answer.as_ref().unwrap() {
                Answer::Accepted { expires_at, .. } => Some(expires_at),
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
        answers.into_iter().for_each(|answer| round.count(&answer.unwrap(), figures));
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
    let mut answers = join_all(others).await;
    answers.push(first.await);
    site.environment.clear_faults();
    let mut newest = jar.clone();
    let mut is_logged_out = false;
    for answer in answers {
        let answer = answer.unwrap();
        is_logged_out |= matches!(answer, Answer::LoggedOut);
        if !matches!(answer, Answer::LoggedOut) {
            round.count(&answer, figures);
        }
        if let Answer::Accepted { jar, .. } = answer {
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
                    Answer::Accepted { .. } => break,
                    Answer::LoggedOut => return false,
                    Answer::Unavailable | Answer::Lost if started.elapsed() < LONGEST_OUTAGE => {
                        sleep(POLL_INTERVAL).await;
                    }
                    answer => {
                        figures.wrong(format!("after {:?}: {answer:?}", started.elapsed()));
                        break;
                    }
                }
            }
        }
    }
    true
}

type Request = tokio::task::JoinHandle<Answer>;

/// Starts requests through nginx.
fn requests(site: &Arc<Site>, jar: &Jar, count: usize) -> Vec<Request> {
    (0..count).map(|_| request(site, &site.address, jar)).collect()
}

fn request(site: &Arc<Site>, address: &str, jar: &Jar) -> Request {
    let (site, address, jar) = (Arc::clone(site), address.to_owned(), jar.clone());
    tokio::spawn(async move { site.me(&address, &jar).await })
}
