//! What stopping members does to their cluster: would the others remain Primary, who would serve, how do they return?
//!
//! Galera subtracts the votes of a member that leaves in order before it counts (galera.md, quorum), so an orderly stop
//! never costs quorum as long as a vote remains. Votes decide about the crash *after* it, and about a stop that turns
//! into a kill. Both are answered from the same members.

mod group;
mod transfer;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterName, NodeId};
use crate::timestamp::Timestamp;
use crate::view::{
    ArbitratorState, ClusterView, NodeState, NodeView, TransferRole, TransferState, VerdictState,
};

pub use group::{GroupMember, GroupVotes};
pub use transfer::{ReturnForecast, ReturnTransfer};
pub(super) use transfer::{forecast as forecast_return, promised_transactions};

/// Fraction of a poll interval for which flow control pauses replication, above which it is named.
const PAUSED_NAMED: f64 = 0.05;
/// Write-sets in a receive queue, above which a remaining member is named as behind.
const QUEUE_NAMED: u64 = 100;

/// Whether the members may be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StopAnswer {
    /// The others remain Primary, and at least one of them serves.
    Yes,
    /// A fact that the answer rests on is missing.
    CannotTell,
    /// Writes would stop, or a state transfer would break.
    No,
}

named_variants!(StopAnswer {
    Yes => "yes",
    CannotTell => "cannot_tell",
    No => "no",
});

/// What a finding of a stop check is about: stable codes for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StopFindingCode {
    /// The cluster has no Primary component, two, or two histories.
    NotPrimary,
    /// The console does not know the cluster's state.
    ClusterUnknown,
    /// A node is not known to be in the Primary component, so stopping it is not understood.
    NodeUnknown,
    /// A node is stopped already.
    AlreadyStopped,
    /// A node runs, but is not a member of the Primary component.
    NotAMember,
    /// A remaining member has no fresh answer.
    MemberNotFresh,
    /// No remaining member has a vote.
    NoVoteRemains,
    /// No remaining member is Synced and accepts queries.
    NobodyServes,
    /// A node sends a state transfer.
    SendsTransfer,
    /// A node receives a state transfer.
    ReceivesTransfer,
    /// A member's weight is unknown.
    VotesUnknown,
    /// The component has members that the console cannot name.
    UnnamedMembers,
    /// After the stop, one crash ends the Primary component.
    NoCrashTolerated,
    /// A kill instead of an orderly stop would end the Primary component.
    KillEndsPrimary,
    /// A remaining member lags, or asks for pauses.
    MemberLags,
    /// An expected member is missing already.
    MembersMissing,
    /// The return needs a full state transfer, or could.
    FullTransfer,
}

/// How a finding affects the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StopEffect {
    /// The answer is no.
    Blocks,
    /// The answer cannot be yes.
    Unknown,
    /// To be known before the stop.
    Notice,
}

/// One fact that the answer rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StopFinding {
    pub code: StopFindingCode,
    pub effect: StopEffect,
    /// The node concerned, if it is about one.
    pub node: Option<NodeId>,
    /// A sentence for operators.
    pub message: String,
}

/// What stopping `nodes` together would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StopCheck {
    pub cluster: ClusterName,
    /// The nodes to stop, sorted.
    pub nodes: Vec<NodeId>,
    pub answer: StopAnswer,
    /// The answer in one sentence.
    pub summary: String,
    /// When the view that it rests on was computed.
    pub observed_at: Timestamp,
    pub votes: GroupVotes,
    /// Worst first.
    pub findings: Vec<StopFinding>,
    /// For each of the nodes, how it would receive what it missed.
    pub returns: Vec<ReturnForecast>,
}

/// Computes what stopping `nodes` together would do, from a view of their cluster. Nodes that the view does not have are
/// ignored, so that callers refuse them first.
#[must_use]
pub fn stop_check(view: &ClusterView, nodes: &[NodeId]) -> StopCheck {
    let mut check = CheckBuilder::default();
    let selected = |node: &NodeView| nodes.contains(&node.id);
    let mut stopped: Vec<NodeId> = Vec::new();
    for node in view.nodes.iter().filter(|node| selected(node)) {
        check.examine_node(node);
        stopped.push(node.id.clone());
    }
    stopped.sort();
    check.examine_verdict(view);
    let group = group::primary_group(view);
    let (leaving, remaining): (Vec<_>, Vec<_>) = group
        .members
        .iter()
        .partition(|member| stopped.contains(&member.id));
    let votes = group.votes(&leaving);
    let mut returns = Vec::new();
    if !leaving.is_empty() {
        check.examine_remaining(&remaining);
        check.examine_unnamed(view, &group, &stopped);
        check.examine_transfers(view, &leaving);
        check.examine_votes(&group, &remaining, votes);
        returns = transfer::forecasts(view, &stopped);
        check.examine_returns(&returns);
    }
    check.examine_missing(view, &stopped);
    let (answer, findings) = check.conclude();
    StopCheck {
        cluster: view.name.clone(),
        summary: summary(answer, &findings, votes),
        nodes: stopped,
        answer,
        observed_at: view.observed_at,
        votes,
        findings,
        returns,
    }
}

