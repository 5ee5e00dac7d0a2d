//! Replaces the key that signs sessions: by age, or on command.

use std::collections::BTreeMap;

use console_core::audit::{AuditError, AuditTrail};
use galera::Timestamp;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Precondition, Registry, Transaction, TransactionOutcome, WriteOp};

use super::signing_keys::SigningKeyRecord;
use super::store::signing_key;

/// Who appears in the audit trail for what replicas do on their own.
const REPLICA: &str = "console";
/// Attempts of a compare-and-swap before it fails as contended.
const ATTEMPTS: usize = 5;

/// A change of the keys that rests on one revision of their record.
#[derive(Debug)]
pub(crate) struct KeyChange {
    next: SigningKeyRecord,
    /// The revision that is replaced; `None` if there is no record.
    revision: Option<i64>,
    record: AuditRecord,
}

/// The change that `record`, as of `revision`, needs at `now`, if any. `is_used` returns whether a session needs a key.
pub(crate) fn maintenance(
    record: &SigningKeyRecord,
    is_used: impl Fn(&str) -> bool,
    revision: i64,
    now: Timestamp,
) -> Option<KeyChange> {
    let change = |next: SigningKeyRecord, event, detail| KeyChange {
        record: audit_record(REPLICA, event, &next, detail, now),
        next,
        revision: Some(revision),
    };
    if record.is_due(now) {
        let next = record.rotated(false, now);
        return Some(change(next, AuditEvent::SESSION_KEY_ROTATED, "age"));
    }
    let next = record.without_unused(is_used, now)?;
    Some(change(
        next,
        AuditEvent::SESSION_KEY_REMOVED,
        "no session needs it",
    ))
}

fn audit_record(
    actor: &str,
    event: AuditEvent,
    next: &SigningKeyRecord,
    reason: &str,
    now: Timestamp,
) -> AuditRecord {
    AuditRecord {
        at: now,
        actor: actor.to_owned(),
        event,
        cluster: None,
        subject: None,
        detail: BTreeMap::from([
            ("kid".to_owned(), next.kid()),
            ("former_keys".to_owned(), next.former.len().to_string()),
            ("reason".to_owned(), reason.to_owned()),
        ]),
    }
}

impl KeyChange {
    /// Writes the change; returns whether it was still possible.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(crate) async fn commit(
        self,
        registry: &Registry,
        state_prefix: &str,
    ) -> Result<bool, AuditError> {
        let key = signing_key(state_prefix).into_bytes();
        let value = serde_json::to_vec(&self.next)
            .map_err(|error| registry::Error::Invalid(error.to_string()))?;
        let unchanged = match self.revision {
            Some(revision) => Precondition::Unchanged(key.clone(), revision),
            None => Precondition::Absent(key.clone()),
        };
        let transaction = Transaction::new()
            .when(unchanged)
            .then([WriteOp::put(key, value, None)]);
        let trail = AuditTrail::new(registry.clone(), state_prefix);
        let outcome = trail.commit(&transaction, &[self.record]).await?;
        let committed = matches!(outcome, TransactionOutcome::Committed { .. });
        if committed {
            tracing::info!(kid = self.next.kid(), "Changed the keys of sessions");
        }
        Ok(committed)
    }
}

/// A rotation on command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotation {
    /// The public name of the new key.
    pub kid: String,
    /// Whether sessions that were signed before continue.
    pub sessions_continue: bool,
}

/// Replaces the key that signs sessions on behalf of `actor`. The former key verifies until its last session has ended, or,
/// with `end_sessions`, no longer.
///
/// # Errors
/// [`AuditError`], also when other writers won every attempt.
pub async fn rotate_session_key(
    registry: &Registry,
    state_prefix: &str,
    actor: &str,
    end_sessions: bool,
    now: Timestamp,
) -> Result<KeyRotation, AuditError> {
    let reason = if end_sessions {
        "command; ends every session"
    } else {
        "command"
    };
    rotate(registry, state_prefix, actor, end_sessions, reason, now).await
}

/// Ends every session because etcd holds an earlier state than was seen, by replacing the key that signs them.
///
/// # Errors
/// As [`rotate_session_key`].
pub async fn end_sessions_of_earlier_state(
    registry: &Registry,
    state_prefix: &str,
    actor: &str,
    now: Timestamp,
) -> Result<(), AuditError> {
    let reason = "etcd holds an earlier state; ends every session";
    let rotation = rotate(registry, state_prefix, actor, true, reason, now);
    rotation.await.map(drop)
}

async fn rotate(
    registry: &Registry,
    state_prefix: &str,
    actor: &str,
    end_sessions: bool,
    reason: &str,
    now: Timestamp,
) -> Result<KeyRotation, AuditError> {
    for _ in 0..ATTEMPTS {
        let entry = match registry.get(signing_key(state_prefix)).await {
            // No token that it signed is accepted either.
            Err(registry::Error::Tampered { .. }) => None,
            entry => entry?,
        };
        let revision = entry.as_ref().map(|entry| entry.mod_revision);
        let former = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let next = match former {
            Some(former) => SigningKeyRecord::rotated(&former, end_sessions, now),
            None => SigningKeyRecord::generate(now),
        };
        let rotation = KeyRotation {
            kid: next.kid(),
            sessions_continue: !next.former.is_empty(),
        };
        let event = AuditEvent::SESSION_KEY_ROTATED;
        let record = audit_record(actor, event, &next, reason, now);
        let change = KeyChange {
            next,
            revision,
            record,
        };
        if change.commit(registry, state_prefix).await? {
            return Ok(rotation);
        }
    }
    Err(AuditError::Contended)
}
