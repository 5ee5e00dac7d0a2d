//! Members of the last Primary view that the console does not see, and whether they could be Primary together (I43).

use std::collections::BTreeSet;

use super::components::ObservedComponents;
use super::gather::GatheredEvidence;
use super::node_facts::{NodeFacts, ProbeState};
use super::reasons::node_label;
use crate::judge::quorum::{MemberPresence, QuorumRules, VoteCount};
use crate::observe::observation::Evidence;
use crate::observe::registration;
use crate::observe::started_bootstrap::StartedBootstrap;
use crate::view::{ClusterStatus, NodeState};

/// The votes that Galera gives a member without `pc.weight`.
const DEFAULT_WEIGHT: u8 = 1;

/// The members of the last Primary view, by where they are. Nodes are indices.
pub(crate) struct UnseenMembers {
    seen: Vec<usize>,
    stopped: Vec<usize>,
    silent: Vec<usize>,
    /// Votes of arbitrators that no visible component has.
    silent_arbitrators: u64,
    count: VoteCount,
    rules: QuorumRules,
    /// Members of components that were bootstrapped, and not seen since. The votes of their views are not known.
    bootstrapped: BTreeSet<usize>,
}

impl UnseenMembers {
    /// Judges the evidence. `attested` names nodes that an operator declares stopped: they count as silent, so that the
    /// result is what the declaration rules out.
    pub(crate) fn of(
        evidence: &Evidence,
        gathered: &GatheredEvidence<'_>,
        components: &ObservedComponents<'_>,
        attested: impl Fn(usize) -> bool,
    ) -> Self {
        let nodes = &gathered.nodes;
        let in_sight: BTreeSet<usize> = components
            .observed
            .iter()
            .flat_map(|component| component.members.iter().copied())
            .collect();
        let mut unseen = Self {
            seen: Vec::new(),
            stopped: Vec::new(),
            silent: Vec::new(),
            silent_arbitrators: 0,
            count: VoteCount::default(),
            rules: rules(nodes),
            bootstrapped: bootstrapped_members(evidence, gathered),
        };
        let mut voters = voters(evidence, gathered);
        voters.extend(&unseen.bootstrapped);
        let mut server_votes: u64 = 0;
        for &node in &voters {
            let facts = &nodes[node];
            let presence = if attested(node) {
                MemberPresence::Silent
            } else {
                member_presence(facts, in_sight.contains(&node))
            };
            let (fewest, most) = weights(evidence, facts);
            let votes = match presence {
                MemberPresence::Seen => fewest,
                MemberPresence::Stopped | MemberPresence::Silent => most,
            };
            server_votes = server_votes.saturating_add(u64::from(fewest));
            unseen.count.add_server(votes, presence);
            match presence {
                MemberPresence::Seen => unseen.seen.push(node),
                MemberPresence::Stopped => unseen.stopped.push(node),
                MemberPresence::Silent => unseen.silent.push(node),
            }
        }
        let votes = arbitrator_votes(evidence, voters.len(), server_votes);
        let arbitrators = components.observed.iter().map(|one| one.arbitrators);
        let on_this_side = votes.min(arbitrators.fold(0, u64::saturating_add));
        unseen.silent_arbitrators = votes - on_this_side;
        let count = &mut unseen.count;
        count.add_arbitrators(on_this_side, MemberPresence::Seen);
        count.add_arbitrators(unseen.silent_arbitrators, MemberPresence::Silent);
        unseen
    }

    pub(crate) fn could_be_primary(&self) -> bool {
        // After a bootstrap that was not seen, any server may have joined it.
        let rules = QuorumRules {
            ignore_quorum: self.rules.ignore_quorum || !self.bootstrapped.is_empty(),
            ..self.rules
        };
        self.count.unseen_could_be_primary(rules)
    }

    /// Whether the last Primary view had an arbitrator that no visible component has.
    #[cfg(feature = "decide")]
    pub(crate) const fn has_silent_arbitrator(&self) -> bool {
        self.silent_arbitrators > 0
    }

    /// The votes of all members of the last Primary view.
    pub(super) const fn votes(&self) -> VoteCount {
        self.count
    }

