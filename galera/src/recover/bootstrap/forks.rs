//! Members on different branches of one history: positions are comparable up to the fork only (I35).

use super::RecoveryCase;
use super::situation::{Situation, SourcedPosition};
use crate::judge::cluster::reasons::node_label;
use crate::record::fork::ForkConflict;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource};

/// Checks that no stopped member has what the newest fork lacks. Returns the members that the newest fork includes: no
/// other may be chosen.
pub(super) fn check(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    known: &[(usize, SourcedPosition)],
) -> Vec<(usize, SourcedPosition)> {
    let forks = &case.context.forks;
    let epochs = || {
        known
            .iter()
            .filter_map(|(node, _)| situation.fork_epoch(*node))
    };
    let newest = epochs().max().unwrap_or(0);
    let mut branch = Vec::new();
    let (mut evidence, mut conflicts) = (Vec::new(), Vec::new());
    for (node, known) in known {
        let facts = &situation.nodes()[*node];
        let Some(epoch) = situation.fork_epoch(*node).filter(|epoch| *epoch < newest) else {
            branch.push((*node, known.clone()));
            continue;
        };
        let value = format!("data of fork {epoch}, the newest is {newest}");
        evidence.push(fact(Some(&facts.id), EvidenceSource::Registry, None, value));
        let position = &known.position;
        let name = node_label(facts);
        match forks.conflict(epoch, position.uuid, position.seqno, newest) {
            None => {}
            Some(ForkConflict::Ahead { epoch, transactions: (first, last) }) => conflicts.push(format!(
                "{name} has transactions {first} to {last}, which fork {epoch} continued without at {}",
                first - 1
            )),
            Some(ForkConflict::Unrecorded { epoch }) => conflicts.push(format!(
                "{name} may have transactions that fork {epoch} continued without, and that fork is not recorded in etcd"
            )),
        }
    }
    if newest == 0 || known.is_empty() {
        return branch;
    }
    let (status, message) = if conflicts.is_empty() {
        (
            CheckStatus::Pass,
            format!("No member has transactions that fork {newest} continued without."),
        )
    } else {
        (
            CheckStatus::Fail,
            format!(
                "{}. Its data and those of the other members exclude each other: decide whose to keep. Keep a copy of the \
                 others; they return with an empty data directory.",
                conflicts.join("; ")
            ),
        )
    };
    draft.add_check(CheckCode::NO_FORK, status, message, evidence);
    branch
}
