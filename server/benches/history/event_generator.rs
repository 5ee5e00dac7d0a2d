//! Generates the history of a three-node cluster that changes state all the time.

use galera::Timestamp;
use galera::record::history::{ClusterStates, HistoryEvent, StateChange};
use galera::view::{NodeState, ReasonCode, VerdictReason, VerdictState};
use rand::Rng;
use rand::rngs::ThreadRng;

const NODES: [&str; 3] = ["db1.example.org", "db2.example.org", "db3.example.org"];

/// The generator and the states it has reached.
pub(crate) struct EventGenerator {
    rng: ThreadRng,
    at: i64,
    /// Milliseconds between two changes, on average.
    mean_gap: i64,
    sequence: u64,
    states: ClusterStates,
    /// Verdict changes that follow from a node's change.
    pending: Vec<StateChange>,
}

impl EventGenerator {
    pub(crate) fn new(begin: Timestamp, changes_a_day: u64) -> Self {
        Self {
            rng: rand::rng(),
            at: begin.unix_millis(),
            mean_gap: 86_400_000 / i64::try_from(changes_a_day).unwrap(),
            sequence: 0,
            states: ClusterStates::default(),
            pending: Vec::new(),
        }
    }

    /// The next `count` events.
    pub(crate) fn next_events(&mut self, count: u64) -> Vec<HistoryEvent> {
        (0..count).map(|_| self.next_event()).collect()
    }

    fn next_event(&mut self) -> HistoryEvent {
        let change = match self.pending.pop() {
            Some(change) => change,
            None => self.random_change(),
        };
        let change = change.rebased_onto(&self.states);
        self.states.apply(&change);
        self.sequence += 1;
        HistoryEvent {
            sequence: self.sequence,
            at: Timestamp::from_unix_millis(self.at),
            change,
        }
    }

    /// A node changes its state, and the verdict follows.
    fn random_change(&mut self) -> StateChange {
        // Two changes each time, hence twice the mean gap; times have no pattern that could be compressed.
        self.at += self.rng.random_range(0..4 * self.mean_gap);
        let name = NODES[self.rng.random_range(0..NODES.len())];
        let before = self.states.nodes.get(&name.parse().unwrap()).copied();
        let to = loop {
            let to = NodeState::ALL[self.rng.random_range(0..NodeState::ALL.len())];
            if Some(to) != before {
                break to;
            }
        };
        let verdict = match self.rng.random_range(0..200) {
            0 => VerdictState::SplitBrain,
            1..20 => VerdictState::NoPrimary,
            _ if self.states.verdict == Some(VerdictState::Degraded) => VerdictState::Healthy,
            _ => VerdictState::Degraded,
        };
        let refused = self.rng.random_range(2..4000);
        self.pending.push(StateChange::Verdict {
            from: None,
            to: verdict,
            reasons: vec![VerdictReason {
                code: ReasonCode::MemberUnreachable,
                node: Some(name.parse().unwrap()),
                message: format!(
                    "{name} does not answer: {} (connection refused, tried for {refused} ms).",
                    to.as_str()
                ),
            }],
        });
        StateChange::Node {
            node: name.parse().unwrap(),
            name: Some(name.split('.').next().unwrap().to_owned()),
            from: None,
            to: Some(to),
        }
    }
}