fn summary(answer: StopAnswer, findings: &[StopFinding], votes: GroupVotes) -> String {
    let first = |effect| {
        let finding = findings.iter().find(|finding| finding.effect == effect);
        finding.map_or("", |finding| finding.message.as_str())
    };
    match answer {
        StopAnswer::No => format!("No. {}", first(StopEffect::Blocks)),
        StopAnswer::CannotTell => format!("Cannot tell. {}", first(StopEffect::Unknown)),
        StopAnswer::Yes => match (votes.before, votes.after) {
            (Some(before), Some(after)) if before != after => format!(
                "Yes. {after} of {before} votes remain, and the others stay Primary after a clean shutdown."
            ),
            _ => "Yes. The others stay Primary after a clean shutdown.".to_owned(),
        },
    }
}

/// Collects findings.
#[derive(Default)]
struct CheckBuilder {
    findings: Vec<StopFinding>,
}

impl CheckBuilder {
    fn add(
        &mut self,
        effect: StopEffect,
        code: StopFindingCode,
        node: Option<&NodeId>,
        message: String,
    ) {
        self.findings.push(StopFinding {
            code,
            effect,
            node: node.cloned(),
            message,
        });
    }

    fn examine_verdict(&mut self, view: &ClusterView) {
        let reason = view.verdict.reasons.first();
        let why = reason.map_or("", |reason| reason.message.as_str());
        match view.verdict.state {
            VerdictState::Healthy | VerdictState::Degraded => {}
            VerdictState::Unknown => self.add(
                StopEffect::Unknown,
                StopFindingCode::ClusterUnknown,
                None,
                format!("The cluster's state is unknown: {why}"),
            ),
            VerdictState::NoPrimary
            | VerdictState::Down
            | VerdictState::Diverged
            | VerdictState::SplitBrain => self.add(
                StopEffect::Blocks,
                StopFindingCode::NotPrimary,
                None,
                format!("The cluster has to be recovered first: {why}"),
            ),
        }
    }

    fn examine_node(&mut self, node: &NodeView) {
        let (id, label) = (&node.id, node.label());
        match node.state {
            NodeState::Stopped => self.add(
                StopEffect::Notice,
                StopFindingCode::AlreadyStopped,
                Some(id),
                format!("{label} is stopped already, as its agent reports."),
            ),
            NodeState::Unreachable | NodeState::Absent | NodeState::Unknown => self.add(
                StopEffect::Unknown,
                StopFindingCode::NodeUnknown,
                Some(id),
                format!(
                    "{label} is unreachable; whether it serves clients elsewhere is not known. Check its host."
                ),
            ),
            NodeState::Initialized | NodeState::Inconsistent => self.add(
                StopEffect::Notice,
                StopFindingCode::NotAMember,
                Some(id),
                format!("{label} is not in the Primary component and serves no clients."),
            ),
            NodeState::Joining => self.add(
                StopEffect::Blocks,
                StopFindingCode::ReceivesTransfer,
                Some(id),
                format!(
                    "{label} is receiving a state transfer, which would start again from nothing. Wait until it is Synced."
                ),
            ),
            NodeState::Joined => self.add(
                StopEffect::Notice,
                StopFindingCode::ReceivesTransfer,
                Some(id),
                format!("{label} is still catching up after a state transfer."),
            ),
            NodeState::Synced | NodeState::Donor => {
                if node.unconfirmed {
                    self.add(
                        StopEffect::Unknown,
                        StopFindingCode::NodeUnknown,
                        Some(id),
                        format!("{label} is registered, but nothing shows that it is a member."),
                    );
                }
            }
        }
    }

