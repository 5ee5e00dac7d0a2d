//! The part of one cluster's history that is held in memory: its head, its newest events, its days.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::Timestamp;
use galera::record::history::{ClusterStates, HistoryEvent, StateChange};
use galera::record::uptime::{Date, UptimeCounter, UptimeDay};
use serde::{Deserialize, Serialize};

/// The head of a cluster's history. Every write to that history compares its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// Sequence of the last event; 0 before the first.
    pub sequence: u64,
    /// Sequence of the oldest event that is still kept.
    pub first: u64,
    /// Sequence of the last event that was compacted into a block; 0 when none was.
    pub sealed: u64,
    /// Time of the last event.
    pub at: Timestamp,
    /// When the current verdict was reached.
    pub since: Option<Timestamp>,
    /// Verdict and node states after the last event.
    pub states: ClusterStates,
    /// Availability of the current day so far.
    pub tally: Option<UptimeCounter>,
}

impl Default for LogHead {
    fn default() -> Self {
        Self {
            sequence: 0,
            first: 1,
            sealed: 0,
            at: Timestamp::from_unix_millis(0),
            since: None,
            states: ClusterStates::default(),
            tally: None,
        }
    }
}

impl LogHead {
    /// Applies an event; returns the days that it completes.
    pub fn append(&mut self, event: &HistoryEvent) -> Vec<UptimeDay> {
        self.sequence = event.sequence;
        self.at = event.at;
        self.states.apply(&event.change);
        let StateChange::Verdict { to, .. } = event.change else {
            return Vec::new();
        };
        self.since = Some(event.at);
        match &mut self.tally {
            Some(tally) => tally.change_verdict(event.at, to),
            None => {
                self.tally = Some(UptimeCounter::start(to, event.at));
                Vec::new()
            }
        }
    }

    /// Time of the last event; `None` before the first.
    #[must_use]
    pub fn last_event_at(&self) -> Option<Timestamp> {
        (self.sequence > 0).then_some(self.at)
    }
}

/// One cluster's history as held in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterLog {
    pub head: LogHead,
    /// Revision of the head's key; 0 while there is none.
    pub head_revision: i64,
    /// Events that are not in a block yet, by sequence.
    pub tail: BTreeMap<u64, Arc<HistoryEvent>>,
    /// Completed days, oldest first.
    pub days: Arc<Vec<UptimeDay>>,
    /// Revision of the days' key.
    pub days_revision: i64,
}

impl ClusterLog {
    /// Replaces the head unless the known one is newer.
    pub(super) fn set_head(&mut self, head: LogHead, revision: i64) {
        if revision > self.head_revision {
            // Events are written together with their head: those beyond the former one were put there by another client.
            let written = self.head.sequence;
            self.tail.retain(|sequence, _| {
                *sequence > head.sealed && *sequence >= head.first && *sequence <= written
            });
            self.head = head;
            self.head_revision = revision;
        }
    }

    /// Replaces the days unless the known ones are newer.
    pub(super) fn set_days(&mut self, days: Vec<UptimeDay>, revision: i64) {
        if revision > self.days_revision {
            self.days = Arc::new(days);
            self.days_revision = revision;
        }
    }

    /// Adds an event that was written, after its head was set.
    pub(super) fn add_event(&mut self, event: HistoryEvent) {
        if event.sequence > self.head.sealed && event.sequence >= self.head.first {
            self.tail.insert(event.sequence, Arc::new(event));
        }
    }

    /// Adds an event that was read: once known, an event of the log never changes.
    pub(super) fn add_read_event(&mut self, event: HistoryEvent) {
        if !self.tail.contains_key(&event.sequence) {
            self.add_event(event);
        }
    }

    /// The events that are not in a block, by sequence. Others may be in etcd: expired ones that another client put back.
    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = (u64, &Arc<HistoryEvent>)> {
        let numbers = self.oldest_in_tail()..self.head.sequence.saturating_add(1);
        let is_empty = numbers.is_empty();
        let events = (!is_empty).then(|| self.tail.range(numbers));
        events
            .into_iter()
            .flatten()
            .map(|(sequence, event)| (*sequence, event))
    }

    /// The events that ought to be in the tail, but are not.
    pub(super) fn missing_events(&self) -> impl Iterator<Item = u64> {
        (self.oldest_in_tail()..=self.head.sequence)
            .filter(|sequence| !self.tail.contains_key(sequence))
    }

    fn oldest_in_tail(&self) -> u64 {
        (self.head.sealed + 1).max(self.head.first)
    }

    /// The head according to the events, after it was removed: the log continues above them.
    pub(super) fn rebuilt_head(&self) -> Option<LogHead> {
        let first = self.tail.values().next()?;
        let mut head = LogHead {
            first: first.sequence,
            sealed: (first.sequence - 1) / crate::EVENTS_PER_BLOCK * crate::EVENTS_PER_BLOCK,
            ..LogHead::default()
        };
        for event in self.tail.values() {
            head.append(event);
        }
        Some(head)
    }

    /// The known days followed by `completed`, without those before `oldest`.
    pub(super) fn merged_days(&self, completed: Vec<UptimeDay>, oldest: Date) -> Vec<UptimeDay> {
        let mut days: Vec<UptimeDay> = self.days.iter().copied().chain(completed).collect();
        days.retain(|day| day.date >= oldest);
        days
    }
}
