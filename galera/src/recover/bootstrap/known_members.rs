//! Whether every member is known: lost memory must not shrink the cluster to those that are left (I36).

use super::RecoveryCase;
use super::situation::Situation;
use crate::judge::cluster::reasons::node_label;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource};

const NAME_THEM: &str = "Pin every member with --cluster NAME=HOST,…";

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
                "{seen}, but only {} {} known. {NAME_THEM} (an arbitrator counts as a member of a view; if it is the only one \
                 missing, an administrator may override this check).",
                known.len(),
                if known.len() == 1 { "is" } else { "are" },
            ),
        ),
        None if forgotten && is_named_by_a_person(case, situation, &known) => (
            CheckStatus::Pass,
            "The registry has no founder key: it was lost. The configuration names the members."
                .to_owned(),
        ),
        None if forgotten => (
            CheckStatus::Unknown,
            format!(
                "The registry has no founder key: it was lost, and this console has seen no Primary component since. Only {} \
                 {} known; there may be others, with newer data. {NAME_THEM}; a single name does not suffice, because it \
                 may be a seed.",
                situation.join_names(known.iter().copied()),
                if known.len() == 1 { "is" } else { "are" },
            ),
        ),
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

/// Whether the configuration names at least two members, and all that are known.
fn is_named_by_a_person(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    known: &[usize],
) -> bool {
    let port = case.settings.fold.default_port;
    let pinned: Vec<_> = case
        .evidence
        .configured_members
        .iter()
        .map(|id| id.clone().normalized(port))
        .collect();
    pinned.len() > 1
        && known
            .iter()
            .all(|&node| pinned.contains(&situation.nodes()[node].id))
}