    fn examine_remaining(&mut self, remaining: &[&GroupMember]) {
        for member in remaining.iter().filter(|member| !member.fresh) {
            let label = &member.label;
            self.add(
                StopEffect::Unknown,
                StopFindingCode::MemberNotFresh,
                Some(&member.id),
                format!(
                    "{label} would have to remain, but its last answer is not fresh. Restore the console's access to it."
                ),
            );
        }
        let serves = |member: &&&GroupMember| member.serves;
        if !remaining.iter().any(|member| serves(&member)) {
            let message = match remaining.is_empty() {
                true => "No member would remain.".to_owned(),
                false => format!(
                    "None of the remaining members ({}) is Synced and accepts queries.",
                    names(remaining)
                ),
            };
            self.add(
                StopEffect::Blocks,
                StopFindingCode::NobodyServes,
                None,
                message,
            );
        }
        for member in remaining.iter().filter(|member| member.serves) {
            let (id, label) = (&member.id, &member.label);
            if let Some(queue) = member.recv_queue.filter(|queue| *queue >= QUEUE_NAMED) {
                let message = format!(
                    "{label} has {queue} write-sets in its receive queue and would have to take over clients."
                );
                self.add(
                    StopEffect::Notice,
                    StopFindingCode::MemberLags,
                    Some(id),
                    message,
                );
            } else if member.paused.is_some_and(|paused| paused > PAUSED_NAMED) {
                let percent = member.paused.unwrap_or_default() * 100.0;
                let message = format!(
                    "Flow control pauses replication at {label} for {percent:.0} % of the time."
                );
                self.add(
                    StopEffect::Notice,
                    StopFindingCode::MemberLags,
                    Some(id),
                    message,
                );
            }
        }
    }

    /// A member that the others count and that does not answer may be gone already: two members fewer at the same time can
    /// end the Primary component, although one of them leaves in order.
    fn examine_unnamed(
        &mut self,
        view: &ClusterView,
        group: &group::PrimaryGroup,
        stopped: &[NodeId],
    ) {
        let is_silent = |node: &&NodeView| {
            let silent = matches!(
                node.state,
                NodeState::Unreachable | NodeState::Absent | NodeState::Unknown
            );
            silent && node.expected && !stopped.contains(&node.id)
        };
        let reported = reported_arbitrators(view);
        let unknown = group.unnamed.saturating_sub(reported.len() as u64);
        if group.unnamed > 0
            && let Some(silent) = view.members().find(is_silent)
        {
            let label = silent.label();
            let fact = if unknown > 0 {
                format!("The others count {label} as a member, but it is unreachable.")
            } else {
                // Reports of agents alone never make the answer yes.
                format!(
                    "{label} is unreachable. The others count as many further members as arbitrators report ({}), but may still count {label} instead.",
                    reported.join(", ")
                )
            };
            self.add(
                StopEffect::Unknown,
                StopFindingCode::MemberNotFresh,
                Some(&silent.id),
                format!(
                    "{fact} Wait until they have dropped it, or restore the console's access to it."
                ),
            );
        } else if unknown > 0 {
            let (plural, are) = if unknown == 1 {
                ("", "it is")
            } else {
                ("s", "they are")
            };
            let votes = match group.unnamed_votes {
                1 => "one vote".to_owned(),
                votes => format!("{votes} votes"),
            };
            let with = match &reported[..] {
                [] => String::new(),
                names => format!(", together with {}", names.join(", ")),
            };
            self.add(
                StopEffect::Notice,
                StopFindingCode::UnnamedMembers,
                None,
                format!(
                    "The component has {unknown} member{plural} that the console cannot name, such as an arbitrator; {are} counted with {votes}{with}."
                ),
            );
        }
    }

    /// A donor is not stopped while a node receives a state transfer that it sends, or may send.
    fn examine_transfers(&mut self, view: &ClusterView, leaving: &[&GroupMember]) {
        let joining: Vec<&NodeView> = view
            .members()
            .filter(|node| node.state == NodeState::Joining)
            .filter(|node| !leaving.iter().any(|member| member.id == node.id))
            .collect();
        for member in leaving.iter().filter(|member| member.donor) {
            let (id, label) = (&member.id, &member.label);
            let mut joining = joining.iter();
            let joiner = joining
                .find(|joiner| known_donor(view, &joiner.id).is_none_or(|donor| donor == id))
                .map(|joiner| joiner.label());
            match &joiner {
                Some(joiner) => self.add(
                    StopEffect::Blocks,
                    StopFindingCode::SendsTransfer,
                    Some(id),
                    format!("{label} sends a state transfer, which {joiner} waits for. Wait until {joiner} is Synced."),
                ),
                None => self.add(
                    StopEffect::Notice,
                    StopFindingCode::SendsTransfer,
                    Some(id),
                    format!("{label} is desynced or a donor, for example for a backup that the stop would end."),
                ),
            }
        }
    }

