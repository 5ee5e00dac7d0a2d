//! The event history on a real etcd: replicas that start and stop record every change once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use console_core::clock::now;
use console_core::keyspace::HistoryKeys;
use console_core::leader;
use galera::access::Role;
use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::Evidence;
use galera::publish::api::HistoryPage;
use galera::record::history::{ChangeKind, HistoryEvent, StateChange};
use galera::record::uptime;
use galera::view::{ClusterView, NodeState, NodeView, RegistryHealth, VerdictState};
use galera::{ClusterName, ReplicaId};
use history::{EventHistory, HistoryError, HistoryQuery, HistorySettings};
use monitor::{ClusterPublisher, Monitor, ViewPublisher};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use registry::Registry;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::etcd::{TIMEOUT, TestEtcd, eventually};
use crate::test_console::{STATE_PREFIX, TestConsole};

/// Verdict of a cluster and state of its node.
type ClusterState = (VerdictState, NodeState);

/// A replica whose views are set by the test.
pub(crate) struct HistoryReplica {
    views: Arc<ViewPublisher>,
    publishers: BTreeMap<ClusterName, ClusterPublisher>,
    pub(crate) history: EventHistory,
    shutdown: Option<DropGuard>,
    /// Kept when it is killed without a final write.
    tracker: TaskTracker,
    tasks: Vec<tokio::task::AbortHandle>,
}

impl HistoryReplica {
    pub(crate) fn start(registry: &Registry, name: &str) -> Self {
        Self::with_retention(registry, name, Duration::from_secs(90 * 86_400), 200_000)
    }

    pub(crate) fn with_retention(
        registry: &Registry,
        name: &str,
        retention: Duration,
        changes_max: u64,
    ) -> Self {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let views = Arc::new(ViewPublisher::new());
        let monitor = Monitor::for_publisher(Arc::clone(&views), tracker.clone());
        let (leadership, election) = leader::campaign(
            registry.clone(),
            STATE_PREFIX,
            ReplicaId::new(name),
            shutdown.clone(),
        );
        let settings = HistorySettings {
            state_prefix: STATE_PREFIX.to_owned(),
            replica: ReplicaId::new(name),
            retention,
            changes_max,
        };
        let (history, recording) = EventHistory::start(
            settings,
            registry.clone(),
            monitor,
            leadership,
            shutdown.clone(),
        );
        let tasks = vec![
            tracker.spawn(election).abort_handle(),
            tracker.spawn(recording).abort_handle(),
        ];
        Self {
            views,
            publishers: BTreeMap::new(),
            history,
            shutdown: Some(shutdown.drop_guard()),
            tracker,
            tasks,
        }
    }

    /// Publishes a view with this state.
    pub(crate) fn set_state(&mut self, cluster: &ClusterName, state: ClusterState) {
        let publisher = self
            .publishers
            .entry(cluster.clone())
            .or_insert_with(|| self.views.cluster_publisher(cluster.clone()));
        publisher.publish(view(cluster, state));
    }

    /// Shuts it down.
    pub(crate) async fn stop(mut self) {
        drop(self.shutdown.take());
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Stops it as a crash would: without a final write, and its lease lives on.
    fn kill(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        if let Some(stop) = self.shutdown.take() {
            stop.disarm();
        }
    }
}

fn view(cluster: &ClusterName, (verdict, node): ClusterState) -> ClusterView {
    let health = RegistryHealth {
        reachable: true,
        since: now(),
        error: None,
    };
    let evidence = Evidence::new(cluster.clone(), health);
    let mut view = fold(&evidence, now(), &FoldSettings::default(), None);
    view.verdict.state = verdict;
    let db1 = serde_json::json!({
        "id": "db1", "name": "n1", "state": node, "state_comment": null, "cluster_status": null, "position": null,
        "position_fresh": false, "behind": null, "commit_rate": null, "recent_rates": [], "recv_queue": null,
        "send_queue": null, "flow_control_paused": null, "ready": null, "connected": null, "segment": null,
        "version": null, "gcomm_uuid": null, "evs_state": null, "expected": true, "registered": false, "sources": [],
    });
    view.nodes = vec![serde_json::from_value::<NodeView>(db1).unwrap()];
    view
}

fn lab() -> ClusterName {
    "lab".parse().unwrap()
}

pub(crate) async fn all_events(history: &EventHistory, cluster: &ClusterName) -> Vec<HistoryEvent> {
    history.events_after(cluster, 0, usize::MAX).await.unwrap()
}

fn state_names(events: &[HistoryEvent]) -> Vec<&'static str> {
    events
        .iter()
        .map(|event| event.change.new_state_str())
        .collect()
}

