//! What waits for each target, in order, and what is to be done next.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::Timestamp;
use registry::{Change, WatchEvent};

use super::{Settled, Table};
use crate::crier::Fires;
use crate::outbox::Queued;
use crate::send::{Firing, REPEAT};
use crate::target::{Channel, Target};

/// Most deliveries that wait for one target; the oldest are given up.
const WAITING_MAX: usize = 1_000;
/// After how many deliveries a target's log is shortened.
const PRUNE_EVERY: u32 = 20;
/// Settled deliveries that are remembered, so that late news do not bring them back.
const SETTLED_MAX: usize = 10_000;

/// Something to do for a target.
#[derive(Debug)]
pub(super) enum Job {
    /// Send it; and shorten the log afterwards, maybe.
    Send(Box<Queued>, Arc<Target>, bool),
    /// Record that it is not sent, and why.
    GiveUp(Box<Queued>, &'static str),
    /// Its target is gone.
    Discard(Box<Queued>),
    /// Say again what still holds.
    Repeat(Arc<Target>, Vec<Firing>),
}

#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<(i64, Vec<u8>), Queued>,
    busy: bool,
    repeated_at: Option<Timestamp>,
    sent: u32,
}

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Office {
    lines: BTreeMap<String, Line>,
    /// By key, the revision at which a delivery was settled by this office.
    settled: BTreeMap<Vec<u8>, i64>,
}

impl Office {
    /// Takes in what the outbox holds now.
    pub(super) fn learn(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Reset { entries, .. } => {
                for line in self.lines.values_mut() {
                    line.waiting.clear();
                }
                for queued in entries.iter().filter_map(Queued::read) {
                    self.put(queued);
                }
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) => {
                            if let Some(queued) = Queued::read(&entry) {
                                self.put(queued);
                            }
                        }
                        Change::Delete { key, revision } => self.remove(&key, revision),
                    }
                }
            }
            WatchEvent::Reachable | WatchEvent::Unreachable { .. } => {}
        }
    }

    /// A job ended. What it left in the outbox is known before the outbox tells of it.
    pub(super) fn landed(&mut self, target: &str, settled: Option<Settled>) {
        if let Some(line) = self.lines.get_mut(target) {
            line.busy = false;
        }
        let Some(Settled {
            before,
            after,
            revision,
        }) = settled
        else {
            return;
        };
        if let Some(revision) = revision {
            self.remember(&before.key, revision);
        }
        match after {
            Some(after) => self.put(after),
            // Whoever changed it meanwhile did so at a later revision than the one that was seen.
            None => self.remove(&before.key, before.revision),
        }
    }

    fn remember(&mut self, key: &[u8], revision: i64) {
        if self.settled.len() >= SETTLED_MAX {
            let mut revisions: Vec<i64> = self.settled.values().copied().collect();
            revisions.sort_unstable();
            let middle = revisions[revisions.len() / 2];
            self.settled.retain(|_, settled| *settled > middle);
        }
        self.settled.insert(key.to_vec(), revision);
    }

    /// What is due for targets that nothing is being done for. Their lines are busy from now on.
    pub(super) fn due(
        &mut self,
        table: &Table,
        fires: &Fires,
        now: Timestamp,
    ) -> Vec<(String, Job)> {
        for target in fires.keys() {
            self.lines.entry(target.clone()).or_default();
        }
        let mut jobs = Vec::new();
        for (target, line) in &mut self.lines {
            if line.busy {
                continue;
            }
            let known = table.get(target);
            let job = line.job(known.map(|known| &known.target), fires.get(target), now);
            if let Some(job) = job {
                line.busy = true;
                jobs.push((target.clone(), job));
            }
        }
        jobs
    }

    /// When the next thing is due for a target that nothing is being done for.
    pub(super) fn next(&self, table: &Table, fires: &Fires) -> Option<Timestamp> {
        self.lines
            .iter()
            .filter(|(target, line)| {
                !line.busy && table.get(*target).is_some_and(|known| known.target.enabled)
            })
            .filter_map(|(target, line)| {
                line.next(
                    table.get(target).map(|known| &*known.target),
                    fires.contains_key(target),
                )
            })
            .min()
    }

    fn put(&mut self, queued: Queued) {
        let settled = self.settled.get(&queued.key).copied().unwrap_or_default();
        if queued.revision < settled {
            return;
        }
        let line = self
            .lines
            .entry(queued.delivery.target.clone())
            .or_default();
        let place = queued.place();
        // One that was queued again has another place.
        line.waiting
            .retain(|known, _| known.1 != place.1 || *known == place);
        match line.waiting.get(&place) {
            Some(known) if known.revision > queued.revision => {}
            _ => drop(line.waiting.insert(place, queued)),
        }
    }

    /// Removes the entry of `key` unless it is of later than `revision`.
    fn remove(&mut self, key: &[u8], revision: i64) {
        for line in self.lines.values_mut() {
            line.waiting
                .retain(|(_, known), queued| known != key || queued.revision > revision);
        }
    }
}

impl Line {
    fn job(
        &mut self,
        target: Option<&Arc<Target>>,
        firing: Option<&Vec<Firing>>,
        now: Timestamp,
    ) -> Option<Job> {
        let first = self.waiting.values().next();
        let Some(target) = target else {
            return first.map(|queued| Job::Discard(Box::new(queued.clone())));
        };
        if let Some(queued) = first {
            if self.waiting.len() > WAITING_MAX {
                return Some(Job::GiveUp(
                    Box::new(queued.clone()),
                    "more than 1000 notices wait for this target",
                ));
            }
            let due = queued.delivery.next_at.is_none_or(|at| at <= now);
            if target.enabled && due {
                self.sent = self.sent.wrapping_add(1);
                let prune = self.sent % PRUNE_EVERY == 1;
                return Some(Job::Send(
                    Box::new(queued.clone()),
                    Arc::clone(target),
                    prune,
                ));
            }
            return None;
        }
        let repeats = repeats(target) && target.enabled;
        let firing = firing.filter(|_| repeats && self.repeat_at().is_none_or(|at| at <= now))?;
        self.repeated_at = Some(now);
        Some(Job::Repeat(Arc::clone(target), firing.clone()))
    }

    fn next(&self, target: Option<&Target>, fires: bool) -> Option<Timestamp> {
        match self.waiting.values().next() {
            Some(queued) => queued.delivery.next_at,
            None if fires && target.is_some_and(repeats) => self.repeat_at(),
            None => None,
        }
    }

    fn repeat_at(&self) -> Option<Timestamp> {
        self.repeated_at.map(|at| at.plus(REPEAT))
    }
}

/// Whether this receiver forgets what is not repeated.
fn repeats(target: &Target) -> bool {
    matches!(target.channel, Channel::Alertmanager { .. })
}
