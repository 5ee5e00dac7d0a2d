//! An alarm about the data of a cluster (`judge::history_alarms` raises it).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::NodeId;
use crate::timestamp::Timestamp;

/// Nodes that a message names.
const NAMED_MAX: usize = 8;

/// Data of a member that the cluster continued without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DataAhead {
    /// The position at which the member was last seen Primary.
    pub seqno: u64,
    /// The identity of its data, if an agent registered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_id: Option<String>,
}

/// What an alarm is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HistoryFinding {
    /// The Primary component has another history than the last one.
    HistoryReplaced {
        before: Uuid,
        after: Uuid,
        /// The last position that was seen of the former history.
        #[serde(default)]
        last_seen: Option<u64>,
    },
    /// The Primary component is below a position at which a member was seen Primary.
    PositionFell {
        history: Uuid,
        /// The highest position that was seen before.
        before: u64,
        /// The lowest position that was seen afterwards.
        after: u64,
        /// When the former position was last seen.
        seen: Timestamp,
        /// Members outside the component that have what it lacks, until they return.
        ahead: BTreeMap<NodeId, DataAhead>,
        /// The members of the component.
        members: BTreeSet<NodeId>,
    },
    /// Several Primary components existed at the same time.
    RivalPrimaries {
        /// The known members of each.
        components: Vec<BTreeSet<NodeId>>,
    },
    /// A component became Primary without the quorum of its former members, as by a manual bootstrap.
    Bootstrapped {
        history: Uuid,
        /// The position that it continued from.
        seqno: u64,
        members: BTreeSet<NodeId>,
        /// Former members that may be serving.
        unseen: BTreeSet<NodeId>,
        /// The epoch of its fork; `None` if it is not recorded as one.
        #[serde(default)]
        fork: Option<u64>,
    },
    /// A member returned that had what the component lacks, and nothing shows that its data were replaced.
    MemberDiverged {
        node: NodeId,
        history: Uuid,
        /// The first and the last transaction that it had and the component lacked.
        first: u64,
        last: u64,
    },
}

/// Who acknowledged an alarm, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryAcknowledgement {
    pub by: String,
    pub at: Timestamp,
    pub reason: String,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryAlarm {
    /// Numbers rise within one cluster.
    pub number: u64,
    /// When it was raised, by the clock of the replica that raised it.
    pub at: Timestamp,
    #[serde(flatten)]
    pub finding: HistoryFinding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<HistoryAcknowledgement>,
}

impl HistoryFinding {
    /// The node that it is about, if it is about one.
    #[must_use]
    pub const fn node(&self) -> Option<&NodeId> {
        match self {
            Self::MemberDiverged { node, .. } => Some(node),
            _ => None,
        }
    }

    /// One sentence for operators.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::HistoryReplaced {
                before,
                after,
                last_seen,
            } => {
                let seen = last_seen.map_or_else(String::new, |seqno| {
                    format!(", which was last seen at {seqno}")
                });
                format!(
                    "The history {after} replaced {before}{seen}: the cluster was founded again, or restored from a backup."
                )
            }
            Self::PositionFell {
                history,
                before,
                after,
                ahead,
                ..
            } => {
                let ahead = match ahead.is_empty() {
                    true => String::new(),
                    false => format!("; {} had them", join(ahead.keys())),
                };
                format!(
                    "The cluster was at {before} of {history} and continued at {after} or below: up to {} transactions are missing, or others have their numbers{ahead}.",
                    before.saturating_sub(*after)
                )
            }
            Self::RivalPrimaries { components } => {
                let lists: Vec<String> = components.iter().map(join).collect();
                format!(
                    "Several components were Primary at the same time: {}. Their data may differ.",
                    lists.join(" and ")
                )
            }
            Self::Bootstrapped {
                history,
                seqno,
                members,
                unseen,
                fork,
            } => {
                let fork = match fork {
                    Some(epoch) => format!(
                        "It is recorded as fork {epoch}: members that are ahead of it do not join."
                    ),
                    None if unseen.is_empty() => {
                        "It is not recorded as a fork, because not every member is known: compare the position of each further node with it before you start that node.".to_owned()
                    }
                    None => format!(
                        "It is not recorded as a fork, because {} may be serving elsewhere: find out before anything else.",
                        join(unseen)
                    ),
                };
                format!(
                    "{} became Primary at {seqno} of {history} without the quorum of the former members, as by a manual bootstrap. {fork}",
                    join(members)
                )
            }
            Self::MemberDiverged {
                node,
                history,
                first,
                last,
            } => format!(
                "{node} is Synced, but it was at {last} of {history} when the cluster continued without its transactions {first} to {last}, and nothing shows that a full state transfer replaced them. Compare its tables with those of another member, or start it with an empty data directory."
            ),
        }
    }
}

/// The names of `nodes`, of at most [`NAMED_MAX`] of them.
fn join<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    match names.get(..NAMED_MAX) {
        Some(named) if names.len() > NAMED_MAX => {
            format!("{} and {} more", named.join(", "), names.len() - NAMED_MAX)
        }
        _ => names.join(", "),
    }
}
