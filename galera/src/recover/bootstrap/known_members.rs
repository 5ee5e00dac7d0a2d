//! Whether every member is known: lost memory must not shrink the cluster to those that are left (I36).

use std::collections::BTreeSet;

use super::RecoveryCase;
use super::situation::Situation;
use crate::id::NodeId;
use crate::judge::cluster::reasons::node_label;
use crate::observe::confirmed_nodes::ConfirmedBy;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource};

pub(super) fn check(case: &RecoveryCase<'_>, situation: &Situation<'_>, draft: &mut PlanDraft) {
    let known: Vec<usize> = situation.accountable_members().collect();
    let mut evidence = Vec::new();
    let mut most: Option<(usize, String)> = None;
    for &node in &known {
        let Some(seen) = situation.members_seen(node) else {
            continue;
        };
        let Some(count) = seen.members() else {
            continue;
        };
        // A damaged view shows no absence of others.
        if seen.is_lower_bound() && count <= known.len() {
            continue;
        }
        let facts = &situation.nodes()[node];
        let value = seen.explanation();
        evidence.push(fact(
            Some(&facts.id),
            EvidenceSource::Registry,
            None,
            value.as_str(),
        ));
        if count > known.len() && most.as_ref().is_none_or(|(other, _)| *other < count) {
            most = Some((count, format!("{}: {value}", node_label(facts))));
        }
    }
    let forgotten = registry_was_lost(case, situation, &known);
    if evidence.is_empty() && !forgotten {
        return;
    }
    let (status, message) = match most {
        Some((_, seen)) => (
            CheckStatus::Fail,
            format!(
                "{seen}, but only {} {} known. Pin every member: {} (an arbitrator counts as a member of a view; if it is the \
                 only one missing, an administrator may override this check).",
                known.len(),
                if known.len() == 1 { "is" } else { "are" },
                pin_command(case, situation, &known, true),
            ),
        ),
        None if forgotten && is_named_by_a_person(case, situation, &known) => (
            CheckStatus::Pass,
            "The registry has no founder key: it was lost. The members are pinned in the configuration or were admitted."
                .to_owned(),
        ),
        None if forgotten => {
            let remedy = match known.as_slice() {
                [only] => format!(
                    "Pin every member: {}. A single name does not suffice, because it may be a seed: if {} is the only \
                     member, an administrator may override this check.",
                    pin_command(case, situation, &known, true),
                    situation.join_names(std::iter::once(*only)),
                ),
                _ => format!(
                    "Pin every member: {}, with the others added if there are any.",
                    pin_command(case, situation, &known, false),
                ),
            };
            (
                CheckStatus::Unknown,
                format!(
                    "The registry has no founder key: it was lost, and this console has seen no Primary component since. \
                     Only {} {} known; there may be others, with newer data. {remedy}",
                    situation.join_names(known.iter().copied()),
                    if known.len() == 1 { "is" } else { "are" },
                ),
            )
        }
        None => (
            CheckStatus::Pass,
            "No member saw more members than are known.".to_owned(),
        ),
    };
    draft.add_check(CheckCode::MEMBERS_KNOWN, status, message, evidence);
}

/// Whether nodes with agents are left without the founder key that such a cluster always has, and nothing else shows which
/// members it had.
fn registry_was_lost(case: &RecoveryCase<'_>, situation: &Situation<'_>, known: &[usize]) -> bool {
    let has_agent = |&node: &usize| {
        let seen = situation.nodes()[node].registration.as_ref();
        seen.is_some_and(|seen| {
            let fields = &seen.observation.fields;
            let registered = fields.registration().and_then(|known| known.id.as_ref());
            registered.is_some() || fields.contains_key("data_id")
        })
    };
    case.context.founder_missing
        && case.evidence.last_primary_members.is_empty()
        && known.iter().any(has_agent)
}

/// The setting that pins the `known` members, and others if some are `missing`.
fn pin_command(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    known: &[usize],
    missing: bool,
) -> String {
    let names = known
        .iter()
        .map(|&node| situation.nodes()[node].id.to_string());
    let others = missing.then(|| "…".to_owned());
    let names: Vec<String> = names.chain(others).collect();
    format!("--cluster {}={}", case.evidence.name, names.join(","))
}

/// Whether a person named at least two members, and all that are known: in the configuration, or by admitting them.
/// Being in a first view or in a member's list is no naming.
fn is_named_by_a_person(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    known: &[usize],
) -> bool {
    let port = case.settings.fold.default_port;
    let pinned: BTreeSet<NodeId> = case
        .evidence
        .configured_members
        .iter()
        .map(|id| id.clone().normalized(port))
        .collect();
    let is_admitted = |id: &NodeId| {
        let confirmed = case.evidence.confirmed.get(id);
        confirmed.is_some_and(|node| node.by == ConfirmedBy::Admitted)
    };
    // An admission of a node that is no longer known shows nothing about those that are.
    known.len().max(pinned.len()) > 1
        && known.iter().all(|&node| {
            let id = &situation.nodes()[node].id;
            pinned.contains(id) || is_admitted(id)
        })
}
