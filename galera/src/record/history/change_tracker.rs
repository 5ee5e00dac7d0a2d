//! Matches what one replica observed of a cluster with what is recorded.
//!
//! Every replica observes, one of them records. When another one takes over, the difference between what it observed
//! and what is recorded is what it must still write. Replicas observe a change at different moments, and some miss it:
//! so observations and records are matched by the order of states, and times only distinguish old from new.
//!
//! [`ChangeTracker::observe`] adds [`ObservedChange`]s to the pending ones, [`ChangeTracker::apply_recorded`] removes
//! those that were recorded, and [`ChangeTracker::next_events`] gives the recording replica what to write next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{ClusterStates, HistoryEvent, HistorySubject, StateChange, SubjectState, diff_states};
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, VerdictState};

/// How much later another replica may observe the same change, clock skew included.
pub const SKEW: Duration = Duration::from_secs(5);
/// Maximum number of pending changes per cluster (during a long etcd outage, or when a cluster keeps flapping).
pub const PENDING_MAX: usize = 4_096;

/// A change that this replica observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedChange {
    pub at: Timestamp,
    /// Its `from` is the state that this replica observed before.
    pub change: StateChange,
}

/// A recorded change that this replica has not observed yet.
#[derive(Clone, Debug)]
struct RecordedChange {
    at: Timestamp,
    subject: HistorySubject,
    state: SubjectState,
}

/// One cluster, as one replica observes it and as it is recorded.
#[derive(Clone, Debug, Default)]
pub struct ChangeTracker {
    /// The states after the last recorded event.
    recorded: ClusterStates,
    /// The number of the last recorded event.
    sequence: u64,
    /// When the recording replica observed each recorded state.
    recorded_at: BTreeMap<HistorySubject, Timestamp>,
    /// What this replica observes; `None` before its first view.
    observed: Option<ClusterStates>,
    /// When it first observed the cluster; records from before are not matched.
    first_observed_at: Option<Timestamp>,
    /// Since when it observes each state.
    observed_since: BTreeMap<HistorySubject, Timestamp>,
    /// Observed and not recorded, oldest first.
    pending: VecDeque<ObservedChange>,
    /// Recorded and not observed (yet), oldest first.
    not_yet_observed: Vec<RecordedChange>,
    /// Until when the recording replica has recorded everything that it observed.
    recorded_until: Option<Timestamp>,
    /// Number of changes dropped because too many were pending.
    dropped: u64,
}

impl ChangeTracker {
    /// The recorded states.
    #[must_use]
    pub fn recorded(&self) -> &ClusterStates {
        &self.recorded
    }

    /// The number of the last recorded event.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether this replica has observed the cluster.
    #[must_use]
    pub fn has_observed(&self) -> bool {
        self.observed.is_some()
    }

