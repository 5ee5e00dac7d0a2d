//! Checks that every bootstrap plan has, whether the cluster runs or not.

use super::RecoveryCase;
use super::arbitrators;
use super::known_members;
use super::quorum_rules;
use super::situation::{MemberCondition, Situation};
use super::state_transfer;
use crate::id::NodeId;
use crate::judge::cluster::node_facts::{NodeFacts, ProbeState};
use crate::judge::cluster::reasons::node_label;
use crate::judge::cluster::unseen::UnseenMembers;
use crate::observe::observation::ProbeErrorKind;
use crate::observe::registration::reports_running;
use crate::recover::attestation::{Attestation, AttestedState};
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{
    CheckCode, CheckEvidence, CheckStatus, EvidenceSource, OpenConfirmation,
};

pub(crate) fn check_all(case: &RecoveryCase<'_>, situation: &Situation<'_>, draft: &mut PlanDraft) {
    check_console(case, draft);
    check_no_primary(case, situation, draft);
    check_members_accounted(case, situation, draft);
    quorum_rules::check(situation, draft);
    known_members::check(case, situation, draft);
    check_unconfirmed(case, situation, draft);
    check_attestations(case, situation, draft);
    state_transfer::check(situation, draft);
}

/// Checks that the known positions have one state UUID (I6) and returns whether they do. `histories` is the number of
/// UUIDs among them; `remedy` completes the message if there are several.
pub(crate) fn check_one_history(
    draft: &mut PlanDraft,
    histories: usize,
    remedy: &str,
    evidence: Vec<CheckEvidence>,
) -> bool {
    let (status, message) = match histories {
        0 => (
            CheckStatus::Unknown,
            "No node reports a valid position.".to_owned(),
        ),
        1 => (
            CheckStatus::Pass,
            "All known positions belong to one history.".to_owned(),
        ),
        count => (
            CheckStatus::Fail,
            format!(
                "The nodes hold {count} different histories, which cannot be compared. {remedy}"
            ),
        ),
    };
    draft.add_check(CheckCode::ONE_HISTORY, status, message, evidence);
    histories == 1
}

/// Checks on the console itself, which clean-up needs as well.
pub(crate) fn check_console(case: &RecoveryCase<'_>, draft: &mut PlanDraft) {
    let health = &case.evidence.registry_health;
    let (status, message) = if health.reachable {
        (CheckStatus::Pass, "The registry can be read.".to_owned())
    } else {
        let why = health.error.as_deref().unwrap_or("no answer");
        (
            CheckStatus::Unknown,
            format!(
                "The registry cannot be read ({why}); without it no action can be locked or recorded. Repair etcd first."
            ),
        )
    };
    draft.add_check(CheckCode::REGISTRY_READABLE, status, message, Vec::new());
    match &case.context.recovery_pause {
        None => draft.add_check(
            CheckCode::RECOVERY_ENABLED,
            CheckStatus::Pass,
            "Recovery is enabled.".to_owned(),
            Vec::new(),
        ),
        Some(pause) => draft.add_check(
            CheckCode::RECOVERY_ENABLED,
            CheckStatus::Fail,
            format!("{} paused recovery: {}.", pause.by, pause.reason),
            vec![fact(
                None,
                EvidenceSource::Console,
                Some(pause.at),
                format!("paused by {}", pause.by),
            )],
        ),
    }
    let mut open = Vec::new();
    if let Some(id) = &case.context.open_action {
        open.push(fact(
            None,
            EvidenceSource::Console,
            None,
            format!("action {id} is open"),
        ));
    }
    if let Some(order) = &case.context.standing_order {
        open.push(fact(
            None,
            EvidenceSource::Registry,
            None,
            format!("pending order: {order}"),
        ));
    }
    let (status, message) = match (&case.context.open_action, &case.context.standing_order) {
        (None, None) => (
            CheckStatus::Pass,
            "No other action of this cluster is open.".to_owned(),
        ),
        (Some(id), _) => (
            CheckStatus::Fail,
            format!("Action {id} of this cluster is still open. Follow it, or cancel it first."),
        ),
        (None, Some(_)) => (
            CheckStatus::Fail,
            "A bootstrap order is pending in the registry. Wait until it is executed or expires."
                .to_owned(),
        ),
    };
    draft.add_check(CheckCode::NO_OTHER_RECOVERY, status, message, open);
}

