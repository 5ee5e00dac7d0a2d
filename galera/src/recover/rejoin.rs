//! Plans the rejoin of a member that is held back: its data have transactions that the cluster continued without, so its
//! agent keeps them aside and the node joins empty (I35).
//!
//! The agent decides what holds its data back ([`HeldData`]) and decides again when it reads the order; the plan compares
//! that with the recorded forks and names what will be in the kept directory only.

use uuid::Uuid;

use super::bootstrap::RecoveryCase;
use super::bootstrap::common_checks;
use super::bootstrap::situation::{OrderTerms, Situation, SourcedPosition};
use super::bootstrap::state_transfer;
use super::bootstrap::stopped::check_order_accepted;
use super::cleanup::check_cluster_primary;
use super::plan::digest::{PlanDraft, fact};
use super::plan::{
    ActionKind, CheckCode, CheckStatus, EvidenceSource, LossEstimate, ManualCommand, Mechanism,
    Plan, PlanStep, PlanTarget,
};
use crate::id::{ActionId, NodeId};
use crate::judge::cluster::reasons::node_label;
use crate::observe::registration::{
    self, AgentPhase, BootstrapOrder, ClusterField, HeldData, HeldRange, RegistryKeys, RejoinOrder,
};
use crate::position::Position;
use crate::view::NodeState;

mod verify;

pub use verify::{RejoinOutcome, verify};

/// A node that is held back.
struct HeldMember {
    /// Index into the situation's nodes.
    node: usize,
    position: Position,
    /// What its agent publishes; `None` for an agent that does not support orders to rejoin.
    held: Option<HeldData>,
    /// What the console concludes from the recorded forks, if the agent publishes nothing.
    inferred: Option<HeldRange>,
}

impl HeldMember {
    fn range(&self) -> Option<HeldRange> {
        self.held.as_ref().map(|held| held.range).or(self.inferred)
    }
}

/// The order to rejoin that `plan` contains, with the id of the action that carries it out.
#[must_use]
pub fn order(plan: &Plan, action_id: &ActionId) -> Option<RejoinOrder> {
    plan.steps.iter().find_map(|step| match step {
        PlanStep::Key {
            value: Some(value), ..
        } => {
            let mut rejoin: RejoinOrder = serde_json::from_str(value).ok()?;
            rejoin.order.action_id = Some(action_id.to_string());
            Some(rejoin)
        }
        _ => None,
    })
}

/// Plans to make the first member that is held back join empty. There is a plan even when none is.
#[must_use]
pub fn plan(case: &RecoveryCase<'_>) -> Plan {
    let situation = Situation::new(case);
    let mut draft = PlanDraft::new();
    draft.agents = situation.agent_reasons();
    let held = held_members(case, &situation);
    common_checks::check_console(case, &mut draft);
    let summary = match choose(case, &held) {
        None => {
            draft.add_check(
                CheckCode::SOMETHING_TO_DO,
                CheckStatus::Fail,
                "No member is held back.".to_owned(),
                Vec::new(),
            );
            "Nothing to do: no member is held back.".to_owned()
        }
        Some(member) => plan_member(case, &situation, &mut draft, member, held.len()),
    };
    draft.finish(
        ActionKind::Rejoin,
        &case.evidence.name,
        case.attestations,
        summary,
        case.now,
    )
}

/// Members whose agents wait, under a live lease, with data that must not join.
fn held_members(case: &RecoveryCase<'_>, situation: &Situation<'_>) -> Vec<HeldMember> {
    let waits = |node: &usize| {
        situation.nodes()[*node].fresh_answer().is_none() && situation.agent_waits(*node)
    };
    let of_node = |node: usize| {
        let SourcedPosition {
            position, source, ..
        } = situation.stopped_position(node)?;
        // An agent accepts only an order for the position that it recovered.
        if source != EvidenceSource::Registry {
            return None;
        }
        let seen = situation.nodes()[node]
            .fresh_registration()
            .filter(|seen| seen.observation.leased)?;
        let published = seen.observation.fields.get("held");
        let held = published.and_then(|value| HeldData::parse(value));
        let inferred = inferred_range(case, situation, node, &position);
        (held.is_some() || inferred.is_some()).then_some(HeldMember {
            node,
            position,
            held,
            inferred,
        })
    };
    let nodes = 0..situation.nodes().len();
    nodes.filter(waits).filter_map(of_node).collect()
}

