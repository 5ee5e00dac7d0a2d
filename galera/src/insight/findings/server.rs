//! The servers whose answers findings rest on.

use std::collections::BTreeMap;

use super::{FindingEvidence, FindingSeverity};
use crate::id::NodeId;
use crate::observe::observation::{Evidence, ReplicationRates, SqlObservation};
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
    let probes: BTreeMap<NodeId, &SqlObservation> = evidence
        .probes
        .iter()
        .map(|(id, probe)| (id.clone().normalized(default_port), probe))
        .collect();
    view.members()
        .filter(|node| is_fresh(node))
        .filter_map(|node| {
            let ids = std::iter::once(&node.id).chain(&node.names);
            let answers = ids.filter_map(|id| probes.get(id));
            let (at, probe) = answers
                .filter_map(|probe| Some((probe.status.as_ref()?.0, *probe)))
                .max_by_key(|(at, _)| *at)?;
            let (_, status) = probe.status.as_ref().filter(|(read, _)| *read == at)?;
            Some(ObservedServer {
                node,
                status,
                rates: &probe.rates,
                details: status.details.as_deref(),
            })
        })
        .collect()
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