    /// Observed changes that are not recorded yet, oldest first.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = &ObservedChange> {
        self.pending.iter()
    }

    /// Number of changes dropped since the last call because too many were pending.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Applies what this replica observes now.
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

    /// The cluster has been removed from this replica's configuration and registry at `at`.
    pub fn stop_observing(&mut self, at: Timestamp) {
        self.observed = None;
        self.first_observed_at = None;
        self.observed_since.clear();
        let mut states = self.recorded.clone();
        for observed in &self.pending {
            states.apply(&observed.change);
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

    /// Replaces what is recorded after etcd was restored or emptied.
    pub fn reset_to(&mut self, sequence: u64, states: &ClusterStates) {
        self.sequence = sequence;
        self.recorded = states.clone();
        self.recorded_at.clear();
        self.recorded_until = None;
        self.not_yet_observed.clear();
    }

    /// Whether the change was recorded before it was observed here. Drops that record and the subject's earlier ones.
    fn was_already_recorded(
        &mut self,
        subject: &HistorySubject,
        state: SubjectState,
        at: Timestamp,
    ) -> bool {
        let same = |recorded: &RecordedChange| {
            let apart = recorded.at.age(at).max(at.age(recorded.at));
            recorded.subject == *subject && recorded.state == state && apart <= SKEW
        };
        let Some(index) = self.not_yet_observed.iter().position(same) else {
            return false;
        };
        let mut place = 0;
        self.not_yet_observed.retain(|recorded| {
            let matched = place <= index && recorded.subject == *subject;
            place += 1;
            !matched
        });
        true
    }

    fn push_pending(&mut self, change: ObservedChange) {
        if self.pending.len() >= PENDING_MAX {
            // The newest states must be right and the oldest changes are written first, so drop from the middle.
            self.pending.remove(PENDING_MAX / 2);
            self.dropped += 1;
        }
        self.pending.push_back(change);
    }

    /// Applies a recorded event, whichever replica wrote it. Events that are already known have no effect.
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

    /// Applies the states after event `sequence` when the events before it are not available one by one.
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

    /// Removes a recorded change, and the subject's earlier ones, from the pending changes; if this replica has not
    /// observed it yet, remembers it for when it does.
    fn match_recorded(&mut self, subject: HistorySubject, state: SubjectState, at: Timestamp) {
        if self.first_observed_at.is_none_or(|first| at < first) {
            return;
        }
        let same = |observed: &ObservedChange| {
            observed.change.subject_and_state() == (subject.clone(), state)
        };
        let Some(index) = self.pending.iter().position(same) else {
            // If we already observe this state there is nothing left to match, unless an intermediate change is still
            // outstanding.
            let observed = self
                .observed
                .as_ref()
                .and_then(|states| states.get(&subject));
            if observed != Some(state)
                || self
                    .not_yet_observed
                    .iter()
                    .any(|recorded| recorded.subject == subject)
            {
                self.not_yet_observed
                    .push(RecordedChange { at, subject, state });
            }
            return;
        };
        let mut place = 0;
        self.pending.retain(|observed| {
            let matched = place <= index && observed.change.subject_and_state().0 == subject;
            place += 1;
            !matched
        });
    }

    /// The recording replica has recorded everything that it observed before `until`. Pending changes that it had time
    /// to observe by then it observed differently; they are dropped.
    pub fn mark_recorded_until(&mut self, until: Timestamp) {
        let cutoff = until.minus(SKEW);
        self.recorded_until = self.recorded_until.max(Some(until));
        self.pending.retain(|observed| observed.at >= cutoff);
        self.expire_not_yet_observed(until);
    }

    /// Drops records that are too old to be observed here.
    fn expire_not_yet_observed(&mut self, now: Timestamp) {
        self.not_yet_observed
            .retain(|recorded| recorded.at.age(now) <= SKEW);
    }

    /// For the recording replica: adds changes from the recorded states to the observed ones where neither a pending nor
    /// an outstanding change explains the difference. Replicas may observe differently, and changes may have been
    /// dropped.
    pub fn reconcile(&mut self, view: &ClusterView, now: Timestamp) {
        if self.observed.is_none() {
            return;
        }
        self.expire_not_yet_observed(now);
        let mut states = self.recorded.clone();
        for observed in &self.pending {
            states.apply(&observed.change);
        }
        for change in diff_states(&states, view) {
            let (subject, _) = change.subject_and_state();
            if self
                .not_yet_observed
                .iter()
                .any(|recorded| recorded.subject == subject)
            {
                continue;
            }
            let recorded = self.recorded_at.get(&subject).copied();
            // Before that, another replica observed another state.
            let recorded = recorded.max(self.recorded_until);
            let at = match self.observed_since.get(&subject) {
                Some(since) if recorded.is_none_or(|recorded| recorded < *since) => *since,
                _ => now,
            };
            self.push_pending(ObservedChange { at, change });
        }
    }

    /// No replica observed the cluster from `from` to `until`: inserts an unknown verdict for that time.
    pub fn insert_gap(&mut self, from: Timestamp, until: Timestamp, view: Option<&ClusterView>) {
        let unknown = VerdictState::Unknown;
        if self
            .recorded
            .verdict
            .is_none_or(|verdict| verdict == unknown)
        {
            return;
        }
        let verdict =
            |observed: &ObservedChange| matches!(observed.change, StateChange::Verdict { .. });
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

    /// The next events to record, at most `limit`: the pending changes, numbered after what is recorded and no earlier
    /// than `last`, the time of the last recorded event. They stay pending until [`ChangeTracker::apply_recorded`].
    #[must_use]
    pub fn next_events(&self, limit: usize, last: Option<Timestamp>) -> Vec<HistoryEvent> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut states = self.recorded.clone();
        let mut events: Vec<HistoryEvent> = Vec::new();
        let mut last = last.unwrap_or_else(|| Timestamp::from_unix_millis(i64::MIN));
        for observed in &self.pending {
            if events.len() == limit {
                break;
            }
            let (subject, state) = observed.change.subject_and_state();
            if states.get(&subject) == Some(state) {
                continue;
            }
            let change = observed.change.clone().rebased_onto(&states);
            states.apply(&change);
            last = last.max(observed.at);
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
