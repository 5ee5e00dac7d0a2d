//! A console: what it observed, and its real plans.

use std::collections::BTreeSet;

use galera::judge::cluster::fold;
use galera::judge::known_positions::KnownPositions;
use galera::observe::observation::{Evidence, ProbeError, ProbeErrorKind};
use galera::observe::wsrep::WsrepStatus;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::bootstrap::{RecoveryCase, RecoveryContext, RecoverySettings, plan};
use galera::recover::plan::Plan;
use galera::view::{ClusterView, RegistryHealth};
use galera::{ClusterName, NodeId, Timestamp};

use crate::specification::{GaleraCluster, NodeIndex, ProbeResult};

/// 2026-11-23T08:00:00Z: the time at which every schedule begins.
const BEGIN: i64 = 1_795_420_800_000;

/// `millis` after the beginning.
#[must_use]
pub const fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(BEGIN + millis.cast_signed())
}

/// A console that observes by SQL; its members are pinned.
#[derive(Clone, Debug)]
pub struct SimulatedConsole {
    evidence: Evidence,
    positions: KnownPositions,
    settings: RecoverySettings,
    view: Option<ClusterView>,
    /// Nodes that its network does not reach.
    pub unreachable: BTreeSet<NodeIndex>,
}

impl SimulatedConsole {
    /// A console that has observed nothing yet.
    #[must_use]
    pub fn new(name: ClusterName, members: impl IntoIterator<Item = NodeId>) -> Self {
        let health = RegistryHealth {
            reachable: true,
            since: at(0),
            error: None,
        };
        let mut evidence = Evidence::new(name, health);
        evidence.configured_members = members.into_iter().collect();
        evidence.first_view = false;
        Self {
            evidence,
            positions: KnownPositions::default(),
            settings: RecoverySettings::default(),
            view: None,
            unreachable: BTreeSet::new(),
        }
    }

    /// Restarts it: positions and members are durable, observations are not.
    pub fn restart(&mut self) {
        self.evidence.probes.clear();
        self.view = None;
    }

    /// Probes every node at `now`, in milliseconds since the beginning.
    pub fn observe(&mut self, cluster: &GaleraCluster, now: u64) {
        for (index, node) in cluster.nodes().iter().enumerate() {
            let result = if self.unreachable.contains(&index) {
                ProbeResult::Silent
            } else {
                cluster.probe(index)
            };
            let probe = self.evidence.probes.entry(node.id.clone()).or_default();
            let failure = |kind: ProbeErrorKind| ProbeError {
                kind,
                message: kind.as_str().to_owned(),
            };
            match result {
                ProbeResult::Rows(rows) => {
                    probe.record_success(at(now), WsrepStatus::from_rows(rows))
                }
                ProbeResult::Refused => {
                    probe.record_failure(at(now), failure(ProbeErrorKind::Refused))
                }
                ProbeResult::Silent => {
                    probe.record_failure(at(now), failure(ProbeErrorKind::TimedOut))
                }
            }
        }
        let view = fold(
            &self.evidence,
            at(now),
            &self.settings.fold,
            self.view.as_ref(),
        );
        self.positions
            .update(&self.evidence, at(now), &self.settings.fold);
        self.view = Some(view);
    }

    /// The last view.
    #[must_use]
    pub const fn view(&self) -> Option<&ClusterView> {
        self.view.as_ref()
    }

    /// The plan of a bootstrap at `now`, with these members attested as stopped.
    #[must_use]
    pub fn plan(&self, stopped: &[NodeId], now: u64) -> Plan {
        let attestations: Vec<Attestation> = stopped
            .iter()
            .map(|node| Attestation {
                node: node.clone(),
                statement: AttestedState::Stopped,
                saved_state: None,
            })
            .collect();
        plan(&RecoveryCase {
            evidence: &self.evidence,
            history: &self.positions,
            attestations: &attestations,
            context: &RecoveryContext::default(),
            settings: &self.settings,
            now: at(now),
        })
    }
}