    fn examine_votes(
        &mut self,
        group: &group::PrimaryGroup,
        remaining: &[&GroupMember],
        votes: GroupVotes,
    ) {
        for member in group.members.iter().filter(|member| member.votes.is_none()) {
            let label = &member.label;
            self.add(
                StopEffect::Notice,
                StopFindingCode::VotesUnknown,
                Some(&member.id),
                format!("The weight of {label} (pc.weight) is not known; the effect of a crash cannot be determined."),
            );
        }
        if votes.after == Some(0) {
            self.add(
                StopEffect::Blocks,
                StopFindingCode::NoVoteRemains,
                None,
                "No remaining member has a vote (pc.weight 0), so none stays Primary.".to_owned(),
            );
        } else if votes.after.is_none() && !remaining.iter().any(|m| m.votes > Some(0)) {
            self.add(
                StopEffect::Unknown,
                StopFindingCode::NoVoteRemains,
                None,
                "Whether a remaining member has a vote (pc.weight) is not known.".to_owned(),
            );
        }
        if votes.primary_if_killed == Some(false) && votes.after > Some(0) {
            self.add(
                StopEffect::Notice,
                StopFindingCode::KillEndsPrimary,
                None,
                "If they are killed, or do not shut down cleanly in time, the others lose quorum and accept no writes."
                    .to_owned(),
            );
        }
        if votes.crashes_tolerated == Some(0) && remaining.len() > 1 {
            self.add(
                StopEffect::Notice,
                StopFindingCode::NoCrashTolerated,
                None,
                format!(
                    "Until they return, the crash of one of the remaining members ({}) can stop writes.",
                    names(remaining)
                ),
            );
        } else if let [only] = remaining {
            let label = &only.label;
            self.add(
                StopEffect::Notice,
                StopFindingCode::NoCrashTolerated,
                Some(&only.id),
                format!("{label} would serve alone; its crash stops writes and reads."),
            );
        }
    }

    fn examine_returns(&mut self, returns: &[ReturnForecast]) {
        for forecast in returns {
            if forecast.transfer != ReturnTransfer::Incremental {
                self.add(
                    StopEffect::Notice,
                    StopFindingCode::FullTransfer,
                    Some(&forecast.node),
                    forecast.message.clone(),
                );
            }
        }
    }

    fn examine_missing(&mut self, view: &ClusterView, stopped: &[NodeId]) {
        let missing: Vec<&NodeView> = view
            .members()
            .filter(|node| node.expected && !stopped.contains(&node.id))
            .filter(|node| !matches!(node.state, NodeState::Synced | NodeState::Donor))
            .collect();
        if let Some(first) = missing.first() {
            let labels: Vec<String> = missing.iter().map(|node| node.label()).collect();
            let list = labels.join(", ");
            self.add(
                StopEffect::Notice,
                StopFindingCode::MembersMissing,
                Some(&first.id),
                format!("Not Synced already: {list}."),
            );
        }
    }

    fn conclude(mut self) -> (StopAnswer, Vec<StopFinding>) {
        self.findings.sort_by_key(|finding| finding.effect);
        let answer = match self.findings.first().map(|finding| finding.effect) {
            Some(StopEffect::Blocks) => StopAnswer::No,
            Some(StopEffect::Unknown) => StopAnswer::CannotTell,
            _ => StopAnswer::Yes,
        };
        (answer, self.findings)
    }
}

/// Arbitrators that agents report as members, by name.
fn reported_arbitrators(view: &ClusterView) -> Vec<&str> {
    view.arbitrators
        .iter()
        .filter(|arbitrator| arbitrator.state == ArbitratorState::Member)
        .filter_map(|arbitrator| arbitrator.name.as_deref())
        .collect()
}

/// The only member whose agent reports that it sends its state to `joiner`. The peer in the joiner's own transfer does not
/// suffice: without the donor's report it is the only donor that was seen when the transfer began, as one for a backup.
fn known_donor<'a>(view: &'a ClusterView, joiner: &NodeId) -> Option<&'a NodeId> {
    let sends = |node: &&NodeView| {
        node.transfer.as_ref().is_some_and(|transfer| {
            transfer.role == Some(TransferRole::Sends)
                && transfer.state != TransferState::Failed
                && transfer.peer.as_ref() == Some(joiner)
        })
    };
    let mut senders = view.members().filter(sends);
    let first = senders.next()?;
    senders.next().is_none().then_some(&first.id)
}

fn names(members: &[&GroupMember]) -> String {
    let labels: Vec<&str> = members.iter().map(|member| member.label.as_str()).collect();
    labels.join(", ")
}
