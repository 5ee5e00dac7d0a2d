//! Alarms about the data of a cluster. They stay, on every replica and across restarts, until a person acknowledges them:
//! what they report does not show in any later status of the nodes (I45).
//!
//! [`detect`] compares what nodes report with what they reported before. Every replica applies what it finds to one
//! record, under a comparison of its revision, so that each finding becomes one alarm.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::NodeId;
use crate::timestamp::Timestamp;

mod bootstraps;
mod detection;

pub use bootstraps::{ObservedBootstrap, QuorumLosses};
pub use detection::{HistoryObservation, detect};

pub use crate::observe::history_alarm::{
    DataAhead, HistoryAcknowledgement, HistoryAlarm, HistoryFinding,
};

/// Acknowledged alarms that are kept, beside those that name members whose return is still expected.
const ACKNOWLEDGED_MAX: usize = 20;
/// Alarms of one cluster: with more, the oldest acknowledged ones are dropped, and no further ones are raised.
const ALARMS_MAX: usize = 100;

/// A loss that an approved bootstrap announced: the alarm about it is acknowledged with the approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedLoss {
    pub history: Uuid,
    /// The position that the bootstrap continued from.
    pub from: u64,
    /// The highest position that was known then.
    pub highest: u64,
    pub acknowledgement: HistoryAcknowledgement,
}

/// The alarms of one cluster (`alarms/{cluster}`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryAlarmRecord {
    /// The history of the last Primary component.
    #[serde(default)]
    pub current: Option<Uuid>,
    /// By ascending number.
    #[serde(default)]
    pub alarms: Vec<HistoryAlarm>,
    /// The number of the newest alarm, 0 before the first.
    #[serde(default)]
    pub newest: u64,
    /// Alarms up to this number are in the audit trail, from which they are notified.
    #[serde(default, skip_serializing_if = "is_default")]
    pub announced: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedLoss>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A change that a replica observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryChange {
    /// The first Primary component of the cluster has this history.
    Began(Uuid),
    Found(HistoryFinding),
    /// A member that was ahead returned with other data.
    Returned {
        node: NodeId,
        history: Uuid,
    },
}