fn check_no_primary(case: &RecoveryCase<'_>, situation: &Situation<'_>, draft: &mut PlanDraft) {
    let mut evidence: Vec<CheckEvidence> = situation
        .members_where(|condition| {
            !matches!(
                condition,
                MemberCondition::Unknown | MemberCondition::Attested(_)
            )
        })
        .map(|node| situation.evidence(node))
        .collect();
    let inferred: Vec<usize> = (0..situation.nodes().len())
        .filter(|&node| situation.registered_primary(node, case.now))
        .collect();
    for &node in &inferred {
        let facts = &situation.nodes()[node];
        evidence.push(fact(
            Some(&facts.id),
            EvidenceSource::Registry,
            facts
                .registration
                .as_ref()
                .and_then(|seen| seen.observation.last_put_at),
            "registered as Primary",
        ));
    }
    let arbitrators = arbitrators::reported_primary(case);
    for name in &arbitrators {
        let value = format!("the arbitrator {name} reports a Primary component");
        evidence.push(fact(None, EvidenceSource::Registry, None, value));
    }
    let primaries: Vec<usize> = situation.primaries().collect();
    let (status, message) = if !primaries.is_empty() {
        let verb = if primaries.len() == 1 {
            "reports"
        } else {
            "report"
        };
        (
            CheckStatus::Fail,
            format!(
                "{} {verb} Primary; there is nothing to bootstrap.",
                situation.join_names(primaries.into_iter())
            ),
        )
    } else if !inferred.is_empty() {
        (
            CheckStatus::Unknown,
            format!(
                "The console cannot reach {}, but the live registration reports Primary; a second Primary would split the \
                 cluster. Restore the console's connection first.",
                situation.join_names(inferred.into_iter())
            ),
        )
    } else if let Some(name) = arbitrators.first() {
        (
            CheckStatus::Unknown,
            format!(
                "The arbitrator {name} reports a Primary component, whose members may be serving, unreachable from the \
                 console. If they are all stopped, restart the arbitrator: as long as it is Primary, the server of a node that bootstraps ends."
            ),
        )
    } else if situation
        .nodes()
        .iter()
        .any(|facts| facts.expected && matches!(facts.probe_state, ProbeState::Pending))
    {
        (
            CheckStatus::Unknown,
            "Some members have not been probed yet.".to_owned(),
        )
    } else {
        let mut message = format!("No node of {} reports Primary.", case.evidence.name);
        if let Some(notice) = arbitrators::restart_notice(case, situation) {
            message.push(' ');
            message.push_str(notice);
        }
        (CheckStatus::Pass, message)
    };
    draft.add_check(CheckCode::NOBODY_PRIMARY, status, message, evidence);
}

fn check_members_accounted(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
) {
    let counted: Vec<usize> = situation.accountable_members().collect();
    let evidence = counted
        .iter()
        .map(|&node| situation.evidence(node))
        .collect();
    let missing: Vec<usize> = counted
        .iter()
        .copied()
        .filter(|&node| {
            matches!(
                situation.conditions[node],
                MemberCondition::Unknown | MemberCondition::Indeterminate
            ) || situation.runs_on_other_data(node) && situation.attestation(node).is_none()
        })
        .collect();
    let attested: Vec<usize> = counted
        .iter()
        .copied()
        .filter(|&node| {
            matches!(situation.conditions[node], MemberCondition::Attested(_))
                || situation.runs_on_other_data(node)
        })
        .collect();
    let unproven: String = missing
        .iter()
        .filter_map(|&node| situation.unproven_report(node))
        .map(|report| format!(" {report}"))
        .collect();
    let (status, message) = if counted.is_empty() {
        (
            CheckStatus::Unknown,
            "No member is expected. Pin the members with --cluster, so that a missing one is noticed.".to_owned(),
        )
    } else if !missing.is_empty() {
        (
            CheckStatus::Unknown,
            format!(
                "{} may still be Primary, unreachable from the console. Bring {} back, or confirm that {} stopped or isolated.{unproven}",
                situation.join_names(missing.iter().copied()),
                if missing.len() == 1 { "it" } else { "them" },
                if missing.len() == 1 {
                    "it is"
                } else {
                    "they are"
                },
            ),
        )
    } else if !attested.is_empty() {
        (
            CheckStatus::Attested,
            format!(
                "Every member is accounted for; {} as confirmed by the requester.{}",
                situation.join_names(attested.into_iter()),
                implied_statement(case, situation)
            ),
        )
    } else {
        (
            CheckStatus::Pass,
            "Every member is accounted for.".to_owned(),
        )
    };
    draft.add_check(CheckCode::MEMBERS_ACCOUNTED, status, message, evidence);
    draft.to_confirm = open_confirmation(case, situation, &missing);
}

