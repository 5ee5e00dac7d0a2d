//! Whether one node's registration outlived the node (I25).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{RegisteredKeys, RegistryReading};
use crate::id::NodeId;
use crate::judge::cluster::node_facts::ProbeState;
use crate::observe::registration::{NodeField, RawKeyValue};
use crate::recover::bootstrap::RecoveryCase;
use crate::recover::bootstrap::common_checks::sign_of_life;
use crate::recover::bootstrap::situation::{MemberCondition, Situation};

/// What happens to a registration, and why: the rest of a sentence that begins with the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CleanupDecision {
    Stale(String),
    Kept(String),
}

pub(super) fn decide_registrations(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    register: &RegisteredKeys<'_>,
    readings: &[RegistryReading],
    wait: Duration,
) -> BTreeMap<NodeId, CleanupDecision> {
    register
        .nodes
        .iter()
        .map(|(id, keys)| {
            let fate = match keep_reason(case, situation, readings, wait, id, keys) {
                Some(why) => CleanupDecision::Kept(why),
                None => CleanupDecision::Stale(stale_reason(situation, id, wait)),
            };
            (id.clone(), fate)
        })
        .collect()
}

/// Why a registration stays; `None` when nothing speaks for it any more.
fn keep_reason(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    readings: &[RegistryReading],
    wait: Duration,
    id: &NodeId,
    keys: &[(&RawKeyValue, NodeField)],
) -> Option<String> {
    let node = situation.nodes().iter().position(|facts| facts.id == *id);
    let Some(node) = node else {
        return Some("is not known to the console yet".to_owned());
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
    let speaks = keys
        .iter()
        .any(|(_, field)| !field.is_durable() && *field != NodeField::RecoveredPosition);
    if speaks && !attested {
        return Some("has status keys without a lease; attest that it is gone".to_owned());
    }
    if attested {
        return None;
    }
    match situation.nodes()[node].probe_state {
        ProbeState::Failing { since, .. } if since.age(case.now) >= wait => None,
        ProbeState::Failing { since, .. } => Some(format!(
            "has not answered since {}, which is not long enough",
            since.to_short_string(case.now)
        )),
        _ => Some("is not asked by the console; attest that it is gone".to_owned()),
    }
}

/// Why the keys themselves speak for the node: a lease, a change, or too short a time.
fn key_activity_reason(
    readings: &[RegistryReading],
    wait: Duration,
    keys: &[(&RawKeyValue, NodeField)],
) -> Option<String> {
    let last = readings.last()?;
    // The last reading that is old enough begins the period that counts.
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
            return Some("has a value that is no text and could not be put back".to_owned());
        }
        for reading in &readings[first..] {
            let before = reading.keys.iter().find(|before| before.key == raw.key);
            match before {
                Some(before) if before.mod_revision == raw.mod_revision => {}
                _ => return Some("was written lately".to_owned()),
            }
        }
    }
    // A key that has gone meanwhile, a lease that ended: the node was there within the period.
    let own = |key: &[u8]| {
        let prefix = keys.first().and_then(|(raw, _)| node_prefix(&raw.key));
        prefix.is_some_and(|prefix| key.starts_with(prefix))
    };
    let leased = readings[first..]
        .iter()
        .flat_map(|reading| &reading.keys)
        .any(|raw| raw.lease != 0 && own(&raw.key));
    leased.then(|| "held a lease until lately".to_owned())
}

/// The key without its field.
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
        "does not answer, is in no member list, holds no lease and was not written for {} s",
        wait.as_secs()
    );
    let node = situation.nodes().iter().position(|facts| facts.id == *id);
    if let Some(attestation) = node.and_then(|node| situation.attestation(node)) {
        why = format!(
            "is attested {}, is in no member list and holds no lease",
            attestation.statement
        );
    }
    if expected {
        why.push_str("; it is no longer expected afterwards, unless the configuration pins it");
    }
    why
}
