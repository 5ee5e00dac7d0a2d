//! Plans that remove registrations, of nodes that are gone ([`plan`]) or of a retired cluster ([`decommission()`]).
//!
//! As dangerous as a bootstrap: a starting container that finds an empty registry founds a new cluster. So a prefix is
//! never deleted, only single keys, each compared on the revision that was read, each with the write that restores it
//! (I25 to I29). [`RegistryReading`]s become `RegisteredKeys`; `stale` makes a `CleanupDecision` about each node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::NodeId;
use crate::judge::cluster::fold;
use crate::judge::confirmation;
use crate::observe::registration::{AgentPhase, NodeField, ParsedKey, RawKeyValue, RegistryKeys};
use crate::recover::attestation::AttestedState;
use crate::recover::bootstrap::RecoveryCase;
use crate::recover::bootstrap::common_checks;
use crate::recover::bootstrap::situation::{MemberCondition, Situation};
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{
    ActionKind, CheckCode, CheckStatus, EvidenceSource, LossEstimate, Mechanism, Plan, PlanStep,
    PlanTarget, TransientCause,
};
use crate::timestamp::Timestamp;
use crate::view::{NodeState, VerdictState};

mod decommission;
mod restore;
mod stale;
mod votes;

pub use decommission::decommission;
pub use restore::lost_registrations;

use stale::CleanupDecision;

/// One linearizable read of every key under a cluster's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReading {
    pub at: Timestamp,
    pub revision: i64,
    pub keys: Vec<RawKeyValue>,
}

/// How long a registration must be without any sign of life to be stale (I25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StalenessSettings {
    /// Multiple of the registration's TTL.
    pub ttl_multiple: u32,
    /// Lower bound, whatever the TTL.
    pub minimum: Duration,
    pub max_reading_age: Duration,
}

impl Default for StalenessSettings {
    fn default() -> Self {
        Self {
            ttl_multiple: 3,
            minimum: Duration::from_secs(90),
            max_reading_age: Duration::from_secs(30),
        }
    }
}

/// How much later than the first reading a replica's probes may have started.
const PROBE_START_MARGIN: Duration = Duration::from_secs(30);

impl StalenessSettings {
    /// How long a registration must show no sign of life, given the longest TTL known in `case`.
    fn stale_after(&self, case: &RecoveryCase<'_>) -> Duration {
        let fold = &case.settings.fold;
        let unconfirmed = confirmation::unconfirmed(case.evidence, case.now, fold);
        let known = case
            .evidence
            .registrations
            .iter()
            .filter(|(id, _)| !unconfirmed.contains(&(*id).clone().normalized(fold.default_port)))
            .filter_map(|(_, seen)| seen.ttl);
        let ttl = known
            .max()
            .map_or(case.settings.fold.registry_ttl, Duration::from_secs);
        ttl.saturating_mul(self.ttl_multiple).max(self.minimum)
    }
}

/// The keys of one reading, by what they describe.
struct RegisteredKeys<'a> {
    /// By node id without the default port.
    nodes: BTreeMap<NodeId, Vec<(&'a RawKeyValue, NodeField)>>,
    cluster: Vec<&'a RawKeyValue>,
    unknown: Vec<&'a RawKeyValue>,
}

impl<'a> RegisteredKeys<'a> {
    fn new(case: &RecoveryCase<'_>, reading: Option<&'a RegistryReading>) -> Self {
        let keys = RegistryKeys::new(&case.context.registry_prefix);
        let mut registered = Self {
            nodes: BTreeMap::new(),
            cluster: Vec::new(),
            unknown: Vec::new(),
        };
        for raw in reading.map_or(&[][..], |reading| &reading.keys) {
            match keys.parse(&raw.key) {
                ParsedKey::Node {
                    cluster,
                    node,
                    field,
                } if cluster == case.evidence.name => {
                    let node = node.normalized(case.settings.fold.default_port);
                    registered.nodes.entry(node).or_default().push((raw, field));
                }
                ParsedKey::Cluster { cluster, .. } if cluster == case.evidence.name => {
                    registered.cluster.push(raw);
                }
                _ => registered.unknown.push(raw),
            }
        }
        for keys in registered.nodes.values_mut() {
            keys.sort_by(|(one, _), (other, _)| one.key.cmp(&other.key));
        }
        registered
            .cluster
            .sort_by(|one, other| one.key.cmp(&other.key));
        registered
    }
}