pub(crate) async fn wait_for_events(
    replica: &HistoryReplica,
    cluster: &ClusterName,
    count: usize,
) -> Vec<HistoryEvent> {
    let what = format!("{count} events of {cluster}");
    eventually(&what, async || {
        all_events(&replica.history, cluster).await.len() >= count
    })
    .await;
    let events = all_events(&replica.history, cluster).await;
    assert_eq!(events.len(), count, "{:?}", state_names(&events));
    assert!(
        events
            .iter()
            .zip(1..)
            .all(|(event, number)| event.sequence == number)
    );
    assert!(events.is_sorted_by_key(|event| event.at));
    events
}

#[tokio::test]
async fn a_restart_records_nothing_twice_and_a_gap_is_unknown() {
    let etcd = TestEtcd::in_memory();
    let registry = etcd.registry();
    let mut first = HistoryReplica::start(&registry, "r1");
    let before = now();
    first.set_state(&lab(), (VerdictState::Healthy, NodeState::Synced));
    wait_for_events(&first, &lab(), 2).await;
    first.set_state(&lab(), (VerdictState::Degraded, NodeState::Unreachable));
    let events = wait_for_events(&first, &lab(), 4).await;
    assert_eq!(
        state_names(&events),
        ["synced", "healthy", "unreachable", "degraded"]
    );
    assert!(
        events
            .iter()
            .all(|event| event.at >= before && event.at <= now())
    );
    let since = first.history.verdict_since(&lab()).unwrap();
    assert_eq!(since, (VerdictState::Degraded, events[3].at));
    first.stop().await;
    // A new replica starts immediately and observes the same.
    let mut second = HistoryReplica::start(&registry, "r2");
    second.set_state(&lab(), (VerdictState::Degraded, NodeState::Unreachable));
    second.set_state(&lab(), (VerdictState::Healthy, NodeState::Synced));
    wait_for_events(&second, &lab(), 6).await;
    second.stop().await;
    // As if no replica had been observing for an hour.
    let keys = HistoryKeys::new(STATE_PREFIX);
    let hour = serde_json::json!({"until": now().minus(Duration::from_secs(3_600)), "by": "r2"});
    registry
        .put(keys.observed_until(), hour.to_string(), None)
        .await
        .unwrap();
    let mut third = HistoryReplica::start(&registry, "r3");
    third.set_state(&lab(), (VerdictState::Healthy, NodeState::Synced));
    let events = wait_for_events(&third, &lab(), 8).await;
    assert_eq!(state_names(&events[6..]), ["unknown", "healthy"]);
    let StateChange::Verdict { reasons, .. } = &events[6].change else {
        panic!("{:?}", events[6]);
    };
    assert_eq!(reasons[0].code, galera::view::ReasonCode::ConsoleBlind);
    let spent = uptime::total(&third.history.days(&lab(), now(), 2));
    assert!(spent.unknown > 0 && spent.down == 0, "{spent:?}");
    third.stop().await;
}

