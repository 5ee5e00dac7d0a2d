//! An owner with scripted inputs and without a database, under a clock that only moves when everybody waits.

use galera::observe::wsrep::WsrepStatus;
use galera::view::NodeState;
use registry::{KeyChange, RegistryEntry};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::*;
use crate::debounce::FOLD_INTERVAL_MIN;
use crate::publisher::ClusterFeed;

const POLL: Duration = Duration::from_secs(1);

/// Nobody is asked; the test reports instead.
struct NoopProber;

impl Prober for NoopProber {
    fn start(&self, _: &NodeId, _: Arc<Notify>, _: CancellationToken) {}
    fn forget(&self, _: &NodeId) {}
}

struct MonitorFixture {
    board: Arc<ViewPublisher>,
    inputs: mpsc::Sender<MonitorInput>,
    reports: mpsc::Sender<ProbeReport>,
    leases: mpsc::Receiver<LeaseLookup>,
    members_updates: mpsc::Receiver<ExpectedMembersUpdate>,
    stop: CancellationToken,
}

impl MonitorFixture {
    fn start(configured: &[&str]) -> Self {
        let board = Arc::new(ViewPublisher::new());
        board.set_health(RegistryHealth {
            reachable: true,
            since: now(),
            error: None,
        });
        let (inputs, inbox) = mpsc::channel(QUEUE);
        let (reports, reported) = mpsc::channel(QUEUE);
        let (lease_sender, leases) = mpsc::channel(QUEUE);
        let (memory, members_updates) = mpsc::channel(QUEUE);
        let around = MonitorContext {
            registry_prefix: "/galera".to_owned(),
            fold_settings: FoldSettings::default(),
            poll_interval: POLL,
            leases: lease_sender,
            expected_members: memory,
            known_positions: mpsc::channel(QUEUE).0,
            publisher: Arc::clone(&board),
            metrics: Arc::default(),
        };
        let configured = configured.iter().map(|id| id.parse().unwrap()).collect();
        let health = board.health();
        let present = health.borrow().clone();
        let owner = ClusterMonitor::new(
            "lab".parse().unwrap(),
            configured,
            present,
            Box::new(NoopProber),
            around,
        );
        let inbox = InputChannels {
            inputs: inbox,
            own_inputs: inputs.clone(),
            reports: reported,
            health,
        };
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(owner.run(inbox, stop.clone()));
        Self {
            board,
            inputs,
            reports,
            leases,
            members_updates,
            stop,
        }
    }

    async fn feed(&self) -> ClusterFeed {
        let mut directory = self.board.directory();
        let name = "lab".parse().unwrap();
        let directory = directory
            .wait_for(|directory| directory.contains_key(&name))
            .await
            .unwrap();
        directory[&name].clone()
    }

    async fn put(&self, key: &str, value: &str, lease: LeaseId, mod_revision: i64) {
        let entry = RegistryEntry {
            key: format!("/galera/lab/{key}").into_bytes(),
            value: value.into(),
            create_revision: 1,
            mod_revision,
            version: 1,
            lease,
        };
        self.inputs
            .send(MonitorInput::Changes(vec![KeyChange::Put(entry)]))
            .await
            .unwrap();
    }

    async fn report_status(&self, node: &str, seqno: u64, members: &str) {
        let size = members.split(',').count().to_string();
        let uuid = "6f1e27a1-0000-11ef-8a3c-1a2b3c4d5e6f";
        let seqno = seqno.to_string();
        let rows = [
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_local_state", "4"),
            ("wsrep_local_state_comment", "Synced"),
            ("wsrep_cluster_state_uuid", uuid),
            ("wsrep_local_state_uuid", uuid),
            ("wsrep_cluster_conf_id", "3"),
            ("wsrep_cluster_size", size.as_str()),
            ("wsrep_incoming_addresses", members),
            ("wsrep_last_committed", seqno.as_str()),
            ("wsrep_ready", "ON"),
            ("wsrep_connected", "ON"),
        ];
        let report = ProbeReport {
            node: node.parse().unwrap(),
            at: now(),
            outcome: Ok(WsrepStatus::from_rows(rows)),
        };
        self.reports.send(report).await.unwrap();
    }
}

async fn next_view(feed: &mut ClusterFeed) -> (Duration, ClusterView) {
    let asked = Instant::now();
    timeout(Duration::from_secs(60), feed.changed())
        .await
        .unwrap()
        .unwrap();
    (asked.elapsed(), feed.borrow_and_update().value.clone())
}