/// Plans the removal of stale registrations. `readings` are in order of time; the last one is current.
#[must_use]
pub fn plan(
    case: &RecoveryCase<'_>,
    readings: &[RegistryReading],
    staleness: &StalenessSettings,
) -> Plan {
    let situation = Situation::new(case);
    let registered = RegisteredKeys::new(case, readings.last());
    let mut draft = PlanDraft::new();
    common_checks::check_console(case, &mut draft);
    common_checks::check_attestations(case, &situation, &mut draft);
    check_cluster_primary(
        case,
        &mut draft,
        "its registrations are needed until it is Primary again",
    );
    check_no_node_starting(&situation, &registered, &mut draft);
    let wait = staleness.stale_after(case);
    check_read_long_enough(case, readings, wait, staleness.max_reading_age, &mut draft);
    let decisions = stale::decide_registrations(case, &situation, &registered, readings, wait);
    check_keeps_verified(&situation, &decisions, &mut draft);
    for (id, decision) in &decisions {
        check_registration(id, decision, &registered, &mut draft);
    }
    check_unknown_keys(&registered, &mut draft);
    let stale: BTreeSet<&NodeId> = decisions
        .iter()
        .filter(|(_, decision)| matches!(decision, CleanupDecision::Stale(_)))
        .map(|(id, _)| id)
        .collect();
    for id in &stale {
        for (raw, _) in registered.nodes.get(*id).map_or(&[][..], Vec::as_slice) {
            add_removal(raw, &mut draft);
        }
    }
    check_something_to_do(case, &stale, &mut draft);
    draft.loss = LossEstimate {
        transactions: Some(0),
        at_least: false,
        explanation: "Registrations hold no data; the undo steps restore what was removed."
            .to_owned(),
    };
    if !stale.is_empty() {
        draft.target = Some(removal_target(
            stale.iter().map(|id| (*id).clone()).collect(),
        ));
    }
    let summary = summary(case, &draft, &stale);
    draft.finish(
        ActionKind::Cleanup,
        &case.evidence.name,
        case.attestations,
        summary,
        case.now,
    )
}

fn removal_target(removes: Vec<NodeId>) -> PlanTarget {
    PlanTarget {
        mechanism: Mechanism::Registry,
        node: None,
        process: None,
        members: Vec::new(),
        position: None,
        revives: Vec::new(),
        leaves_out: Vec::new(),
        removes,
    }
}

/// Adds the deletion of one key, compared on the revision that was read, and the write that undoes it.
fn add_removal(raw: &RawKeyValue, draft: &mut PlanDraft) {
    let (Ok(key), Ok(value)) = (
        String::from_utf8(raw.key.clone()),
        String::from_utf8(raw.value.clone()),
    ) else {
        return;
    };
    draft.steps.push(PlanStep::Key {
        key: key.clone(),
        mod_revision: raw.mod_revision,
        value: None,
    });
    draft.undo.push(PlanStep::Key {
        key,
        mod_revision: 0,
        value: Some(value),
    });
}

/// Checks that the nodes report one Primary component; `needed` completes the message if they do not.
pub(crate) fn check_cluster_primary(case: &RecoveryCase<'_>, draft: &mut PlanDraft, needed: &str) {
    let view = fold(case.evidence, case.now, &case.settings.fold, None);
    let state = view.verdict.state;
    let (status, message) = match state {
        VerdictState::Healthy | VerdictState::Degraded => (
            CheckStatus::Pass,
            "The cluster has one Primary component, as its nodes report.".to_owned(),
        ),
        _ => (
            CheckStatus::Fail,
            format!("The cluster is {}; {needed}.", state.as_str()),
        ),
    };
    let evidence = vec![fact(
        None,
        EvidenceSource::Sql,
        Some(case.now),
        verdict_evidence(state),
    )];
    draft.add_check(CheckCode::CLUSTER_PRIMARY, status, message, evidence);
}

/// Healthy and degraded are equivalent for clean-up, so a change between them must not change the digest.
fn verdict_evidence(state: VerdictState) -> &'static str {
    match state {
        VerdictState::Healthy | VerdictState::Degraded => "one Primary component",
        other => other.as_str(),
    }
}

