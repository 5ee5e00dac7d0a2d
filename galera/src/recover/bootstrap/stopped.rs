//! Plans for a stopped cluster: which node bootstraps, by an order to its agent or by commands for an operator (I6, I7,
//! I8).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::flavour::ServerFlavour;
use super::running::SHOW_STATUS;
use super::running::summarize;
use super::situation::{OrderTerms, Situation, SourcedPosition, removal_remedy};
use super::{RecoveryCase, common_checks, forks, loss, loss_estimate, v2_nodes};
use crate::id::NodeId;
use crate::observe::registration::{AgentPhase, BootstrapOrder, ClusterField, RegistryKeys};
use crate::recover::attestation::AttestedState;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{
    CheckCode, CheckStatus, EvidenceSource, ManualCommand, Mechanism, PlanStep, PlanTarget,
};

const MARK_SAFE_COMMAND: &str =
    "sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' /var/lib/mysql/grastate.dat";

pub(super) fn plan(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
) -> String {
    // A node that answers is not stopped, whatever is registered for it.
    let known: Vec<(usize, SourcedPosition)> = situation
        .accountable_members()
        .filter(|&node| situation.nodes()[node].fresh_answer().is_none())
        .filter_map(|node| Some((node, situation.stopped_position(node)?)))
        .collect();
    let complete = check_positions_known(situation, draft, &known);
    let agree = check_one_history(situation, draft, &known);
    let branch = forks::check(case, situation, draft, &known);
    let chosen = if agree {
        choose_node(case, situation, &branch)
    } else {
        None
    };
    check_candidate(situation, draft, chosen);
    let goal = chosen.map(|(node, known)| loss::RecoveryPoint {
        position: known.position.clone(),
        holders: BTreeSet::from([*node]),
    });
    loss::check_for_loss(case, situation, draft, goal.as_ref());
    // An agent accepts only an order for the position that it recovered.
    let agent_waiting = chosen.is_some_and(|(node, known)| {
        situation.agent_waits(*node) && known.source == EvidenceSource::Registry
    });
    check_agent_waits(situation, draft, chosen, agent_waiting);
    let alone = v2_nodes::check(case, "no agent may be ordered to bootstrap", draft);
    let order_possible = agent_waiting
        && chosen.is_some_and(|(node, _)| check_order_accepted(case, situation, draft, *node))
        && alone;
    let Some((node, known)) = chosen else {
        add_recovery_commands(situation, draft);
        return summarize(draft, None);
    };
    if complete {
        add_start_commands(situation, draft, *node);
    } else {
        add_recovery_commands(situation, draft);
    }
    complete_draft(case, situation, draft, *node, known, order_possible);
    summarize(draft, Some(situation.join_names(std::iter::once(*node))))
}

