//! The plans that remove registrations: of nodes that are gone, or of a whole cluster that is no more.
//!
//! As dangerous as a bootstrap: a starting container that finds an empty registry founds a new cluster. So never a
//! prefix: single keys, each compared on the revision that was seen, each with what puts it back (I25 to I29).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::NodeId;
use crate::judge::cluster::fold;
use crate::observe::registration::{AgentPhase, NodeField, ParsedKey, RawKeyValue, RegistryKeys};
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

pub use decommission::decommission;
pub use restore::lost_registrations;

use stale::CleanupDecision;

/// One linearizable reading of every key under a cluster's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReading {
    /// When it was made.
    pub at: Timestamp,
    /// etcd's revision.
    pub revision: i64,
    /// Every key.
    pub keys: Vec<RawKeyValue>,
}

/// How long a registration must be without any sign of life (I25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StalenessSettings {
    /// How many times to live.
    pub ttl_multiple: u32,
    /// At least this long.
    pub minimum: Duration,
    /// How old the last reading may be.
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

/// For so long after a planner has read for long enough, its probes may not have failed for long enough yet.
const PROBE_START_MARGIN: Duration = Duration::from_secs(30);

impl StalenessSettings {
    /// How long to wait in a cluster whose registrations live as long as `case` knows.
    fn stale_after(&self, case: &RecoveryCase<'_>) -> Duration {
        let known = case
            .evidence
            .registrations
            .values()
            .filter_map(|seen| seen.ttl);
        let ttl = known
            .max()
            .map_or(case.settings.fold.registry_ttl, Duration::from_secs);
        ttl.saturating_mul(self.ttl_multiple).max(self.minimum)
    }
}

/// The keys of the last reading by what they speak of.
struct RegisteredKeys<'a> {
    /// By node, in the spelling without the default port.
    nodes: BTreeMap<NodeId, Vec<(&'a RawKeyValue, NodeField)>>,
    cluster: Vec<&'a RawKeyValue>,
    unknown: Vec<&'a RawKeyValue>,
}

impl<'a> RegisteredKeys<'a> {
    fn new(case: &RecoveryCase<'_>, reading: Option<&'a RegistryReading>) -> Self {
        let keys = RegistryKeys::new(&case.context.registry_prefix);
        let mut register = Self {
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
                    register.nodes.entry(node).or_default().push((raw, field));
                }
                ParsedKey::Cluster { cluster, .. } if cluster == case.evidence.name => {
                    register.cluster.push(raw);
                }
                _ => register.unknown.push(raw),
            }
        }
        for keys in register.nodes.values_mut() {
            keys.sort_by(|(one, _), (other, _)| one.key.cmp(&other.key));
        }
        register
            .cluster
            .sort_by(|one, other| one.key.cmp(&other.key));
        register
    }
}

/// Plans the removal of registrations whose nodes are gone. `readings` are in order of time; the last one is the
/// present.
#[must_use]
pub fn plan(
    case: &RecoveryCase<'_>,
    readings: &[RegistryReading],
    patience: &StalenessSettings,
) -> Plan {
    let situation = Situation::new(case);
    let register = RegisteredKeys::new(case, readings.last());
    let mut draft = PlanDraft::new();
    common_checks::check_console(case, &mut draft);
    common_checks::check_attestations(case, &situation, &mut draft);
    check_cluster_primary(case, &mut draft);
    check_no_node_starting(&situation, &register, &mut draft);
    let wait = patience.stale_after(case);
    check_read_long_enough(case, readings, wait, patience.max_reading_age, &mut draft);
    let fates = stale::decide_registrations(case, &situation, &register, readings, wait);
    check_keeps_verified(&situation, &fates, &mut draft);
    for (id, fate) in &fates {
        check_registration(id, fate, &register, &mut draft);
    }
    check_unknown_keys(&register, &mut draft);
    let stale: BTreeSet<&NodeId> = fates
        .iter()
        .filter(|(_, fate)| matches!(fate, CleanupDecision::Stale(_)))
        .map(|(id, _)| id)
        .collect();
    for id in &stale {
        for (raw, _) in register.nodes.get(*id).map_or(&[][..], Vec::as_slice) {
            add_removal(raw, &mut draft);
        }
    }
    check_something_to_do(&stale, &mut draft);
    draft.loss = LossEstimate {
        transactions: Some(0),
        explanation: "Registrations hold no data; the undo steps put back what was removed."
            .to_owned(),
    };
    if !stale.is_empty() {
        draft.target = Some(removal_target(
            stale.iter().map(|id| (*id).clone()).collect(),
        ));
    }
    let summary = summary(&draft, &stale);
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
        members: Vec::new(),
        position: None,
        revives: Vec::new(),
        leaves_out: Vec::new(),
        removes,
    }
}

/// The deletion of one key, compared on what was seen, and what takes it back.
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