fn check_no_node_starting(
    situation: &Situation<'_>,
    registered: &RegisteredKeys<'_>,
    draft: &mut PlanDraft,
) {
    let mut starting = BTreeSet::new();
    for (id, keys) in &registered.nodes {
        let phase = keys
            .iter()
            .filter(|(raw, field)| *field == NodeField::Phase && raw.lease != 0)
            .find_map(|(raw, _)| AgentPhase::parse(std::str::from_utf8(&raw.value).ok()?));
        if matches!(
            phase,
            Some(AgentPhase::Starting | AgentPhase::Waiting | AgentPhase::Joining)
        ) {
            starting.insert(id.clone());
        }
    }
    for (node, facts) in situation.nodes().iter().enumerate() {
        let phase = situation.phase(node);
        let joining = facts.state() == NodeState::Joining;
        if joining
            || matches!(
                phase,
                Some(AgentPhase::Starting | AgentPhase::Waiting | AgentPhase::Joining)
            )
        {
            starting.insert(facts.id.clone());
        }
    }
    let evidence = starting
        .iter()
        .map(|id| {
            fact(
                Some(id),
                EvidenceSource::Registry,
                None,
                "starting, waiting or joining",
            )
        })
        .collect();
    let names: Vec<String> = starting.iter().map(ToString::to_string).collect();
    let (status, message) = match names.as_slice() {
        [] => (
            CheckStatus::Pass,
            "No node is starting or recovering.".to_owned(),
        ),
        [one] => (
            CheckStatus::Fail,
            format!(
                "{one} is starting, waiting or joining, and may be reading the registry now. Wait until it is done."
            ),
        ),
        many => (
            CheckStatus::Fail,
            format!(
                "{} are starting, waiting or joining, and may be reading the registry now. Wait until they are done.",
                many.join(", ")
            ),
        ),
    };
    draft.add_check(CheckCode::NOBODY_STARTING, status, message, evidence);
}

fn check_read_long_enough(
    case: &RecoveryCase<'_>,
    readings: &[RegistryReading],
    wait: Duration,
    fresh: Duration,
    draft: &mut PlanDraft,
) {
    let span = match readings {
        [first, .., last] => first.at.age(last.at),
        _ => Duration::ZERO,
    };
    let old = readings
        .last()
        .is_none_or(|last| last.at.age(case.now) > fresh);
    let ordered = readings.is_sorted_by_key(|reading| (reading.at, reading.revision));
    let (status, message) = if old || !ordered {
        (
            CheckStatus::Unknown,
            "The keys have not been read recently. Try again.".to_owned(),
        )
    } else if span < wait {
        (
            CheckStatus::Unknown,
            format!(
                "The keys have been read for {} s; a registration is stale after {} s. Wait, then update the plan.",
                span.as_secs(),
                wait.as_secs()
            ),
        )
    } else {
        (
            CheckStatus::Pass,
            format!(
                "The keys have been read {} times over {} s.",
                readings.len(),
                span.as_secs()
            ),
        )
    };
    draft.add_check(CheckCode::READ_LONG_ENOUGH, status, message, Vec::new());
    if let Some(first) = readings.first()
        && !old
        && ordered
        && span < wait
    {
        draft.expect_at(first.at.plus(wait));
    }
    // Probes started about when the readings did, not at the same moment.
    if !old && ordered && span < wait + PROBE_START_MARGIN {
        draft.mark_transient(TransientCause::ShortObservation);
    }
}

/// A registration of a node that reports Synced and Primary by SQL must remain (I27, I28).
fn check_keeps_verified(
    situation: &Situation<'_>,
    decisions: &BTreeMap<NodeId, CleanupDecision>,
    draft: &mut PlanDraft,
) {
    let verified: Vec<&NodeId> = situation
        .members_where(|standing| standing == MemberCondition::Primary)
        .map(|node| &situation.nodes()[node])
        .filter(|facts| facts.state() == NodeState::Synced)
        .map(|facts| &facts.id)
        .filter(|id| matches!(decisions.get(*id), Some(CleanupDecision::Kept(_))))
        .collect();
    let evidence = verified
        .iter()
        .map(|id| {
            fact(
                Some(id),
                EvidenceSource::Sql,
                None,
                "Synced, Primary and registered",
            )
        })
        .collect();
    let (status, message) = match verified.first() {
        Some(id) => (
            CheckStatus::Pass,
            format!("{id} remains registered and reports Synced and Primary."),
        ),
        None => (
            CheckStatus::Fail,
            "No registered node is verified as Synced and Primary: after the clean-up a starting container would find \
             no node and found a separate cluster."
                .to_owned(),
        ),
    };
    draft.add_check(CheckCode::KEEPS_VERIFIED, status, message, evidence);
}