/// The position of every member must be known, or the member attested as lost (I4): an unknown one may be the highest
/// (I8).
fn check_positions_known(
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    known: &[(usize, SourcedPosition)],
) -> bool {
    let mut evidence = Vec::new();
    let (mut running, mut missing, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    let mut contradicted = Vec::new();
    for node in situation.accountable_members() {
        let id = &situation.nodes()[node].id;
        let position = known.iter().find(|(with, _)| *with == node);
        evidence.push(match position {
            Some((_, known)) => fact(Some(id), known.source, known.at, known.position.to_string()),
            None if situation.has_no_data(node) => fact(
                Some(id),
                EvidenceSource::Registry,
                None,
                "no position in its data, as its agent reports",
            ),
            None => fact(Some(id), EvidenceSource::Console, None, "position unknown"),
        });
        if let Some((_, known)) = position
            && let Some(pasted) = situation.pasted_position(node)
            && pasted != known.position
        {
            contradicted.push(format!(
                "The position pasted for {}, {pasted}, is not the one that its agent recovered, {}. Remove it.",
                situation.join_names(std::iter::once(node)),
                known.position
            ));
        }
        if situation.nodes()[node].fresh_answer().is_some() {
            running.push(node);
        } else if position.is_none() && !situation.has_no_data(node) {
            match situation
                .attestation(node)
                .map(|attestation| attestation.statement)
            {
                Some(AttestedState::Fenced | AttestedState::Decommissioned) => lost.push(node),
                _ => missing.push(node),
            }
        }
    }
    let (status, message) = match contradicted.is_empty() {
        true => positions_message(situation, &running, &missing, &lost, known),
        false => (CheckStatus::Fail, contradicted.join(" ")),
    };
    draft.add_check(CheckCode::POSITIONS_KNOWN, status, message, evidence);
    status.permits()
}

fn positions_message(
    situation: &Situation<'_>,
    running: &[usize],
    missing: &[usize],
    lost: &[usize],
    known: &[(usize, SourcedPosition)],
) -> (CheckStatus, String) {
    let names = |nodes: &[usize]| situation.join_names(nodes.iter().copied());
    match (running, missing, lost) {
        ([_], ..) => (
            CheckStatus::Fail,
            format!(
                "{} runs but is in no group. Stop it, so that its position can be recovered.",
                names(running)
            ),
        ),
        ([_, ..], ..) => (
            CheckStatus::Fail,
            format!(
                "{} run but are in no group. Stop them, so that their positions can be recovered.",
                names(running)
            ),
        ),
        (_, [_, rest @ ..], _) => {
            let (candidate, each) = match rest {
                [] => ("it", "its"),
                _ => ("one of them", "each node's"),
            };
            (
                CheckStatus::Unknown,
                format!(
                    "The last position of {} is unknown, and {candidate} may be the most advanced. Start the agent \
                     there, or paste {each} grastate.dat or recovered position.{}",
                    names(missing),
                    missing
                        .iter()
                        .filter_map(|&node| situation.unproven_report(node))
                        .map(|report| format!(" {report}"))
                        .collect::<String>()
                ),
            )
        }
        (_, _, [_, rest @ ..]) => {
            let verb = if rest.is_empty() { "counts" } else { "count" };
            (
                CheckStatus::Attested,
                format!(
                    "{} {verb} as lost, including any transactions that exist nowhere else.",
                    names(lost)
                ),
            )
        }
        _ if known.is_empty() => (CheckStatus::Unknown, "No position is known.".to_owned()),
        _ => (
            CheckStatus::Pass,
            "The position of every member is known.".to_owned(),
        ),
    }
}

fn check_one_history(
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    known: &[(usize, SourcedPosition)],
) -> bool {
    let uuids: BTreeSet<_> = known.iter().map(|(_, known)| known.position.uuid).collect();
    let evidence = known
        .iter()
        .map(|(node, known)| {
            let id = &situation.nodes()[*node].id;
            fact(
                Some(id),
                known.source,
                known.at,
                known.position.uuid.to_string(),
            )
        })
        .collect();
    common_checks::check_one_history(
        draft,
        uuids.len(),
        "Decide first whose data to keep.",
        evidence,
    )
}

/// The most advanced node; among equals one whose agent is waiting, then the only one with the flag, then a member of the
/// newest Primary view, then the first name (I10, I39), as agents choose.
fn choose_node<'k>(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    known: &'k [(usize, SourcedPosition)],
) -> Option<&'k (usize, SourcedPosition)> {
    let flagged = known
        .iter()
        .filter(|(_, known)| known.safe_to_bootstrap == Some(true))
        .count();
    known.iter().max_by_key(|(node, known)| {
        (
            known.position.seqno,
            situation.agent_waits(*node),
            known.safe_to_bootstrap == Some(true) && flagged == 1,
            situation.members_seen(*node).and_then(|seen| seen.view),
            in_newest_view(case, &situation.nodes()[*node].id, known),
            Reverse(&situation.nodes()[*node].id),
        )
    })
}

/// Whether the console remembers the node in the newest Primary view of its history: of equals, only such a node passes
/// the check of the last Primary view.
fn in_newest_view(case: &RecoveryCase<'_>, id: &NodeId, known: &SourcedPosition) -> bool {
    let newest = case.history.newest_primary_view(&known.position.uuid);
    newest.is_some_and(|newest| newest.nodes.contains(id))
}

fn check_candidate(
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    chosen: Option<&(usize, SourcedPosition)>,
) {
    let empty: Vec<usize> = (0..situation.nodes().len())
        .filter(|&node| situation.waits_without_data(node))
        .collect();
    let (status, message, evidence) = match chosen {
        None if !empty.is_empty() => (
            CheckStatus::Fail,
            format!(
                "{} {} without data, and no other node reports a position. If a member's data or a backup exist, start a node \
                 with them. If everything is gone and the cluster may begin empty: stop these nodes, confirm every member as \
                 permanently removed, decommission the cluster, and start them again; one of them founds it.",
                situation.join_names(empty.iter().copied()),
                if empty.len() == 1 { "waits" } else { "wait" },
            ),
            Vec::new(),
        ),
        None => (
            CheckStatus::Fail,
            "No stopped node has a valid position in one common history. A nil UUID or -1 is never a candidate.".to_owned(),
            Vec::new(),
        ),
        Some((node, known)) => {
            let id = &situation.nodes()[*node].id;
            let mut evidence = vec![fact(Some(id), known.source, known.at, known.position.to_string())];
            if let Some(flag) = known.safe_to_bootstrap {
                let value = format!("safe_to_bootstrap: {}", u8::from(flag));
                evidence.push(fact(Some(id), EvidenceSource::Attestation, None, value));
            }
            (
                CheckStatus::Pass,
                format!(
                    "{} at {} holds the highest known position.",
                    situation.join_names(std::iter::once(*node)),
                    known.position.seqno
                ),
                evidence,
            )
        }
    };
    draft.add_check(CheckCode::CANDIDATE, status, message, evidence);
}