fn check_cluster_primary(case: &RecoveryCase<'_>, draft: &mut PlanDraft) {
    let view = fold(case.evidence, case.now, &case.settings.fold, None);
    let state = view.verdict.state;
    let (status, message) = match state {
        VerdictState::Healthy | VerdictState::Degraded => (
            CheckStatus::Pass,
            "The cluster has one Primary component, by its own word.".to_owned(),
        ),
        _ => (
            CheckStatus::Fail,
            format!(
                "The cluster is {}: its registrations are needed until it is Primary again.",
                state.as_str()
            ),
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

/// Healthy or degraded makes no difference to clean-up, so neither does a change between them to the digest.
fn verdict_evidence(state: VerdictState) -> &'static str {
    match state {
        VerdictState::Healthy | VerdictState::Degraded => "one Primary component",
        other => other.as_str(),
    }
}

fn check_no_node_starting(
    situation: &Situation<'_>,
    register: &RegisteredKeys<'_>,
    draft: &mut PlanDraft,
) {
    let mut starting = BTreeSet::new();
    for (id, keys) in &register.nodes {
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
                "starts, waits or joins",
            )
        })
        .collect();
    let names: Vec<String> = starting.iter().map(ToString::to_string).collect();
    let (status, message) = match names.as_slice() {
        [] => (CheckStatus::Pass, "Nobody starts or recovers.".to_owned()),
        [one] => (
            CheckStatus::Fail,
            format!(
                "{one} starts, waits or joins, and may be looking at the registry right now: wait until it is done."
            ),
        ),
        many => (
            CheckStatus::Fail,
            format!(
                "{} start, wait or join, and may be looking at the registry right now: wait until they are done.",
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
            "The keys have not been read just now: try again.".to_owned(),
        )
    } else if span < wait {
        (
            CheckStatus::Unknown,
            format!(
                "The keys have been read for {} s; a registration counts as stale after {} s. Wait and look again.",
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
    // Probes began about when the readings did: not at the same moment.
    if !old && ordered && span < wait + PROBE_START_MARGIN {
        draft.mark_transient(TransientCause::ShortObservation);
    }
}

/// What must remain: a registration of a node that says by SQL that it is Synced and Primary (I27, I28).
fn check_keeps_verified(
    situation: &Situation<'_>,
    fates: &BTreeMap<NodeId, CleanupDecision>,
    draft: &mut PlanDraft,
) {
    let verified: Vec<&NodeId> = situation
        .members_where(|standing| standing == MemberCondition::Primary)
        .map(|node| &situation.nodes()[node])
        .filter(|facts| facts.state() == NodeState::Synced)
        .map(|facts| &facts.id)
        .filter(|id| matches!(fates.get(*id), Some(CleanupDecision::Kept(_))))
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
            format!("{id} remains registered, and says itself that it is Synced and Primary."),
        ),
        None => (
            CheckStatus::Fail,
            "No node that is verified as Synced and Primary is registered: after the clean-up a starting container \
             would find nobody and found a cluster of its own."
                .to_owned(),
        ),
    };
    draft.add_check(CheckCode::KEEPS_VERIFIED, status, message, evidence);
}

fn check_registration(
    id: &NodeId,
    fate: &CleanupDecision,
    register: &RegisteredKeys<'_>,
    draft: &mut PlanDraft,
) {
    let (code, why, word) = match fate {
        CleanupDecision::Stale(why) => (CheckCode::STALE_REGISTRATION, why, "removed"),
        CleanupDecision::Kept(why) => (CheckCode::KEPT_REGISTRATION, why, "kept"),
    };
    let mut evidence = vec![fact(Some(id), EvidenceSource::Console, None, word)];
    if matches!(fate, CleanupDecision::Stale(_)) {
        for (raw, _) in register.nodes.get(id).map_or(&[][..], Vec::as_slice) {
            let key = String::from_utf8_lossy(&raw.key);
            let value = format!("{key} at revision {}", raw.mod_revision);
            evidence.push(fact(Some(id), EvidenceSource::Registry, None, value));
        }
    }
    draft.add_check(code, CheckStatus::Pass, format!("{id} {why}."), evidence);
}

/// Keys that no dialect explains are shown and stay (I29). They decide nothing.
fn check_unknown_keys(register: &RegisteredKeys<'_>, draft: &mut PlanDraft) {
    if register.unknown.is_empty() {
        return;
    }
    let names: Vec<String> = register
        .unknown
        .iter()
        .map(|raw| crate::observe::wsrep::truncate_text(&String::from_utf8_lossy(&raw.key)))
        .collect();
    draft.add_check(
        CheckCode::UNKNOWN_KEYS,
        CheckStatus::Pass,
        format!("No dialect explains {}: they stay.", names.join(", ")),
        Vec::new(),
    );
}

fn check_something_to_do(stale: &BTreeSet<&NodeId>, draft: &mut PlanDraft) {
    if stale.is_empty() {
        draft.add_check(
            CheckCode::SOMETHING_TO_DO,
            CheckStatus::Fail,
            "No registration is stale: there is nothing to remove.".to_owned(),
            Vec::new(),
        );
    }
}

fn summary(draft: &PlanDraft, stale: &BTreeSet<&NodeId>) -> String {
    let names: Vec<String> = stale.iter().map(ToString::to_string).collect();
    let failing = draft.checks.iter().find(|check| !check.status.permits());
    match (names.is_empty(), failing) {
        (true, _) => "Nothing to clean up: no registration is stale.".to_owned(),
        (false, None) => format!("Remove the registration of {}.", names.join(", ")),
        (false, Some(check)) => {
            format!("Stale: {}. But: {}", names.join(", "), check.message)
        }
    }
}
