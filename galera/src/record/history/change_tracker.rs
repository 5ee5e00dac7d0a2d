//! What one replica saw of a cluster and what is recorded of it, brought together.
//!
//! Every replica watches; one of them records. When another one takes over, it knows what is recorded and what it saw
//! itself, and the difference is what is still to be written. Replicas do not see a change at the same moment, some do
//! not see it at all: so what they saw is compared by the states in their order. Times only tell old from new.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{ClusterStates, HistoryEvent, HistorySubject, StateChange, SubjectState, diff_states};
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, VerdictState};

/// How much later another replica may see the same change, the difference of their clocks included.
pub const SKEW: Duration = Duration::from_secs(5);
/// Most changes of a cluster that wait to be recorded (etcd away for long, or a cluster that does nothing but flap).
pub const PENDING_MAX: usize = 4_096;

/// A change that this replica saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedChange {
    /// When.
    pub at: Timestamp,
    /// What; its `from` is this replica's.
    pub change: StateChange,
}

/// A change that is recorded, but was not seen here yet.
#[derive(Clone, Debug)]
struct RecordedChange {
    at: Timestamp,
    subject: HistorySubject,
    state: SubjectState,
}

/// One cluster, as one replica sees it and as it is recorded.
#[derive(Clone, Debug, Default)]
pub struct ChangeTracker {
    /// What the chronicle came to.
    recorded: ClusterStates,
    /// The number of its last event.
    sequence: u64,
    /// When what is recorded was seen by whoever recorded it.
    recorded_at: BTreeMap<HistorySubject, Timestamp>,
    /// What this replica sees; `None` before it saw anything.
    observed: Option<ClusterStates>,
    /// When it saw the cluster first: what was recorded of the time before, it has no part in.
    first_observed_at: Option<Timestamp>,
    /// Since when it sees that.
    observed_since: BTreeMap<HistorySubject, Timestamp>,
    /// What it saw and what is not recorded, oldest first.
    pending: VecDeque<ObservedChange>,
    /// What is recorded and what it did not see (yet), oldest first.
    not_yet_observed: Vec<RecordedChange>,
    /// Up to when the recording replica recorded everything that it saw.
    mark_recorded_until: Option<Timestamp>,
    /// Changes that found no room.
    dropped: u64,
}

impl ChangeTracker {
    /// The states that are recorded.
    #[must_use]
    pub fn recorded(&self) -> &ClusterStates {
        &self.recorded
    }

    /// The number of the last recorded event.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether this replica has seen the cluster.
    #[must_use]
    pub fn has_observed(&self) -> bool {
        self.observed.is_some()
    }