fn check_registration(
    id: &NodeId,
    decision: &CleanupDecision,
    registered: &RegisteredKeys<'_>,
    draft: &mut PlanDraft,
) {
    let (code, why, result) = match decision {
        CleanupDecision::Stale(why) => (CheckCode::STALE_REGISTRATION, why, "removed"),
        CleanupDecision::Kept(why) => (CheckCode::KEPT_REGISTRATION, why, "kept"),
    };
    let mut evidence = vec![fact(Some(id), EvidenceSource::Console, None, result)];
    if matches!(decision, CleanupDecision::Stale(_)) {
        for (raw, _) in registered.nodes.get(id).map_or(&[][..], Vec::as_slice) {
            let key = String::from_utf8_lossy(&raw.key);
            let value = format!("{key} at revision {}", raw.mod_revision);
            evidence.push(fact(Some(id), EvidenceSource::Registry, None, value));
        }
    }
    draft.add_check(code, CheckStatus::Pass, format!("{id} {why}."), evidence);
}

/// Unrecognized keys are shown and left in place (I29). They do not affect the decision.
fn check_unknown_keys(registered: &RegisteredKeys<'_>, draft: &mut PlanDraft) {
    if registered.unknown.is_empty() {
        return;
    }
    let names: Vec<String> = registered
        .unknown
        .iter()
        .map(|raw| crate::observe::wsrep::truncate_text(&String::from_utf8_lossy(&raw.key)))
        .collect();
    draft.add_check(
        CheckCode::UNKNOWN_KEYS,
        CheckStatus::Pass,
        format!("Unrecognized keys are left in place: {}.", names.join(", ")),
        Vec::new(),
    );
}

fn check_something_to_do(
    case: &RecoveryCase<'_>,
    stale: &BTreeSet<&NodeId>,
    draft: &mut PlanDraft,
) {
    if stale.is_empty() {
        let pinned = pinned_for_removal(case);
        let rest = match pinned.as_slice() {
            [] => String::new(),
            [one] => format!(
                " {one} is expected because the configuration pins it: remove it from --cluster on every replica."
            ),
            many => format!(
                " {} are expected because the configuration pins them: remove them from --cluster on every replica.",
                many.join(", ")
            ),
        };
        draft.add_check(
            CheckCode::SOMETHING_TO_DO,
            CheckStatus::Fail,
            format!("No registration is stale; there is nothing to remove.{rest}"),
            Vec::new(),
        );
    }
}

/// Nodes that an operator confirms as removed, although the configuration pins them.
fn pinned_for_removal(case: &RecoveryCase<'_>) -> Vec<String> {
    let port = case.settings.fold.default_port;
    let configured: BTreeSet<NodeId> = case
        .evidence
        .configured_members
        .iter()
        .map(|id| id.clone().normalized(port))
        .collect();
    let removed: BTreeSet<NodeId> = case
        .attestations
        .iter()
        .filter(|attestation| attestation.statement == AttestedState::Decommissioned)
        .map(|attestation| attestation.node.clone().normalized(port))
        .collect();
    removed
        .intersection(&configured)
        .map(ToString::to_string)
        .collect()
}

fn summary(case: &RecoveryCase<'_>, draft: &PlanDraft, stale: &BTreeSet<&NodeId>) -> String {
    let names: Vec<String> = stale.iter().map(ToString::to_string).collect();
    let failing = draft.checks.iter().find(|check| !check.status.permits());
    match (names.is_empty(), failing) {
        (true, _) => "Nothing to clean up: no registration is stale.".to_owned(),
        (false, None) => {
            let removed = format!("Remove the registration of {}.", names.join(", "));
            let votes = votes::before_and_after(case, stale);
            votes.map_or(removed.clone(), |votes| format!("{removed} {votes}"))
        }
        (false, Some(check)) => {
            format!("Stale: {}. Blocked: {}", names.join(", "), check.message)
        }
    }
}
