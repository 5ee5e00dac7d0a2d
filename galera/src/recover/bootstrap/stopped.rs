//! A stopped cluster: which node's data goes on, by an order to its agent or by a person's hand (I6, I7, I8).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::running::blocked_summary;
use super::situation::{Known, Situation};
use super::{Case, loss};
use crate::id::NodeId;
use crate::observe::registration::{ClusterField, Keys, Order, Phase};
use crate::recover::attestation::Statement;
use crate::recover::plan::digest::{Draft, fact};
use crate::recover::plan::{
    CheckCode, CheckStatus, Command, EvidenceSource, Mechanism, Step, Target,
};

const RECOVER: &str = "mariadbd --wsrep-recover 2>&1 | grep 'Recovered position'";
const MARK_SAFE: &str =
    "sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' /var/lib/mysql/grastate.dat";

pub(super) fn plan(case: &Case<'_>, situation: &Situation<'_>, draft: &mut Draft) -> String {
    // Whoever answers is not stopped, whatever is registered of it.
    let known: Vec<(usize, Known)> = situation
        .counted()
        .filter(|&node| situation.nodes()[node].answer().is_none())
        .filter_map(|node| Some((node, situation.stopped_position(node)?)))
        .collect();
    let complete = positions_known(situation, draft, &known);
    let agree = one_history(situation, draft, &known);
    let chosen = if agree {
        choose(situation, &known)
    } else {
        None
    };
    candidate(situation, draft, chosen);
    let goal = chosen.map(|(node, known)| loss::Goal {
        position: known.position.clone(),
        holders: BTreeSet::from([*node]),
    });
    loss::ahead(case, situation, draft, goal.as_ref());
    let waits = chosen.is_some_and(|(node, _)| situation.phase(*node) == Some(Phase::Waiting));
    agent_waits(situation, draft, chosen, waits);
    let Some((node, known)) = chosen else {
        recover_by_hand(situation, draft);
        return blocked_summary(draft, None);
    };
    if complete {
        commands(situation, draft, *node);
    } else {
        recover_by_hand(situation, draft);
    }
    fill(case, situation, draft, *node, known, waits);
    blocked_summary(draft, Some(situation.names(std::iter::once(*node))))
}