#[tokio::test(start_paused = true)]
async fn a_registry_change_is_published_at_once_and_a_burst_once() {
    let bench = MonitorFixture::start(&[]);
    let mut feed = bench.feed().await;
    sleep(POLL / 2).await;
    feed.mark_unchanged();
    bench
        .put("db1/wsrep_local_state_comment", "Synced", 7, 2)
        .await;
    let (waited, view) = next_view(&mut feed).await;
    assert!(waited <= Duration::from_millis(1), "{waited:?}");
    assert!(view.nodes.iter().any(|node| node.registered));
    for revision in 3..60 {
        bench
            .put(
                "db1/wsrep_last_committed",
                &revision.to_string(),
                7,
                revision,
            )
            .await;
    }
    let before = feed.borrow().revision;
    let (waited, view) = next_view(&mut feed).await;
    assert!(waited <= Duration::from_millis(50), "{waited:?}");
    sleep(Duration::from_millis(100)).await;
    let folds = feed.borrow().revision - before;
    assert!(folds <= 2, "{folds} publications for one burst");
    assert_eq!(view.nodes.len(), 1);
    bench.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_state_of_a_moment_is_published_and_stands_until_the_next_fold() {
    let bench = MonitorFixture::start(&[]);
    let mut feed = bench.feed().await;
    let states = ["Joining", "Joined", "Synced", "Donor/Desynced", "Synced"];
    for (state, revision) in states.iter().zip(2..) {
        bench
            .put("db1/wsrep_local_state_comment", state, 7, revision)
            .await;
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&states[4].to_owned()) || seen.len() < states.len() {
        let (waited, view) = next_view(&mut feed).await;
        let sources = view.nodes.into_iter().flat_map(|node| node.sources);
        let told: Vec<_> = sources.filter_map(|source| source.state).collect();
        assert!(
            seen.is_empty() || waited >= FOLD_INTERVAL_MIN / 2,
            "{waited:?}"
        );
        seen.extend(
            told.into_iter()
                .filter(|state| seen.last() != Some(state))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen, states);
    bench.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_hide_the_states_that_were_told_before_it() {
    let bench = MonitorFixture::start(&["db1"]);
    let mut feed = bench.feed().await;
    bench.report_status("db1", 10, "db1:3306").await;
    // Times are told by the clock of the machine.
    let later = std::time::Instant::now() + Duration::from_millis(5);
    while std::time::Instant::now() < later {
        sleep(FOLD_INTERVAL_MIN).await;
    }
    feed.mark_unchanged();
    for (state, revision) in ["Donor/Desynced", "Joined"].iter().zip(2..) {
        bench
            .put("db1/wsrep_local_state_comment", state, 7, revision)
            .await;
    }
    bench.report_status("db1", 11, "db1:3306").await;
    let mut seen = Vec::new();
    while seen.last() != Some(&NodeState::Synced) {
        let (_, view) = next_view(&mut feed).await;
        let state = view.nodes[0].state;
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        assert!(seen.len() < 5, "{seen:?}");
    }
    assert_eq!(
        seen,
        [NodeState::Donor, NodeState::Joined, NodeState::Synced]
    );
    bench.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_is_published_once_an_interval() {
    let bench = MonitorFixture::start(&["db1"]);
    let mut feed = bench.feed().await;
    feed.mark_unchanged();
    let first = feed.borrow().revision;
    sleep(POLL * 10).await;
    let published = feed.borrow().revision - first;
    assert!(
        (9..=11).contains(&published),
        "{published} publications in ten intervals"
    );
    bench.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn members_of_a_primary_component_are_remembered_until_that_is_written() {
    let mut bench = MonitorFixture::start(&["db1"]);
    let mut feed = bench.feed().await;
    bench.report_status("db1", 10, "db1:3306,db2:3306").await;
    let wish = timeout(POLL, bench.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    let members: BTreeSet<NodeId> = ["db1", "db2"].map(|id| id.parse().unwrap()).into();
    assert_eq!(wish.members, members);
    let again = timeout(MEMBERS_RETRY * 2, bench.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.members, members, "repeated while nothing confirms it");
    bench
        .inputs
        .send(MonitorInput::ExpectedMembers(members.clone()))
        .await
        .unwrap();
    let more = timeout(MEMBERS_RETRY * 3, bench.members_updates.recv()).await;
    assert!(more.is_err(), "nothing to repeat once it is written");
    let (_, view) = next_view(&mut feed).await;
    let expected: BTreeSet<NodeId> = view.expected_members.into_iter().collect();
    assert_eq!(expected, members);
    bench.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_remembers_is_taken_and_not_contested() {
    let mut bench = MonitorFixture::start(&["db1"]);
    bench.feed().await;
    bench.report_status("db1", 10, "db1:3306").await;
    let wish = timeout(POLL, bench.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    bench
        .inputs
        .send(MonitorInput::ExpectedMembers(wish.members))
        .await
        .unwrap();
    let theirs: BTreeSet<NodeId> = ["db1", "db9"].map(|id| id.parse().unwrap()).into();
    bench
        .inputs
        .send(MonitorInput::ExpectedMembers(theirs))
        .await
        .unwrap();
    for seqno in 11..20 {
        bench.report_status("db1", seqno, "db1:3306").await;
        sleep(POLL).await;
    }
    assert!(
        bench.members_updates.try_recv().is_err(),
        "only a change under our own eyes is written"
    );
    let feed = bench.feed().await;
    assert_eq!(feed.borrow().value.expected_members.len(), 2);
    bench.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn each_lease_is_asked_for_once() {
    let mut bench = MonitorFixture::start(&[]);
    bench.put("db1/wsrep_ready", "ON", 7, 2).await;
    bench.put("db1/wsrep_connected", "ON", 7, 2).await;
    bench.put("db2/wsrep_ready", "ON", 8, 3).await;
    sleep(POLL * 3).await;
    let mut asked = Vec::new();
    while let Ok(question) = bench.leases.try_recv() {
        asked.push(question.lease);
    }
    assert_eq!(asked, [7, 8]);
    bench.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_late_report_does_not_bring_a_node_back() {
    let bench = MonitorFixture::start(&["db1"]);
    bench.report_status("stranger", 1, "stranger:3306").await;
    sleep(POLL * 2).await;
    let feed = bench.feed().await;
    let ids: Vec<_> = feed
        .borrow()
        .value
        .nodes
        .iter()
        .map(|node| node.id.to_string())
        .collect();
    assert!(!ids.contains(&"stranger".to_owned()), "{ids:?}");
    bench.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_owner_takes_its_cluster_off_the_board() {
    let bench = MonitorFixture::start(&["db1"]);
    bench.feed().await;
    bench.stop.cancel();
    let mut directory = bench.board.directory();
    let gone = directory.wait_for(|directory| directory.is_empty());
    timeout(POLL, gone).await.unwrap().unwrap();
}