/// What a person has to confirm about `missing` members; `None` if an attestation of each would not suffice, because
/// one of them answers or its address is used by other data.
fn open_confirmation(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    missing: &[usize],
) -> Option<OpenConfirmation> {
    let plain = |&node: &usize| {
        situation.conditions[node] == MemberCondition::Unknown
            && situation.unproven_report(node).is_none()
            && sign_of_life(situation, node).is_none()
    };
    if missing.is_empty() || !missing.iter().all(plain) {
        return None;
    }
    let unseen = situation.unseen_members_with(case, |node| missing.contains(&node));
    Some(OpenConfirmation {
        nodes: missing
            .iter()
            .map(|&node| situation.nodes()[node].id.clone())
            .collect(),
        implies: implication(&unseen, situation),
    })
}

/// What an attestation implies beyond its words: an arbitrator is in no list and cannot be attested itself.
fn implied_statement(case: &RecoveryCase<'_>, situation: &Situation<'_>) -> String {
    implication(&situation.unseen_members(case), situation)
        .map_or_else(String::new, |sentence| format!(" {sentence}"))
}

fn implication(unseen: &UnseenMembers, situation: &Situation<'_>) -> Option<String> {
    if !unseen.could_be_primary() {
        return None;
    }
    let (names, several) = unseen.names(situation.nodes());
    Some(if several {
        format!(
            "This confirms that {names}, which could be Primary together, are all stopped or isolated."
        )
    } else {
        format!("This confirms that {names}, which could be Primary, is stopped or isolated.")
    })
}

/// An unconfirmed node may be a member that this console has no record of, with newer data: it must be admitted, or
/// attested. What it reports itself decides nothing.
pub(crate) fn check_unconfirmed(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
) {
    let nodes = situation.unconfirmed();
    if nodes.is_empty() {
        return;
    }
    let mut evidence = Vec::new();
    let mut open = Vec::new();
    for facts in nodes {
        match unconfirmed_attestation(case, &facts.id) {
            Some(attestation) => evidence.push(fact(
                Some(&facts.id),
                EvidenceSource::Attestation,
                None,
                attestation.statement.as_str(),
            )),
            None => {
                let at = facts
                    .registration
                    .as_ref()
                    .and_then(|seen| seen.observation.last_put_at);
                evidence.push(fact(
                    Some(&facts.id),
                    EvidenceSource::Registry,
                    at,
                    "registered, not confirmed as a member",
                ));
                open.push(node_label(facts));
            }
        }
    }
    let (status, message) = match open.as_slice() {
        [] => (
            CheckStatus::Attested,
            "Every unconfirmed node is accounted for, as confirmed by the requester.".to_owned(),
        ),
        [only] => (
            CheckStatus::Unknown,
            format!(
                "{only} is registered, but no member lists it and no operator admitted it. Admit it if it belongs to {}; otherwise confirm that it is decommissioned.",
                case.evidence.name
            ),
        ),
        [first, rest @ ..] => (
            CheckStatus::Unknown,
            format!(
                "{first} and {} more nodes are registered, but no member lists them and no operator admitted them. Admit those that belong to {}; confirm that the others are decommissioned.",
                rest.len(),
                case.evidence.name
            ),
        ),
    };
    draft.add_check(CheckCode::UNCONFIRMED_NODES, status, message, evidence);
}

