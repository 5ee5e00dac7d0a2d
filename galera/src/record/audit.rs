//! The audit trail: every entry carries the hash of its predecessor, so that altered, missing or moved entries are
//! detected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ClusterName;
use crate::timestamp::Timestamp;

mod event;

pub use event::{AuditEvent, detail};

/// The content of an audit entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditRecord {
    pub at: Timestamp,
    /// An account, with the token that was used for it (`otto via token deploy`), or a replica of the console.
    pub actor: String,
    pub event: AuditEvent,
    pub cluster: Option<ClusterName>,
    /// What it is about: an action's id, an account's name.
    pub subject: Option<String>,
    /// Everything else: statements, digests, the state before and after.
    #[serde(default)]
    pub detail: BTreeMap<String, String>,
}

/// Between the account and the name of its token in [`AuditRecord::actor`]. The names of accounts have no spaces.
const VIA_TOKEN: &str = " via token ";

/// The actor who used the token `token` of the account `account`.
#[must_use]
pub fn actor_via_token(account: &str, token: &str) -> String {
    format!("{account}{VIA_TOKEN}{token}")
}

impl AuditRecord {
    /// The account of the actor, without the token that was used for it.
    #[must_use]
    pub fn actor_account(&self) -> &str {
        let actor = self.actor.as_str();
        actor
            .split_once(VIA_TOKEN)
            .map_or(actor, |(account, _)| account)
    }
}

/// An entry of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Counts from 1, without gaps.
    pub sequence: u64,
    #[serde(flatten)]
    pub record: AuditRecord,
    /// The hash of the previous entry; 64 zeros for the first.
    pub previous: String,
    /// Lower-case hexadecimal SHA-256 of this entry.
    pub hash: String,
    /// Authenticates the entry and, through its hash, all before it. `None` if it was written without a state secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<EntrySeal>,
}

impl AuditEntry {
    /// The place of this entry.
    #[must_use]
    pub fn anchor(&self) -> AuditAnchor {
        AuditAnchor {
            sequence: self.sequence,
            hash: self.hash.clone(),
        }
    }
}

/// Authenticates an entry with a key that etcd does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EntrySeal {
    /// The public name of the state secret.
    pub kid: String,
    /// Lower-case hexadecimal HMAC-SHA256.
    pub tag: String,
}

mod anchor;
pub use anchor::{AuditAnchor, InvalidAnchor, find_anchors};

#[cfg(feature = "decide")]
mod chain;
#[cfg(feature = "decide")]
mod expectation;
#[cfg(feature = "decide")]
pub use chain::{
    AuditChainError, EntryAuthenticator, SealVerdict, TrailVerifier, VerifiedTrail, append,
    is_consistent, verify,
};
#[cfg(feature = "decide")]
pub use expectation::{AnchorMismatch, MatchedAnchors, check_anchors};
