//! The plans that remove registrations: of nodes that are gone, or of a whole cluster that is no more.
//!
//! As dangerous as a bootstrap: a starting container that finds an empty registry founds a new cluster. So never a
//! prefix: single keys, each compared on the revision that was seen, each with what puts it back (I25 to I29).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::NodeId;
use crate::judge::cluster::fold;
use crate::observe::registration::{Field, Keys, Phase, RawKey, RegistryKeyKind};
use crate::recover::bootstrap::Case;
use crate::recover::bootstrap::shared;
use crate::recover::bootstrap::situation::{Situation, Standing};
use crate::recover::plan::digest::{Draft, fact};
use crate::recover::plan::{
    CheckCode, CheckStatus, EvidenceSource, Kind, Loss, Mechanism, Passing, Plan, Step, Target,
};
use crate::timestamp::Timestamp;
use crate::view::{NodeState, VerdictState};

mod decommission;
mod restore;
mod stale;

pub use decommission::decommission;
pub use restore::lost_registrations;

use stale::Fate;

/// One linearizable reading of every key under a cluster's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When it was made.
    pub at: Timestamp,
    /// etcd's revision.
    pub revision: i64,
    /// Every key.
    pub keys: Vec<RawKey>,
}

/// How long a registration must be without any sign of life (I25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How many times to live.
    pub ttls: u32,
    /// At least this long.
    pub at_least: Duration,
    /// How old the last reading may be.
    pub fresh: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            ttls: 3,
            at_least: Duration::from_secs(90),
            fresh: Duration::from_secs(30),
        }
    }
}

/// For so long after a planner has read for long enough, its probes may not have failed for long enough yet.
const BEGINNING: Duration = Duration::from_secs(30);

impl Patience {
    /// How long to wait in a cluster whose registrations live as long as `case` knows.
    fn wait(&self, case: &Case<'_>) -> Duration {
        let known = case.evidence.registry.values().filter_map(|seen| seen.ttl);
        let ttl = known
            .max()
            .map_or(case.settings.fold.registry_ttl, Duration::from_secs);
        ttl.saturating_mul(self.ttls).max(self.at_least)
    }
}

/// The keys of the last reading by what they speak of.
struct Register<'a> {
    /// By node, in the spelling without the default port.
    nodes: BTreeMap<NodeId, Vec<(&'a RawKey, Field)>>,
    cluster: Vec<&'a RawKey>,
    unknown: Vec<&'a RawKey>,
}

