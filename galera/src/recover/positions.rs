//! Plans the correction of remembered positions: a highest position that no member has reached blocks every bootstrap
//! (I9), also if it was never real, as after a forged registration or a restored backup.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::attestation::AttestedState;
use super::bootstrap::RecoveryCase;
use super::bootstrap::common_checks;
use super::bootstrap::situation::{MemberCondition, Situation};
use super::cleanup::RegistryReading;
use super::plan::digest::{PlanDraft, fact};
use super::plan::{
    ActionKind, CheckCode, CheckStatus, EvidenceSource, LossEstimate, Mechanism, Plan, PlanStep,
    PlanTarget,
};
use crate::id::NodeId;
use crate::judge::known_positions::{HighestPosition, PositionReset};
use crate::observe::registration::{NodeField, ParsedKey, RawKeyValue, RegistryKeys};
use crate::position::Position;

/// Plans to forget highest positions that no member has reached, and Primary views of nodes that are no members. `reading`
/// is the current one; the record of corrections is at [`RecoveryContext::corrections`](super::bootstrap::RecoveryContext::corrections).
#[must_use]
pub fn plan(case: &RecoveryCase<'_>, reading: Option<&RegistryReading>) -> Plan {
    let situation = Situation::new(case);
    let mut draft = PlanDraft::new();
    common_checks::check_console(case, &mut draft);
    common_checks::check_unconfirmed(case, &situation, &mut draft);
    common_checks::check_attestations(case, &situation, &mut draft);
    check_positions_known(&situation, &mut draft);
    let reached = reached_positions(&situation);
    let unreached: BTreeMap<Uuid, &HighestPosition> = case
        .history
        .highest
        .iter()
        .filter(|(uuid, highest)| {
            reached
                .get(*uuid)
                .is_some_and(|seqno| *seqno < highest.seqno)
        })
        .map(|(uuid, highest)| (*uuid, highest))
        .collect();
    let forgotten = views_of_strangers(case, &situation);
    let removed = unreached_keys(case, &situation, reading, &reached);
    let something = !unreached.is_empty() || !forgotten.is_empty() || !removed.is_empty();
    check_something_to_do(&unreached, &forgotten, something, &mut draft);
    if something {
        add_steps(case, &unreached, &forgotten, &removed, &mut draft);
    }
    draft.loss = LossEstimate {
        transactions: None,
        at_least: false,
        explanation: "No data is changed. If a position that is forgotten was real, the transactions between the members' \
            positions and that one are lost, and no later plan will mention them."
            .to_owned(),
    };
    let failing = draft.checks.iter().find(|check| !check.status.permits());
    let summary = match (something, failing) {
        (false, _) => {
            "Nothing to correct: the members have reached every remembered position.".to_owned()
        }
        (true, None) => "Forget what no member has reached.".to_owned(),
        (true, Some(check)) => format!("Positions cannot be corrected: {}", check.message),
    };
    draft.finish(
        ActionKind::Positions,
        &case.evidence.name,
        case.attestations,
        summary,
        case.now,
    )
}

/// The highest position of each history that a member has, from any source and time.
fn reached_positions(situation: &Situation<'_>) -> BTreeMap<Uuid, u64> {
    let mut reached = BTreeMap::new();
    for node in 0..situation.nodes().len() {
        if let Some(known) = situation.last_known_position(node) {
            let seqno = known.position.seqno;
            let highest = reached.entry(known.position.uuid).or_insert(seqno);
            *highest = seqno.max(*highest);
        }
    }
    reached
}

/// Nodes that are no members, but were seen in the newest Primary view of a history.
fn views_of_strangers(case: &RecoveryCase<'_>, situation: &Situation<'_>) -> BTreeSet<NodeId> {
    let known = |id: &NodeId| situation.node_named(id).is_some();
    let newest = |uuid: &Uuid| {
        let nodes = case.history.newest_primary_view(uuid)?.nodes;
        nodes.iter().all(|id| !known(id)).then_some(nodes)
    };
    let histories: BTreeSet<Uuid> = case
        .history
        .primary
        .values()
        .map(|last| last.position.uuid)
        .collect();
    histories.iter().filter_map(newest).flatten().collect()
}

/// Durable records of members' highest positions that no member has reached.
fn unreached_keys<'a>(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    reading: Option<&'a RegistryReading>,
    reached: &BTreeMap<Uuid, u64>,
) -> Vec<(NodeId, &'a RawKeyValue)> {
    let keys = RegistryKeys::new(&case.context.registry_prefix);
    let port = case.settings.fold.default_port;
    let all = reading.map_or(&[][..], |reading| &reading.keys);
    all.iter()
        .filter_map(|raw| match keys.parse(&raw.key) {
            ParsedKey::Node {
                cluster,
                node,
                field: NodeField::HighestPosition,
            } if cluster == case.evidence.name => Some((node.normalized(port), raw)),
            _ => None,
        })
        .filter(|(node, raw)| {
            let value = std::str::from_utf8(&raw.value).ok();
            let position = value.and_then(|text| text.parse::<Position>().ok());
            situation.unconfirmed_node(node).is_none()
                && position.is_some_and(|position| {
                    let reached = reached.get(&position.uuid);
                    reached.is_some_and(|seqno| *seqno < position.seqno)
                })
        })
        .collect()
}

