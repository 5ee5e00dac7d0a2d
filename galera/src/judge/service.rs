//! What keeps a member from serving although it is Synced and Primary. One function for the console and for the health
//! answer of the agent.

use crate::observe::wsrep::WsrepStatus;
use crate::view::{ClusterStatus, NodeFinding};

/// Something that limits the use of a server, in the order in which it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceLimit {
    /// `wsrep_ready` is OFF: every query fails with error 1047.
    NotReady,
    /// `wsrep_reject_queries`: every query of a client fails with error 1047.
    QueriesRejected,
    /// `offline_mode`: only administrators may connect.
    Offline,
    /// `wsrep_on` is OFF: what is written there is not replicated.
    NotReplicating,
    /// `read_only` or `super_read_only`.
    ReadOnly,
    /// `pxc_maint_mode`: ProxySQL sends no clients.
    Maintenance,
    /// `wsrep_desync`: it serves, but may fall behind without slowing the others.
    Desynced,
}

named_variants!(ServiceLimit {
    NotReady => "not_ready",
    QueriesRejected => "queries_rejected",
    Offline => "offline",
    NotReplicating => "not_replicating",
    ReadOnly => "read_only",
    Maintenance => "maintenance",
    Desynced => "desynced",
});

impl ServiceLimit {
    /// Whether reads of clients fail, and so writes as well.
    #[must_use]
    pub const fn refuses_queries(self) -> bool {
        matches!(self, Self::NotReady | Self::QueriesRejected | Self::Offline)
    }

    /// Whether writes of clients fail.
    #[must_use]
    pub const fn refuses_writes(self) -> bool {
        self.refuses_queries() || matches!(self, Self::ReadOnly)
    }

    /// What it means, after the server's name and without its end: `wsrep_ready is OFF: …`.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::NotReady => "wsrep_ready is OFF: every query fails with error 1047",
            Self::QueriesRejected => {
                "wsrep_reject_queries is set: every query fails with error 1047; SET GLOBAL wsrep_reject_queries=NONE ends it"
            }
            Self::Offline => {
                "offline_mode is ON: only administrators may connect; SET GLOBAL offline_mode=OFF ends it"
            }
            Self::NotReplicating => {
                "wsrep_on is OFF: writes there are not replicated, and it reports no state; SET GLOBAL wsrep_on=ON ends it"
            }
            Self::ReadOnly => "read_only is ON: writes fail; SET GLOBAL read_only=OFF ends it",
            Self::Maintenance => {
                "pxc_maint_mode is set: ProxySQL sends it no clients; SET GLOBAL pxc_maint_mode=DISABLED ends it"
            }
            Self::Desynced => {
                "wsrep_desync is ON, as for a backup: it serves, but may fall behind; SET GLOBAL wsrep_desync=OFF ends it"
            }
        }
    }

    /// The limit as a finding about a node.
    #[must_use]
    pub fn finding(self) -> NodeFinding {
        NodeFinding {
            code: self.as_str().to_owned(),
            message: self.explanation().to_owned(),
        }
    }
}

/// What limits the use of the server that reports `status`, most severe first. Outside a Primary component queries fail
/// anyway, so that only what would outlast that is named.
#[must_use]
pub fn service_limits(status: &WsrepStatus) -> Vec<ServiceLimit> {
    let options = &status.service_options;
    let primary = status.cluster_status == Some(ClusterStatus::Primary);
    let set = [
        (
            ServiceLimit::NotReady,
            primary && status.ready == Some(false) && options.wsrep_on != Some(false),
        ),
        (ServiceLimit::QueriesRejected, options.rejects_queries),
        (ServiceLimit::Offline, options.offline),
        (
            ServiceLimit::NotReplicating,
            options.wsrep_on == Some(false),
        ),
        (ServiceLimit::ReadOnly, options.read_only),
        (ServiceLimit::Maintenance, options.maintenance),
        (ServiceLimit::Desynced, options.desync),
    ];
    set.into_iter()
        .filter_map(|(limit, set)| set.then_some(limit))
        .collect()
}
