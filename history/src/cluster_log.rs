//! What is held in memory of one cluster: its head, its newest events, its days.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::Timestamp;
use galera::record::history::{ClusterStates, HistoryEvent, StateChange};
use galera::record::uptime::{Date, UptimeCounter, UptimeDay};
use serde::{Deserialize, Serialize};

/// Where the chronicle of a cluster has come to; the key that every write of it compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// The number of the last event; 0 before the first.
    pub sequence: u64,
    /// The number of the oldest event that is kept.
    pub first: u64,
    /// The number of the last event that lies in a block.
    pub sealed: u64,
    /// When the last event was.
    pub at: Timestamp,
    /// Since when the verdict is what it is.
    pub since: Option<Timestamp>,
    /// The states after the last event.
    pub states: ClusterStates,
    /// The day that is not over.
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
    /// Takes an event in; returns the days that are over with it.
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

    /// When the last event was; `None` before the first.
    #[must_use]
    pub fn last_event_at(&self) -> Option<Timestamp> {
        (self.sequence > 0).then_some(self.at)
    }
}

/// What is held in memory of one cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterLog {
    /// Its head.
    pub head: LogHead,
    /// The revision of the head's key; 0 while there is none.
    pub head_revision: i64,
    /// Its events that lie in no block, by number.
    pub tail: BTreeMap<u64, Arc<HistoryEvent>>,
    /// The days that are over, oldest first.
    pub days: Arc<Vec<UptimeDay>>,
    /// The revision of the days' key.
    pub days_revision: i64,
}

impl ClusterLog {
    /// Takes in a head, unless a newer one is known.
    pub(super) fn set_head(&mut self, head: LogHead, revision: i64) {
        if revision > self.head_revision {
            self.tail
                .retain(|sequence, _| *sequence > head.sealed && *sequence >= head.first);
            self.head = head;
            self.head_revision = revision;
        }
    }

    /// Takes in days, unless newer ones are known.
    pub(super) fn set_days(&mut self, days: Vec<UptimeDay>, revision: i64) {
        if revision > self.days_revision {
            self.days = Arc::new(days);
            self.days_revision = revision;
        }
    }

    /// Takes in one of the newest events.
    pub(super) fn add_event(&mut self, event: HistoryEvent) {
        if event.sequence > self.head.sealed {
            self.tail.insert(event.sequence, Arc::new(event));
        }
    }

    /// The days with those that are `over`, none older than `oldest`.
    pub(super) fn merged_days(&self, over: Vec<UptimeDay>, oldest: Date) -> Vec<UptimeDay> {
        let mut days: Vec<UptimeDay> = self.days.iter().copied().chain(over).collect();
        days.retain(|day| day.date >= oldest);
        days
    }
}
