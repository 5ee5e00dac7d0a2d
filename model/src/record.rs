//! The model's plans, and the records that its replicas share.

use std::sync::LazyLock;
use std::time::Duration;

use galera::access::{CredentialTag, Role};
use galera::recover::action::{
    Action, ActionLimits, ActionRequest, Actor, CurrentAccount, CurrentAccounts, request_action,
};
use galera::recover::plan::{
    ActionKind, CheckCode, CheckEvidence, CheckStatus, EvidenceSource, LossEstimate, Plan,
    PlanCheck, PlanDigest, PlanStep,
};
use galera::{ActionId, Timestamp};

use crate::cluster::{NODES, NodeSet, SimulatedCluster, members};

/// How long one tick of the model is: longer than the window in which a statement may arrive.
const TICK: Duration = Duration::from_secs(30);

/// What a replica observed of the databases at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VisibleCluster {
    /// For each node: unknown, down, or its component and whether that is Primary.
    pub nodes: [VisibleNode; NODES],
    /// Number of view changes by then: the age of the observation.
    pub view_changes: u8,
    /// The tick at which it was taken.
    pub tick: u8,
}

/// What a replica observed of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VisibleNode {
    /// Unreachable, which does not mean stopped.
    Unknown,
    /// Stopped, as an operator attested.
    Attested,
    Answers {
        /// The members of its component.
        group: NodeSet,
        /// Whether it reports Primary.
        primary: bool,
    },
}

impl VisibleCluster {
    /// Observes every node.
    pub(crate) fn at(cluster: &SimulatedCluster, tick: u8) -> Self {
        let nodes = std::array::from_fn(|node| {
            if cluster.running & 1 << node == 0 {
                // Operators attest only what is true; the digest covers what changes afterwards.
                return VisibleNode::Attested;
            }
            if cluster.reachable & 1 << node == 0 {
                return VisibleNode::Unknown;
            }
            VisibleNode::Answers {
                group: cluster.component_of(node),
                primary: cluster.primary & 1 << node != 0,
            }
        });
        Self {
            nodes,
            view_changes: cluster.view_changes,
            tick,
        }
    }

    /// The node that would execute the statement: the lowest one of the largest component. `None` if any node is unknown
    /// or Primary.
    pub(crate) fn executor(&self) -> Option<usize> {
        let mut best: Option<(u32, std::cmp::Reverse<usize>)> = None;
        for (node, seen) in self.nodes.iter().enumerate() {
            match seen {
                VisibleNode::Unknown | VisibleNode::Answers { primary: true, .. } => return None,
                VisibleNode::Attested => {}
                VisibleNode::Answers { group, .. } => {
                    best = best.max(Some((group.count_ones(), std::cmp::Reverse(node))));
                }
            }
        }
        best.map(|(_, node)| node.0)
    }

    /// The plan; its digest covers the whole observation without its time.
    pub(crate) fn plan(&self) -> Plan {
        let observed = self.nodes.iter().map(|seen| match seen {
            VisibleNode::Unknown => "?".to_owned(),
            VisibleNode::Attested => "-".to_owned(),
            VisibleNode::Answers { group, primary } => {
                format!("{group}{}", if *primary { "P" } else { "n" })
            }
        });
        let steps: Vec<PlanStep> = self.executor().and_then(statement).into_iter().collect();
        let evidence = CheckEvidence {
            node: None,
            source: EvidenceSource::Sql,
            observed_at: None,
            value: observed.collect::<Vec<_>>().join(","),
        };
        let mut plan = Plan {
            kind: ActionKind::Bootstrap,
            cluster: cluster_name(),
            digest: PlanDigest::new(""),
            executable: !steps.is_empty(),
            computed_at: Timestamp::default(),
            summary: String::new(),
            checks: vec![PlanCheck {
                code: CheckCode::CANDIDATE,
                status: CheckStatus::Pass,
                message: String::new(),
                evidence: vec![evidence],
                expected_at: None,
                transient: None,
            }],
            target: None,
            steps,
            undo: Vec::new(),
            agents: Vec::new(),
            to_confirm: None,
            commands: Vec::new(),
            loss: LossEstimate {
                transactions: None,
                at_least: false,
                explanation: String::new(),
            },
            attestations: Vec::new(),
        };
        plan.digest = plan.computed_digest();
        plan
    }
}