fn check_agent_waits(
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    chosen: Option<&(usize, SourcedPosition)>,
    agent_waiting: bool,
) {
    let (status, message, evidence) = match chosen {
        None => (
            CheckStatus::Unknown,
            "Without a candidate there is no agent to send the order to.".to_owned(),
            Vec::new(),
        ),
        Some((node, known)) => {
            let facts = &situation.nodes()[*node];
            let name = situation.join_names(std::iter::once(*node));
            let phase = situation.phase(*node);
            let text = phase.map_or("no agent", AgentPhase::as_str);
            let evidence = vec![fact(Some(&facts.id), EvidenceSource::Registry, None, text)];
            if phase == Some(AgentPhase::Waiting) && !agent_waiting {
                (
                    CheckStatus::Fail,
                    format!(
                        "The agent of {name} has recovered no position from its data, and rejects an order for {}, {}. Find out \
                         why its data have none before you run the commands below on that node. {}",
                        match known.source {
                            EvidenceSource::Attestation => "the pasted one",
                            _ => "that of the data that stopped there",
                        },
                        known.position,
                        removal_remedy(&name),
                    ),
                    evidence,
                )
            } else if agent_waiting {
                (
                    CheckStatus::Pass,
                    format!("The agent of {name} is waiting for an order."),
                    evidence,
                )
            } else {
                (
                    CheckStatus::Fail,
                    format!(
                        "No agent of {name} is waiting for an order. Run the commands below on that node."
                    ),
                    evidence,
                )
            }
        }
    };
    draft.add_check(CheckCode::AGENT_WAITS, status, message, evidence);
}

/// Whether the agent of `node` will accept an order of this console. One that it would refuse is never planned.
pub(crate) fn check_order_accepted(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    node: usize,
) -> bool {
    let id = &situation.nodes()[node].id;
    let name = situation.join_names(std::iter::once(node));
    let mut evidence = Vec::new();
    let own_key = case.context.order_key.as_deref();
    let own_fact = own_key.map_or("no order key".to_owned(), |key| format!("order key {key}"));
    evidence.push(fact(None, EvidenceSource::Console, None, own_fact));
    let terms = situation.order_terms(node);
    let (status, message) = match (&terms, own_key) {
        (OrderTerms::Older, _) => (
            CheckStatus::Pass,
            format!(
                "The agent of {name} is older and accepts any order in etcd, signed or not. Update it, so that only a \
                 signed order can start this node."
            ),
        ),
        (OrderTerms::Incomplete, _) => (
            CheckStatus::Unknown,
            format!(
                "The identity of the data of {name}, or the keys that its agent trusts, cannot be read in etcd. Its agent \
                 publishes both again within seconds; if not, restart it."
            ),
        ),
        (OrderTerms::Verifies { .. }, None) => (
            CheckStatus::Fail,
            format!(
                "This console has no order key, and the agent of {name} accepts only signed orders. Create a key with \
                 `galera-console order-key new FILE`, start the console with --order-key-file FILE, and give the agents the \
                 public key that `order-key show FILE` prints (ORDER_PUBLIC_KEY_FILE)."
            ),
        ),
        (OrderTerms::Verifies { keys, .. }, Some(own)) if keys.is_empty() => (
            CheckStatus::Fail,
            format!(
                "The agent of {name} has no ORDER_PUBLIC_KEY_FILE, so it rejects all console orders. Give it a file with this \
                 console's public key {own}, as `galera-console order-key show` prints it, and restart the agent."
            ),
        ),
        (OrderTerms::Verifies { keys, .. }, Some(own)) if !keys.iter().any(|key| key == own) => (
            CheckStatus::Fail,
            format!(
                "The agent of {name} does not trust this console's order key {own}: add it to the agent's \
                 ORDER_PUBLIC_KEY_FILE and restart the agent."
            ),
        ),
        (OrderTerms::Verifies { .. }, Some(own)) => (
            CheckStatus::Pass,
            format!("The agent of {name} trusts this console's order key {own}."),
        ),
    };
    let terms = match terms {
        OrderTerms::Older => "verifies no signature".to_owned(),
        OrderTerms::Incomplete => "data or trusted keys unreadable".to_owned(),
        OrderTerms::Verifies { data_id, keys } if keys.is_empty() => {
            format!("data {data_id}, trusts no key")
        }
        OrderTerms::Verifies { data_id, keys } => {
            format!("data {data_id}, trusts {}", keys.join(", "))
        }
    };
    let terms = match situation.fork_epoch(node) {
        // The order is signed for it.
        Some(epoch @ 1..) => format!("{terms}, fork {epoch}"),
        _ => terms,
    };
    evidence.push(fact(Some(id), EvidenceSource::Registry, None, terms));
    draft.add_check(CheckCode::ORDER_ACCEPTED, status, message, evidence);
    status.permits()
}

