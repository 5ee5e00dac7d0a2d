//! The chronicle on a real etcd: replicas that come and go record every change once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use console_core::clock::now;
use console_core::leader;
use galera::ClusterName;
use galera::access::Role;
use galera::judge::cluster::{Settings, fold};
use galera::observe::observation::Evidence;
use galera::publish::api::EventPage;
use galera::record::history::{Change, Event, Kind};
use galera::record::uptime;
use galera::view::{ClusterView, NodeState, NodeView, RegistryHealth, VerdictState};
use history::{Chronicle, ChronicleError, ChronicleSettings, Keys, Query};
use monitor::{Board, Hub, Publisher};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use registry::Registry;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::client::{Console, STATE};
use crate::etcd::{Etcd, PATIENCE, eventually};

/// The states of one cluster at one moment: its verdict and its node's.
type Scene = (VerdictState, NodeState);

/// A replica whose hub sees what the test says.
pub(crate) struct Replica {
    board: Arc<Board>,
    publishers: BTreeMap<ClusterName, Publisher>,
    pub(crate) chronicle: Chronicle,
    stop: Option<DropGuard>,
    /// Kept while it is killed without any last word.
    tracker: TaskTracker,
    tasks: Vec<tokio::task::AbortHandle>,
}

impl Replica {
    pub(crate) fn start(registry: &Registry, name: &str) -> Self {
        Self::keeping(registry, name, Duration::from_secs(90 * 86_400), 200_000)
    }

    fn keeping(registry: &Registry, name: &str, retention: Duration, changes_max: u64) -> Self {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let board = Arc::new(Board::new());
        let hub = Hub::reading(Arc::clone(&board), tracker.clone());
        let (leadership, election) =
            leader::campaign(registry.clone(), STATE, name.to_owned(), shutdown.clone());
        let settings = ChronicleSettings {
            state_prefix: STATE.to_owned(),
            replica: name.to_owned(),
            retention,
            changes_max,
        };
        let (chronicle, recording) = Chronicle::open(
            settings,
            registry.clone(),
            hub,
            leadership,
            shutdown.clone(),
        );
        let tasks = vec![
            tracker.spawn(election).abort_handle(),
            tracker.spawn(recording).abort_handle(),
        ];
        Self {
            board,
            publishers: BTreeMap::new(),
            chronicle,
            stop: Some(shutdown.drop_guard()),
            tracker,
            tasks,
        }
    }

    /// Its hub sees this now.
    pub(crate) fn sees(&mut self, cluster: &ClusterName, scene: Scene) {
        let publisher = self
            .publishers
            .entry(cluster.clone())
            .or_insert_with(|| self.board.publisher(cluster.clone()));
        publisher.publish(view(cluster, scene));
    }