/// What the recorded forks show about data of an agent that does not publish what holds it back.
fn inferred_range(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    node: usize,
    position: &Position,
) -> Option<HeldRange> {
    let epochs = situation
        .primaries()
        .filter_map(|member| situation.fork_epoch(member));
    let current = epochs.max()?;
    let own = situation.fork_epoch(node)?;
    let conflict = case
        .context
        .forks
        .conflict(own, position.uuid, position.seqno, current)?;
    Some(HeldRange::of_conflict(&conflict, position.seqno))
}

/// The first member that could rejoin, or the first: one with a full disk must not hide another.
fn choose<'h>(case: &RecoveryCase<'_>, held: &'h [HeldMember]) -> Option<&'h HeldMember> {
    let ready = |member: &&HeldMember| {
        contradiction(case, member).is_none()
            && member
                .held
                .as_ref()
                .is_some_and(|held| held.obstacle.is_none())
    };
    held.iter().find(ready).or(held.first())
}

fn plan_member(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    member: &HeldMember,
    count: usize,
) -> String {
    let facts = &situation.nodes()[member.node];
    let name = node_label(facts);
    common_checks::check_unconfirmed(case, situation, draft);
    check_held(case, situation, draft, member);
    check_cluster_primary(
        case,
        draft,
        "only a Primary component sends its data to a member that joins",
    );
    let history = check_donor(situation, draft);
    check_history(draft, &name, &facts.id, &member.position, history);
    state_transfer::check(situation, draft);
    check_keeps_data(draft, &name, &facts.id, member.held.as_ref());
    let accepted = check_order_accepted(case, situation, draft, member.node);
    let order_possible = accepted && member.held.is_some();
    add_commands(draft, &facts.id);
    complete(case, situation, draft, member, order_possible);
    let rest = match count {
        1 => String::new(),
        2 => " Another member is held back as well.".to_owned(),
        count => format!(" {} other members are held back as well.", count - 1),
    };
    let failing = draft.checks.iter().find(|check| !check.status.permits());
    match failing {
        None => format!("Keep the data of {name} aside and let it join empty.{rest}"),
        Some(check) => format!("{name} is held back, but: {}{rest}", check.message),
    }
}

/// Why what the agent publishes is not what its position and the recorded forks show.
fn contradiction(case: &RecoveryCase<'_>, member: &HeldMember) -> Option<String> {
    let range = member.held.as_ref()?.range;
    let position = &member.position;
    if range.last != position.seqno {
        return Some(format!(
            "it reports transactions up to {}, but its data are at {}",
            range.last, position.seqno
        ));
    }
    let recorded = case.context.forks.get(range.fork);
    let recorded = recorded.filter(|record| record.state_uuid == position.uuid);
    match (range.first, recorded) {
        (Some(first), Some(record)) if record.seqno.checked_add(1) == Some(first) => None,
        (Some(_), Some(record)) => {
            Some(format!("fork {} continued at {}", range.fork, record.seqno))
        }
        (Some(_), None) => Some(format!(
            "fork {} of its history is not recorded in etcd",
            range.fork
        )),
        (None, Some(record)) if range.fork > 0 && record.seqno < range.last => Some(format!(
            "fork {} is recorded, so the first of them is known",
            range.fork
        )),
        (None, _) => None,
    }
}

