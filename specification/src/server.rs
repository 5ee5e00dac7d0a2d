//! A running server.

use std::collections::{BTreeMap, BTreeSet};

use super::NodeIndex;

/// `wsrep_gcomm_uuid`: one for each start, except where gvwstate.dat restores the former one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(pub u64);

/// A Primary view as its members remember it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryView {
    /// `wsrep_cluster_conf_id`.
    pub conf_id: u64,
    /// The members that have not left since, each with its node and weight.
    pub members: BTreeMap<ProcessId, (NodeIndex, u64)>,
}

/// A bootstrap statement on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateStatement {
    /// When the server no longer executes it, by its own clock; `None` for a statement that does not say.
    pub deadline: Option<u64>,
    /// Distinguishes it from others.
    pub number: u64,
}

/// What became of a bootstrap statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementEffect {
    /// The component is Primary.
    Executed,
    /// The server refused it: it was Primary, or the statement was late.
    Refused,
    /// The server is paused and will decide when it continues.
    Pending,
}

/// A state transfer that a joiner receives or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateTransfer {
    /// Who sends it; `None` while no member can.
    pub donor: Option<NodeIndex>,
    /// Whether it is incremental.
    pub incremental: bool,
    /// When it is complete, in milliseconds since the beginning.
    pub until: u64,
}

/// A running server.
#[derive(Clone, Debug)]
pub struct RunningServer {
    pub process: ProcessId,
    pub weight: u64,
    /// Stopped by SIGSTOP: it answers nothing, and its peers expel it.
    pub paused: bool,
    /// Whether a client holds a lock on all tables.
    pub(super) locked: bool,
    /// The status rows that a lock keeps from changing.
    pub frozen: Option<BTreeMap<String, String>>,
    /// Statements that arrived while it was paused.
    pub late: Vec<LateStatement>,
    /// The number of its current view; equal for members of one component.
    pub view: u64,
    /// The nodes of its current view.
    pub members: BTreeSet<NodeIndex>,
    pub(super) primary: bool,
    /// Whether its group communication ended: the process runs on, without a component.
    pub(super) disconnected: bool,
    /// The nodes that it connects to by itself; `None` for those of its `wsrep_cluster_address`. A member of a Primary view forgets every
    /// other node, which must then connect to it (`handle_stable_view` in `gmcast.cpp`).
    pub(super) known: Option<BTreeSet<NodeIndex>>,
    /// The members whose addresses it has: a Primary view brings them, and a smaller one keeps them (`gcs_group_handle_comp_msg`).
    pub(super) addresses: BTreeSet<NodeIndex>,
    /// The last Primary view that this process was in.
    pub last_primary: Option<PrimaryView>,
    /// The view of gvwstate.dat, until it is in a Primary view. It counts only where all of its members are restored
    /// (`set_restored_view` in `pc_proto.hpp`, `deliver_view` in `pc_proto.cpp`).
    pub(super) restored: Option<PrimaryView>,
    /// When it ends unless it has been in a Primary view; `None` if it waits without a limit (`PC::connect` in `pc.cpp`).
    pub(super) waits_until: Option<u64>,
    /// Whether it has opened its SQL port: a server first becomes a member with its data.
    pub(super) opened: bool,
    /// The last Primary view of each process that it has met since its own, as of the first meeting: later ones do not replace it
    /// (`handle_state` in `pc_proto.cpp`).
    pub(super) learned: BTreeMap<ProcessId, PrimaryView>,
    /// The conf_id of the last Primary view that this process was in; 0 for none. gvwstate.dat does not restore it (`prim_seqno` in
    /// `gcs_group.cpp`).
    pub(super) conf_id: u64,
    /// The first sequence number that its gcache holds.
    pub gcache_first: u64,
    /// The state transfer that it receives.
    pub transfer: Option<StateTransfer>,
}

impl RunningServer {
    /// A server that has found no component yet, with an empty gcache.
    pub(super) fn joining(
        process: ProcessId,
        weight: u64,
        seqno: u64,
        restored: Option<PrimaryView>,
    ) -> Self {
        Self {
            process,
            weight,
            paused: false,
            locked: false,
            frozen: None,
            late: Vec::new(),
            view: 0,
            members: BTreeSet::new(),
            primary: false,
            disconnected: false,
            known: None,
            addresses: BTreeSet::new(),
            last_primary: None,
            restored,
            waits_until: None,
            opened: false,
            learned: BTreeMap::new(),
            conf_id: 0,
            gcache_first: seqno + 1,
            transfer: None,
        }
    }

    /// Whether it is a member of a Primary component and has its data.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.primary && self.transfer.is_none()
    }

    /// Whether it ends unless it reaches a Primary component in time.
    #[must_use]
    pub const fn ends_without_primary(&self) -> bool {
        self.waits_until.is_some()
    }

    /// Whether it has opened its SQL port.
    #[must_use]
    pub const fn has_opened(&self) -> bool {
        self.opened
    }

    /// Whether its component is Primary.
    #[must_use]
    pub const fn is_primary(&self) -> bool {
        self.primary
    }

    /// Another member of its component has left cleanly. Without quorum its last Primary view stays as it was: it is complete
    /// only with the leaver (`is_prim` in `pc_proto.cpp`).
    pub(super) fn forget_leaver(&mut self, node: NodeIndex) {
        if let Some(view) = self.last_primary.as_mut().filter(|_| self.primary) {
            view.members.retain(|_, (member, _)| *member != node);
        }
    }
}
