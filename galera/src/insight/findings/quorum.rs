//! Votes: what the loss of one member, segment or half of the group would do.

use std::collections::BTreeMap;

use super::server::ObservedServer;
use super::{Finding, FindingCode, FindingEvidence, FindingSeverity, manual, name_list};
use crate::observe::wsrep::option_statements;
use crate::view::{ClusterView, NodeView};

pub(super) fn check(view: &ClusterView, servers: &[ObservedServer<'_>], found: &mut Vec<Finding>) {
    found.extend(quorum_ignored(servers));
    let members: Vec<&ObservedServer<'_>> = servers
        .iter()
        .filter(|server| server.is_primary())
        .collect();
    let Some(group) = PrimaryVotes::of(&members) else {
        return;
    };
    found.extend(single_member(view, &members, &group));
    found.extend(no_vote(&members));
    if group.size > 1 {
        found.extend(even_votes(&group));
        found.extend(decisive_member(&members, &group));
        found.extend(decisive_segment(&members, &group));
    }
}

/// The votes of the Primary component, as its members count them.
struct PrimaryVotes {
    size: u64,
    votes: u64,
}

impl PrimaryVotes {
    /// `None` if no member reports both.
    fn of(members: &[&ObservedServer<'_>]) -> Option<Self> {
        members.iter().find_map(|server| {
            Some(Self {
                size: server.status.cluster_size?,
                votes: server.status.cluster_weight.filter(|votes| *votes > 0)?,
            })
        })
    }

    /// Whether the group stays Primary when `lost` votes crash at once: more than half of the votes must remain.
    const fn survives(&self, lost: u64) -> bool {
        self.votes.saturating_sub(lost) * 2 > self.votes
    }
}

fn votes_evidence(node: &NodeView, votes: u64) -> FindingEvidence {
    FindingEvidence {
        node: node.id.clone(),
        name: "pc.weight".to_owned(),
        value: votes.to_string(),
    }
}

/// The statement that sets these options on each of the servers.
fn statements<'a>(
    servers: impl Iterator<Item = &'a ObservedServer<'a>>,
    options: &[(&str, &str)],
) -> String {
    option_statements(
        servers.map(|server| (server.node.label(), server.status)),
        options,
    )
}

fn quorum_ignored(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    let concerned: Vec<_> = servers
        .iter()
        .filter(|server| {
            let options = server.status.quorum_options;
            options.ignore_split_brain == Some(true) || options.ignore_quorum == Some(true)
        })
        .collect();
    if concerned.is_empty() {
        return None;
    }
    Some(Finding {
        code: FindingCode::QuorumIgnored,
        severity: FindingSeverity::Critical,
        nodes: concerned.iter().map(|server| server.id()).collect(),
        message: format!(
            "pc.ignore_sb or pc.ignore_quorum is set on {}: after a network fault both sides take writes, and one of them \
             is lost.",
            name_list(concerned.iter().map(|server| server.node))
        ),
        evidence: Vec::new(),
        remedy: format!(
            "{}, and in the configuration.",
            statements(
                concerned.iter().copied(),
                &[("pc.ignore_sb", "FALSE"), ("pc.ignore_quorum", "FALSE")]
            )
        ),
        manual: manual::PARAMETERS,
        subject: None,
    })
}

fn single_member(
    view: &ClusterView,
    members: &[&ObservedServer<'_>],
    group: &PrimaryVotes,
) -> Option<Finding> {
    // While members are missing, the verdict says so.
    if group.size != 1 || view.expected_members.len() > 1 {
        return None;
    }
    Some(Finding {
        code: FindingCode::SingleMember,
        severity: FindingSeverity::Notice,
        nodes: members.iter().map(|server| server.id()).collect(),
        message: "The cluster has one member: its failure ends the service, and there is no other copy of the data."
            .to_owned(),
        evidence: Vec::new(),
        remedy: "Add two members.".to_owned(),
        manual: manual::QUORUM,
        subject: None,
    })
}

fn no_vote(members: &[&ObservedServer<'_>]) -> Option<Finding> {
    let concerned: Vec<_> = members
        .iter()
        .filter(|server| server.node.votes == Some(0))
        .collect();
    if concerned.is_empty() {
        return None;
    }
    Some(Finding {
        code: FindingCode::NoVote,
        severity: FindingSeverity::Notice,
        nodes: concerned.iter().map(|server| server.id()).collect(),
        message: format!(
            "{} has no vote (pc.weight=0): it does not keep the others Primary, and cannot stay Primary alone.",
            name_list(concerned.iter().map(|server| server.node))
        ),
        evidence: concerned
            .iter()
            .map(|server| votes_evidence(server.node, 0))
            .collect(),
        remedy: format!(
            "{}, unless it is on purpose.",
            statements(
                concerned.iter().map(|server| **server),
                &[("pc.weight", "1")]
            )
        ),
        manual: manual::QUORUM,
        subject: None,
    })
}

fn even_votes(group: &PrimaryVotes) -> Option<Finding> {
    group.votes.is_multiple_of(2).then(|| Finding {
        code: FindingCode::EvenVotes,
        severity: match group.size {
            2 => FindingSeverity::Warning,
            _ => FindingSeverity::Notice,
        },
        nodes: Vec::new(),
        message: format!(
            "The group has {} votes, an even number: after a fault that takes half of them, no side stays Primary.",
            group.votes
        ),
        evidence: Vec::new(),
        remedy: "Add a member or an arbitrator (garbd), or give one member another vote (pc.weight).".to_owned(),
        manual: manual::QUORUM,
        subject: None,
    })
}

fn decisive_member(members: &[&ObservedServer<'_>], group: &PrimaryVotes) -> Option<Finding> {
    // Of two members either is decisive; that is what the even number of votes says.
    if group.size == 2 {
        return None;
    }
    let (server, votes) = members.iter().find_map(|server| {
        let votes = u64::from(server.node.votes?);
        (!group.survives(votes)).then_some((server, votes))
    })?;
    Some(Finding {
        code: FindingCode::DecisiveVotes,
        severity: FindingSeverity::Warning,
        nodes: vec![server.id()],
        message: format!(
            "{} has {votes} of {} votes: when it crashes, no other member stays Primary.",
            server.node.label(),
            group.votes
        ),
        evidence: vec![votes_evidence(server.node, votes)],
        remedy: "Give it fewer votes (pc.weight), unless the others must not continue without it."
            .to_owned(),
        manual: manual::QUORUM,
        subject: None,
    })
}

fn decisive_segment(members: &[&ObservedServer<'_>], group: &PrimaryVotes) -> Option<Finding> {
    let mut segments: BTreeMap<u64, Vec<(&NodeView, u64)>> = BTreeMap::new();
    for server in members {
        let votes = u64::from(server.node.votes?);
        let of_segment = segments.entry(server.node.segment?).or_default();
        of_segment.push((server.node, votes));
    }
    if segments.len() < 2 {
        return None;
    }
    let (segment, nodes) = segments.into_iter().find(|(_, nodes)| {
        let votes = nodes.iter().map(|(_, votes)| votes).sum();
        nodes.len() > 1 && !group.survives(votes)
    })?;
    let votes: u64 = nodes.iter().map(|(_, votes)| votes).sum();
    Some(Finding {
        code: FindingCode::DecisiveVotes,
        severity: FindingSeverity::Notice,
        nodes: nodes.iter().map(|(node, _)| node.id.clone()).collect(),
        message: format!(
            "Segment {segment} has {votes} of {} votes: when it is cut off or fails as a whole, the other segments do not \
             stay Primary.",
            group.votes
        ),
        evidence: nodes
            .iter()
            .map(|(node, votes)| votes_evidence(node, *votes))
            .collect(),
        remedy: "Place members or an arbitrator (garbd) in a third segment, so that none has half of the votes."
            .to_owned(),
        manual: manual::QUORUM,
        subject: None,
    })
}
