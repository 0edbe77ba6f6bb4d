//! Counts of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::disturbances::Disturbance;
use crate::site::Outcome;

pub(crate) struct Round {
    disturbance: Disturbance,
    accepted: usize,
    unavailable: usize,
    lost: usize,
    pub(crate) logouts: usize,
    pub(crate) refreshes: usize,
    /// Until the session is available on all replicas, since the end of the disturbance.
    pub(crate) took: Duration,
}

impl Round {
    pub(crate) fn new(disturbance: Disturbance) -> Self {
        let (accepted, unavailable, lost, logouts, refreshes) = (0, 0, 0, 0, 0);
        let took = Duration::ZERO;
        Self { disturbance, accepted, unavailable, lost, logouts, refreshes, took }
    }

    pub(crate) fn count(&mut self, outcome: &Outcome, figures: &mut Figures) {
        match outcome {
            Outcome::Accepted { .. } => self.accepted += 1,
            Outcome::Unavailable => self.unavailable += 1,
            Outcome::Lost => self.lost += 1,
            Outcome::LoggedOut => {}
            Outcome::Wrong(response) => figures.wrong(response.clone()),
        }
        if !self.disturbance.excuses(outcome) {
            figures.wrong(format!("{:?}: {outcome:?}", self.disturbance));
        }
    }
}

#[derive(Default)]
pub(crate) struct Figures {
    /// Of the current deployment.
    rounds: BTreeMap<Disturbance, Vec<Round>>,
    wrong: Vec<String>,
}

impl Figures {
    /// Records what contradicts a guarantee.
    pub(crate) fn wrong(&mut self, what: String) {
        if self.wrong.len() < 20 {
            println!("cluster: WRONG: {what}");
        }
        self.wrong.push(what);
    }

    pub(crate) fn add(&mut self, round: Round) {
        self.rounds.entry(round.disturbance).or_default().push(round);
    }

    /// Prints the rounds of a deployment.
    pub(crate) fn print(&mut self, deployment: &str) {
        println!("\n{deployment}\n");
        println!(
            "| disturbance | rounds | 200 | 503 | lost | refreshes | logouts | until all accept, ms (median, most) |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (disturbance, rounds) in std::mem::take(&mut self.rounds) {
            let sum = |part: fn(&Round) -> usize| rounds.iter().map(part).sum::<usize>();
            let mut took: Vec<_> = rounds.iter().map(|round| round.took.as_millis()).collect();
            took.sort_unstable();
            println!(
                "| {disturbance:?} | {} | {} | {} | {} | {} | {} | {}, {} |",
                rounds.len(),
                sum(|round| round.accepted),
                sum(|round| round.unavailable),
                sum(|round| round.lost),
                sum(|round| round.refreshes),
                sum(|round| round.logouts),
                took[took.len() / 2],
                took[took.len() - 1],
            );
        }
    }

    pub(crate) fn assert_good(&self) {
        assert!(self.wrong.is_empty(), "{} wrong: {:#?}", self.wrong.len(), self.wrong);
    }
}