/// Every member's position must be known, or the member attested as lost (I4): an unknown one may be the highest (I8).
fn positions_known(situation: &Situation<'_>, draft: &mut Draft, known: &[(usize, Known)]) -> bool {
    let mut evidence = Vec::new();
    let (mut running, mut missing, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for node in situation.counted() {
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
            None if situation.holds_nothing(node) => evidence.push(fact(
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
        if situation.nodes()[node].answer().is_some() {
            running.push(node);
        } else if !known.iter().any(|(with, _)| *with == node) && !situation.holds_nothing(node) {
            match situation
                .attested(node)
                .map(|attestation| attestation.statement)
            {
                Some(Statement::Fenced | Statement::Decommissioned) => lost.push(node),
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
                        situation.names(std::iter::once(*one))
                    ),
                    many => format!(
                        "{} run, but tell of no group that they are in",
                        situation.names(many.iter().copied())
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
                situation.names(missing.iter().copied()),
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
                    [one] => format!("{} counts", situation.names(std::iter::once(*one))),
                    many => format!("{} count", situation.names(many.iter().copied())),
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
    draft.check(CheckCode::POSITIONS_KNOWN, status, message, evidence);
    status.permits()
}

fn one_history(situation: &Situation<'_>, draft: &mut Draft, known: &[(usize, Known)]) -> bool {
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
    draft.check(CheckCode::ONE_HISTORY, status, message, evidence);
    uuids.len() == 1
}

/// The most advanced; of equals one whose agent waits, then the only one with the flag, then the smallest name (I10).
fn choose<'k>(
    situation: &Situation<'_>,
    known: &'k [(usize, Known)],
) -> Option<&'k (usize, Known)> {
    let flagged = known
        .iter()
        .filter(|(_, known)| known.flag == Some(true))
        .count();
    known.iter().max_by_key(|(node, known)| {
        (
            known.position.seqno,
            situation.phase(*node) == Some(Phase::Waiting),
            known.flag == Some(true) && flagged == 1,
            Reverse(&situation.nodes()[*node].id),
        )
    })
}

fn candidate(situation: &Situation<'_>, draft: &mut Draft, chosen: Option<&(usize, Known)>) {
    let (status, message, evidence) = match chosen {
        None => (
            CheckStatus::Fail,
            "No stopped node has a defined position of one common history: a nil UUID or -1 is never a candidate.".to_owned(),
            Vec::new(),
        ),
        Some((node, known)) => {
            let id = &situation.nodes()[*node].id;
            let mut evidence = vec![fact(Some(id), known.source, known.at, known.position.to_string())];
            if let Some(flag) = known.flag {
                let value = format!("safe_to_bootstrap: {}", u8::from(flag));
                evidence.push(fact(Some(id), EvidenceSource::Attestation, None, value));
            }
            (
                CheckStatus::Pass,
                format!(
                    "{} at {} holds the highest known position.",
                    situation.names(std::iter::once(*node)),
                    known.position.seqno
                ),
                evidence,
            )
        }
    };
    draft.check(CheckCode::CANDIDATE, status, message, evidence);
}

fn agent_waits(
    situation: &Situation<'_>,
    draft: &mut Draft,
    chosen: Option<&(usize, Known)>,
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
            let name = situation.names(std::iter::once(*node));
            let phase = situation.phase(*node).map_or("no agent", Phase::word);
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
    draft.check(CheckCode::AGENT_WAITS, status, message, evidence);
}

fn recover_by_hand(situation: &Situation<'_>, draft: &mut Draft) {
    for node in situation.counted() {
        // Nothing here is for a server that runs: it would have to be stopped first (I24).
        if situation.nodes()[node].answer().is_none()
            && situation.stopped_position(node).is_none()
            && !situation.holds_nothing(node)
            && situation
                .attested(node)
                .is_none_or(|a| a.statement == Statement::Stopped)
        {
            draft.commands.push(Command {
                node: Some(situation.nodes()[node].id.clone()),
                command: RECOVER.to_owned(),
                why:
                    "Tells where its data stands; the server must be stopped. Paste the line here."
                        .to_owned(),
            });
        }
    }
}

fn commands(situation: &Situation<'_>, draft: &mut Draft, chosen: usize) {
    let id = &situation.nodes()[chosen].id;
    let line = |node: &NodeId, command: &str, why: &str| Command {
        node: Some(node.clone()),
        command: command.to_owned(),
        why: why.to_owned(),
    };
    draft.commands.push(line(
        id,
        MARK_SAFE,
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
    for node in situation.counted().filter(|&node| node != chosen) {
        let id = &situation.nodes()[node].id;
        draft.commands.push(line(
            id,
            "systemctl start mariadb",
            "Joins; start one at a time and wait until it is Synced.",
        ));
    }
}

fn fill(
    case: &Case<'_>,
    situation: &Situation<'_>,
    draft: &mut Draft,
    node: usize,
    known: &Known,
    waits: bool,
) {
    let id = situation.nodes()[node].id.clone();
    if waits {
        let keys = Keys::new(&case.circumstances.registry_prefix);
        let order = Order {
            node: id.clone(),
            position: known.position.to_string(),
            action_id: None,
        };
        draft.steps.push(Step::Key {
            key: keys.cluster_key(&case.evidence.name, ClusterField::Bootstrap),
            mod_revision: 0,
            value: Some(order.to_value()),
        });
    }
    let leaves_out = situation
        .counted()
        .filter(|&other| other != node)
        .map(|other| situation.nodes()[other].id.clone())
        .collect();
    let holders = BTreeSet::from([node]);
    draft.loss = loss::estimate(case, situation, &known.position, &holders);
    draft.target = Some(Target {
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
