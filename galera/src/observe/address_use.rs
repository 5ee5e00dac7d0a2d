//! Which data used the address of a member; `judge::address_uses` decides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::timestamp::Timestamp;

/// Which data used the address of a member, as far as agents named them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressUse {
    /// The identity of the member's data, as of when they were last reported there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The identity of other data that used the address since; empty if their agent did not name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// When this last changed. Later than what was known before, also by a clock that is behind.
    pub at: Timestamp,
}

impl AddressUse {
    /// Orders what several replicas recorded. Of two that changed at one time, the one with other data is newer: it claims less.
    fn order(&self) -> (Timestamp, Option<&str>, Option<&str>) {
        (self.at, self.other.as_deref(), self.member.as_deref())
    }

    /// Whether `self` replaces `known`.
    #[must_use]
    pub fn is_newer_than(&self, known: &Self) -> bool {
        self.order() > known.order()
    }
}

/// The uses of the addresses of a cluster's members, by normalized id.
pub type AddressUses = BTreeMap<NodeId, AddressUse>;
