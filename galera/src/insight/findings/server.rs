//! The servers whose answers findings rest on.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{FindingEvidence, FindingSeverity};
use crate::id::NodeId;
use crate::observe::observation::{Evidence, ProbeErrorKind, ReplicationRates, SqlObservation};
use crate::observe::server_details::ServerDetails;
use crate::observe::wsrep::WsrepStatus;
use crate::view::{ClusterStatus, ClusterView, NodeView, SourceKind};

/// A member with a fresh answer.
pub(crate) struct ObservedServer<'a> {
    pub(crate) node: &'a NodeView,
    pub(super) status: &'a WsrepStatus,
    pub(super) rates: &'a ReplicationRates,
    /// `None` if they have not been read yet.
    pub(crate) details: Option<&'a ServerDetails>,
}

impl<'a> ObservedServer<'a> {
    pub(super) fn id(&self) -> NodeId {
        self.node.id.clone()
    }

    /// The value of a variable, an option or a status variable.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.details?.text(name)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.details?.number(name)
    }

    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.details?.switch(name)
    }

    pub(super) fn is_primary(&self) -> bool {
        self.node.cluster_status == Some(ClusterStatus::Primary)
    }

    /// A variable of it, as evidence.
    pub(super) fn variable(&self, name: &str) -> FindingEvidence {
        self.evidence(name, self.text(name).unwrap_or("unknown").to_owned())
    }

    pub(super) fn evidence(&self, name: &str, value: String) -> FindingEvidence {
        FindingEvidence {
            node: self.id(),
            name: name.to_owned(),
            value,
        }
    }
}

/// The members of the view with a fresh answer of their servers.
pub(crate) fn observed_servers<'a>(
    view: &'a ClusterView,
    evidence: &'a Evidence,
    default_port: u16,
) -> Vec<ObservedServer<'a>> {
    let probes = probes_by_id(evidence, default_port);
    view.members()
        .filter(|node| is_fresh(node))
        .filter_map(|node| {
            let (probe, status) = last_answer(node, &probes)?;
            Some(ObservedServer {
                node,
                status,
                rates: &probe.rates,
                details: status.details.as_deref(),
            })
        })
        .collect()
}

/// A member whose server refuses the console because no connection is free.
pub(super) struct FullServer<'a> {
    pub(super) node: &'a NodeView,
    /// The server's error, as its source gives it.
    pub(super) error: &'a str,
    /// Its last answer; `None` if it never answered.
    pub(super) last: Option<&'a WsrepStatus>,
}

/// The members of the view that refuse the console because no connection is free.
pub(super) fn full_servers<'a>(
    view: &'a ClusterView,
    evidence: &'a Evidence,
    default_port: u16,
) -> Vec<FullServer<'a>> {
    let probes = probes_by_id(evidence, default_port);
    view.members()
        .filter_map(|node| {
            let mut sources = node.sources.iter();
            let sql = sources.find(|source| source.kind == SourceKind::Sql)?;
            let code = sql.error_code.as_deref()?;
            (code == ProbeErrorKind::TooManyConnections.as_str()).then(|| FullServer {
                node,
                error: sql.error.as_deref().unwrap_or(code),
                last: last_answer(node, &probes).map(|(_, status)| status),
            })
        })
        .collect()
}

/// Members by the `wsrep_gcomm_uuid` of their process.
pub(super) type MembersByProcess<'a> = BTreeMap<Uuid, &'a NodeView>;

/// The members by the process that each last reported, including members that no longer answer.
pub(super) fn members_by_process<'a>(
    view: &'a ClusterView,
    evidence: &Evidence,
    default_port: u16,
) -> MembersByProcess<'a> {
    let probes = probes_by_id(evidence, default_port);
    view.members()
        .filter_map(|node| Some((last_answer(node, &probes)?.1.gcomm_uuid?, node)))
        .collect()
}

fn probes_by_id(evidence: &Evidence, default_port: u16) -> BTreeMap<NodeId, &SqlObservation> {
    evidence
        .probes
        .iter()
        .map(|(id, probe)| (id.clone().normalized(default_port), probe))
        .collect()
}

/// The newest answer of `node` under any of its ids.
fn last_answer<'a>(
    node: &NodeView,
    probes: &BTreeMap<NodeId, &'a SqlObservation>,
) -> Option<(&'a SqlObservation, &'a WsrepStatus)> {
    let ids = std::iter::once(&node.id).chain(&node.names);
    let probes = ids.filter_map(|id| probes.get(id).copied());
    let answers = probes.filter_map(|probe| Some((probe, probe.status.as_ref()?)));
    let (probe, (_, status)) = answers.max_by_key(|(_, (at, _))| *at)?;
    Some((probe, status.as_ref()))
}

fn is_fresh(node: &NodeView) -> bool {
    let mut sources = node.sources.iter();
    sources.any(|source| source.kind == SourceKind::Sql && !source.stale)
}

/// The more urgent of two, if it is a critical condition.
pub(super) const fn critical_if(critical: bool, otherwise: FindingSeverity) -> FindingSeverity {
    if critical {
        FindingSeverity::Critical
    } else {
        otherwise
    }
}