    /// What is not recorded yet, oldest first.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = &ObservedChange> {
        self.pending.iter()
    }

    /// How many changes were given up since this was last asked, because too many waited.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Takes in what this replica sees now.
    pub fn observe(&mut self, view: &ClusterView) {
        let at = view.observed_at;
        self.expire_not_yet_observed(at);
        let before = self.observed.as_ref().unwrap_or(&self.recorded);
        self.first_observed_at.get_or_insert(at);
        for change in diff_states(before, view) {
            let (subject, state) = change.subject_and_state();
            self.observed_since.insert(subject.clone(), at);
            if !self.was_already_recorded(&subject, state, at) {
                self.push_pending(ObservedChange { at, change });
            }
        }
        self.observed = Some(ClusterStates::of(view));
    }

    /// The cluster is no longer known to this replica: from `at` on it is nobody's.
    pub fn stop_observing(&mut self, at: Timestamp) {
        self.observed = None;
        self.first_observed_at = None;
        self.observed_since.clear();
        let mut states = self.recorded.clone();
        for seen in &self.pending {
            states.apply(&seen.change);
        }
        if states
            .verdict
            .is_some_and(|verdict| verdict != VerdictState::Unknown)
        {
            self.push_pending(ObservedChange {
                at,
                change: StateChange::cluster_removed(),
            });
        }
    }

    /// Starts over with what is recorded, which is not what it was: etcd was restored or emptied.
    pub fn reset_to(&mut self, sequence: u64, states: &ClusterStates) {
        self.sequence = sequence;
        self.recorded = states.clone();
        self.recorded_at.clear();
        self.mark_recorded_until = None;
        self.not_yet_observed.clear();
    }

    /// Whether the change was recorded before it was seen here. What was recorded before it is over, too.
    fn was_already_recorded(
        &mut self,
        subject: &HistorySubject,
        state: SubjectState,
        at: Timestamp,
    ) -> bool {
        let same = |told: &RecordedChange| {
            let apart = told.at.age(at).max(at.age(told.at));
            told.subject == *subject && told.state == state && apart <= SKEW
        };
        let Some(index) = self.not_yet_observed.iter().position(same) else {
            return false;
        };
        let mut place = 0;
        self.not_yet_observed.retain(|told| {
            let over = place <= index && told.subject == *subject;
            place += 1;
            !over
        });
        true
    }

    fn push_pending(&mut self, seen: ObservedChange) {
        if self.pending.len() >= PENDING_MAX {
            // The newest states must be true, the oldest changes were written first: so the gap is in the middle.
            self.pending.remove(PENDING_MAX / 2);
            self.dropped += 1;
        }
        self.pending.push_back(seen);
    }

    /// Takes in an event that is recorded, by whomever. Events that are known already change nothing.
    pub fn apply_recorded(&mut self, event: &HistoryEvent) {
        if event.sequence <= self.sequence {
            return;
        }
        self.sequence = event.sequence;
        self.recorded.apply(&event.change);
        let (subject, state) = event.change.subject_and_state();
        self.recorded_at.insert(subject.clone(), event.at);
        self.match_recorded(subject, state, event.at);
    }

    /// Takes in where the chronicle has come to, when its newest events are not at hand one by one.
    pub fn fast_forward(&mut self, sequence: u64, states: &ClusterStates, at: Timestamp) {
        if sequence <= self.sequence {
            return;
        }
        self.sequence = sequence;
        let known = self.recorded.nodes.keys().chain(states.nodes.keys());
        let mut subjects: Vec<HistorySubject> = known.cloned().map(HistorySubject::Node).collect();
        subjects.sort();
        subjects.dedup();
        subjects.push(HistorySubject::Verdict);
        for subject in subjects {
            let state = states.get(&subject);
            if let Some(state) = state.filter(|_| self.recorded.get(&subject) != state) {
                self.recorded_at.insert(subject.clone(), at);
                self.match_recorded(subject, state, at);
            }
        }
        self.recorded = states.clone();
    }

    /// What is recorded waits no longer, nor does what was seen before it.
    fn match_recorded(&mut self, subject: HistorySubject, state: SubjectState, at: Timestamp) {
        if self.first_observed_at.is_none_or(|first| at < first) {
            return;
        }
        let same =
            |seen: &ObservedChange| seen.change.subject_and_state() == (subject.clone(), state);
        let Some(index) = self.pending.iter().position(same) else {
            // Whoever is there already has nothing more to see, unless it has yet to see what led away and back.
            let there = self.observed.as_ref().and_then(|seen| seen.get(&subject)) == Some(state);
            if !there
                || self
                    .not_yet_observed
                    .iter()
                    .any(|told| told.subject == subject)
            {
                self.not_yet_observed
                    .push(RecordedChange { at, subject, state });
            }
            return;
        };
        let mut place = 0;
        self.pending.retain(|seen| {
            let over = place <= index && seen.change.subject_and_state().0 == subject;
            place += 1;
            !over
        });
    }

    /// Everything that the recording replica saw before `until` is recorded: what waits here from before, with time for
    /// it to be seen there, it saw otherwise.
    pub fn mark_recorded_until(&mut self, until: Timestamp) {
        let line = until.minus(SKEW);
        self.mark_recorded_until = self.mark_recorded_until.max(Some(until));
        self.pending.retain(|seen| seen.at >= line);
        self.expire_not_yet_observed(until);
    }

    /// Forgets what was recorded so long ago that it will not be seen here any more.
    fn expire_not_yet_observed(&mut self, now: Timestamp) {
        self.not_yet_observed
            .retain(|told| told.at.age(now) <= SKEW);
    }

    /// For the recording replica: lets what is recorded become what it sees, where nothing that it saw explains the
    /// difference. Replicas may see differently, and changes may have been given up.
    pub fn reconcile(&mut self, view: &ClusterView, now: Timestamp) {
        if self.observed.is_none() {
            return;
        }
        self.expire_not_yet_observed(now);
        let mut states = self.recorded.clone();
        for seen in &self.pending {
            states.apply(&seen.change);
        }
        for change in diff_states(&states, view) {
            let (subject, _) = change.subject_and_state();
            if self
                .not_yet_observed
                .iter()
                .any(|told| told.subject == subject)
            {
                continue;
            }
            let recorded = self.recorded_at.get(&subject).copied();
            // Before that, somebody else saw it otherwise.
            let recorded = recorded.max(self.mark_recorded_until);
            let at = match self.observed_since.get(&subject) {
                Some(since) if recorded.is_none_or(|recorded| recorded < *since) => *since,
                _ => now,
            };
            self.push_pending(ObservedChange { at, change });
        }
    }

    /// Nobody saw the cluster from `from` to `until`.
    pub fn insert_gap(&mut self, from: Timestamp, until: Timestamp, view: Option<&ClusterView>) {
        let unknown = VerdictState::Unknown;
        if self
            .recorded
            .verdict
            .is_none_or(|verdict| verdict == unknown)
        {
            return;
        }
        let verdict = |seen: &ObservedChange| matches!(seen.change, StateChange::Verdict { .. });
        if let Some(view) = view
            && !self.pending.iter().any(verdict)
        {
            let change = StateChange::Verdict {
                from: Some(unknown),
                to: view.verdict.state,
                reasons: view.verdict.reasons.clone(),
            };
            self.pending
                .push_front(ObservedChange { at: until, change });
        }
        self.pending.push_front(ObservedChange {
            at: from,
            change: StateChange::observation_gap(from),
        });
    }

    /// The next events, at most `limit`: what waits, numbered and as it follows on what is recorded, no earlier than
    /// `last`, the time of the last recorded event. They wait on until they are [`ChangeTracker::apply_recorded`].
    #[must_use]
    pub fn next_events(&self, limit: usize, last: Option<Timestamp>) -> Vec<HistoryEvent> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut states = self.recorded.clone();
        let mut events: Vec<HistoryEvent> = Vec::new();
        let mut last = last.unwrap_or_else(|| Timestamp::from_unix_millis(i64::MIN));
        for seen in &self.pending {
            if events.len() == limit {
                break;
            }
            let (subject, state) = seen.change.subject_and_state();
            if states.get(&subject) == Some(state) {
                continue;
            }
            let change = seen.change.clone().rebased_onto(&states);
            states.apply(&change);
            last = last.max(seen.at);
            let number = u64::try_from(events.len()).unwrap_or(u64::MAX);
            events.push(HistoryEvent {
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
