//! A stopped cluster: which node's data goes on, by an order to its agent or by a person's hand (I6, I7, I8).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::running::summarize;
use super::situation::{Situation, SourcedPosition};
use super::{RecoveryCase, loss};
use crate::id::NodeId;
use crate::observe::registration::{AgentPhase, BootstrapOrder, ClusterField, RegistryKeys};
use crate::recover::attestation::AttestedState;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{
    CheckCode, CheckStatus, EvidenceSource, ManualCommand, Mechanism, PlanStep, PlanTarget,
};

const RECOVER_COMMAND: &str = "mariadbd --wsrep-recover 2>&1 | grep 'Recovered position'";
const MARK_SAFE_COMMAND: &str =
    "sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' /var/lib/mysql/grastate.dat";

pub(super) fn plan(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
) -> String {
    // Whoever answers is not stopped, whatever is registered of it.
    let known: Vec<(usize, SourcedPosition)> = situation
        .accountable_members()
        .filter(|&node| situation.nodes()[node].fresh_answer().is_none())
        .filter_map(|node| Some((node, situation.stopped_position(node)?)))
        .collect();
    let complete = check_positions_known(situation, draft, &known);
    let agree = check_one_history(situation, draft, &known);
    let chosen = if agree {
        choose_node(situation, &known)
    } else {
        None
    };
    check_candidate(situation, draft, chosen);
    let goal = chosen.map(|(node, known)| loss::RecoveryPoint {
        position: known.position.clone(),
        holders: BTreeSet::from([*node]),
    });
    loss::check_for_loss(case, situation, draft, goal.as_ref());
    let waits = chosen.is_some_and(|(node, _)| situation.phase(*node) == Some(AgentPhase::Waiting));
    check_agent_waits(situation, draft, chosen, waits);
    let Some((node, known)) = chosen else {
        add_recovery_commands(situation, draft);
        return summarize(draft, None);
    };
    if complete {
        add_start_commands(situation, draft, *node);
    } else {
        add_recovery_commands(situation, draft);
    }
    complete_draft(case, situation, draft, *node, known, waits);
    summarize(draft, Some(situation.join_names(std::iter::once(*node))))
}

/// Every member's position must be known, or the member attested as lost (I4): an unknown one may be the highest (I8).
fn check_positions_known(
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    known: &[(usize, SourcedPosition)],
) -> bool {
    let mut evidence = Vec::new();
    let (mut running, mut missing, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for node in situation.accountable_members() {
        let id = &situation.nodes()[node].id;
        match known.iter().find(|(with, _)| *with == node) {
            Some((_, known)) => {
                evidence.push(fact(
                    Some(id),
                    known.source,
                    known.at,
                    known.position.to_string(),
                ));
            }
            None if situation.has_no_data(node) => evidence.push(fact(
                Some(id),
                EvidenceSource::Registry,
                None,
                "its data offer no position, by its agent's word",
            )),
            None => evidence.push(fact(
                Some(id),
                EvidenceSource::Console,
                None,
                "position unknown",
            )),
        }
        if situation.nodes()[node].fresh_answer().is_some() {
            running.push(node);
        } else if !known.iter().any(|(with, _)| *with == node) && !situation.has_no_data(node) {
            match situation
                .attestation(node)
                .map(|attestation| attestation.statement)
            {
                Some(AttestedState::Fenced | AttestedState::Decommissioned) => lost.push(node),
                _ => missing.push(node),
            }
        }
    }
    let (status, message) = if !running.is_empty() {
        (
            CheckStatus::Fail,
            format!(
                "{}: stop {}, so that the position can be recovered.",
                match running.as_slice() {
                    [one] => format!(
                        "{} runs, but tells of no group that it is in",
                        situation.join_names(std::iter::once(*one))
                    ),
                    many => format!(
                        "{} run, but tell of no group that they are in",
                        situation.join_names(many.iter().copied())
                    ),
                },
                if running.len() == 1 { "it" } else { "them" },
            ),
        )
    } else if !missing.is_empty() {
        (
            CheckStatus::Unknown,
            format!(
                "Where {} stopped is not known, and {} may be the most advanced. Start the agent there, or paste \
                 grastate.dat or the recovered position of {}.",
                situation.join_names(missing.iter().copied()),
                if missing.len() == 1 {
                    "it"
                } else {
                    "one of them"
                },
                if missing.len() == 1 { "it" } else { "each" },
            ),
        )
    } else if !lost.is_empty() {
        (
            CheckStatus::Attested,
            format!(
                "{} as lost, with what only {} held.",
                match lost.as_slice() {
                    [one] => format!("{} counts", situation.join_names(std::iter::once(*one))),
                    many => format!("{} count", situation.join_names(many.iter().copied())),
                },
                if lost.len() == 1 { "it" } else { "they" },
            ),
        )
    } else if known.is_empty() {
        (CheckStatus::Unknown, "No position is known.".to_owned())
    } else {
        (
            CheckStatus::Pass,
            "The position of every member is known.".to_owned(),
        )
    };
    draft.add_check(CheckCode::POSITIONS_KNOWN, status, message, evidence);
    status.permits()
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
    let (status, message) = match uuids.len() {
        0 => (
            CheckStatus::Unknown,
            "No node tells a defined position.".to_owned(),
        ),
        1 => (
            CheckStatus::Pass,
            "All known positions belong to one history.".to_owned(),
        ),
        count => (
            CheckStatus::Fail,
            format!(
                "The nodes hold {count} different histories, which have no order. Decide whose data counts first."
            ),
        ),
    };
    draft.add_check(CheckCode::ONE_HISTORY, status, message, evidence);
    uuids.len() == 1
}

/// The most advanced; of equals one whose agent waits, then the only one with the flag, then the smallest name (I10).
fn choose_node<'k>(
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
            situation.phase(*node) == Some(AgentPhase::Waiting),
            known.safe_to_bootstrap == Some(true) && flagged == 1,
            Reverse(&situation.nodes()[*node].id),
        )
    })
}

