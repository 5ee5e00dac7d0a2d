//! Which nodes of a cluster are probed: a bounded number, and only valid addresses.
//!
//! Names come from the configuration, the recorded expected members, the registry and the member lists of Primary
//! components. All of them parse as a node id, so that garbage in the registry never becomes an address to connect
//! to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use galera::judge::cluster::FoldSettings;
use galera::judge::confirmation;
use galera::observe::observation::Evidence;
use galera::observe::wsrep::{MemberAddress, WsrepStatus, distinct_lists};
use galera::view::ClusterStatus;
use galera::{NodeId, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Members of one cluster that are probed.
pub(super) const PROBES_MAX: usize = 64;
/// Unconfirmed nodes of one cluster that are probed: registrations without a member take no member's place.
pub(super) const UNCONFIRMED_PROBES_MAX: usize = 16;
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
    confirmed: bool,
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
    pub(super) fn reconcile(
        &mut self,
        evidence: &mut Evidence,
        now: Timestamp,
        settings: &FoldSettings,
    ) {
        let unconfirmed = confirmation::unconfirmed(evidence, now, settings);
        let wanted = wanted_nodes(evidence, &unconfirmed, settings.default_port);
        for id in &wanted {
            if let Some(running) = self.nodes.get_mut(id) {
                running.last_wanted_at = now;
                running.confirmed = !unconfirmed.contains(id);
            }
        }
        self.stop_unwanted(evidence, now);
        self.skipped = 0;
        let mut members = self
            .nodes
            .values()
            .filter(|running| running.confirmed)
            .count();
        let mut others = self.nodes.len() - members;
        for id in wanted {
            if self.nodes.contains_key(&id) {
                continue;
            }
            let confirmed = !unconfirmed.contains(&id);
            let (running, max) = match confirmed {
                true => (&mut members, PROBES_MAX),
                false => (&mut others, UNCONFIRMED_PROBES_MAX),
            };
            if *running >= max {
                self.skipped += 1;
                continue;
            }
            *running += 1;
            let stop = CancellationToken::new();
            let probe_now = Arc::<Notify>::default();
            self.prober.start(&id, Arc::clone(&probe_now), stop.clone());
            evidence.probes.entry(id.clone()).or_default();
            let running = RunningProbe {
                last_wanted_at: now,
                confirmed,
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
                "Cluster {}: {} nodes are known, of which {} are not probed: at most {PROBES_MAX} members and {UNCONFIRMED_PROBES_MAX} unconfirmed nodes are. Of the others only what agents report is shown. Remove registrations of nodes that no longer exist; the limit cannot be raised.",
                evidence.name,
                self.nodes.len() + self.skipped,
                self.skipped,
            )
        })
    }
}

/// The nodes that should be probed, in order of importance, without duplicates.
fn wanted_nodes(
    evidence: &Evidence,
    unconfirmed: &BTreeSet<NodeId>,
    default_port: u16,
) -> Vec<NodeId> {
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
    for id in listed_members(evidence, unconfirmed, default_port) {
        if seen.insert(id.clone()) {
            wanted.push(id);
        }
    }
    wanted
}

/// Members listed by Primary components, without aliases of nodes that answer under another name. Lists of unconfirmed
/// nodes name no address to connect to.
fn listed_members(
    evidence: &Evidence,
    unconfirmed: &BTreeSet<NodeId>,
    default_port: u16,
) -> BTreeSet<NodeId> {
    let answers: Vec<(NodeId, &WsrepStatus)> = evidence
        .probes
        .iter()
        .filter(|(_, sql)| sql.error.is_none())
        .filter_map(|(id, sql)| {
            let (_, status) = sql.status.as_ref()?;
            Some((id.clone().normalized(default_port), &**status))
        })
        .filter(|(id, _)| !unconfirmed.contains(id))
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
        probed.reconcile(&mut evidence, at(0), &FoldSettings::default());
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
        probed.reconcile(&mut evidence, at(1), &FoldSettings::default());
        assert_eq!(prober.running(), ["db1", "db2", "db3", "db4:3307"]);
    }

    #[test]
    fn a_minority_adds_no_nodes_and_an_alias_is_not_another_node() {
        let prober = RecordingProber::default();
        let mut probed = ProbeSet::new(Box::new(prober.clone()));
        let mut evidence = evidence();
        evidence.configured_members = ["db1", "db2"].map(|id| id.parse().unwrap()).into();
        probed.reconcile(&mut evidence, at(0), &FoldSettings::default());
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
        probed.reconcile(&mut evidence, at(1), &FoldSettings::default());
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
        probed.reconcile(&mut evidence, at(0), &FoldSettings::default());
        evidence.registrations.clear();
        probed.reconcile(&mut evidence, at(599), &FoldSettings::default());
        assert_eq!(prober.running(), ["db1"]);
        probed.reconcile(&mut evidence, at(600), &FoldSettings::default());
        assert!(prober.running().is_empty() && evidence.probes.is_empty());
    }

    #[test]
    fn unconfirmed_nodes_take_no_place_of_a_member_and_name_no_address() {
        let prober = RecordingProber::default();
        let mut probed = ProbeSet::new(Box::new(prober.clone()));
        let mut evidence = evidence();
        evidence.first_view = false;
        evidence.configured_members.insert("db1".parse().unwrap());
        for number in 0..200 {
            let id = format!("evil{number}").parse().unwrap();
            evidence.registrations.insert(id, Default::default());
        }
        let settings = FoldSettings::default();
        probed.reconcile(&mut evidence, at(0), &settings);
        assert_eq!(prober.running().len(), 1 + UNCONFIRMED_PROBES_MAX);
        let rogue = [
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_incoming_addresses", "169.254.169.254:80"),
        ];
        let evil = evidence
            .probes
            .keys()
            .find(|id| id.to_string().starts_with("evil"));
        let evil = evil.unwrap().clone();
        let probe = evidence.probes.get_mut(&evil).unwrap();
        probe.record_success(at(1), status(&rogue));
        let members: Vec<String> = (1..=PROBES_MAX).map(|n| format!("db{n}:3306")).collect();
        let list = members.join(",");
        let honest = [
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_incoming_addresses", list.as_str()),
        ];
        let probe = evidence.probes.get_mut(&"db1".parse().unwrap()).unwrap();
        probe.record_success(at(1), status(&honest));
        probed.reconcile(&mut evidence, at(1), &settings);
        assert_eq!(prober.running().len(), PROBES_MAX + UNCONFIRMED_PROBES_MAX);
        assert!(!prober.running().iter().any(|id| id.starts_with("169.254")));
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
        probed.reconcile(&mut evidence, at(0), &FoldSettings::default());
        assert_eq!(prober.running().len(), PROBES_MAX);
        assert!(prober.running().contains(&"zz".to_owned()));
        let notice = probed.limit_notice(&evidence).unwrap();
        assert!(
            notice.contains("101 nodes are known, of which 37 are not probed"),
            "{notice}"
        );
    }
}
