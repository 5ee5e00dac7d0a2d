//! Providers that ignore the rules of quorum: each member out of sight could be Primary alone (I43).

use super::situation::{MemberCondition, Situation};
use crate::judge::cluster::reasons::node_label;
use crate::observe::wsrep::option_statements;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource};

/// Adds a check if a member has `pc.ignore_quorum` or `pc.ignore_sb` set. A majority in sight proves nothing then, so
/// each of the other members must be accounted for.
pub(super) fn check(situation: &Situation<'_>, draft: &mut PlanDraft) {
    let mut evidence = Vec::new();
    let mut servers = Vec::new();
    let mut options = Vec::new();
    for facts in situation.nodes() {
        let Some(answer) = facts.fresh_answer() else {
            continue;
        };
        let set = &answer.status.quorum_options;
        let in_force: Vec<&'static str> = [
            (set.ignore_quorum, "pc.ignore_quorum"),
            (set.ignore_split_brain, "pc.ignore_sb"),
        ]
        .into_iter()
        .filter_map(|(value, name)| (value == Some(true)).then_some(name))
        .collect();
        if in_force.is_empty() {
            continue;
        }
        servers.push((node_label(facts), answer.status));
        evidence.push(fact(
            Some(&facts.id),
            EvidenceSource::Sql,
            Some(answer.at),
            format!("{}=true", in_force.join("=true, ")),
        ));
        options.extend(in_force);
    }
    if servers.is_empty() {
        return;
    }
    options.sort_unstable();
    options.dedup();
    let rule = if options.contains(&"pc.ignore_quorum") {
        "any unreachable member could be Primary alone"
    } else {
        "half of the members could be Primary while unreachable"
    };
    let open = |condition| {
        matches!(
            condition,
            MemberCondition::Unknown | MemberCondition::Indeterminate
        )
    };
    let counted = || {
        situation
            .accountable_members()
            .map(|node| situation.conditions[node])
    };
    let (status, state) = if counted().any(open) {
        (CheckStatus::Unknown, "Not every member is accounted for.")
    } else if counted().any(|condition| matches!(condition, MemberCondition::Attested(_))) {
        (
            CheckStatus::Attested,
            "Every other member is accounted for, some as confirmed by the requester.",
        )
    } else {
        (CheckStatus::Pass, "Every other member is accounted for.")
    };
    let names: Vec<String> = servers.iter().map(|(name, _)| name.clone()).collect();
    let resets: Vec<(&str, &str)> = options.iter().map(|name| (*name, "FALSE")).collect();
    let message = format!(
        "{} {} set: {rule}. {state} Reset it on each member, or the next split has two Primary components: {}.",
        names.join(", "),
        match names.len() {
            1 => format!("has {}", options.join(" and ")),
            _ => format!("have {}", options.join(" and ")),
        },
        option_statements(servers, &resets),
    );
    draft.add_check(CheckCode::QUORUM_RULES, status, message, evidence);
}
