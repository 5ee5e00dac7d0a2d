//! State transfers as a view shows them.

use serde::{Deserialize, Serialize};

use super::SourceKind;
use crate::id::NodeId;
use crate::timestamp::Timestamp;

/// Which side of a transfer a node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TransferRole {
    /// The joiner.
    Receives,
    /// The donor.
    Sends,
}

/// The kind of a state transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    /// A full state transfer: all data.
    #[default]
    Sst,
    /// An incremental state transfer: the missed transactions.
    Ist,
}

/// How far a state transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// It is under way.
    #[default]
    Running,
    /// Everything was received, and the joiner's server is not a member yet.
    Applying,
    /// It ended, and the joiner is not a member.
    Failed,
}

/// A state transfer that a node takes part in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "decide"), serde(default))]
pub struct TransferView {
    pub kind: TransferKind,
    /// Which side the node is on; `null` in no view.
    pub role: Option<TransferRole>,
    pub state: TransferState,
    /// The other node, if it is known: a joiner's donor, a donor's joiner.
    pub peer: Option<NodeId>,
    /// `wsrep_sst_method`; `null` for an incremental transfer.
    pub method: Option<String>,
    /// What was transferred: bytes of an SST, transactions of an IST.
    pub done: Option<u64>,
    /// About how much it is in total, in the unit of `done`; `null` if unknown.
    pub total: Option<u64>,
    /// `done` of `total`, in percent.
    pub percent: Option<u8>,
    /// Per second, in the unit of `done`.
    pub rate: Option<u64>,
    /// About how many seconds are left; `null` if unknown.
    pub seconds_left: Option<u64>,
    /// Since when, by the clock of the agent; when it was first seen, without one.
    pub since: Option<Timestamp>,
    /// What it is known from.
    pub source: Option<SourceKind>,
    /// When that source last reported.
    pub observed_at: Option<Timestamp>,
    /// A sentence for operators.
    pub summary: String,
}

/// The last full state transfer of a cluster that completed while the console observed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompletedTransfer {
    /// The node that received it.
    pub node: NodeId,
    /// Bytes that the joiner received.
    pub bytes: u64,
    /// From its beginning until the joiner had applied it.
    pub seconds: u64,
    /// When the joiner was a member.
    pub ended_at: Timestamp,
}