#[tokio::test]
async fn older_events_are_compacted_until_they_expire() {
    let etcd = TestEtcd::in_memory();
    let registry = etcd.registry();
    let mut replica = HistoryReplica::start(&registry, "r1");
    replica.set_state(&lab(), (VerdictState::Healthy, NodeState::Synced));
    let middle = wait_for_events(&replica, &lab(), 2).await[1].at;
    eventually("a moment passes", async || now() > middle).await;
    for round in 0..600 {
        let state = match round % 2 {
            0 => (VerdictState::Degraded, NodeState::Unreachable),
            _ => (VerdictState::Healthy, NodeState::Synced),
        };
        replica.set_state(&lab(), state);
    }
    wait_for_events(&replica, &lab(), 1_202).await;
    let keys = HistoryKeys::new(STATE_PREFIX);
    let tail = async || {
        registry
            .list(keys.tail(&lab()))
            .await
            .unwrap()
            .entries
            .len()
    };
    eventually("two blocks exist", async || tail().await == 202).await;
    let block = registry.get(keys.block(&lab(), 1)).await.unwrap().unwrap();
    assert!(block.value.len() < 4_000, "{} bytes", block.value.len());

    // Pages backwards and forwards across block boundaries, with and without filters.
    let history = &replica.history;
    let query = |before, after, state: Option<&str>| HistoryQuery {
        before,
        after,
        limit: 90,
        state: state.map(str::to_owned),
        ..HistoryQuery::default()
    };
    let mut backwards = Vec::new();
    let mut before = None;
    loop {
        let page = history
            .page(&lab(), &query(before, None, None))
            .await
            .unwrap();
        backwards.extend(page.events.iter().map(|event| event.sequence));
        before = page.next_before;
        if before.is_none() {
            break;
        }
    }
    assert!(backwards.iter().copied().eq((1..=1_202).rev()));
    let page = history
        .page(&lab(), &query(None, Some(960), None))
        .await
        .unwrap();
    let numbers: Vec<u64> = page.events.iter().map(|event| event.sequence).collect();
    assert!(
        numbers.iter().copied().eq((961..=1_050).rev()),
        "{numbers:?}"
    );
    assert_eq!(page.next_before, Some(961));
    let page = history
        .page(&lab(), &query(None, None, Some("degraded")))
        .await
        .unwrap();
    assert_eq!(page.events.len(), 90);
    assert!(
        page.events
            .iter()
            .all(|event| event.change.new_state_str() == "degraded")
    );
    let at = HistoryQuery {
        at: Some(middle),
        ..query(None, None, None)
    };
    let page = history.page(&lab(), &at).await.unwrap();
    assert_eq!(
        page.events
            .iter()
            .map(|event| event.sequence)
            .collect::<Vec<_>>(),
        [2, 1]
    );
    replica.stop().await;

    // A smaller limit deletes the oldest block; without retention only the current state is left.
    let replica = HistoryReplica::with_retention(&registry, "r2", Duration::from_secs(86_400), 800);
    let first = async |replica: &HistoryReplica| {
        let events = all_events(&replica.history, &lab()).await;
        events.first().map(|event| event.sequence)
    };
    eventually("the oldest block is deleted", async || {
        first(&replica).await == Some(501)
    })
    .await;
    assert!(registry.get(keys.block(&lab(), 0)).await.unwrap().is_none());
    replica.stop().await;
    let replica = HistoryReplica::with_retention(&registry, "r3", Duration::ZERO, 800);
    eventually("all older events are deleted", async || {
        first(&replica).await == Some(1_202)
    })
    .await;
    let verdict = replica
        .history
        .verdict_since(&lab())
        .map(|(verdict, _)| verdict);
    assert_eq!(verdict, Some(VerdictState::Healthy));
    replica.stop().await;
}

#[tokio::test]
async fn events_over_http() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let events = "/api/v1/clusters/lab/events";
    // The lab's only node refuses connections.
    eventually("the first events", async || {
        let page: HistoryPage = client.get(events).await.json();
        state_names(&page.events) == ["down", "unreachable"]
    })
    .await;
    let page: HistoryPage = client
        .get(&format!("{events}?kind=node&limit=1"))
        .await
        .json();
    assert_eq!(state_names(&page.events), ["unreachable"]);
    assert_eq!(page.next_before, None);
    let page: HistoryPage = client.get(&format!("{events}?limit=1")).await.json();
    assert_eq!(
        (state_names(&page.events), page.next_before),
        (vec!["down"], Some(2))
    );
    let page: HistoryPage = client.get(&format!("{events}?before=2")).await.json();
    assert_eq!(state_names(&page.events), ["unreachable"]);
    let page: HistoryPage = client.get(&format!("{events}?node=127.0.0.9")).await.json();
    assert!(page.events.is_empty());
    let table = client.get(&format!("{events}?format=csv")).await;
    assert_eq!(table.header("content-type"), "text/csv; charset=utf-8");
    assert!(
        table.text().contains(",node,127.0.0.1:1,,,unreachable,"),
        "{}",
        table.text()
    );
    for (path, status, code) in [
        (
            "/api/v1/clusters/nowhere/events".to_owned(),
            404,
            "unknown_cluster",
        ),
        (format!("{events}?state=broken"), 400, "invalid_query"),
        (format!("{events}?kind=moon"), 400, "invalid_query"),
        (format!("{events}?before=-1"), 400, "invalid_query"),
        (format!("{events}?at=yesterday"), 400, "invalid_query"),
        (format!("{events}?format=pdf"), 400, "invalid_query"),
    ] {
        let answer = client.get(&path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().code.as_str()),
            (status, code),
            "{path}"
        );
    }
    // The page shows the same, without a script as well.
    for path in ["/clusters/lab/events", "/fragments/clusters/lab/events"] {
        let page = client.get(path).await.text();
        for expected in [
            "Unreachable",
            "127.0.0.1:1",
            "id=\"e2\"",
            "Down",
            "for <time",
        ] {
            assert!(page.contains(expected), "{expected} in {path}: {page}");
        }
    }
}