/// The attestation about an unconfirmed node.
pub(crate) fn unconfirmed_attestation<'a>(
    case: &RecoveryCase<'a>,
    id: &NodeId,
) -> Option<&'a Attestation> {
    let port = case.settings.fold.default_port;
    case.attestations
        .iter()
        .find(|attestation| attestation.node.clone().normalized(port) == *id)
}

/// Why an attestation about an unconfirmed node does not hold. That it answers contradicts only that it is stopped:
/// whether it belongs to the cluster is for the operators to know.
fn unconfirmed_contradiction(
    facts: &NodeFacts<'_>,
    attestation: &Attestation,
) -> Option<&'static str> {
    let answers = facts.fresh_answer().is_some();
    (answers && attestation.statement != AttestedState::Decommissioned).then_some(
        "answers, although nothing confirms that it is a member; confirm that it is decommissioned, or admit it",
    )
}

/// An attestation is void as soon as its node shows a sign of life.
pub(crate) fn check_attestations(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
) {
    if case.attestations.is_empty() {
        return;
    }
    let port = case.settings.fold.default_port;
    let mut evidence = Vec::new();
    let mut contradictions: Vec<String> = Vec::new();
    let mut seen = std::collections::BTreeMap::new();
    for attestation in case.attestations {
        let id = attestation.node.clone().normalized(port);
        evidence.push(fact(
            Some(&id),
            EvidenceSource::Attestation,
            None,
            attestation.statement.as_str(),
        ));
        if seen
            .insert(id.clone(), attestation)
            .is_some_and(|other| other != attestation)
        {
            contradictions.push(format!("{id} is confirmed twice, with different states"));
        }
        let Some(node) = situation.node_named(&id) else {
            if let Some(facts) = situation.unconfirmed_node(&id) {
                let why = unconfirmed_contradiction(facts, attestation);
                contradictions.extend(why.map(|why| format!("{id} {why}")));
                continue;
            }
            contradictions.push(format!("{id} is not a known member"));
            continue;
        };
        if let Some(sign) = sign_of_life(situation, node) {
            contradictions.push(format!("{id} {sign}"));
        }
        if let Some(Err(why)) = attestation.parse_saved_state() {
            contradictions.push(format!("{id}: {why}"));
        }
    }
    contradictions.sort();
    contradictions.dedup();
    let (status, message) = if contradictions.is_empty() {
        (
            CheckStatus::Attested,
            "No evidence contradicts the confirmed states.".to_owned(),
        )
    } else {
        (
            CheckStatus::Fail,
            format!(
                "Confirmed states are contradicted: {}.",
                contradictions.join("; ")
            ),
        )
    };
    draft.add_check(CheckCode::ATTESTATIONS_HOLD, status, message, evidence);
}

pub(crate) fn sign_of_life(situation: &Situation<'_>, node: usize) -> Option<&'static str> {
    if situation.runs_on_other_data(node) {
        // The statement is about the registered data.
        return None;
    }
    let facts = &situation.nodes()[node];
    match situation.conditions[node] {
        MemberCondition::Primary
        | MemberCondition::NonPrimary(_)
        | MemberCondition::Disconnected
        | MemberCondition::Indeterminate => {
            return Some("is reachable");
        }
        MemberCondition::Listed(_) => return Some("is listed by a reachable component"),
        MemberCondition::ReportedStopped
        | MemberCondition::Attested(_)
        | MemberCondition::Unknown => {}
    }
    if let ProbeState::Failing { error, .. } = facts.probe_state
        && error.kind.proves_running()
    {
        if error.kind != ProbeErrorKind::NotAMember {
            return Some("is running, although it rejects the console");
        }
        // The member is elsewhere, or its data are used by a server without Galera: an operator must know which.
        let stated = situation.attestation(node).map(|stated| stated.statement);
        return match stated {
            Some(AttestedState::Fenced | AttestedState::Decommissioned) => None,
            _ => Some("has an address at which a server answers that is not a member"),
        };
    }
    facts
        .registration_after_probe_failure()
        .filter(|registered| reports_running(&registered.observation.fields))
        .map(|_| "is registered as running")
}
