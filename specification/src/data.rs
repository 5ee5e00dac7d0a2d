//! A data directory.

use galera::Position;
use uuid::Uuid;

use super::server::{PrimaryView, ProcessId};

/// What one sequence number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaleraTransaction {
    /// A client's write.
    Write(u64),
    /// A Primary view: it takes a sequence number too.
    View(u64),
}

/// gvwstate.dat: the last Primary view, kept by a crash and removed by a clean stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedView {
    pub process: ProcessId,
    pub view: PrimaryView,
}

/// A data directory. The transaction with sequence number `n` is at index `n - 1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeData {
    /// The state UUID; `None` for an empty directory.
    pub history: Option<Uuid>,
    pub transactions: Vec<GaleraTransaction>,
    /// Whether grastate.dat has the position, as after a clean stop.
    pub clean: bool,
    pub safe_to_bootstrap: bool,
    pub saved_view: Option<SavedView>,
}

impl NodeData {
    /// The sequence number of the last transaction.
    #[must_use]
    pub fn seqno(&self) -> u64 {
        self.transactions.len() as u64
    }

    /// What `--wsrep-recover` prints; `None` for an empty directory.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        Position::new(self.history?, self.seqno())
    }
}