/// Three clusters, their true changes, and the replicas that observe them.
struct RandomRun {
    rng: StdRng,
    current: BTreeMap<ClusterName, ClusterState>,
    expected: BTreeMap<ClusterName, Vec<ClusterState>>,
    replicas: Vec<HistoryReplica>,
    started: usize,
}

impl RandomRun {
    fn new(seed: u64) -> Self {
        let clusters = ["lab", "shop", "mail"].map(|name| name.parse::<ClusterName>().unwrap());
        let state = (VerdictState::Healthy, NodeState::Synced);
        Self {
            rng: StdRng::seed_from_u64(seed),
            expected: clusters.clone().map(|name| (name, vec![state])).into(),
            current: clusters.map(|name| (name, state)).into(),
            replicas: Vec::new(),
            started: 0,
        }
    }

    /// Starts another replica, which observes the current states.
    fn add_replica(&mut self, registry: &Registry) {
        self.started += 1;
        let mut replica = HistoryReplica::start(registry, &format!("r{}", self.started));
        for (cluster, state) in &self.current {
            replica.set_state(cluster, *state);
        }
        self.replicas.push(replica);
    }

    /// Changes a random cluster; each replica observes it a little later than the one before.
    async fn change_random_cluster(&mut self) {
        let index = self.rng.random_range(0..self.current.len());
        let (cluster, state) = self.current.iter_mut().nth(index).unwrap();
        let verdicts = VerdictState::ALL;
        let nodes = [NodeState::Synced, NodeState::Donor, NodeState::Unreachable];
        *state = (
            verdicts[self.rng.random_range(0..verdicts.len())],
            nodes[self.rng.random_range(0..nodes.len())],
        );
        self.expected.get_mut(cluster).unwrap().push(*state);
        let mut order: Vec<usize> = (0..self.replicas.len()).collect();
        order.shuffle(&mut self.rng);
        for index in order {
            self.replicas[index].set_state(cluster, *state);
            sleep_millis(self.rng.random_range(0..20)).await;
        }
        sleep_millis(self.rng.random_range(0..80)).await;
    }

