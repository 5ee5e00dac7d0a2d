//! What clients and files show, comparable between the specification and real servers.

use std::collections::BTreeSet;
use std::fmt;

use crate::NodeIndex;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeObservation {
    pub server: ServerObservation,
    /// Its files, while it is stopped; `None` for an arbitrator.
    pub files: Option<FileObservation>,
}

/// A connection to the SQL port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerObservation {
    /// No process runs.
    Stopped,
    /// A process runs, and its SQL port refuses connections.
    Closed,
    /// The connection is accepted, and nothing answers.
    Silent,
    /// It answers with its status.
    Open(OpenServer),
    /// An arbitrator's process runs: it has no SQL port.
    Running,
}

/// What a server reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenServer {
    /// `wsrep_cluster_status` is `Primary`.
    pub primary: bool,
    /// `wsrep_local_state_comment`.
    pub state: String,
    /// `wsrep_cluster_size`.
    pub size: usize,
    /// The nodes of `wsrep_incoming_addresses`; arbitrators are not listed.
    pub members: BTreeSet<NodeIndex>,
    /// `wsrep_cluster_weight`; 0 outside a Primary component.
    pub weight: u64,
    /// `wsrep_cluster_conf_id`; `None` outside a Primary component.
    pub conf_id: Option<u64>,
    /// `wsrep_last_committed`, counted from before the first node started.
    pub seqno: u64,
    /// The rows that clients wrote.
    pub writes: BTreeSet<u64>,
}

/// The files of a stopped node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileObservation {
    /// grastate.dat has a position, as after a clean stop.
    pub clean: bool,
    /// grastate.dat has `safe_to_bootstrap: 1`.
    pub safe_to_bootstrap: bool,
    /// There is a gvwstate.dat.
    pub saved_view: bool,
}

impl NodeObservation {
    /// Whether a real node that shows `shown` behaves as stated. Outside a Primary component it may list fewer members: which addresses
    /// it has depends on the views in between.
    #[must_use]
    pub fn agrees_with(&self, shown: &Self) -> bool {
        match (&self.server, &shown.server) {
            (ServerObservation::Open(stated), ServerObservation::Open(open)) if !stated.primary => {
                let mut same = open.clone();
                same.members.clone_from(&stated.members);
                stated == &same && open.members.is_subset(&stated.members)
            }
            _ => self == shown,
        }
    }
}

impl fmt::Display for NodeObservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            ServerObservation::Stopped => f.write_str("stopped")?,
            ServerObservation::Closed => f.write_str("port closed")?,
            ServerObservation::Silent => f.write_str("silent")?,
            ServerObservation::Running => f.write_str("running")?,
            ServerObservation::Open(open) => write!(f, "{open}")?,
        }
        if let Some(files) = &self.files {
            let FileObservation {
                clean,
                safe_to_bootstrap,
                saved_view,
            } = files;
            write!(
                f,
                ", clean {clean}, safe_to_bootstrap {safe_to_bootstrap}, gvwstate.dat {saved_view}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for OpenServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = if self.primary {
            "Primary"
        } else {
            "non-Primary"
        };
        let members: Vec<String> = self
            .members
            .iter()
            .map(|node| format!("n{}", node + 1))
            .collect();
        write!(
            f,
            "{status}, {}, {} member(s) ({}), weight {}, conf_id {:?}, seqno {}, rows {:?}",
            self.state,
            self.size,
            members.join(" "),
            self.weight,
            self.conf_id,
            self.seqno,
            self.writes
        )
    }
}
