//! Plans the removal of a retired cluster: every member attested, no node answering.

use std::collections::BTreeSet;

use super::{RegisteredKeys, RegistryReading, add_removal, removal_target};
use crate::id::NodeId;
use crate::observe::registration::RawKeyValue;
use crate::recover::attestation::AttestedState;
use crate::recover::bootstrap::RecoveryCase;
use crate::recover::bootstrap::common_checks;
use crate::recover::bootstrap::situation::Situation;
use crate::recover::bootstrap::v2_nodes;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{
    ActionKind, CheckCode, CheckStatus, EvidenceSource, LossEstimate, Plan,
};

/// Plans the removal of every registration of a retired cluster. `reading` is the current one.
///
/// The nodes' keys are removed first and the founder's last: a node that starts half-way finds a founder and waits.
#[must_use]
pub fn decommission(case: &RecoveryCase<'_>, reading: &RegistryReading) -> Plan {
    let situation = Situation::new(case);
    let registered = RegisteredKeys::new(case, Some(reading));
    let mut draft = PlanDraft::new();
    common_checks::check_console(case, &mut draft);
    common_checks::check_attestations(case, &situation, &mut draft);
    let members: BTreeSet<NodeId> = situation
        .nodes()
        .iter()
        .map(|facts| facts.id.clone())
        .chain(registered.nodes.keys().cloned())
        .collect();
    check_all_attested(case, &members, &mut draft);
    check_no_answer(&situation, reading, &mut draft);
    v2_nodes::check(case, "no key may be removed", &mut draft);
    super::check_unknown_keys(&registered, &mut draft);
    let nodes = registered.nodes.values().flatten().map(|(raw, _)| *raw);
    for raw in nodes.chain(registered.cluster.iter().copied()) {
        add_removal(raw, &mut draft);
    }
    if draft.steps.is_empty() {
        draft.add_check(
            CheckCode::SOMETHING_TO_DO,
            CheckStatus::Fail,
            "Nothing is registered; there is nothing to remove.".to_owned(),
            Vec::new(),
        );
    } else {
        draft.target = Some(removal_target(registered.nodes.keys().cloned().collect()));
    }
    draft.loss = LossEstimate {
        transactions: None,
        at_least: false,
        explanation: "Afterwards the registry has no record of this cluster: a node that starts under its name founds a new one."
            .to_owned(),
    };
    let failing = draft.checks.iter().find(|check| !check.status.permits());
    let summary = match failing {
        None => format!("Remove every key of {}.", case.evidence.name),
        Some(check) => format!(
            "{} cannot be decommissioned: {}",
            case.evidence.name, check.message
        ),
    };
    draft.finish(
        ActionKind::Decommission,
        &case.evidence.name,
        case.attestations,
        summary,
        case.now,
    )
}

fn check_all_attested(case: &RecoveryCase<'_>, members: &BTreeSet<NodeId>, draft: &mut PlanDraft) {
    let port = case.settings.fold.default_port;
    let attested: BTreeSet<NodeId> = case
        .attestations
        .iter()
        .filter(|attestation| attestation.statement == AttestedState::Decommissioned)
        .map(|attestation| attestation.node.clone().normalized(port))
        .collect();
    let missing: Vec<String> = members
        .difference(&attested)
        .map(ToString::to_string)
        .collect();
    let evidence = members
        .iter()
        .map(|id| {
            let state = if attested.contains(id) {
                "decommissioned"
            } else {
                "not confirmed"
            };
            fact(Some(id), EvidenceSource::Attestation, None, state)
        })
        .collect();
    let (status, message) = if members.is_empty() {
        (CheckStatus::Unknown, "No member is known.".to_owned())
    } else if missing.is_empty() {
        (
            CheckStatus::Attested,
            "Every member is confirmed as removed.".to_owned(),
        )
    } else {
        (
            CheckStatus::Unknown,
            format!("{} must be confirmed as removed.", missing.join(", ")),
        )
    };
    draft.add_check(CheckCode::ALL_ATTESTED, status, message, evidence);
}

fn check_no_answer(situation: &Situation<'_>, reading: &RegistryReading, draft: &mut PlanDraft) {
    let mut evidence = Vec::new();
    let mut alive = Vec::new();
    for (node, facts) in situation.nodes().iter().enumerate() {
        evidence.push(situation.evidence(node));
        if let Some(sign) = common_checks::sign_of_life(situation, node) {
            alive.push(format!("{} {sign}", facts.id));
        }
    }
    let leased: Vec<&RawKeyValue> = reading.keys.iter().filter(|raw| raw.lease != 0).collect();
    if let Some(raw) = leased.first() {
        let key = String::from_utf8_lossy(&raw.key).into_owned();
        alive.push(format!("{key} is held by a lease"));
        evidence.push(fact(
            None,
            EvidenceSource::Registry,
            None,
            "keys with a lease",
        ));
    }
    let (status, message) = if alive.is_empty() {
        (
            CheckStatus::Pass,
            "No node answers and no lease exists.".to_owned(),
        )
    } else {
        (
            CheckStatus::Fail,
            format!("The cluster is still in use: {}.", alive.join("; ")),
        )
    };
    draft.add_check(CheckCode::NOBODY_ANSWERS, status, message, evidence);
}