fn check_held(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    member: &HeldMember,
) {
    let facts = &situation.nodes()[member.node];
    let name = node_label(facts);
    let range = member.range();
    let why = range.map_or_else(String::new, |range| describe(&range));
    let (status, message) = match (&member.held, contradiction(case, member)) {
        (None, _) => (
            CheckStatus::Fail,
            format!(
                "The agent of {name} is older and does not support orders to rejoin: update it, or run the commands below on that \
                 node."
            ),
        ),
        (Some(_), Some(why)) => (
            CheckStatus::Fail,
            format!(
                "What the agent of {name} reports about its data contradicts what is recorded: {why}. It reports again \
                 within seconds; if this stays, run the commands below on that node."
            ),
        ),
        (Some(_), None) => (
            CheckStatus::Pass,
            format!("{name} is at {} and held back: {why}.", member.position),
        ),
    };
    let phase = situation
        .phase(member.node)
        .map_or("no agent", AgentPhase::as_str);
    let epoch = situation.fork_epoch(member.node).unwrap_or(0);
    let value = format!(
        "{phase} at {}, data of fork {epoch}, {}",
        member.position,
        match range {
            Some(range) => match range.first {
                Some(first) => format!("held back by fork {} from {first}", range.fork),
                None => format!("held back by fork {}", range.fork),
            },
            None => "not held back".to_owned(),
        }
    );
    let evidence = vec![fact(Some(&facts.id), EvidenceSource::Registry, None, value)];
    draft.add_check(CheckCode::MEMBER_HELD, status, message, evidence);
}

/// What holds data back, as part of a sentence.
fn describe(range: &HeldRange) -> String {
    match (range.fork, range.first) {
        (0, _) => "it is ahead of every Primary member".to_owned(),
        (fork, Some(first)) => format!(
            "fork {fork} continued the history without its transactions {first} to {}",
            range.last
        ),
        (fork, None) => format!(
            "fork {fork}, which is not recorded in etcd, continued the history without some of its transactions"
        ),
    }
}

/// Checks that a member of the Primary component is Synced and can send its data. Returns its history.
fn check_donor(situation: &Situation<'_>, draft: &mut PlanDraft) -> Option<Uuid> {
    let synced: Vec<usize> = situation
        .primaries()
        .filter(|&node| situation.nodes()[node].state() == NodeState::Synced)
        .collect();
    let (status, message, value) = match synced.as_slice() {
        [] => (
            CheckStatus::Fail,
            "No member of the Primary component is Synced, so none can send its data.".to_owned(),
            "no Synced member",
        ),
        [only] => (
            CheckStatus::Pass,
            format!(
                "{} is the only Synced member and sends its data. The component stays Primary; how far the donor serves \
                 clients during that time depends on its wsrep_sst_method.",
                node_label(&situation.nodes()[*only])
            ),
            "a Synced member",
        ),
        members => (
            CheckStatus::Pass,
            format!(
                "{} are Synced; one of them sends its data.",
                situation.join_names(members.iter().copied())
            ),
            "a Synced member",
        ),
    };
    let evidence = vec![fact(None, EvidenceSource::Sql, None, value)];
    draft.add_check(CheckCode::DONOR_AVAILABLE, status, message, evidence);
    let history = |node: &usize| {
        let answer = situation.nodes()[*node].fresh_answer()?;
        answer.status.cluster_state_uuid
    };
    synced.iter().find_map(history)
}

/// Data of another history are never given up by an order (I6).
fn check_history(
    draft: &mut PlanDraft,
    name: &str,
    id: &NodeId,
    position: &Position,
    history: Option<Uuid>,
) {
    let (status, message) = match history {
        Some(uuid) if uuid == position.uuid => (
            CheckStatus::Pass,
            format!("{name} and the Primary component have one history."),
        ),
        Some(uuid) => (
            CheckStatus::Fail,
            format!(
                "{name} has the history {}, the Primary component has {uuid}. Decide first whose data to keep.",
                position.uuid
            ),
        ),
        None => (
            CheckStatus::Unknown,
            "The history of the Primary component is not known.".to_owned(),
        ),
    };
    let mut evidence = vec![fact(
        Some(id),
        EvidenceSource::Registry,
        None,
        position.uuid.to_string(),
    )];
    let of_cluster = history.map(|uuid| fact(None, EvidenceSource::Sql, None, uuid.to_string()));
    evidence.extend(of_cluster);
    draft.add_check(CheckCode::ONE_HISTORY, status, message, evidence);
}

