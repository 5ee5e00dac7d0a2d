//! Nodes that were confirmed as members; `judge::confirmation` decides which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::timestamp::Timestamp;

/// How a node was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConfirmedBy {
    /// It was in the first Primary component that the console saw, or registered at that time.
    FirstView,
    /// A confirmed member listed it.
    Listed,
    /// An operator admitted it.
    Admitted,
}

/// The record that a node is a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfirmedNode {
    pub by: ConfirmedBy,
    pub at: Timestamp,
    /// The listed address, if the node is registered under another name: the name counts as long as it leads to this
    /// address, or to another one that is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<NodeId>,
}

/// The confirmed nodes of a cluster, by normalized id.
pub type ConfirmedNodes = BTreeMap<NodeId, ConfirmedNode>;
