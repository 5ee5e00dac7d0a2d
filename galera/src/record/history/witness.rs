//! What one replica saw of a cluster and what is recorded of it, brought together.
//!
//! Every replica watches; one of them records. When another one takes over, it knows what is recorded and what it saw
//! itself, and the difference is what is still to be written. Replicas do not see a change at the same moment, some do
//! not see it at all: so what they saw is compared by the states in their order. Times only tell old from new.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Change, Event, State, States, Subject, changes};
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, VerdictState};

/// How much later another replica may see the same change, the difference of their clocks included.
pub const SKEW: Duration = Duration::from_secs(5);
/// Most changes of a cluster that wait to be recorded (etcd away for long, or a cluster that does nothing but flap).
pub const PENDING_MAX: usize = 4_096;

/// A change that this replica saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// What; its `from` is this replica's.
    pub change: Change,
}

/// A change that is recorded, but was not seen here yet.
#[derive(Clone, Debug)]
struct Told {
    at: Timestamp,
    subject: Subject,
    state: State,
}

/// One cluster, as one replica sees it and as it is recorded.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// What the chronicle came to.
    recorded: States,
    /// The number of its last event.
    sequence: u64,
    /// When what is recorded was seen by whoever recorded it.
    recorded_at: BTreeMap<Subject, Timestamp>,
    /// What this replica sees; `None` before it saw anything.
    seen: Option<States>,
    /// When it saw the cluster first: what was recorded of the time before, it has no part in.
    first: Option<Timestamp>,
    /// Since when it sees that.
    seen_at: BTreeMap<Subject, Timestamp>,
    /// What it saw and what is not recorded, oldest first.
    pending: VecDeque<Seen>,
    /// What is recorded and what it did not see (yet), oldest first.
    ahead: Vec<Told>,
    /// Up to when the recording replica recorded everything that it saw.
    recorded_until: Option<Timestamp>,
    /// Changes that found no room.
    lost: u64,
}

impl Witness {
    /// The states that are recorded.
    #[must_use]
    pub fn recorded(&self) -> &States {
        &self.recorded
    }

    /// The number of the last recorded event.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether this replica has seen the cluster.
    #[must_use]
    pub fn has_seen(&self) -> bool {
        self.seen.is_some()
    }