    async fn change_randomly_for(&mut self, seconds: u64) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            self.change_random_cluster().await;
        }
    }

    /// The changes that must be recorded of a cluster: each state that follows a different one, once.
    fn expected_changes(&self, cluster: &ClusterName) -> (Vec<&'static str>, Vec<&'static str>) {
        let states = &self.expected[cluster];
        let mut verdicts: Vec<_> = states.iter().map(|state| state.0.as_str()).collect();
        let mut nodes: Vec<_> = states.iter().map(|state| state.1.as_str()).collect();
        verdicts.dedup();
        nodes.dedup();
        (verdicts, nodes)
    }

    /// Waits until everything is recorded, and compares it with the true changes.
    async fn assert_history(&self, seed: u64) {
        let replica = &self.replicas[0].history;
        for cluster in self.current.keys() {
            let (verdicts, nodes) = self.expected_changes(cluster);
            let complete =
                async || all_events(replica, cluster).await.len() >= verdicts.len() + nodes.len();
            let began = Instant::now();
            while !complete().await && began.elapsed() < TIMEOUT {
                sleep_millis(50).await;
            }
            let events = all_events(replica, cluster).await;
            let of = |kind| -> Vec<&'static str> {
                let events = events.iter().filter(|event| event.change.kind() == kind);
                events.map(|event| event.change.new_state_str()).collect()
            };
            for (recorded, changes) in [
                (of(ChangeKind::Verdict), verdicts),
                (of(ChangeKind::Node), nodes),
            ] {
                let differs = recorded
                    .iter()
                    .zip(&changes)
                    .position(|(recorded, changes)| recorded != changes);
                let around = differs
                    .unwrap_or(recorded.len().min(changes.len()))
                    .saturating_sub(3);
                assert_eq!(
                    recorded,
                    changes,
                    "{cluster}, seed {seed}; around number {around}: {:?} instead of {:?}",
                    recorded.iter().skip(around).take(12).collect::<Vec<_>>(),
                    changes.iter().skip(around).take(12).collect::<Vec<_>>(),
                );
            }
            assert!(
                events
                    .iter()
                    .zip(1..)
                    .all(|(event, number)| event.sequence == number)
            );
            assert!(
                events.is_sorted_by_key(|event| event.at),
                "{cluster}, seed {seed}"
            );
        }
    }
}

async fn sleep_millis(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_die_while_states_change_and_every_change_is_recorded_once() {
    let seed = rand::random();
    let mut etcd = TestEtcd::in_memory();
    let registry = etcd.registry();
    let mut run = RandomRun::new(seed);
    for _ in 0..3 {
        run.add_replica(&registry);
    }
    // A replica that has just started records the first views as they are; from then on it misses nothing.
    run.assert_history(seed).await;
    run.change_randomly_for(7).await;
    run.assert_history(seed).await;
    // One crashes, perhaps the leader, and restarts immediately without its memory. The others have observed everything.
    let victim = run.rng.random_range(0..3);
    run.replicas.remove(victim).kill();
    run.add_replica(&registry);
    run.change_randomly_for(14).await;
    run.assert_history(seed).await;
    // etcd fails, another replica crashes during the outage, and one shuts down afterwards.
    etcd.kill();
    run.change_randomly_for(2).await;
    let victim = run.rng.random_range(1..3);
    run.replicas.remove(victim).kill();
    run.add_replica(&registry);
    run.change_randomly_for(2).await;
    etcd.restart().await;
    run.change_randomly_for(1).await;
    let victim = run.rng.random_range(1..3);
    run.replicas.remove(victim).stop().await;
    run.change_randomly_for(2).await;
    run.assert_history(seed).await;
    for replica in &run.replicas {
        for cluster in run.current.keys() {
            let (one, other) = (&run.replicas[0].history, &replica.history);
            let same = async || all_events(one, cluster).await == all_events(other, cluster).await;
            eventually("every replica has the same history", same).await;
            let at = now();
            assert_eq!(one.days(cluster, at, 2), other.days(cluster, at, 2));
        }
    }
}

#[tokio::test]
async fn an_unloaded_history_is_not_reported_as_empty() {
    let etcd = TestEtcd::in_memory();
    let registry = etcd.registry();
    let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let (leadership, _election) = leader::campaign(
        registry.clone(),
        STATE_PREFIX,
        ReplicaId::new("idle"),
        shutdown.clone(),
    );
    let (history, recording) = EventHistory::start(
        HistorySettings {
            state_prefix: STATE_PREFIX.to_owned(),
            replica: ReplicaId::new("idle"),
            retention: Duration::from_secs(86_400),
            changes_max: 1_000,
        },
        registry,
        Monitor::for_publisher(Arc::new(ViewPublisher::new()), tracker.clone()),
        leadership,
        shutdown.clone(),
    );
    let early = history.page(&lab(), &HistoryQuery::default()).await;
    assert!(matches!(early, Err(HistoryError::NotLoaded)), "{early:?}");
    tracker.spawn(recording);
    eventually("it is loaded", async || history.is_loaded()).await;
    let page = history
        .page(&lab(), &HistoryQuery::default())
        .await
        .unwrap();
    assert!(page.events.is_empty());
    shutdown.cancel();
}
