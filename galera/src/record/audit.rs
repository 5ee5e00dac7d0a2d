//! The audit trail: entries that each carry the hash of their predecessor, so that none can be altered, left out or
//! moved without that being seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ClusterName;
use crate::timestamp::Timestamp;

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When it happened.
    pub at: Timestamp,
    /// Who did it: an account, or a replica of the console.
    pub actor: String,
    /// What happened; a stable word (`action_requested`, `signed_in`).
    pub event: String,
    /// The cluster it is about.
    pub cluster: Option<ClusterName>,
    /// What it is about: an action's identity, an account's name.
    pub subject: Option<String>,
    /// Everything else: statements, digests, what was seen before and after.
    #[serde(default)]
    pub detail: BTreeMap<String, String>,
}

/// One entry of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place, from 1.
    pub sequence: u64,
    /// What is recorded.
    #[serde(flatten)]
    pub record: AuditRecord,
    /// The hash of the entry before; 64 zeros for the first.
    pub previous: String,
    /// The hash of this entry: lower-case hexadecimal SHA-256.
    pub hash: String,
}

#[cfg(feature = "decide")]
mod chain;
#[cfg(feature = "decide")]
pub use chain::{AuditChainError, VerifiedTrail, append, verify};