fn check_candidate(
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    chosen: Option<&(usize, SourcedPosition)>,
) {
    let (status, message, evidence) = match chosen {
        None => (
            CheckStatus::Fail,
            "No stopped node has a defined position of one common history: a nil UUID or -1 is never a candidate.".to_owned(),
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
    waits: bool,
) {
    let (status, message, evidence) = match chosen {
        None => (
            CheckStatus::Unknown,
            "Without a candidate there is nobody to obey.".to_owned(),
            Vec::new(),
        ),
        Some((node, _)) => {
            let facts = &situation.nodes()[*node];
            let name = situation.join_names(std::iter::once(*node));
            let phase = situation
                .phase(*node)
                .map_or("no agent", AgentPhase::as_str);
            let evidence = vec![fact(Some(&facts.id), EvidenceSource::Registry, None, phase)];
            if waits {
                (
                    CheckStatus::Pass,
                    format!("The agent of {name} waits for the order."),
                    evidence,
                )
            } else {
                (
                    CheckStatus::Fail,
                    format!(
                        "No agent of {name} waits for an order: type the commands below there."
                    ),
                    evidence,
                )
            }
        }
    };
    draft.add_check(CheckCode::AGENT_WAITS, status, message, evidence);
}

fn add_recovery_commands(situation: &Situation<'_>, draft: &mut PlanDraft) {
    for node in situation.accountable_members() {
        // Nothing here is for a server that runs: it would have to be stopped first (I24).
        if situation.nodes()[node].fresh_answer().is_none()
            && situation.stopped_position(node).is_none()
            && !situation.has_no_data(node)
            && situation
                .attestation(node)
                .is_none_or(|a| a.statement == AttestedState::Stopped)
        {
            draft.commands.push(ManualCommand {
                node: Some(situation.nodes()[node].id.clone()),
                command: RECOVER_COMMAND.to_owned(),
                why:
                    "Tells where its data stands; the server must be stopped. Paste the line here."
                        .to_owned(),
            });
        }
    }
}

fn add_start_commands(situation: &Situation<'_>, draft: &mut PlanDraft, chosen: usize) {
    let id = &situation.nodes()[chosen].id;
    let line = |node: &NodeId, command: &str, why: &str| ManualCommand {
        node: Some(node.clone()),
        command: command.to_owned(),
        why: why.to_owned(),
    };
    draft.commands.push(line(
        id,
        MARK_SAFE_COMMAND,
        "Allows this node, and only this one, to begin.",
    ));
    draft.commands.push(line(
        id,
        "galera_new_cluster",
        "Starts it as a Primary component of its own.",
    ));
    draft.commands.push(line(
        id,
        "mariadb -e \"SHOW GLOBAL STATUS LIKE 'wsrep_cluster_status'\"",
        "Must say Primary before any other node is started.",
    ));
    for node in situation
        .accountable_members()
        .filter(|&node| node != chosen)
    {
        let id = &situation.nodes()[node].id;
        draft.commands.push(line(
            id,
            "systemctl start mariadb",
            "Joins; start one at a time and wait until it is Synced.",
        ));
    }
}

fn complete_draft(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    node: usize,
    known: &SourcedPosition,
    waits: bool,
) {
    let id = situation.nodes()[node].id.clone();
    if waits {
        let keys = RegistryKeys::new(&case.context.registry_prefix);
        let order = BootstrapOrder {
            node: id.clone(),
            position: known.position.to_string(),
            action_id: None,
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
    draft.loss = loss::estimate(case, situation, &known.position, &holders);
    draft.target = Some(PlanTarget {
        mechanism: if waits {
            Mechanism::Order
        } else {
            Mechanism::ByHand
        },
        node: Some(id.clone()),
        members: vec![id.clone()],
        position: Some(known.position.clone()),
        revives: vec![id],
        leaves_out,
        removes: Vec::new(),
    });
}