#[expect(clippy::expect_used, reason = "a constant")]
fn cluster_name() -> galera::ClusterName {
    "lab".parse().expect("the name is well-formed")
}

fn statement(node: usize) -> Option<PlanStep> {
    Some(PlanStep::Statement {
        node: format!("n{node}").parse().ok()?,
        statement: "bootstrap".to_owned(),
    })
}

/// The node to which the plan of `action` sends its statement.
pub(crate) fn executor(action: &Action) -> Option<usize> {
    match action.plan.steps.first()? {
        PlanStep::Statement { node, .. } => node.host().strip_prefix('n')?.parse().ok(),
        PlanStep::Key { .. } => None,
    }
}

/// Whether the component of `node` is Primary, as far as the console can see.
pub(crate) fn is_proven(observed: &VisibleCluster, node: usize) -> bool {
    matches!(
        observed.nodes[node],
        VisibleNode::Answers { primary: true, .. }
    )
}

/// Whether another node is visibly Primary outside the component of `node`.
pub(crate) fn is_contradicted(observed: &VisibleCluster, node: usize) -> bool {
    let VisibleNode::Answers {
        group,
        primary: false,
    } = observed.nodes[node]
    else {
        return false;
    };
    observed.nodes.iter().enumerate().any(|(other, seen)| {
        matches!(seen, VisibleNode::Answers { primary: true, .. })
            && !members(group).any(|node| node == other)
    })
}

/// The deadlines, in ticks of the model.
pub(crate) fn limits(approvals: u32) -> ActionLimits {
    ActionLimits {
        pending_timeout: TICK * 2,
        approved_timeout: TICK * 2,
        verify_timeout: TICK * 2,
        approvals_needed: approvals,
        approver_groups: Vec::new(),
    }
}

/// The time at a tick.
pub(crate) fn at(tick: u8) -> Timestamp {
    Timestamp::default().plus(TICK * u32::from(tick))
}

/// All accounts of the model.
const PEOPLE: [(&str, Role); 3] = [
    ("olga", Role::Operator),
    ("adam", Role::Approver),
    ("eve", Role::Approver),
];

/// A person.
pub(crate) fn person(name: &str, role: Role) -> Actor {
    Actor {
        name: name.to_owned(),
        roles: vec![role],
        credential: CredentialTag::new(name),
        groups: Vec::new(),
    }
}

/// The accounts of everybody in the model; they never change.
pub(crate) static ACCOUNTS: LazyLock<CurrentAccounts> = LazyLock::new(|| {
    let mut accounts = CurrentAccounts::default();
    for (name, role) in PEOPLE {
        let by = person(name, role);
        let account = CurrentAccount {
            roles: by.roles,
            credential: by.credential,
            groups: by.groups,
        };
        accounts.insert(name, account);
    }
    accounts
});

/// A request for `plan`, if it is executable.
pub(crate) fn request_plan(id: usize, plan: &Plan, approvals: u32, tick: u8) -> Option<Action> {
    let id: ActionId = format!("a{id}").parse().ok()?;
    let by = person("olga", Role::Operator);
    let wanted = ActionRequest {
        id: &id,
        by: &by,
        plan_digest: &plan.digest,
        confirm: "lab",
        reason: "lost",
        break_glass: None,
    };
    let action = request_action(&wanted, plan, plan, &limits(approvals), at(tick)).ok()?;
    Some(normalized(action))
}

/// The record without texts and irrelevant times, so that equal situations are equal states.
pub(crate) fn normalized(mut action: Action) -> Action {
    action.journal.clear();
    action.outcome = None;
    action.ended_at = None;
    action.requested_at = Timestamp::default();
    for approval in &mut action.approvals {
        approval.at = Timestamp::default();
    }
    action.approvals.sort_by(|one, other| one.by.cmp(&other.by));
    if let Some(execution) = &mut action.execution {
        execution.began_at = Timestamp::default();
    }
    action
}