fn add_recovery_commands(situation: &Situation<'_>, draft: &mut PlanDraft) {
    for node in situation.accountable_members() {
        // A running server would have to be stopped first, which no plan asks for (I24).
        if situation.nodes()[node].fresh_answer().is_none()
            && situation.stopped_position(node).is_none()
            && !situation.has_no_data(node)
            && situation
                .attestation(node)
                .is_none_or(|a| a.statement == AttestedState::Stopped)
        {
            draft.commands.push(ManualCommand {
                node: Some(situation.nodes()[node].id.clone()),
                command: ServerFlavour::of(&situation.nodes()[node]).recover_command().to_owned(),
                why:
                    "Reports the position of its data; the server must be stopped. Paste the line here."
                        .to_owned(),
            });
        }
    }
}

fn add_start_commands(situation: &Situation<'_>, draft: &mut PlanDraft, chosen: usize) {
    let id = &situation.nodes()[chosen].id;
    let flavour = ServerFlavour::of(&situation.nodes()[chosen]);
    let line = |node: &NodeId, command: &str, why: &str| ManualCommand {
        node: Some(node.clone()),
        command: command.to_owned(),
        why: why.to_owned(),
    };
    draft.commands.push(line(
        id,
        MARK_SAFE_COMMAND,
        "Allows this node, and only this one, to bootstrap.",
    ));
    draft.commands.push(line(
        id,
        flavour.bootstrap_command(),
        flavour.bootstrap_note(),
    ));
    draft.commands.push(line(
        id,
        &flavour.client_command(SHOW_STATUS),
        "Must show Primary before any other node is started.",
    ));
    for node in situation
        .accountable_members()
        .filter(|&node| node != chosen)
    {
        let facts = &situation.nodes()[node];
        draft.commands.push(line(
            &facts.id,
            ServerFlavour::of(facts).start_command(),
            "Joins the cluster. Start one node at a time and wait until it is Synced.",
        ));
    }
}

fn complete_draft(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    node: usize,
    known: &SourcedPosition,
    order_possible: bool,
) {
    let id = situation.nodes()[node].id.clone();
    if order_possible {
        let keys = RegistryKeys::new(&case.context.registry_prefix);
        let order = BootstrapOrder {
            node: id.clone(),
            position: known.position.to_string(),
            action_id: None,
            data_id: match situation.order_terms(node) {
                OrderTerms::Verifies { data_id, .. } => Some(data_id),
                OrderTerms::Older | OrderTerms::Incomplete => None,
            },
            signed: None,
        };
        draft.steps.push(PlanStep::Key {
            key: keys.cluster_key(&case.evidence.name, ClusterField::Bootstrap),
            mod_revision: 0,
            value: Some(order.to_value()),
        });
    }
    let leaves_out = situation
        .accountable_members()
        .filter(|&other| other != node)
        .map(|other| situation.nodes()[other].id.clone())
        .collect();
    let holders = BTreeSet::from([node]);
    draft.loss = loss_estimate::estimate(case, situation, &known.position, &holders);
    draft.target = Some(PlanTarget {
        mechanism: if order_possible {
            Mechanism::Order
        } else {
            Mechanism::ByHand
        },
        node: Some(id.clone()),
        process: None,
        members: vec![id.clone()],
        position: Some(known.position.clone()),
        revives: vec![id],
        leaves_out,
        removes: Vec::new(),
    });
}