impl<'a> Register<'a> {
    fn new(case: &Case<'_>, reading: Option<&'a Reading>) -> Self {
        let keys = Keys::new(&case.circumstances.registry_prefix);
        let mut register = Self {
            nodes: BTreeMap::new(),
            cluster: Vec::new(),
            unknown: Vec::new(),
        };
        for raw in reading.map_or(&[][..], |reading| &reading.keys) {
            match keys.parse(&raw.key) {
                RegistryKeyKind::Node {
                    cluster,
                    node,
                    field,
                } if cluster == case.evidence.name => {
                    let node = node.normalized(case.settings.fold.default_port);
                    register.nodes.entry(node).or_default().push((raw, field));
                }
                RegistryKeyKind::Cluster { cluster, .. } if cluster == case.evidence.name => {
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
pub fn plan(case: &Case<'_>, readings: &[Reading], patience: &Patience) -> Plan {
    let situation = Situation::new(case);
    let register = Register::new(case, readings.last());
    let mut draft = Draft::new();
    shared::console(case, &mut draft);
    shared::attestations(case, &situation, &mut draft);
    cluster_primary(case, &mut draft);
    nobody_starting(&situation, &register, &mut draft);
    let wait = patience.wait(case);
    read_long_enough(case, readings, wait, patience.fresh, &mut draft);
    let fates = stale::fates(case, &situation, &register, readings, wait);
    keeps_verified(&situation, &fates, &mut draft);
    for (id, fate) in &fates {
        explain(id, fate, &register, &mut draft);
    }
    unknown_keys(&register, &mut draft);
    let stale: BTreeSet<&NodeId> = fates
        .iter()
        .filter(|(_, fate)| matches!(fate, Fate::Stale(_)))
        .map(|(id, _)| id)
        .collect();
    for id in &stale {
        for (raw, _) in register.nodes.get(*id).map_or(&[][..], Vec::as_slice) {
            remove(raw, &mut draft);
        }
    }
    something_to_do(&stale, &mut draft);
    draft.loss = Loss {
        transactions: Some(0),
        explanation: "Registrations hold no data; the undo steps put back what was removed."
            .to_owned(),
    };
    if !stale.is_empty() {
        draft.target = Some(target(stale.iter().map(|id| (*id).clone()).collect()));
    }
    let summary = summary(&draft, &stale);
    draft.finish(
        Kind::Cleanup,
        &case.evidence.name,
        case.attestations,
        summary,
        case.now,
    )
}

fn target(removes: Vec<NodeId>) -> Target {
    Target {
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
fn remove(raw: &RawKey, draft: &mut Draft) {
    let (Ok(key), Ok(value)) = (
        String::from_utf8(raw.key.clone()),
        String::from_utf8(raw.value.clone()),
    ) else {
        return;
    };
    draft.steps.push(Step::Key {
        key: key.clone(),
        mod_revision: raw.mod_revision,
        value: None,
    });
    draft.undo.push(Step::Key {
        key,
        mod_revision: 0,
        value: Some(value),
    });
}

fn cluster_primary(case: &Case<'_>, draft: &mut Draft) {
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
                state.word()
            ),
        ),
    };
    let evidence = vec![fact(
        None,
        EvidenceSource::Sql,
        Some(case.now),
        status_word(state),
    )];
    draft.check(CheckCode::CLUSTER_PRIMARY, status, message, evidence);
}

/// Healthy or degraded makes no difference to clean-up, so neither does a change between them to the digest.
fn status_word(state: VerdictState) -> &'static str {
    match state {
        VerdictState::Healthy | VerdictState::Degraded => "one Primary component",
        other => other.word(),
    }
}

fn nobody_starting(situation: &Situation<'_>, register: &Register<'_>, draft: &mut Draft) {
    let mut starting = BTreeSet::new();
    for (id, keys) in &register.nodes {
        let phase = keys
            .iter()
            .filter(|(raw, field)| *field == Field::Phase && raw.lease != 0)
            .find_map(|(raw, _)| Phase::parse(std::str::from_utf8(&raw.value).ok()?));
        if matches!(
            phase,
            Some(Phase::Starting | Phase::Waiting | Phase::Joining)
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
                Some(Phase::Starting | Phase::Waiting | Phase::Joining)
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
    draft.check(CheckCode::NOBODY_STARTING, status, message, evidence);
}

fn read_long_enough(
    case: &Case<'_>,
    readings: &[Reading],
    wait: Duration,
    fresh: Duration,
    draft: &mut Draft,
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
    draft.check(CheckCode::READ_LONG_ENOUGH, status, message, Vec::new());
    // Probes began about when the readings did: not at the same moment.
    if !old && ordered && span < wait + BEGINNING {
        draft.passing(Passing::Unwatched);
    }
}

/// What must remain: a registration of a node that says by SQL that it is Synced and Primary (I27, I28).
fn keeps_verified(situation: &Situation<'_>, fates: &BTreeMap<NodeId, Fate>, draft: &mut Draft) {
    let verified: Vec<&NodeId> = situation
        .of(|standing| standing == Standing::Primary)
        .map(|node| &situation.nodes()[node])
        .filter(|facts| facts.state() == NodeState::Synced)
        .map(|facts| &facts.id)
        .filter(|id| matches!(fates.get(*id), Some(Fate::Kept(_))))
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
    draft.check(CheckCode::KEEPS_VERIFIED, status, message, evidence);
}

fn explain(id: &NodeId, fate: &Fate, register: &Register<'_>, draft: &mut Draft) {
    let (code, why, word) = match fate {
        Fate::Stale(why) => (CheckCode::STALE_REGISTRATION, why, "removed"),
        Fate::Kept(why) => (CheckCode::KEPT_REGISTRATION, why, "kept"),
    };
    let mut evidence = vec![fact(Some(id), EvidenceSource::Console, None, word)];
    if matches!(fate, Fate::Stale(_)) {
        for (raw, _) in register.nodes.get(id).map_or(&[][..], Vec::as_slice) {
            let key = String::from_utf8_lossy(&raw.key);
            let value = format!("{key} at revision {}", raw.mod_revision);
            evidence.push(fact(Some(id), EvidenceSource::Registry, None, value));
        }
    }
    draft.check(code, CheckStatus::Pass, format!("{id} {why}."), evidence);
}

/// Keys that no dialect explains are shown and stay (I29). They decide nothing.
fn unknown_keys(register: &Register<'_>, draft: &mut Draft) {
    if register.unknown.is_empty() {
        return;
    }
    let names: Vec<String> = register
        .unknown
        .iter()
        .map(|raw| crate::observe::wsrep::clip(&String::from_utf8_lossy(&raw.key)))
        .collect();
    draft.check(
        CheckCode::UNKNOWN_KEYS,
        CheckStatus::Pass,
        format!("No dialect explains {}: they stay.", names.join(", ")),
        Vec::new(),
    );
}

fn something_to_do(stale: &BTreeSet<&NodeId>, draft: &mut Draft) {
    if stale.is_empty() {
        draft.check(
            CheckCode::SOMETHING_TO_DO,
            CheckStatus::Fail,
            "No registration is stale: there is nothing to remove.".to_owned(),
            Vec::new(),
        );
    }
}

fn summary(draft: &Draft, stale: &BTreeSet<&NodeId>) -> String {
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
