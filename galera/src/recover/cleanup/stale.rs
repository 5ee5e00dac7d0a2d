//! Decides whether a node's registration is stale (I25).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{RegisteredKeys, RegistryReading};
use crate::id::NodeId;
use crate::judge::cluster::node_facts::{NodeFacts, ProbeState};
use crate::observe::registration::{NodeField, RawKeyValue};
use crate::recover::attestation::AttestedState;
use crate::recover::bootstrap::RecoveryCase;
use crate::recover::bootstrap::common_checks::{sign_of_life, unconfirmed_attestation};
use crate::recover::bootstrap::situation::{MemberCondition, Situation};

/// What happens to a registration, and why: the rest of a sentence that begins with the node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CleanupDecision {
    Stale(String),
    Kept(String),
}

pub(super) fn decide_registrations(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    registered: &RegisteredKeys<'_>,
    readings: &[RegistryReading],
    wait: Duration,
) -> BTreeMap<NodeId, CleanupDecision> {
    registered
        .nodes
        .iter()
        .map(|(id, keys)| {
            let decision = match keep_reason(case, situation, readings, wait, id, keys) {
                Some(why) => CleanupDecision::Kept(why),
                None => CleanupDecision::Stale(stale_reason(situation, id, wait)),
            };
            (id.clone(), decision)
        })
        .collect()
}

/// Why a registration is kept; `None` if nothing justifies it.
fn keep_reason(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    readings: &[RegistryReading],
    wait: Duration,
    id: &NodeId,
    keys: &[(&RawKeyValue, NodeField)],
) -> Option<String> {
    let node = situation.node_named(id);
    let Some(node) = node else {
        return match situation.unconfirmed_node(id) {
            Some(facts) => unconfirmed_keep_reason(case, facts, readings, wait, keys),
            None => Some("is not known to the console yet".to_owned()),
        };
    };
    if let Some(sign) = sign_of_life(situation, node) {
        return Some(sign.to_owned());
    }
    let listed = situation
        .components
        .observed
        .iter()
        .any(|seen| seen.members.contains(&node));
    if listed {
        return Some("is in a member list".to_owned());
    }
    if let Some(why) = key_activity_reason(readings, wait, keys) {
        return Some(why);
    }
    let attested = matches!(
        situation.conditions[node],
        MemberCondition::Attested(_) | MemberCondition::ReportedStopped
    ) && situation.attestation(node).is_some();
    let has_unleased_status = keys
        .iter()
        .any(|(_, field)| !field.is_durable() && *field != NodeField::RecoveredPosition);
    if has_unleased_status && !attested {
        return Some("has status keys without a lease; confirm that it is removed".to_owned());
    }
    if attested {
        return None;
    }
    match situation.nodes()[node].probe_state {
        ProbeState::Failing { since, .. } if since.age(case.now) >= wait => None,
        ProbeState::Failing { since, .. } => Some(format!(
            "unreachable since {}, which is not long enough",
            since.to_short_string(case.now)
        )),
        _ => Some("is not probed by the console; confirm that it is removed".to_owned()),
    }
}

/// Why the registration of an unconfirmed node is kept. Its answers are no evidence that it is a member, but they show
/// that a server runs there: only an attestation says that it does not belong to the cluster.
fn unconfirmed_keep_reason(
    case: &RecoveryCase<'_>,
    facts: &NodeFacts<'_>,
    readings: &[RegistryReading],
    wait: Duration,
    keys: &[(&RawKeyValue, NodeField)],
) -> Option<String> {
    if let Some(why) = key_activity_reason(readings, wait, keys) {
        return Some(why);
    }
    let decommissioned = unconfirmed_attestation(case, &facts.id)
        .is_some_and(|attestation| attestation.statement == AttestedState::Decommissioned);
    (!decommissioned).then(|| {
        "is not confirmed as a member; admit it, or confirm that it is decommissioned".to_owned()
    })
}

/// Why the keys themselves justify keeping them: a lease, a recent write, or too short an observation.
fn key_activity_reason(
    readings: &[RegistryReading],
    wait: Duration,
    keys: &[(&RawKeyValue, NodeField)],
) -> Option<String> {
    let last = readings.last()?;
    // The observed period starts with the last reading that is old enough.
    let first = readings
        .iter()
        .rposition(|reading| reading.at.age(last.at) >= wait);
    let Some(first) = first else {
        return Some("has not been watched for long enough".to_owned());
    };
    for (raw, _) in keys {
        if raw.lease != 0 {
            return Some("holds a lease".to_owned());
        }
        if std::str::from_utf8(&raw.value).is_err() || std::str::from_utf8(&raw.key).is_err() {
            return Some(
                "has a key or value that is not text and could not be restored".to_owned(),
            );
        }
        for reading in &readings[first..] {
            let before = reading.keys.iter().find(|before| before.key == raw.key);
            match before {
                Some(before) if before.mod_revision == raw.mod_revision => {}
                _ => return Some("was written recently".to_owned()),
            }
        }
    }
    // A leased key in an earlier reading, even if it has gone since: the node was running within the period.
    let own = |key: &[u8]| {
        let prefix = keys.first().and_then(|(raw, _)| node_prefix(&raw.key));
        prefix.is_some_and(|prefix| key.starts_with(prefix))
    };
    let leased = readings[first..]
        .iter()
        .flat_map(|reading| &reading.keys)
        .any(|raw| raw.lease != 0 && own(&raw.key));
    leased.then(|| "held a lease until recently".to_owned())
}

/// The key up to and including its last slash.
fn node_prefix(key: &[u8]) -> Option<&[u8]> {
    let end = key.iter().rposition(|&byte| byte == b'/')?;
    Some(&key[..=end])
}

fn stale_reason(situation: &Situation<'_>, id: &NodeId, wait: Duration) -> String {
    let expected = situation
        .nodes()
        .iter()
        .any(|facts| facts.id == *id && facts.expected);
    let mut why = format!(
        "is unreachable, is in no member list, holds no lease and has not been written for {} s",
        wait.as_secs()
    );
    let node = situation.node_named(id);
    if situation.unconfirmed_node(id).is_some() {
        return "is not a member, is confirmed as decommissioned and holds no lease".to_owned();
    }
    if let Some(attestation) = node.and_then(|node| situation.attestation(node)) {
        why = format!(
            "is confirmed as {}, is in no member list and holds no lease",
            attestation.statement
        );
    }
    if expected {
        why.push_str("; afterwards it is no longer expected, unless the configuration pins it");
    }
    why
}