    /// What is not recorded yet, oldest first.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = &Seen> {
        self.pending.iter()
    }

    /// How many changes were given up since this was last asked, because too many waited.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Takes in what this replica sees now.
    pub fn see(&mut self, view: &ClusterView) {
        let at = view.observed_at;
        self.expire(at);
        let before = self.seen.as_ref().unwrap_or(&self.recorded);
        self.first.get_or_insert(at);
        for change in changes(before, view) {
            let (subject, state) = change.outcome();
            self.seen_at.insert(subject.clone(), at);
            if !self.was_told(&subject, state, at) {
                self.push(Seen { at, change });
            }
        }
        self.seen = Some(States::of(view));
    }

    /// The cluster is no longer known to this replica: from `at` on it is nobody's.
    pub fn lose_sight(&mut self, at: Timestamp) {
        self.seen = None;
        self.first = None;
        self.seen_at.clear();
        let mut states = self.recorded.clone();
        for seen in &self.pending {
            states.apply(&seen.change);
        }
        if states
            .verdict
            .is_some_and(|verdict| verdict != VerdictState::Unknown)
        {
            self.push(Seen {
                at,
                change: Change::forgotten(),
            });
        }
    }

    /// Starts over with what is recorded, which is not what it was: etcd was restored or emptied.
    pub fn start_over(&mut self, sequence: u64, states: &States) {
        self.sequence = sequence;
        self.recorded = states.clone();
        self.recorded_at.clear();
        self.recorded_until = None;
        self.ahead.clear();
    }

    /// Whether the change was recorded before it was seen here. What was recorded before it is over, too.
    fn was_told(&mut self, subject: &Subject, state: State, at: Timestamp) -> bool {
        let same = |told: &Told| {
            let apart = told.at.age(at).max(at.age(told.at));
            told.subject == *subject && told.state == state && apart <= SKEW
        };
        let Some(index) = self.ahead.iter().position(same) else {
            return false;
        };
        let mut place = 0;
        self.ahead.retain(|told| {
            let over = place <= index && told.subject == *subject;
            place += 1;
            !over
        });
        true
    }

    fn push(&mut self, seen: Seen) {
        if self.pending.len() >= PENDING_MAX {
            // The newest states must be true, the oldest changes were written first: so the gap is in the middle.
            self.pending.remove(PENDING_MAX / 2);
            self.lost += 1;
        }
        self.pending.push_back(seen);
    }

    /// Takes in an event that is recorded, by whomever. Events that are known already change nothing.
    pub fn told(&mut self, event: &Event) {
        if event.sequence <= self.sequence {
            return;
        }
        self.sequence = event.sequence;
        self.recorded.apply(&event.change);
        let (subject, state) = event.change.outcome();
        self.recorded_at.insert(subject.clone(), event.at);
        self.settle(subject, state, event.at);
    }

    /// Takes in where the chronicle has come to, when its newest events are not at hand one by one.
    pub fn told_all(&mut self, sequence: u64, states: &States, at: Timestamp) {
        if sequence <= self.sequence {
            return;
        }
        self.sequence = sequence;
        let known = self.recorded.nodes.keys().chain(states.nodes.keys());
        let mut subjects: Vec<Subject> = known.cloned().map(Subject::Node).collect();
        subjects.sort();
        subjects.dedup();
        subjects.push(Subject::Verdict);
        for subject in subjects {
            let state = states.get(&subject);
            if let Some(state) = state.filter(|_| self.recorded.get(&subject) != state) {
                self.recorded_at.insert(subject.clone(), at);
                self.settle(subject, state, at);
            }
        }
        self.recorded = states.clone();
    }

    /// What is recorded waits no longer, nor does what was seen before it.
    fn settle(&mut self, subject: Subject, state: State, at: Timestamp) {
        if self.first.is_none_or(|first| at < first) {
            return;
        }
        let same = |seen: &Seen| seen.change.outcome() == (subject.clone(), state);
        let Some(index) = self.pending.iter().position(same) else {
            // Whoever is there already has nothing more to see, unless it has yet to see what led away and back.
            let there = self.seen.as_ref().and_then(|seen| seen.get(&subject)) == Some(state);
            if !there || self.ahead.iter().any(|told| told.subject == subject) {
                self.ahead.push(Told { at, subject, state });
            }
            return;
        };
        let mut place = 0;
        self.pending.retain(|seen| {
            let over = place <= index && seen.change.outcome().0 == subject;
            place += 1;
            !over
        });
    }

    /// Everything that the recording replica saw before `until` is recorded: what waits here from before, with time for
    /// it to be seen there, it saw otherwise.
    pub fn recorded_until(&mut self, until: Timestamp) {
        let line = until.minus(SKEW);
        self.recorded_until = self.recorded_until.max(Some(until));
        self.pending.retain(|seen| seen.at >= line);
        self.expire(until);
    }

    /// Forgets what was recorded so long ago that it will not be seen here any more.
    fn expire(&mut self, now: Timestamp) {
        self.ahead.retain(|told| told.at.age(now) <= SKEW);
    }

    /// For the recording replica: lets what is recorded become what it sees, where nothing that it saw explains the
    /// difference. Replicas may see differently, and changes may have been given up.
    pub fn reconcile(&mut self, view: &ClusterView, now: Timestamp) {
        if self.seen.is_none() {
            return;
        }
        self.expire(now);
        let mut states = self.recorded.clone();
        for seen in &self.pending {
            states.apply(&seen.change);
        }
        for change in changes(&states, view) {
            let (subject, _) = change.outcome();
            if self.ahead.iter().any(|told| told.subject == subject) {
                continue;
            }
            let recorded = self.recorded_at.get(&subject).copied();
            // Before that, somebody else saw it otherwise.
            let recorded = recorded.max(self.recorded_until);
            let at = match self.seen_at.get(&subject) {
                Some(since) if recorded.is_none_or(|recorded| recorded < *since) => *since,
                _ => now,
            };
            self.push(Seen { at, change });
        }
    }

    /// Nobody saw the cluster from `from` to `until`.
    pub fn blind(&mut self, from: Timestamp, until: Timestamp, view: Option<&ClusterView>) {
        let unknown = VerdictState::Unknown;
        if self
            .recorded
            .verdict
            .is_none_or(|verdict| verdict == unknown)
        {
            return;
        }
        let verdict = |seen: &Seen| matches!(seen.change, Change::Verdict { .. });
        if let Some(view) = view
            && !self.pending.iter().any(verdict)
        {
            let change = Change::Verdict {
                from: Some(unknown),
                to: view.verdict.state,
                reasons: view.verdict.reasons.clone(),
            };
            self.pending.push_front(Seen { at: until, change });
        }
        self.pending.push_front(Seen {
            at: from,
            change: Change::blind(from),
        });
    }

    /// The next events, at most `limit`: what waits, numbered and as it follows on what is recorded, no earlier than
    /// `last`, the time of the last recorded event. They wait on until they are [`Witness::told`].
    #[must_use]
    pub fn next(&self, limit: usize, last: Option<Timestamp>) -> Vec<Event> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut states = self.recorded.clone();
        let mut events: Vec<Event> = Vec::new();
        let mut last = last.unwrap_or_else(|| Timestamp::from_unix_millis(i64::MIN));
        for seen in &self.pending {
            if events.len() == limit {
                break;
            }
            let (subject, state) = seen.change.outcome();
            if states.get(&subject) == Some(state) {
                continue;
            }
            let change = seen.change.clone().following(&states);
            states.apply(&change);
            last = last.max(seen.at);
            let number = u64::try_from(events.len()).unwrap_or(u64::MAX);
            events.push(Event {
                sequence: self.sequence + number + 1,
                at: last,
                change,
            });
        }
        events
    }
}

#[cfg(test)]
mod tests;