/// The position of every member must be known: an unknown one may be the remembered one.
fn check_positions_known(situation: &Situation<'_>, draft: &mut PlanDraft) {
    let (mut missing, mut lost, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
    for node in situation.accountable_members() {
        let facts = &situation.nodes()[node];
        let answer = facts.fresh_answer();
        let known = answer.and_then(|answer| answer.status.position()).is_some()
            || (answer.is_none() && situation.stopped_position(node).is_some())
            || situation.has_no_data(node);
        let gone = matches!(
            situation.conditions[node],
            MemberCondition::Attested(AttestedState::Fenced | AttestedState::Decommissioned)
        );
        // A position that changes with every commit must not change the digest.
        let value = match (known, gone) {
            (true, _) => "position known",
            (false, true) => "counts as lost",
            (false, false) => "position unknown",
        };
        evidence.push(fact(Some(&facts.id), EvidenceSource::Console, None, value));
        match (known, gone) {
            (true, _) => {}
            (false, true) => lost.push(node),
            (false, false) => missing.push(node),
        }
    }
    let names = |nodes: &[usize]| situation.join_names(nodes.iter().copied());
    let (status, message) = if evidence.is_empty() {
        (CheckStatus::Unknown, "No member is expected.".to_owned())
    } else if !missing.is_empty() {
        (
            CheckStatus::Unknown,
            format!(
                "The position of {} is unknown and may be the remembered one. Let it answer, start its agent, or paste its recovered position.",
                names(&missing)
            ),
        )
    } else if !lost.is_empty() {
        (
            CheckStatus::Attested,
            format!(
                "{} counts as lost, as confirmed by the requester.",
                names(&lost)
            ),
        )
    } else {
        (
            CheckStatus::Pass,
            "The position of every member is known.".to_owned(),
        )
    };
    draft.add_check(CheckCode::POSITIONS_KNOWN, status, message, evidence);
}

fn check_something_to_do(
    unreached: &BTreeMap<Uuid, &HighestPosition>,
    forgotten: &BTreeSet<NodeId>,
    something: bool,
    draft: &mut PlanDraft,
) {
    let positions = unreached.iter().map(|(uuid, highest)| {
        let value = format!("remembered: {uuid}:{}", highest.seqno);
        fact(
            Some(&highest.node),
            EvidenceSource::Memory,
            Some(highest.at),
            value,
        )
    });
    let views = forgotten.iter().map(|id| {
        let value = "in the newest Primary view, but not a member";
        fact(Some(id), EvidenceSource::Memory, None, value)
    });
    let evidence = positions.chain(views).collect();
    let (status, message) = if something {
        (
            CheckStatus::Pass,
            "No member has reached what is remembered.".to_owned(),
        )
    } else {
        (
            CheckStatus::Fail,
            "The members have reached every remembered position; there is nothing to correct."
                .to_owned(),
        )
    };
    draft.add_check(CheckCode::SOMETHING_TO_DO, status, message, evidence);
}

fn add_steps(
    case: &RecoveryCase<'_>,
    unreached: &BTreeMap<Uuid, &HighestPosition>,
    forgotten: &BTreeSet<NodeId>,
    removed: &[(NodeId, &RawKeyValue)],
    draft: &mut PlanDraft,
) {
    let mut removes = BTreeSet::new();
    // Before the correction: a record that is read again after it would count again.
    for (node, raw) in removed {
        if let Ok(key) = String::from_utf8(raw.key.clone()) {
            removes.insert(node.clone());
            draft.steps.push(PlanStep::Key {
                key,
                mod_revision: raw.mod_revision,
                value: None,
            });
        }
    }
    let uuids = removed.iter().filter_map(|(_, raw)| {
        let position: Position = std::str::from_utf8(&raw.value).ok()?.parse().ok()?;
        Some(position.uuid)
    });
    let reset = PositionReset {
        histories: unreached.keys().copied().chain(uuids).collect(),
        nodes: forgotten.clone(),
    };
    if let (Some(record), Ok(value)) = (&case.context.corrections, serde_json::to_string(&reset)) {
        draft.steps.push(PlanStep::Key {
            key: record.key.clone(),
            mod_revision: record.mod_revision,
            value: Some(value),
        });
    }
    draft.target = Some(PlanTarget {
        mechanism: Mechanism::Registry,
        node: None,
        process: None,
        members: Vec::new(),
        position: None,
        revives: Vec::new(),
        leaves_out: Vec::new(),
        removes: removes.into_iter().collect(),
    });
}
