//! Which nodes of a cluster are probed: a bounded number, and only valid addresses.
//!
//! Names come from the configuration, the recorded expected members, the registry and the member lists of Primary
//! components. All of them parse as a node id, so that garbage in the registry never becomes an address to connect
//! to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use galera::observe::observation::Evidence;
use galera::observe::wsrep::{MemberAddress, WsrepStatus, distinct_lists};
use galera::view::ClusterStatus;
use galera::{NodeId, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nodes of one cluster that are probed.
pub(super) const PROBES_MAX: usize = 64;
/// How long an unreachable node is still probed after the last source that names it is gone: it may come back.
const LINGER: Duration = Duration::from_secs(600);

pub(super) trait Prober: Send {
    /// Probes `node` until `cancel`, and immediately when `probe_now` is notified.
    fn start(&self, node: &NodeId, probe_now: Arc<Notify>, cancel: CancellationToken);
    /// Called when `node` is no longer probed.
    fn forget(&self, node: &NodeId);
}

/// The running probes of one cluster.
pub(super) struct ProbeSet {
    prober: Box<dyn Prober>,
    nodes: BTreeMap<NodeId, RunningProbe>,
    /// Nodes not probed because of [`PROBES_MAX`].
    skipped: usize,
}

struct RunningProbe {
    last_wanted_at: Timestamp,
    probe_now: Arc<Notify>,
    _stop: DropGuard,
}

impl ProbeSet {
    pub(super) fn new(prober: Box<dyn Prober>) -> Self {
        Self {
            prober,
            nodes: BTreeMap::new(),
            skipped: 0,
        }
    }

    /// Starts and stops probes to match the evidence, and keeps one observation per probe.
    pub(super) fn reconcile(&mut self, evidence: &mut Evidence, now: Timestamp, default_port: u16) {
        let wanted = wanted_nodes(evidence, default_port);
        for id in &wanted {
            if let Some(running) = self.nodes.get_mut(id) {
                running.last_wanted_at = now;
            }
        }
        self.stop_unwanted(evidence, now);
        self.skipped = 0;
        for id in wanted {
            if self.nodes.contains_key(&id) {
                continue;
            }
            if self.nodes.len() >= PROBES_MAX {
                self.skipped += 1;
                continue;
            }
            let stop = CancellationToken::new();
            let probe_now = Arc::<Notify>::default();
            self.prober.start(&id, Arc::clone(&probe_now), stop.clone());
            evidence.probes.entry(id.clone()).or_default();
            let running = RunningProbe {
                last_wanted_at: now,
                probe_now,
                _stop: stop.drop_guard(),
            };
            self.nodes.insert(id, running);
        }
    }

    fn stop_unwanted(&mut self, evidence: &mut Evidence, now: Timestamp) {
        let prober = &self.prober;
        self.nodes.retain(|id, running| {
            let answered = evidence
                .probes
                .get(id)
                .and_then(|sql| sql.status.as_ref())
                .map(|(at, _)| *at);
            let last = answered.map_or(running.last_wanted_at, |at| at.max(running.last_wanted_at));
            let keep = last.age(now) < LINGER;
            if !keep {
                evidence.probes.remove(id);
                prober.forget(id);
            }
            keep
        });
    }

    /// Probes `node` immediately, because another source reports a change.
    pub(super) fn probe_now(&self, node: &NodeId) {
        if let Some(running) = self.nodes.get(node) {
            running.probe_now.notify_one();
        }
    }

    /// Whether `node` is probed: a late report must not bring back one that no longer is.
    pub(super) fn contains(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    /// A notice about nodes that are not probed.
    pub(super) fn limit_notice(&self, evidence: &Evidence) -> Option<String> {
        (self.skipped > 0).then(|| {
            format!(
                "Cluster {}: {} nodes are known; only {PROBES_MAX} are probed. Remove stale registrations.",
                evidence.name,
                self.nodes.len() + self.skipped,
            )
        })
    }
}

/// The nodes that should be probed, in order of importance, without duplicates.
fn wanted_nodes(evidence: &Evidence, default_port: u16) -> Vec<NodeId> {
    let durable = evidence
        .registrations
        .iter()
        .filter(|(_, node)| node.durable)
        .map(|(id, _)| id);
    let named = evidence
        .configured_members
        .iter()
        .chain(&evidence.last_primary_members)
        .chain(durable);
    let mut seen = BTreeSet::new();
    let mut wanted: Vec<NodeId> = Vec::new();
    for id in named.chain(evidence.registrations.keys()) {
        let id = id.clone().normalized(default_port);
        if seen.insert(id.clone()) {
            wanted.push(id);
        }
    }
    for id in listed_members(evidence, default_port) {
        if seen.insert(id.clone()) {
            wanted.push(id);
        }
    }
    wanted
}

/// Members listed by Primary components, without aliases of nodes that answer under another name.
fn listed_members(evidence: &Evidence, default_port: u16) -> BTreeSet<NodeId> {
    let answers: Vec<(NodeId, &WsrepStatus)> = evidence
        .probes
        .iter()
        .filter(|(_, sql)| sql.error.is_none())
        .filter_map(|(id, sql)| {
            let (_, status) = sql.status.as_ref()?;
            Some((id.clone().normalized(default_port), &**status))
        })
        .filter(|(_, status)| status.cluster_status == Some(ClusterStatus::Primary))
        .collect();
    let member = |address: &MemberAddress| Some(address.node()?.clone().normalized(default_port));
    let aliases: BTreeSet<NodeId> = answers
        .iter()
        .filter_map(|(id, status)| {
            let own = status
                .incoming_addresses
                .get(usize::try_from(status.local_index?).ok()?)?;
            member(own).filter(|own| own != id)
        })
        .collect();
    let lists = answers
        .iter()
        .map(|(_, status)| &status.incoming_addresses[..]);
    let members = distinct_lists(lists)
        .into_iter()
        .flatten()
        .filter_map(member);
    members.filter(|id| !aliases.contains(id)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use galera::view::RegistryHealth;

    use super::*;

    #[derive(Default, Clone)]
    struct RecordingProber(Arc<Mutex<BTreeMap<NodeId, CancellationToken>>>);

    impl RecordingProber {
        fn running(&self) -> Vec<String> {
            let all = self.0.lock().unwrap();
            all.iter()
                .filter(|(_, stop)| !stop.is_cancelled())
                .map(|(id, _)| id.to_string())
                .collect()
        }
    }

    impl Prober for RecordingProber {
        fn start(&self, node: &NodeId, _: Arc<Notify>, cancel: CancellationToken) {
            self.0.lock().unwrap().insert(node.clone(), cancel);
        }
        fn forget(&self, _: &NodeId) {}
    }

    fn evidence() -> Evidence {
        let health = RegistryHealth {
            reachable: true,
            since: Timestamp::from_unix_millis(0),
            error: None,
        };
        Evidence::new("lab".parse().unwrap(), health)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1_000)
    }

    fn status(rows: &[(&str, &str)]) -> WsrepStatus {
        WsrepStatus::from_rows(rows.iter().copied())
    }

    #[test]
    fn nodes_of_every_source_are_probed_once() {
        let prober = RecordingProber::default();
        let mut probed = ProbeSet::new(Box::new(prober.clone()));
        let mut evidence = evidence();
        evidence
            .configured_members
            .insert("db1:3306".parse().unwrap());
        evidence.last_primary_members.insert("db1".parse().unwrap());
        evidence
            .registrations
            .insert("db2".parse().unwrap(), Default::default());
        probed.reconcile(&mut evidence, at(0), 3306);
        assert_eq!(prober.running(), ["db1", "db2"]);
        let members = [
            ("wsrep_cluster_status", "Primary"),
            (
                "wsrep_incoming_addresses",
                "db1:3306,db3:3306,AUTO,,db4:3307",
            ),
            ("wsrep_local_index", "0"),
        ];
        let db1 = evidence.probes.get_mut(&"db1".parse().unwrap()).unwrap();
        db1.record_success(at(1), status(&members));
        probed.reconcile(&mut evidence, at(1), 3306);
        assert_eq!(prober.running(), ["db1", "db2", "db3", "db4:3307"]);
    }

    #[test]
    fn a_minority_adds_no_nodes_and_an_alias_is_not_another_node() {
        let prober = RecordingProber::default();
        let mut probed = ProbeSet::new(Box::new(prober.clone()));
        let mut evidence = evidence();
        evidence.configured_members = ["db1", "db2"].map(|id| id.parse().unwrap()).into();
        probed.reconcile(&mut evidence, at(0), 3306);
        let mut answer = |id: &str, rows: &[(&str, &str)]| {
            evidence
                .probes
                .get_mut(&id.parse().unwrap())
                .unwrap()
                .record_success(at(1), status(rows));
        };
        answer(
            "db1",
            &[
                ("wsrep_cluster_status", "Primary"),
                ("wsrep_incoming_addresses", "10.0.0.1:3306"),
                ("wsrep_local_index", "0"),
            ],
        );
        answer(
            "db2",
            &[
                ("wsrep_cluster_status", "non-Primary"),
                ("wsrep_incoming_addresses", "evil:3306"),
            ],
        );
        probed.reconcile(&mut evidence, at(1), 3306);
        assert_eq!(prober.running(), ["db1", "db2"]);
    }

    #[test]
    fn a_node_no_longer_named_is_probed_for_a_while() {
        let prober = RecordingProber::default();
        let mut probed = ProbeSet::new(Box::new(prober.clone()));
        let mut evidence = evidence();
        evidence
            .registrations
            .insert("db1".parse().unwrap(), Default::default());
        probed.reconcile(&mut evidence, at(0), 3306);
        evidence.registrations.clear();
        probed.reconcile(&mut evidence, at(599), 3306);
        assert_eq!(prober.running(), ["db1"]);
        probed.reconcile(&mut evidence, at(600), 3306);
        assert!(prober.running().is_empty() && evidence.probes.is_empty());
    }

    #[test]
    fn the_number_of_probes_is_bounded_and_configured_nodes_come_first() {
        let prober = RecordingProber::default();
        let mut probed = ProbeSet::new(Box::new(prober.clone()));
        let mut evidence = evidence();
        evidence.configured_members.insert("zz".parse().unwrap());
        for number in 0..100 {
            let id = format!("node{number}").parse().unwrap();
            evidence.registrations.insert(id, Default::default());
        }
        probed.reconcile(&mut evidence, at(0), 3306);
        assert_eq!(prober.running().len(), PROBES_MAX);
        assert!(prober.running().contains(&"zz".to_owned()));
        let notice = probed.limit_notice(&evidence).unwrap();
        assert!(notice.contains("101 nodes are known"), "{notice}");
    }
}
