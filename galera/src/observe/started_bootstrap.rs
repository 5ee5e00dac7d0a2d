//! Bootstraps that may have taken effect.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::id::NodeId;
use crate::observe::fork::{ForkRecords, node_id};
use crate::timestamp::Timestamp;

/// A bootstrap that may have taken effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedBootstrap {
    /// The history that it continued.
    pub history: Uuid,
    /// The position that it continued from. The view that it makes takes the next one.
    pub seqno: u64,
    /// The members of the component, by the ids of the console.
    pub members: BTreeSet<NodeId>,
    /// When it was recorded, by the clock of its writer.
    pub at: Option<Timestamp>,
}

impl StartedBootstrap {
    /// The bootstraps that `forks` record. `default_port` is the port of ids without one in the console.
    pub fn of_forks(forks: &ForkRecords, default_port: u16) -> impl Iterator<Item = Self> {
        forks.records().map(move |record| Self {
            history: record.state_uuid,
            seqno: record.seqno,
            members: record
                .members
                .iter()
                .map(|id| node_id(id, default_port))
                .collect(),
            at: record.at,
        })
    }
}