    /// Ends it in order.
    async fn stop(mut self) {
        drop(self.stop.take());
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Ends it as a crash would: no last word, and its lease lives on.
    fn kill(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        if let Some(stop) = self.stop.take() {
            stop.disarm();
        }
    }
}

fn view(cluster: &ClusterName, (verdict, node): Scene) -> ClusterView {
    let health = RegistryHealth {
        reachable: true,
        since: now(),
        error: None,
    };
    let evidence = Evidence::new(cluster.clone(), health);
    let mut view = fold(&evidence, now(), &Settings::default(), None);
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

async fn all(chronicle: &Chronicle, cluster: &ClusterName) -> Vec<Event> {
    chronicle.after(cluster, 0, usize::MAX).await.unwrap()
}

fn words(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.change.to_word()).collect()
}

async fn recorded(replica: &Replica, cluster: &ClusterName, count: usize) -> Vec<Event> {
    let what = format!("{count} events of {cluster}");
    eventually(&what, async || {
        all(&replica.chronicle, cluster).await.len() >= count
    })
    .await;
    let events = all(&replica.chronicle, cluster).await;
    assert_eq!(events.len(), count, "{:?}", words(&events));
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
    let etcd = Etcd::start().await;
    let registry = etcd.registry();
    let mut first = Replica::start(&registry, "r1");
    let before = now();
    first.sees(&lab(), (VerdictState::Healthy, NodeState::Synced));
    recorded(&first, &lab(), 2).await;
    first.sees(&lab(), (VerdictState::Degraded, NodeState::Unreachable));
    let events = recorded(&first, &lab(), 4).await;
    assert_eq!(
        words(&events),
        ["synced", "healthy", "unreachable", "degraded"]
    );
    assert!(
        events
            .iter()
            .all(|event| event.at >= before && event.at <= now())
    );
    let since = first.chronicle.verdict_since(&lab()).unwrap();
    assert_eq!(since, (VerdictState::Degraded, events[3].at));
    first.stop().await;
    // A new one, at once, sees the same.
    let mut second = Replica::start(&registry, "r2");
    second.sees(&lab(), (VerdictState::Degraded, NodeState::Unreachable));
    second.sees(&lab(), (VerdictState::Healthy, NodeState::Synced));
    recorded(&second, &lab(), 6).await;
    second.stop().await;
    // As if nobody had been there for an hour.
    let keys = Keys::new(STATE);
    let hour = serde_json::json!({"until": now().minus(Duration::from_secs(3_600)), "by": "r2"});
    registry
        .put(keys.observed(), hour.to_string(), None)
        .await
        .unwrap();
    let mut third = Replica::start(&registry, "r3");
    third.sees(&lab(), (VerdictState::Healthy, NodeState::Synced));
    let events = recorded(&third, &lab(), 8).await;
    assert_eq!(words(&events[6..]), ["unknown", "healthy"]);
    let Change::Verdict { reasons, .. } = &events[6].change else {
        panic!("{:?}", events[6]);
    };
    assert_eq!(reasons[0].code, galera::view::ReasonCode::ConsoleBlind);
    let spent = uptime::total(&third.chronicle.days(&lab(), now(), 2));
    assert!(spent.unknown > 0 && spent.down == 0, "{spent:?}");
    third.stop().await;
}

#[tokio::test]
async fn older_events_lie_in_blocks_until_they_are_let_go() {
    let etcd = Etcd::start().await;
    let registry = etcd.registry();
    let mut replica = Replica::start(&registry, "r1");
    replica.sees(&lab(), (VerdictState::Healthy, NodeState::Synced));
    let middle = recorded(&replica, &lab(), 2).await[1].at;
    eventually("a moment passes", async || now() > middle).await;
    for round in 0..600 {
        let scene = match round % 2 {
            0 => (VerdictState::Degraded, NodeState::Unreachable),
            _ => (VerdictState::Healthy, NodeState::Synced),
        };
        replica.sees(&lab(), scene);
    }
    recorded(&replica, &lab(), 1_202).await;
    let keys = Keys::new(STATE);
    let tail = async || {
        registry
            .list(keys.tail(&lab()))
            .await
            .unwrap()
            .entries
            .len()
    };
    eventually("two blocks are made", async || tail().await == 202).await;
    let block = registry.get(keys.block(&lab(), 1)).await.unwrap().unwrap();
    assert!(block.value.len() < 4_000, "{} bytes", block.value.len());

    // Pages backwards and forwards, over the boundaries of blocks, with and without filters.
    let chronicle = &replica.chronicle;
    let query = |before, after, state: Option<&str>| Query {
        before,
        after,
        limit: 90,
        state: state.map(str::to_owned),
        ..Query::default()
    };
    let mut backwards = Vec::new();
    let mut before = None;
    loop {
        let page = chronicle
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
    let page = chronicle
        .page(&lab(), &query(None, Some(960), None))
        .await
        .unwrap();
    let numbers: Vec<u64> = page.events.iter().map(|event| event.sequence).collect();
    assert!(
        numbers.iter().copied().eq((961..=1_050).rev()),
        "{numbers:?}"
    );
    assert_eq!(page.next_before, Some(961));
    let page = chronicle
        .page(&lab(), &query(None, None, Some("degraded")))
        .await
        .unwrap();
    assert_eq!(page.events.len(), 90);
    assert!(
        page.events
            .iter()
            .all(|event| event.change.to_word() == "degraded")
    );
    let at = Query {
        at: Some(middle),
        ..query(None, None, None)
    };
    let page = chronicle.page(&lab(), &at).await.unwrap();
    assert_eq!(
        page.events
            .iter()
            .map(|event| event.sequence)
            .collect::<Vec<_>>(),
        [2, 1]
    );
    replica.stop().await;

    // A smaller bound lets the oldest block go; no retention at all leaves only what is now.
    let replica = Replica::keeping(&registry, "r2", Duration::from_secs(86_400), 800);
    let first = async |replica: &Replica| {
        let events = all(&replica.chronicle, &lab()).await;
        events.first().map(|event| event.sequence)
    };
    eventually("the oldest block goes", async || {
        first(&replica).await == Some(501)
    })
    .await;
    assert!(registry.get(keys.block(&lab(), 0)).await.unwrap().is_none());
    replica.stop().await;
    let replica = Replica::keeping(&registry, "r3", Duration::ZERO, 800);
    eventually("everything old goes", async || {
        first(&replica).await == Some(1_202)
    })
    .await;
    let verdict = replica
        .chronicle
        .verdict_since(&lab())
        .map(|(verdict, _)| verdict);
    assert_eq!(verdict, Some(VerdictState::Healthy));
    replica.stop().await;
}

#[tokio::test]
async fn events_over_http() {
    let etcd = Etcd::start().await;
    let console = Console::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let events = "/api/v1/clusters/lab/events";
    // The lab's only node refuses connections.
    eventually("the first events", async || {
        let page: EventPage = client.get(events).await.json();
        words(&page.events) == ["down", "unreachable"]
    })
    .await;
    let page: EventPage = client
        .get(&format!("{events}?kind=node&limit=1"))
        .await
        .json();
    assert_eq!(words(&page.events), ["unreachable"]);
    assert_eq!(page.next_before, None);
    let page: EventPage = client.get(&format!("{events}?limit=1")).await.json();
    assert_eq!(
        (words(&page.events), page.next_before),
        (vec!["down"], Some(2))
    );
    let page: EventPage = client.get(&format!("{events}?before=2")).await.json();
    assert_eq!(words(&page.events), ["unreachable"]);
    let page: EventPage = client.get(&format!("{events}?node=127.0.0.9")).await.json();
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
    // The page says the same in words, without a script as well.
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

/// Three clusters, what truly happened to them, and the replicas that look at them.
struct Drama {
    rng: StdRng,
    scenes: BTreeMap<ClusterName, Scene>,
    truth: BTreeMap<ClusterName, Vec<Scene>>,
    replicas: Vec<Replica>,
    started: usize,
}

impl Drama {
    fn new(seed: u64) -> Self {
        let clusters = ["lab", "shop", "mail"].map(|name| name.parse::<ClusterName>().unwrap());
        let scene = (VerdictState::Healthy, NodeState::Synced);
        Self {
            rng: StdRng::seed_from_u64(seed),
            truth: clusters.clone().map(|name| (name, vec![scene])).into(),
            scenes: clusters.map(|name| (name, scene)).into(),
            replicas: Vec::new(),
            started: 0,
        }
    }

    /// One more replica, which sees what is at the moment.
    fn enter(&mut self, registry: &Registry) {
        self.started += 1;
        let mut replica = Replica::start(registry, &format!("r{}", self.started));
        for (cluster, scene) in &self.scenes {
            replica.sees(cluster, *scene);
        }
        self.replicas.push(replica);
    }

    /// Something happens to a cluster; each replica sees it a little later than the one before.
    async fn happen(&mut self) {
        let index = self.rng.random_range(0..self.scenes.len());
        let (cluster, scene) = self.scenes.iter_mut().nth(index).unwrap();
        let verdicts = VerdictState::ALL;
        let nodes = [NodeState::Synced, NodeState::Donor, NodeState::Unreachable];
        *scene = (
            verdicts[self.rng.random_range(0..verdicts.len())],
            nodes[self.rng.random_range(0..nodes.len())],
        );
        self.truth.get_mut(cluster).unwrap().push(*scene);
        let mut order: Vec<usize> = (0..self.replicas.len()).collect();
        order.shuffle(&mut self.rng);
        for index in order {
            self.replicas[index].sees(cluster, *scene);
            pass(self.rng.random_range(0..20)).await;
        }
        pass(self.rng.random_range(0..80)).await;
    }

    async fn happen_for(&mut self, seconds: u64) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            self.happen().await;
        }
    }

    /// What the chronicle must say of a cluster: each state after another one, once.
    fn expected(&self, cluster: &ClusterName) -> (Vec<&'static str>, Vec<&'static str>) {
        let scenes = &self.truth[cluster];
        let mut verdicts: Vec<_> = scenes.iter().map(|scene| scene.0.word()).collect();
        let mut nodes: Vec<_> = scenes.iter().map(|scene| scene.1.word()).collect();
        verdicts.dedup();
        nodes.dedup();
        (verdicts, nodes)
    }

    /// Waits until everything is recorded, and compares it with what happened.
    async fn compare(&self, seed: u64) {
        let replica = &self.replicas[0].chronicle;
        for cluster in self.scenes.keys() {
            let (verdicts, nodes) = self.expected(cluster);
            let complete =
                async || all(replica, cluster).await.len() >= verdicts.len() + nodes.len();
            let began = Instant::now();
            while !complete().await && began.elapsed() < PATIENCE {
                pass(50).await;
            }
            let events = all(replica, cluster).await;
            let of = |kind| -> Vec<&'static str> {
                let events = events.iter().filter(|event| event.change.kind() == kind);
                events.map(|event| event.change.to_word()).collect()
            };
            for (told, happened) in [(of(Kind::Verdict), verdicts), (of(Kind::Node), nodes)] {
                let differs = told
                    .iter()
                    .zip(&happened)
                    .position(|(told, happened)| told != happened);
                let around = differs
                    .unwrap_or(told.len().min(happened.len()))
                    .saturating_sub(3);
                assert_eq!(
                    told,
                    happened,
                    "{cluster}, seed {seed}; around number {around}: {:?} instead of {:?}",
                    told.iter().skip(around).take(12).collect::<Vec<_>>(),
                    happened.iter().skip(around).take(12).collect::<Vec<_>>(),
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

/// Time passes, as it does in what is told here.
async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_die_while_states_change_and_every_change_is_recorded_once() {
    let seed = rand::random();
    let mut etcd = Etcd::start().await;
    let registry = etcd.registry();
    let mut drama = Drama::new(seed);
    for _ in 0..3 {
        drama.enter(&registry);
    }
    // A console that has only just started takes the first views as they are; from then on it misses nothing.
    drama.compare(seed).await;
    drama.happen_for(7).await;
    drama.compare(seed).await;
    // One crashes, perhaps the leader, and is back at once without any memory. The others have seen everything.
    let victim = drama.rng.random_range(0..3);
    drama.replicas.remove(victim).kill();
    drama.enter(&registry);
    drama.happen_for(14).await;
    drama.compare(seed).await;
    // etcd is away, one more crashes meanwhile, and another one stops in order afterwards.
    etcd.kill();
    drama.happen_for(2).await;
    let victim = drama.rng.random_range(1..3);
    drama.replicas.remove(victim).kill();
    drama.enter(&registry);
    drama.happen_for(2).await;
    etcd.resume().await;
    drama.happen_for(1).await;
    let victim = drama.rng.random_range(1..3);
    drama.replicas.remove(victim).stop().await;
    drama.happen_for(2).await;
    drama.compare(seed).await;
    for replica in &drama.replicas {
        for cluster in drama.scenes.keys() {
            let (one, other) = (&drama.replicas[0].chronicle, &replica.chronicle);
            let same = async || all(one, cluster).await == all(other, cluster).await;
            eventually("every replica tells the same", same).await;
            let at = now();
            assert_eq!(one.days(cluster, at, 2), other.days(cluster, at, 2));
        }
    }
}

#[tokio::test]
async fn what_was_not_read_is_not_called_empty() {
    let etcd = Etcd::start().await;
    let registry = etcd.registry();
    let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let (leadership, _election) =
        leader::campaign(registry.clone(), STATE, "idle".to_owned(), shutdown.clone());
    let (chronicle, recording) = Chronicle::open(
        ChronicleSettings {
            state_prefix: STATE.to_owned(),
            replica: "idle".to_owned(),
            retention: Duration::from_secs(86_400),
            changes_max: 1_000,
        },
        registry,
        Hub::reading(Arc::new(Board::new()), tracker.clone()),
        leadership,
        shutdown.clone(),
    );
    let early = chronicle.page(&lab(), &Query::default()).await;
    assert!(matches!(early, Err(ChronicleError::Unread)), "{early:?}");
    tracker.spawn(recording);
    eventually("it is read", async || chronicle.is_read()).await;
    let page = chronicle.page(&lab(), &Query::default()).await.unwrap();
    assert!(page.events.is_empty());
    shutdown.cancel();
}
