//! The acknowledgement of alarms by an administrator, which every replica follows.

use std::collections::BTreeMap;

use galera::Timestamp;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{
    KeyChange, Registry, RegistryEntry, Transaction, TransactionOutcome, WatchEvent, WriteOp,
};
use serde::{Deserialize, Serialize};

use crate::audit::{AuditError, AuditTrail};
use crate::keyspace;

/// Attempts while other writers are faster.
const ATTEMPTS: usize = 5;

/// The record of the latest acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmAcknowledgement {
    pub at: Timestamp,
    /// Who acknowledges.
    pub actor: String,
    pub reason: String,
}

/// Writes an acknowledgement, with its audit entry: every replica then ends its alarms about the audit trail, and about an
/// earlier state of etcd.
///
/// # Errors
/// [`AuditError`].
pub async fn acknowledge(
    trail: &AuditTrail,
    state_prefix: &str,
    acknowledgement: &AlarmAcknowledgement,
) -> Result<(), AuditError> {
    let value = serde_json::to_vec(acknowledgement)
        .map_err(|error| registry::Error::Invalid(error.to_string()))?;
    let key = keyspace::acknowledgement(state_prefix);
    let transaction = Transaction::new().then([WriteOp::put(key, value, None)]);
    let record = AuditRecord {
        at: acknowledgement.at,
        actor: acknowledgement.actor.clone(),
        event: AuditEvent::ALARMS_ACKNOWLEDGED,
        cluster: None,
        subject: None,
        detail: BTreeMap::from([("reason".to_owned(), acknowledgement.reason.clone())]),
    };
    for _ in 0..ATTEMPTS {
        let committed = trail.commit(&transaction, std::slice::from_ref(&record));
        if let TransactionOutcome::Committed { .. } = committed.await? {
            return Ok(());
        }
    }
    Err(AuditError::Contended)
}

/// Ends the alarms of this process whenever an acknowledgement is written, until it is dropped.
pub async fn follow(registry: &Registry, trail: &AuditTrail, state_prefix: &str) {
    let mut events = registry.watch(keyspace::acknowledgement(state_prefix));
    let mut last: Option<Option<Vec<u8>>> = None;
    while let Some(event) = events.next().await {
        let Some(entry) = newest(&event) else {
            continue;
        };
        let value = entry.map(|entry| entry.value.clone());
        // One that was written before this process looked ends no alarm that it raised since.
        let is_new = last.as_ref().is_some_and(|last| *last != value) && value.is_some();
        last = Some(value);
        if is_new {
            trail.end_alarm();
        }
        // In the revisions that began with a restored state, a later one is about that.
        let is_later = |entry: &RegistryEntry| {
            let restored = registry.restored();
            restored.is_some_and(|restored| entry.mod_revision > restored.found)
        };
        if entry.is_some_and(is_later) {
            registry.accept_restore();
        }
    }
}

/// The state of the record in `event`, if it has one.
fn newest(event: &WatchEvent) -> Option<Option<&RegistryEntry>> {
    match event {
        WatchEvent::Reset { entries, .. } => Some(entries.first()),
        WatchEvent::Changes { changes, .. } => changes.last().map(|change| match change {
            KeyChange::Put(entry) => Some(entry),
            KeyChange::Delete { .. } => None,
        }),
        WatchEvent::Unreachable { .. } | WatchEvent::Reachable => None,
    }
}