    /// The members that could be Primary together (`n2, n3 and an arbitrator`), and whether there are several.
    pub(crate) fn names(&self, nodes: &[NodeFacts<'_>]) -> (String, bool) {
        let mut names: Vec<String> = self
            .silent
            .iter()
            .map(|&node| match nodes[node].has_other_data() {
                true => format!("the former {}", node_label(&nodes[node])),
                false => node_label(&nodes[node]),
            })
            .collect();
        match self.silent_arbitrators {
            0 => {}
            1 => names.push("an arbitrator".to_owned()),
            _ => names.push("arbitrators".to_owned()),
        }
        (join(&names), names.len() > 1)
    }

    /// The reason of a verdict: what is known, and the arithmetic.
    pub(crate) fn no_primary_in_sight(&self, nodes: &[NodeFacts<'_>]) -> String {
        let answering: Vec<String> = nodes
            .iter()
            .filter(|facts| facts.fresh_answer().is_some())
            .map(node_label)
            .collect();
        let are = if answering.len() == 1 { "is" } else { "are" };
        let (names, several) = self.names(nodes);
        let (could, answer) = if several {
            ("could be Primary together", "do not answer this console")
        } else {
            ("could be Primary", "does not answer this console")
        };
        let stopped: Vec<String> = self
            .stopped
            .iter()
            .map(|&node| node_label(&nodes[node]))
            .collect();
        let left = match stopped.len() {
            0 => String::new(),
            _ => format!(" if {} shut down cleanly", join(&stopped)),
        };
        format!(
            "{} {are} non-Primary; {names}, which {could}{left}, {answer} ({}). Whether the cluster accepts writes is unknown.",
            join(&answering),
            self.arithmetic(nodes),
        )
    }

    /// `unreachable members hold 2 of 3 votes`, and what else counts.
    fn arithmetic(&self, nodes: &[NodeFacts<'_>]) -> String {
        let votes = format!(
            "unreachable members hold {} of {} votes",
            self.count.unseen(),
            self.count.total()
        );
        if !self.bootstrapped.is_empty() {
            let members = self.bootstrapped.iter();
            let names: Vec<String> = members.map(|&node| node_label(&nodes[node])).collect();
            return format!(
                "{votes}, and no Primary view was seen since the bootstrap of {}",
                join(&names)
            );
        }
        match self.rules {
            QuorumRules {
                ignore_quorum: true,
                ..
            } => format!("{votes}, and pc.ignore_quorum is set"),
            QuorumRules {
                ignore_split_brain: true,
                ..
            } => format!("{votes}, and pc.ignore_sb is set"),
            QuorumRules { .. } => votes,
        }
    }
}

fn join(names: &[String]) -> String {
    match names.split_last() {
        None => "no node".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// The members of the last Primary view; if none was seen, the expected ones.
fn voters(evidence: &Evidence, gathered: &GatheredEvidence<'_>) -> BTreeSet<usize> {
    let recorded: BTreeSet<usize> = evidence
        .last_primary_members
        .iter()
        .filter_map(|id| gathered.resolve_address(id))
        .collect();
    if !recorded.is_empty() {
        return recorded;
    }
    let nodes = gathered.nodes.iter().enumerate();
    nodes
        .filter(|(_, facts)| facts.expected)
        .map(|(node, _)| node)
        .collect()
}

/// The members of components that may have been bootstrapped out of sight. One that answers at the position before the
/// bootstrap was not bootstrapped: the new view takes a sequence number.
fn bootstrapped_members(evidence: &Evidence, gathered: &GatheredEvidence<'_>) -> BTreeSet<usize> {
    let not_bootstrapped = |node: usize, started: &StartedBootstrap| {
        let answer = gathered.nodes[node].fresh_answer();
        let position = answer.and_then(|answer| answer.status.position());
        position.is_some_and(|position| {
            position.uuid == started.history && position.seqno <= started.seqno
        })
    };
    let mut members = BTreeSet::new();
    for started in &evidence.unseen_bootstraps {
        let known: Vec<usize> = started
            .members
            .iter()
            .filter_map(|id| gathered.resolve_address(id))
            .collect();
        let complete = known.len() == started.members.len();
        if !complete || !known.iter().all(|&node| not_bootstrapped(node, started)) {
            members.extend(known);
        }
    }
    members
}

fn member_presence(facts: &NodeFacts<'_>, in_sight: bool) -> MemberPresence {
    if facts.is_used_by_other_data() {
        return match facts.left_in_order() {
            true => MemberPresence::Stopped,
            false => MemberPresence::Silent,
        };
    }
    if let Some(answer) = facts.fresh_answer() {
        return match answer.status.cluster_status {
            // It left its group in order, so that its votes count for the others.
            Some(ClusterStatus::Disconnected) => MemberPresence::Stopped,
            _ => MemberPresence::Seen,
        };
    }
    let registered = facts.registration_after_probe_failure();
    let non_primary = registered
        .is_some_and(|seen| seen.status.cluster_status == Some(ClusterStatus::NonPrimary));
    if in_sight || non_primary {
        return MemberPresence::Seen;
    }
    let runs =
        registered.is_some_and(|seen| registration::reports_running(&seen.observation.fields));
    let closed = matches!(facts.probe_state, ProbeState::Failing { error, .. } if error.kind.proves_stopped());
    if !runs && (closed || facts.state() == NodeState::Stopped) {
        MemberPresence::Stopped
    } else {
        MemberPresence::Silent
    }
}

/// The node's votes: as it last reported, or as recorded.
pub(super) fn weight(evidence: &Evidence, facts: &NodeFacts<'_>) -> u8 {
    let reported = facts.probe.and_then(|probe| probe.status.as_ref());
    reported
        .and_then(|(_, status)| status.quorum_options.weight)
        .or_else(|| evidence.last_primary_votes.weights.get(&facts.id).copied())
        .unwrap_or(DEFAULT_WEIGHT)
}

/// The fewest and the most votes that a member of the last Primary view had. What was recorded then and what its address
/// reported since may differ: the weight was changed, or other data use the address.
fn weights(evidence: &Evidence, facts: &NodeFacts<'_>) -> (u8, u8) {
    let current = weight(evidence, facts);
    let recorded = evidence.last_primary_votes.weights.get(&facts.id);
    let recorded = recorded.copied().unwrap_or(current);
    (current.min(recorded), current.max(recorded))
}

/// The votes of the last Primary view that its known members do not have: of arbitrators, which are in no list.
fn arbitrator_votes(evidence: &Evidence, known: usize, server_votes: u64) -> u64 {
    let recorded = &evidence.last_primary_votes;
    let unlisted = recorded
        .size
        .map_or(0, |size| size.saturating_sub(known as u64));
    match recorded.total {
        Some(total) if unlisted > 0 => total.saturating_sub(server_votes),
        _ => unlisted,
    }
}

pub(super) fn rules(nodes: &[NodeFacts<'_>]) -> QuorumRules {
    let options = || {
        nodes
            .iter()
            .filter_map(|facts| facts.probe?.status.as_ref())
            .map(|(_, status)| status.quorum_options)
    };
    QuorumRules {
        ignore_split_brain: options().any(|options| options.ignore_split_brain == Some(true)),
        ignore_quorum: options().any(|options| options.ignore_quorum == Some(true)),
    }
}