impl HistoryAlarmRecord {
    /// The alarms that are not acknowledged, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &HistoryAlarm> {
        let alarms = self.alarms.iter();
        alarms.filter(|alarm| alarm.acknowledged.is_none())
    }

    /// The open alarms that are not in the audit trail yet.
    pub fn unannounced(&self) -> impl Iterator<Item = &HistoryAlarm> {
        self.open().filter(|alarm| alarm.number > self.announced)
    }

    /// Applies what a replica observed as of `now`; without effect if the record has it.
    pub fn apply(&mut self, change: &HistoryChange, now: Timestamp) {
        match change {
            HistoryChange::Began(history) => {
                self.current.get_or_insert(*history);
            }
            HistoryChange::Returned { node, history } => {
                self.take_ahead(node, *history);
            }
            HistoryChange::Found(finding) => self.apply_finding(finding, now),
        }
    }

    fn apply_finding(&mut self, finding: &HistoryFinding, now: Timestamp) {
        match finding {
            HistoryFinding::HistoryReplaced { before, after, .. } => {
                // Replicas that see different components would raise it in turn.
                let repeats = self.open().any(|alarm| match &alarm.finding {
                    HistoryFinding::HistoryReplaced {
                        before: from,
                        after: to,
                        ..
                    } => BTreeSet::from([from, to]) == BTreeSet::from([before, after]),
                    _ => false,
                });
                if self.current != Some(*after) && !repeats {
                    self.current = Some(*after);
                    self.raise(finding.clone(), now);
                }
            }
            HistoryFinding::PositionFell { seen, .. } => {
                if !self.widen_fall(finding) {
                    self.raise(finding.clone(), now.max(*seen));
                }
            }
            HistoryFinding::RivalPrimaries { .. } => {
                if !self.has_open_rivals() {
                    self.raise(finding.clone(), now);
                }
            }
            HistoryFinding::Bootstrapped { history, seqno, .. } => {
                let known = self.alarms.iter_mut().find(|alarm| {
                    matches!(&alarm.finding, HistoryFinding::Bootstrapped { history: of, seqno: from, .. }
                        if of == history && from == seqno)
                });
                match known {
                    Some(known) if known.acknowledged.is_none() => known.finding = finding.clone(),
                    Some(_) => {}
                    None => self.raise(finding.clone(), now),
                }
            }
            HistoryFinding::MemberDiverged { node, history, .. } => {
                if self.take_ahead(node, *history) {
                    self.raise(finding.clone(), now);
                }
            }
        }
    }

    fn raise(&mut self, finding: HistoryFinding, at: Timestamp) {
        if self.alarms.len() >= ALARMS_MAX {
            return;
        }
        self.newest = self.newest.saturating_add(1);
        let acknowledged = self
            .accepted
            .as_ref()
            .filter(|loss| loss.covers(&finding))
            .map(|loss| loss.acknowledgement.clone());
        self.alarms.push(HistoryAlarm {
            number: self.newest,
            at,
            finding,
            acknowledged,
        });
        self.drop_settled();
    }

    /// Adds `found` to the alarm about the same fall; replicas see slightly different positions. Returns whether there is
    /// one.
    fn widen_fall(&mut self, found: &HistoryFinding) -> bool {
        let HistoryFinding::PositionFell {
            history: found_history,
            before: found_before,
            after: found_after,
            seen: found_seen,
            ahead: found_ahead,
            ..
        } = found
        else {
            return false;
        };
        for alarm in &mut self.alarms {
            let HistoryFinding::PositionFell {
                history,
                before,
                after,
                seen,
                ahead,
                ..
            } = &mut alarm.finding
            else {
                continue;
            };
            let overlaps =
                history == found_history && *after < *found_before && *found_after < *before;
            if !overlaps {
                continue;
            }
            if alarm.acknowledged.is_some() {
                // What was seen later fell again.
                if *found_seen <= alarm.at {
                    return true;
                }
                continue;
            }
            *before = (*before).max(*found_before);
            *after = (*after).min(*found_after);
            *seen = (*seen).max(*found_seen);
            alarm.at = alarm.at.max(*seen);
            for (node, data) in found_ahead {
                ahead.entry(node.clone()).or_insert_with(|| data.clone());
            }
            return true;
        }
        false
    }

    /// Whether the position at which a member was last seen at `seen` is part of a known fall.
    fn knows_fall_from(&self, history: Uuid, seqno: u64, seen: Timestamp) -> bool {
        self.alarms.iter().any(|alarm| match &alarm.finding {
            HistoryFinding::PositionFell {
                history: of,
                before,
                after,
                ..
            } => *of == history && *after < seqno && seqno <= *before && seen <= alarm.at,
            _ => false,
        })
    }

    /// Whether there is an alarm about `seen`.
    #[must_use]
    pub fn knows_bootstrap(&self, seen: &ObservedBootstrap) -> bool {
        self.alarms.iter().any(|alarm| match &alarm.finding {
            HistoryFinding::Bootstrapped { history, seqno, .. } => {
                (*history, *seqno) == (seen.history, seen.seqno)
            }
            _ => false,
        })
    }

    fn has_open_rivals(&self) -> bool {
        self.open()
            .any(|alarm| matches!(alarm.finding, HistoryFinding::RivalPrimaries { .. }))
    }

    /// No longer expects `node` to return with data that the component lacks. Returns whether it was.
    fn take_ahead(&mut self, node: &NodeId, history: Uuid) -> bool {
        let mut expected = false;
        for alarm in &mut self.alarms {
            if let HistoryFinding::PositionFell {
                history: of, ahead, ..
            } = &mut alarm.finding
                && *of == history
            {
                expected |= ahead.remove(node).is_some();
            }
        }
        expected
    }

    /// Acknowledges the open alarms up to number `through`. Returns the numbers.
    pub fn acknowledge(
        &mut self,
        through: u64,
        acknowledgement: &HistoryAcknowledgement,
    ) -> Vec<u64> {
        let mut numbers = Vec::new();
        for alarm in &mut self.alarms {
            if alarm.number <= through && alarm.acknowledged.is_none() {
                alarm.acknowledged = Some(acknowledgement.clone());
                numbers.push(alarm.number);
            }
        }
        self.drop_settled();
        numbers
    }

    /// Records that an approved bootstrap announced `loss`, before or after the alarm about it was raised.
    pub fn accept_loss(&mut self, loss: AcceptedLoss) {
        for alarm in &mut self.alarms {
            if alarm.acknowledged.is_none() && loss.covers(&alarm.finding) {
                alarm.acknowledged = Some(loss.acknowledgement.clone());
            }
        }
        self.accepted = Some(loss);
        self.drop_settled();
    }

    /// The cluster was decommissioned by an approved action: the next history is no replacement, and no member is expected
    /// to return.
    pub fn end_history(&mut self) {
        self.current = None;
        for alarm in &mut self.alarms {
            if let HistoryFinding::PositionFell { ahead, .. } = &mut alarm.finding {
                ahead.clear();
            }
        }
        self.drop_settled();
    }

    /// Drops the oldest alarms that are acknowledged and expect no member to return.
    fn drop_settled(&mut self) {
        let settled = |alarm: &HistoryAlarm| {
            let awaits = matches!(&alarm.finding, HistoryFinding::PositionFell { ahead, .. } if !ahead.is_empty());
            alarm.acknowledged.is_some() && !awaits
        };
        let count = self.alarms.iter().filter(|alarm| settled(alarm)).count();
        let mut surplus = count.saturating_sub(ACKNOWLEDGED_MAX);
        self.alarms.retain(|alarm| {
            let dropped = surplus > 0 && settled(alarm);
            surplus -= usize::from(dropped);
            !dropped
        });
    }
}

impl AcceptedLoss {
    fn covers(&self, finding: &HistoryFinding) -> bool {
        match finding {
            HistoryFinding::PositionFell {
                history,
                before,
                after,
                ..
            } => *history == self.history && *after >= self.from && *before <= self.highest,
            _ => false,
        }
    }
}
