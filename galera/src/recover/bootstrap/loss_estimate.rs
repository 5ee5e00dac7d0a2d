//! Estimates what is lost when a cluster continues from a position: never zero while the data of a member are not known
//! exactly (I37).

use std::collections::{BTreeMap, BTreeSet};

use super::RecoveryCase;
use super::situation::{Situation, SourcedPosition};
use super::{forks, loss};
use crate::observe::fork::ForkConflict;
use crate::observe::registration::ReportedData;
use crate::position::Position;
use crate::recover::plan::{EvidenceSource, LossEstimate};

/// What members have that the cluster would continue without.
#[derive(Default)]
struct ExcludedData {
    /// The highest position on the branch of the chosen data, and who reached it.
    highest: Option<(u64, String)>,
    /// The highest position of data on other branches.
    highest_elsewhere: u64,
    /// Transactions on other branches, by the newest fork that their data continued; the number and who has them.
    branches: BTreeMap<u64, (u64, String)>,
    /// Members whose data are not known exactly.
    unknown: Vec<String>,
    /// What was last seen of them.
    remarks: Vec<String>,
}

/// The loss to expect when the cluster continues from `position`, which the nodes `holders` have. A position that was read
/// from a running server is only a lower bound.
pub(super) fn estimate(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    position: &Position,
    holders: &BTreeSet<usize>,
) -> LossEstimate {
    let mut excluded = ExcludedData::default();
    for node in 0..situation.nodes().len() {
        // Every member of the component contributes what it has.
        let holds = holders.contains(&node) && !situation.runs_on_other_data(node);
        if !holds {
            excluded.add_position(case, situation, position, holders, node);
        }
        excluded.add_unknown(case, situation, position, (node, holds));
    }
    let unconfirmed = situation.unconfirmed().iter();
    excluded
        .unknown
        .extend(unconfirmed.map(|facts| facts.id.to_string()));
    let remembered = loss::highest_seen(case, situation, &position.uuid);
    if let Some(remembered) = remembered {
        // A position that another branch reached is counted there.
        if remembered.seqno > excluded.highest_elsewhere {
            excluded.raise_highest(remembered.seqno, remembered.node.to_string());
        }
    }
    let begin = branch_begin(case, situation, position, holders);
    excluded.into_estimate(position, begin)
}

impl ExcludedData {
    fn raise_highest(&mut self, seqno: u64, node: String) {
        let highest = self.highest.as_ref();
        if highest.is_none_or(|(known, _)| *known < seqno) {
            self.highest = Some((seqno, node));
        }
    }

    /// Adds the positions of data that are not part of what continues: of a member, and of data that it had before and that
    /// an operator gives up.
    fn add_position(
        &mut self,
        case: &RecoveryCase<'_>,
        situation: &Situation<'_>,
        position: &Position,
        holders: &BTreeSet<usize>,
        node: usize,
    ) {
        let id = &situation.nodes()[node].id;
        let known = situation.last_known_position(node).map(|known| {
            let epoch = forks::epoch_of(case, situation, &(node, known.clone()));
            (known.position, epoch)
        });
        let given_up = situation.given_up_stop(node).map(|stopped| {
            let sourced = SourcedPosition {
                position: stopped.position.clone(),
                source: EvidenceSource::Registry,
                at: None,
                safe_to_bootstrap: None,
            };
            let named = forks::epoch_of_member(case, situation, node, &sourced.position);
            (sourced.position, stopped.fork_epoch.max(named))
        });
        let newest = holders
            .iter()
            .filter_map(|&holder| situation.reported_epoch(holder))
            .max();
        for (known, epoch) in known.into_iter().chain(given_up) {
            if known.uuid != position.uuid {
                continue;
            }
            let conflict = epoch.zip(newest).and_then(|(own, newest)| {
                case.context
                    .forks
                    .conflict(own, known.uuid, known.seqno, newest)
            });
            match conflict {
                None => self.raise_highest(known.seqno, id.to_string()),
                Some(ForkConflict::Unrecorded { .. }) => self.unknown.push(id.to_string()),
                Some(ForkConflict::Ahead {
                    transactions: (first, last),
                    ..
                }) => {
                    let count = last.saturating_sub(first).saturating_add(1);
                    let branch = self.branches.entry(epoch.unwrap_or(0)).or_default();
                    if branch.0 < count {
                        *branch = (count, format!("{id} has transactions {first} to {last}"));
                    }
                    self.highest_elsewhere = self.highest_elsewhere.max(known.seqno);
                }
            }
        }
    }