/// Nothing is deleted: the agent must be able to keep the directory beside the new data.
fn check_keeps_data(draft: &mut PlanDraft, name: &str, id: &NodeId, held: Option<&HeldData>) {
    let obstacle = held.map(|held| held.obstacle.as_deref());
    let (status, message, value) = match obstacle {
        Some(None) => (
            CheckStatus::Pass,
            format!("The agent of {name} can keep the data aside, on the same volume."),
            "can keep the data aside",
        ),
        Some(Some(obstacle)) => (
            CheckStatus::Fail,
            format!(
                "The agent of {name} reports: {}",
                registration::bounded_reason(obstacle)
            ),
            "cannot keep the data aside",
        ),
        None => (
            CheckStatus::Unknown,
            format!("The agent of {name} does not report whether it can keep the data aside."),
            "not reported",
        ),
    };
    let evidence = vec![fact(Some(id), EvidenceSource::Registry, None, value)];
    draft.add_check(CheckCode::KEEPS_DATA, status, message, evidence);
}

/// The same by hand, for a node without an agent, or one whose agent cannot do it.
fn add_commands(draft: &mut PlanDraft, id: &NodeId) {
    let commands = [
        (
            "systemctl stop mariadb",
            "Or: docker stop NODE. The server must not run.",
        ),
        (
            "mv /var/lib/mysql /var/lib/mysql.ahead",
            "Keeps the data. Where the directory is a volume, move its contents with .galera-agent.json to another one.",
        ),
        (
            "install -d -o mysql -g mysql -m 0750 /var/lib/mysql",
            "An empty directory: the node receives everything.",
        ),
        (
            "systemctl start mariadb",
            "Or: docker start NODE. Joins by a full state transfer.",
        ),
    ];
    draft
        .commands
        .extend(commands.into_iter().map(|(command, why)| ManualCommand {
            node: Some(id.clone()),
            command: command.to_owned(),
            why: why.to_owned(),
        }));
}

fn complete(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    member: &HeldMember,
    order_possible: bool,
) {
    let facts = &situation.nodes()[member.node];
    let range = member.range();
    if let (true, Some(range), OrderTerms::Verifies { data_id, .. }) =
        (order_possible, range, situation.order_terms(member.node))
    {
        let keys = RegistryKeys::new(&case.context.registry_prefix);
        let rejoin = RejoinOrder {
            order: BootstrapOrder {
                node: facts.id.clone(),
                position: member.position.to_string(),
                action_id: None,
                data_id: Some(data_id),
                signed: None,
            },
            ahead_of: range.fork,
        };
        draft.steps.push(PlanStep::Key {
            key: keys.cluster_key(&case.evidence.name, ClusterField::Rejoin),
            mod_revision: 0,
            value: Some(rejoin.to_value()),
        });
    }
    draft.loss = loss(&node_label(facts), &member.position, range);
    draft.target = Some(PlanTarget {
        mechanism: if order_possible {
            Mechanism::Order
        } else {
            Mechanism::ByHand
        },
        node: Some(facts.id.clone()),
        process: None,
        members: Vec::new(),
        position: Some(member.position.clone()),
        revives: Vec::new(),
        leaves_out: Vec::new(),
        removes: Vec::new(),
    });
}

fn loss(name: &str, position: &Position, range: Option<HeldRange>) -> LossEstimate {
    let uuid = position.uuid;
    match range.and_then(|range| Some((range.count()?, range))) {
        Some((count, range)) => LossEstimate {
            transactions: Some(count),
            at_least: false,
            explanation: format!(
                "Transactions {} to {} of {uuid}, as {name} has them, will exist only in the directory that is kept aside on \
                 that node: the cluster has continued without them since fork {}.",
                range.first.unwrap_or(range.last),
                range.last,
                range.fork
            ),
        },
        None => LossEstimate {
            transactions: None,
            at_least: false,
            explanation: format!(
                "{name} is at {}. Which of its transactions the cluster continued without is not known; they will exist only \
                 in the directory that is kept aside on that node.",
                position.seqno
            ),
        },
    }
}
