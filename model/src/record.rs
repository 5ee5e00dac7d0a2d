//! Plans of the model and the record that both sides share.

use std::time::Duration;

use galera::Timestamp;
use galera::access::Role;
use galera::recover::action::{Action, Actor, Limits, Request, request};
use galera::recover::plan::{Kind, Loss, Plan, Step};

use crate::cluster::{Cluster, NODES, Set, members};

/// How long one tick of the model is: longer than the window in which a statement may arrive.
const TICK: Duration = Duration::from_secs(30);

/// What a replica saw of the databases at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// For each node: unknown, down, or its component and whether that is Primary.
    pub nodes: [Seen; NODES],
    /// How often views had changed: how old the look is.
    pub changes: u8,
    /// The tick at which it was taken.
    pub tick: u8,
}

/// What a replica saw of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// It cannot be reached, which is not dead.
    Unknown,
    /// It is down, and somebody vouches for that.
    Attested,
    /// It answers.
    Answers {
        /// The members of its component.
        group: Set,
        /// Whether it says Primary.
        primary: bool,
    },
}

impl Look {
    /// Looks at every node.
    pub(crate) fn at(cluster: &Cluster, tick: u8) -> Self {
        let nodes = std::array::from_fn(|node| {
            if cluster.up & 1 << node == 0 {
                // People only vouch for what is true; what changes afterwards is what the digest is for.
                return Seen::Attested;
            }
            if cluster.reachable & 1 << node == 0 {
                return Seen::Unknown;
            }
            Seen::Answers {
                group: cluster.group(node),
                primary: cluster.primary & 1 << node != 0,
            }
        });
        Self {
            nodes,
            changes: cluster.changes,
            tick,
        }
    }

    /// The node that would execute the statement: of the largest component the smallest. Nobody when a node is unknown
    /// or Primary.
    pub(crate) fn executor(&self) -> Option<usize> {
        let mut best: Option<(u32, std::cmp::Reverse<usize>)> = None;
        for (node, seen) in self.nodes.iter().enumerate() {
            match seen {
                Seen::Unknown | Seen::Answers { primary: true, .. } => return None,
                Seen::Attested => {}
                Seen::Answers { group, .. } => {
                    best = best.max(Some((group.count_ones(), std::cmp::Reverse(node))));
                }
            }
        }
        best.map(|(_, node)| node.0)
    }

    /// The plan; its digest is the whole look without its time.
    pub(crate) fn plan(&self) -> Plan {
        let digest = self.nodes.iter().map(|seen| match seen {
            Seen::Unknown => "?".to_owned(),
            Seen::Attested => "-".to_owned(),
            Seen::Answers { group, primary } => {
                format!("{group}{}", if *primary { "P" } else { "n" })
            }
        });
        let steps: Vec<Step> = self.executor().and_then(statement).into_iter().collect();
        Plan {
            kind: Kind::Bootstrap,
            cluster: cluster_name(),
            digest: digest.collect::<Vec<_>>().join(","),
            executable: !steps.is_empty(),
            computed_at: Timestamp::default(),
            summary: String::new(),
            checks: Vec::new(),
            target: None,
            steps,
            undo: Vec::new(),
            commands: Vec::new(),
            loss: Loss {
                transactions: None,
                explanation: String::new(),
            },
            attestations: Vec::new(),
        }
    }
}

#[expect(clippy::expect_used, reason = "a constant")]
fn cluster_name() -> galera::ClusterName {
    "lab".parse().expect("the name is well-formed")
}

fn statement(node: usize) -> Option<Step> {
    Some(Step::Statement {
        node: format!("n{node}").parse().ok()?,
        statement: "bootstrap".to_owned(),
    })
}

/// The node to which the plan of `action` sends its statement.
pub(crate) fn executor(action: &Action) -> Option<usize> {
    match action.plan.steps.first()? {
        Step::Statement { node, .. } => node.host().strip_prefix('n')?.parse().ok(),
        Step::Key { .. } => None,
    }
}

/// Whether the component of `node` is Primary, as far as the console can see.
pub(crate) fn proven(look: &Look, node: usize) -> bool {
    matches!(look.nodes[node], Seen::Answers { primary: true, .. })
}

/// Whether somebody else is seen Primary outside the component of `node`.
pub(crate) fn contradicted(look: &Look, node: usize) -> bool {
    let Seen::Answers {
        group,
        primary: false,
    } = look.nodes[node]
    else {
        return false;
    };
    look.nodes.iter().enumerate().any(|(other, seen)| {
        matches!(seen, Seen::Answers { primary: true, .. })
            && !members(group).any(|node| node == other)
    })
}

/// The deadlines, in ticks of the model.
pub(crate) fn limits(approvals: u32) -> Limits {
    Limits {
        pending: TICK * 2,
        approved: TICK * 2,
        verify: TICK * 2,
        approvals,
    }
}

/// The time at a tick.
pub(crate) fn at(tick: u8) -> Timestamp {
    Timestamp::default().plus(TICK * u32::from(tick))
}

/// A person.
pub(crate) fn person(name: &str, role: Role) -> Actor {
    Actor {
        name: name.to_owned(),
        roles: vec![role],
    }
}

/// A request for `plan`, when it is executable.
pub(crate) fn requested(id: usize, plan: &Plan, approvals: u32, tick: u8) -> Option<Action> {
    let id = format!("a{id}");
    let by = person("olga", Role::Operator);
    let wanted = Request {
        id: &id,
        by: &by,
        plan_digest: &plan.digest,
        confirm: "lab",
        reason: "lost",
        break_glass: None,
    };
    let action = request(&wanted, plan, plan, &limits(approvals), at(tick)).ok()?;
    Some(plain(action))
}

/// The record without prose and without times that decide nothing: equal situations shall be equal states.
pub(crate) fn plain(mut action: Action) -> Action {
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