    /// Names the member if its data are not known exactly.
    fn add_unknown(
        &mut self,
        case: &RecoveryCase<'_>,
        situation: &Situation<'_>,
        position: &Position,
        (node, holds): (usize, bool),
    ) {
        let id = &situation.nodes()[node].id;
        let seen = case.history.primary.get(id);
        let seen = seen.filter(|seen| seen.position.uuid == position.uuid);
        let known = known_position(situation, node, position);
        // Data that are behind what their own node was seen at were restored, or have replaced others.
        let behind = |known: u64| seen.is_some_and(|seen| known < seen.position.seqno);
        let is_known = match known {
            KnownData::At(seqno) => !behind(seqno),
            KnownData::Nothing => seen.is_none(),
            KnownData::Unknown => holds,
        };
        // Not because of a position that only this replica has read: the digest must not depend on it.
        let counts = seen.is_some() || situation.accountable_members().any(|one| one == node);
        if is_known || !counts {
            return;
        }
        self.unknown.push(id.to_string());
        let Some(seen) = seen else { return };
        let now = match known {
            KnownData::At(seqno) => format!(", and its data are at {seqno} now"),
            KnownData::Nothing => ", and it has no data now".to_owned(),
            KnownData::Unknown => String::new(),
        };
        self.remarks.push(format!(
            " {id} was last seen Primary at {} at {}{now}; commits after that are unknown.",
            seen.position.seqno,
            seen.at.to_short_string(case.now)
        ));
    }

    fn into_estimate(mut self, position: &Position, (fork, common): (u64, u64)) -> LossEstimate {
        self.unknown.sort();
        self.unknown.dedup();
        let highest = self.highest.as_ref();
        let lost = highest.map_or(0, |(seqno, _)| seqno.saturating_sub(common));
        let mut sentences = Vec::new();
        match highest {
            Some((seqno, _)) if lost > 0 && common < position.seqno => sentences.push(format!(
                "Fork {fork} continued the history from {common} without these data, and {seqno} is the highest position known; \
                 what was committed there after {common} would be lost."
            )),
            Some((seqno, node)) if lost > 0 => sentences.push(format!(
                "{node} is known to have reached {seqno}; transactions after {} would be lost.",
                position.seqno
            )),
            _ => {}
        }
        let branches = self.branches.values();
        sentences.extend(branches.map(|(_, has)| {
            format!("{has}, which the chosen data continued without; they would be lost.")
        }));
        let lost = self
            .branches
            .values()
            .fold(lost, |sum, (count, _)| sum.saturating_add(*count));
        if sentences.is_empty() {
            sentences.push(match self.unknown.is_empty() {
                true => format!(
                    "No known data loss; no transaction after {} has been seen.",
                    position.seqno
                ),
                false => format!(
                    "No transaction after {} has been seen, but not all data is known.",
                    position.seqno
                ),
            });
        }
        let mut explanation = sentences.join(" ");
        explanation.extend(self.remarks);
        if !self.unknown.is_empty() {
            explanation.push_str(&format!(
                " Transactions that only {} may have are unknown.",
                self.unknown.join(", ")
            ));
        }
        LossEstimate {
            transactions: (lost > 0 || self.unknown.is_empty()).then_some(lost),
            at_least: lost > 0 && !self.unknown.is_empty(),
            explanation,
        }
    }
}

/// What is known of the data of a member.
enum KnownData {
    /// They are at this position of the history.
    At(u64),
    /// They are the member's, and hold no transaction.
    Nothing,
    /// Not exactly known, or not the member's.
    Unknown,
}

/// What is known of a node's data: it answers as non-Primary and so commits nothing, or it has stopped at a position that
/// its agent or an operator read from the data. Other data than the registered ones say nothing about those, even if an
/// operator gives those up.
fn known_position(situation: &Situation<'_>, node: usize, position: &Position) -> KnownData {
    let at = |known: Position| match known.uuid == position.uuid {
        true => KnownData::At(known.seqno),
        false => KnownData::Unknown,
    };
    let facts = &situation.nodes()[node];
    if let Some(stopped) = situation.given_up_stop(node) {
        return at(stopped.position.clone());
    }
    let stopped = situation.stopped_position(node);
    let pasted = stopped
        .as_ref()
        .is_some_and(|known| known.source == EvidenceSource::Attestation);
    if facts.has_other_data() && !pasted {
        return KnownData::Unknown;
    }
    if let Some(answer) = facts.fresh_answer() {
        // A queue or a lock may hold back what it has received, but not what it has committed.
        return answer.status.position().map_or(KnownData::Unknown, at);
    }
    match stopped {
        Some(known) => at(known.position),
        // Without a registration an empty directory may have replaced data, and an older agent does not name its data.
        None if situation.has_no_data(node)
            && situation.reported_data(node) == Some(ReportedData::Registered) =>
        {
            KnownData::Nothing
        }
        None => KnownData::Unknown,
    }
}

/// The last position up to which the holders have the same transactions as every recorded fork of the history, and the first fork
/// that continued from there: what later positions have in common with theirs is only the number (I35).
fn branch_begin(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    position: &Position,
    holders: &BTreeSet<usize>,
) -> (u64, u64) {
    let forks = &case.context.forks;
    let epochs = holders
        .iter()
        .filter_map(|&node| situation.reported_epoch(node));
    let conflicts = epochs.filter_map(|epoch| {
        let newest = forks.newest();
        match forks.conflict(epoch, position.uuid, position.seqno, newest)? {
            ForkConflict::Ahead {
                epoch,
                transactions: (first, _),
            } => Some((epoch, first.saturating_sub(1))),
            ForkConflict::Unrecorded { .. } => None,
        }
    });
    conflicts
        .min_by_key(|(_, common)| *common)
        .unwrap_or((0, position.seqno))
}
