//! The quorum of a cluster in one line: its votes, and how many it can lose.

use super::components::ObservedComponent;
use super::reasons::node_label;
use super::unseen::{self, UnseenMembers};
use super::verdict::VerdictContext;
use crate::judge::quorum::{QuorumRules, votes_to_spare};
use crate::view::{QuorumSummary, VerdictState};

/// The votes in `context`; `None` if no member answers, or if two components are disputed.
pub(super) fn summarize(
    context: &VerdictContext<'_>,
    state: VerdictState,
) -> Option<QuorumSummary> {
    if matches!(state, VerdictState::SplitBrain | VerdictState::Diverged) {
        return None;
    }
    match context.components.primary() {
        Some(primary) => Some(of_primary(context, primary)),
        None => without_primary(context),
    }
}

/// The votes of a Primary component. Its own total decides: Galera counts from the last view, which members that
/// stopped in order, or were lost before, are no longer in.
fn of_primary(context: &VerdictContext<'_>, primary: &ObservedComponent) -> QuorumSummary {
    let nodes = &context.gathered.nodes;
    let weight = |node: usize| u64::from(unseen::weight(context.evidence, &nodes[node]));
    let members = || primary.members.iter().map(|&node| weight(node));
    let unnamed = primary
        .view
        .size
        .map_or(0, |size| size.saturating_sub(primary.members.len() as u64));
    let arbitrators = if unnamed == 0 {
        0
    } else {
        // During a view change the weight is reported as 0.
        let reported = primary
            .members
            .iter()
            .filter_map(|&node| nodes[node].fresh_answer()?.status.cluster_weight)
            .max();
        reported
            .map(|all| all.saturating_sub(members().sum()))
            .filter(|votes| *votes > 0)
            .unwrap_or(unnamed)
    };
    let votes = members().sum::<u64>().saturating_add(arbitrators);
    let outside = nodes
        .iter()
        .enumerate()
        .filter(|(node, facts)| facts.expected && !primary.members.contains(node));
    let total = votes.saturating_add(outside.map(|(node, _)| weight(node)).sum());
    let rules = unseen::rules(nodes);
    let spare = votes_to_spare(votes, rules);
    let heaviest = primary
        .members
        .iter()
        .copied()
        .max_by_key(|&node| (weight(node), std::cmp::Reverse(node)))
        .filter(|&node| weight(node) > spare)
        .map(|node| (node_label(&nodes[node]), weight(node)));
    let equal = members().all(|votes| votes == 1);
    let margin = if let Some(rule) = ignored_rule(rules) {
        rule.to_owned()
    } else if equal {
        margin_of_equals(votes, total, spare)
    } else {
        margin_of_weights(votes, spare, heaviest)
    };
    QuorumSummary {
        votes,
        total,
        arbitrators,
        spare: Some(spare),
        summary: format!("{}; {margin}", counted(votes, total, arbitrators)),
    }
}

/// `2 of 3 votes`, with the arbitrators among them.
fn counted(votes: u64, total: u64, arbitrators: u64) -> String {
    let noun = if total == 1 { "vote" } else { "votes" };
    match arbitrators {
        0 => format!("{votes} of {total} {noun}"),
        1 => format!("{votes} of {total} {noun}, one of them of an arbitrator"),
        count => format!("{votes} of {total} {noun}, {count} of them of arbitrators"),
    }
}

fn ignored_rule(rules: QuorumRules) -> Option<&'static str> {
    if rules.ignore_quorum {
        return Some("pc.ignore_quorum is set: every part of a split cluster stays Primary");
    }
    rules
        .ignore_split_brain
        .then_some("pc.ignore_sb is set: each half of a split cluster stays Primary")
}

/// What may fail if every member has one vote.
fn margin_of_equals(votes: u64, total: u64, spare: u64) -> String {
    match spare {
        0 if votes < 2 => "losing it stops writes".to_owned(),
        0 if votes < total => "losing one more stops writes".to_owned(),
        0 => "losing one stops writes".to_owned(),
        1 if votes < total => "one more member can fail".to_owned(),
        1 => "one member can fail".to_owned(),
        count => format!("{count} members can fail together"),
    }
}

fn margin_of_weights(votes: u64, spare: u64, heaviest: Option<(String, u64)>) -> String {
    match heaviest {
        _ if votes == 0 => "no member has a vote".to_owned(),
        Some((name, weight)) => {
            let noun = if weight == 1 { "vote" } else { "votes" };
            format!("losing {name} ({weight} {noun}) stops writes")
        }
        None if spare == 1 => "one vote can be lost".to_owned(),
        None => format!("{spare} votes can be lost together"),
    }
}

/// The votes of the last Primary view that are in sight. More than half of all are needed, unless members stopped in
/// order, which only they know.
fn without_primary(context: &VerdictContext<'_>) -> Option<QuorumSummary> {
    let nodes = &context.gathered.nodes;
    if nodes.iter().all(|facts| facts.fresh_answer().is_none()) {
        return None;
    }
    let votes = UnseenMembers::of(
        context.evidence,
        context.gathered,
        context.components,
        |_| false,
    )
    .votes();
    let (seen, total) = (votes.seen(), votes.total());
    let noun = if total == 1 { "vote" } else { "votes" };
    let needed = total / 2 + 1;
    let rest = if seen >= needed {
        "no Primary component has formed".to_owned()
    } else {
        format!("{needed} are needed")
    };
    Some(QuorumSummary {
        votes: seen,
        total,
        arbitrators: 0,
        spare: None,
        summary: format!("{seen} of {total} {noun} in sight; {rest}"),
    })
}
