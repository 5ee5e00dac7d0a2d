//! A cluster monitor with scripted inputs and without a database, under a paused clock.

use console_core::current_labels::CurrentLabels;
use galera::observe::wsrep::WsrepStatus;
use galera::view::NodeState;
use registry::{KeyChange, RegistryEntry};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::recording::MEMBERS_RETRY;
use super::*;
use crate::converge::TamperedRecords;
use crate::debounce::FOLD_INTERVAL_MIN;
use crate::expected_members::MembershipUpdate;
use crate::publisher::ClusterFeed;

const POLL: Duration = Duration::from_secs(1);

/// Probes nothing; the test sends reports instead.
struct NoopProber;

impl Prober for NoopProber {
    fn start(&self, _: &NodeId, _: Arc<Notify>, _: CancellationToken) {}
    fn forget(&self, _: &NodeId) {}
}

/// What a monitor needs; nothing receives what it sends.
fn context(publisher: &Arc<ViewPublisher>) -> MonitorContext {
    MonitorContext {
        labels: CurrentLabels::default().subscribe(),
        registry_prefix: "/galera".to_owned(),
        fold_settings: FoldSettings::default(),
        poll_interval: POLL,
        leases: mpsc::channel(QUEUE).0,
        expected_members: mpsc::channel(QUEUE).0,
        known_positions: mpsc::channel(QUEUE).0,
        history_alarms: mpsc::channel(QUEUE).0,
        publisher: Arc::clone(publisher),
        metrics: Arc::default(),
    }
}

struct MonitorFixture {
    publisher: Arc<ViewPublisher>,
    inputs: mpsc::Sender<MonitorInput>,
    reports: mpsc::Sender<ProbeReport>,
    leases: mpsc::Receiver<LeaseLookup>,
    members_updates: mpsc::Receiver<MembershipUpdate>,
    stop: CancellationToken,
}

impl MonitorFixture {
    fn start(configured: &[&str]) -> Self {
        let publisher = Arc::new(ViewPublisher::new());
        publisher.set_health(RegistryHealth {
            reachable: true,
            since: now(),
            error: None,
        });
        let (inputs, receiver) = mpsc::channel(QUEUE);
        let (reports, reported) = mpsc::channel(QUEUE);
        let (lease_sender, leases) = mpsc::channel(QUEUE);
        let (members_sender, members_updates) = mpsc::channel(QUEUE);
        let context = MonitorContext {
            leases: lease_sender,
            expected_members: members_sender,
            ..context(&publisher)
        };
        let configured = configured.iter().map(|id| id.parse().unwrap()).collect();
        let health = publisher.health();
        let current = health.borrow().clone();
        let monitor = ClusterMonitor::new(
            "lab".parse().unwrap(),
            configured,
            current,
            Box::new(NoopProber),
            context,
        );
        let channels = InputChannels {
            inputs: receiver,
            own_inputs: inputs.clone(),
            reports: reported,
            health,
        };
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(monitor.run(channels, stop.clone()));
        Self {
            publisher,
            inputs,
            reports,
            leases,
            members_updates,
            stop,
        }
    }

    async fn feed(&self) -> ClusterFeed {
        let mut directory = self.publisher.directory();
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

    /// The monitor reads what `update` makes of an empty record.
    async fn record(&self, update: &MembershipUpdate) {
        let empty = MembershipRecord::default();
        let record = empty.updated(update.members.as_ref(), &update.confirmed, now());
        let input = MonitorInput::Membership(Some(Box::new(record)));
        self.inputs.send(input).await.unwrap();
    }

    async fn report_status(&self, node: &str, seqno: u64, members: &str) {
        self.report_status_at(now(), node, seqno, members).await;
    }

    async fn report_status_at(&self, at: Timestamp, node: &str, seqno: u64, members: &str) {
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
            at,
            took: Duration::from_millis(1),
            connected_to: None,
            outcome: Ok(WsrepStatus::from_rows(rows)),
        };
        self.reports.send(report).await.unwrap();
    }
}

async fn next_view(feed: &mut ClusterFeed) -> (Duration, ClusterView) {
    let started = Instant::now();
    timeout(Duration::from_secs(60), feed.changed())
        .await
        .unwrap()
        .unwrap();
    (started.elapsed(), feed.borrow_and_update().value.clone())
}

#[tokio::test(start_paused = true)]
async fn a_registry_change_is_published_immediately_and_a_burst_once() {
    let fixture = MonitorFixture::start(&[]);
    let mut feed = fixture.feed().await;
    sleep(POLL / 2).await;
    feed.mark_unchanged();
    fixture
        .put("db1/wsrep_local_state_comment", "Synced", 7, 2)
        .await;
    let (waited, view) = next_view(&mut feed).await;
    assert!(waited <= Duration::from_millis(1), "{waited:?}");
    assert!(view.nodes.iter().any(|node| node.registered));
    for revision in 3..60 {
        let phase = match revision % 2 {
            0 => "joining",
            _ => "running",
        };
        fixture.put("db1/phase", phase, 7, revision).await;
    }
    let before = feed.borrow().revision;
    let (waited, view) = next_view(&mut feed).await;
    assert!(waited <= Duration::from_millis(50), "{waited:?}");
    sleep(Duration::from_millis(100)).await;
    let folds = feed.borrow().revision - before;
    assert!(folds <= 2, "{folds} publications for one burst");
    assert_eq!(view.nodes.len(), 1);
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_momentary_state_is_published_until_the_next_fold() {
    let fixture = MonitorFixture::start(&[]);
    let mut feed = fixture.feed().await;
    let states = ["Joining", "Joined", "Synced", "Donor/Desynced", "Synced"];
    for (state, revision) in states.iter().zip(2..) {
        fixture
            .put("db1/wsrep_local_state_comment", state, 7, revision)
            .await;
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&states[4].to_owned()) || seen.len() < states.len() {
        let (waited, view) = next_view(&mut feed).await;
        let sources = view.nodes.into_iter().flat_map(|node| node.sources);
        let reported: Vec<_> = sources.filter_map(|source| source.state).collect();
        assert!(
            seen.is_empty() || waited >= FOLD_INTERVAL_MIN / 2,
            "{waited:?}"
        );
        seen.extend(
            reported
                .into_iter()
                .filter(|state| seen.last() != Some(state))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen, states);
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_probe_report_does_not_hide_earlier_registry_states() {
    let fixture = MonitorFixture::start(&["db1"]);
    let mut feed = fixture.feed().await;
    fixture.report_status("db1", 10, "db1:3306").await;
    // Timestamps come from the system clock, which is not paused.
    let later = std::time::Instant::now() + Duration::from_millis(5);
    while std::time::Instant::now() < later {
        sleep(FOLD_INTERVAL_MIN).await;
    }
    feed.mark_unchanged();
    for (state, revision) in ["Donor/Desynced", "Joined"].iter().zip(2..) {
        fixture
            .put("db1/wsrep_local_state_comment", state, 7, revision)
            .await;
    }
    // Let the monitor receive both states before the report; it stamps them on receipt.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let later = now().plus(Duration::from_secs(1));
    fixture.report_status_at(later, "db1", 11, "db1:3306").await;
    let mut seen = Vec::new();
    for _ in 0..100 {
        if seen.last() == Some(&NodeState::Synced) {
            break;
        }
        let (_, view) = next_view(&mut feed).await;
        let state = view.nodes[0].state;
        // A periodic publication of the first report may precede the states.
        let initial = seen.is_empty() && state == NodeState::Synced;
        if !initial && seen.last() != Some(&state) {
            seen.push(state);
        }
        assert!(seen.len() < 5, "{seen:?}");
    }
    assert_eq!(
        seen,
        [NodeState::Donor, NodeState::Joined, NodeState::Synced]
    );
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_cluster_is_published_once_per_interval() {
    let fixture = MonitorFixture::start(&["db1"]);
    let mut feed = fixture.feed().await;
    feed.mark_unchanged();
    let first = feed.borrow().revision;
    sleep(POLL * 10).await;
    let published = feed.borrow().revision - first;
    assert!(
        (9..=11).contains(&published),
        "{published} publications in ten intervals"
    );
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn primary_members_are_sent_until_their_record_is_confirmed() {
    let mut fixture = MonitorFixture::start(&["db1"]);
    let mut feed = fixture.feed().await;
    fixture.report_status("db1", 10, "db1:3306,db2:3306").await;
    let update = timeout(POLL, fixture.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    let members: BTreeSet<NodeId> = ["db1", "db2"].map(|id| id.parse().unwrap()).into();
    assert_eq!(update.members.as_ref(), Some(&members));
    let again = timeout(MEMBERS_RETRY * 2, fixture.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        again.members.as_ref(),
        Some(&members),
        "repeated while nothing confirms it"
    );
    fixture.record(&update).await;
    let more = timeout(MEMBERS_RETRY * 3, fixture.members_updates.recv()).await;
    assert!(more.is_err(), "nothing to repeat once it is written");
    let (_, view) = next_view(&mut feed).await;
    let expected: BTreeSet<NodeId> = view.expected_members.into_iter().collect();
    assert_eq!(expected, members);
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn members_recorded_by_another_replica_are_adopted() {
    let mut fixture = MonitorFixture::start(&["db1"]);
    fixture.feed().await;
    fixture.report_status("db1", 10, "db1:3306").await;
    let update = timeout(POLL, fixture.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    fixture.record(&update).await;
    let other_members: BTreeSet<NodeId> = ["db1", "db9"].map(|id| id.parse().unwrap()).into();
    let other = MembershipUpdate {
        members: Some(other_members),
        ..update
    };
    fixture.record(&other).await;
    for seqno in 11..20 {
        fixture.report_status("db1", seqno, "db1:3306").await;
        sleep(POLL).await;
    }
    assert!(
        fixture.members_updates.try_recv().is_err(),
        "only a change that this replica saw is written"
    );
    let feed = fixture.feed().await;
    assert_eq!(feed.borrow().value.expected_members.len(), 2);
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn each_lease_is_looked_up_once() {
    let mut fixture = MonitorFixture::start(&[]);
    fixture.put("db1/wsrep_ready", "ON", 7, 2).await;
    fixture.put("db1/wsrep_connected", "ON", 7, 2).await;
    fixture.put("db2/wsrep_ready", "ON", 8, 3).await;
    sleep(POLL * 3).await;
    let mut requested = Vec::new();
    while let Ok(lookup) = fixture.leases.try_recv() {
        requested.push(lookup.lease);
    }
    assert_eq!(requested, [7, 8]);
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_late_report_does_not_bring_a_node_back() {
    let fixture = MonitorFixture::start(&["db1"]);
    fixture.report_status("stranger", 1, "stranger:3306").await;
    sleep(POLL * 2).await;
    let feed = fixture.feed().await;
    let ids: Vec<_> = feed
        .borrow()
        .value
        .nodes
        .iter()
        .map(|node| node.id.to_string())
        .collect();
    assert!(!ids.contains(&"stranger".to_owned()), "{ids:?}");
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_monitor_removes_its_cluster() {
    let fixture = MonitorFixture::start(&["db1"]);
    fixture.feed().await;
    fixture.stop.cancel();
    let mut directory = fixture.publisher.directory();
    let gone = directory.wait_for(|directory| directory.is_empty());
    timeout(POLL, gone).await.unwrap().unwrap();
}

/// The clock is set back and ahead by an hour: the age of a view stays what was observed, so that a plan neither waits an
/// hour nor skips its waiting time.
#[tokio::test(start_paused = true)]
async fn i33_ages_of_views_survive_a_clock_that_is_set() {
    let publisher = Arc::new(ViewPublisher::new());
    let (context, health) = (context(&publisher), publisher.health().borrow().clone());
    let mut monitor = ClusterMonitor::new(
        "lab".parse().unwrap(),
        ["db1".parse().unwrap()].into(),
        health,
        Box::new(NoopProber),
        context,
    );
    let (wall, monotonic) = (now(), std::time::Instant::now());
    let mut observation = galera::observe::observation::SqlObservation::default();
    let status = WsrepStatus::from_rows([("wsrep_cluster_status", "non-Primary")]);
    observation.record_success(wall.minus(POLL * 4), status);
    let node: NodeId = "db1".parse().unwrap();
    monitor.evidence.probes.insert(node.clone(), observation);
    let mut shown = wall;
    for (passed, step) in [(1, -3_600_000), (2, 3_600_000), (3, 0), (4, 7_200_000)] {
        shown = shown.plus(POLL).shifted(step);
        monitor.follow_clock(shown, monotonic + POLL * passed);
        let since = monitor.evidence.probes[&node].view_since.unwrap();
        let age = since.age(shown);
        let error = age.abs_diff(POLL * (4 + passed));
        assert!(error < Duration::from_millis(400), "{shown}: {age:?}");
    }
}

const FORGED: [(&str, &str); 2] = [
    ("n9/registered", "{}"),
    ("n9/wsrep_cluster_status", "Primary"),
];

/// Waits until a view shows `node`, which is then probed.
async fn shown(feed: &mut ClusterFeed, node: &str) {
    let node: NodeId = node.parse().unwrap();
    let shows = |view: &ClusterView| view.nodes.iter().any(|shown| shown.id == node);
    let shown = feed.wait_for(|published| shows(&published.value));
    timeout(POLL * 60, shown).await.unwrap().unwrap();
}

/// The ids of the unconfirmed nodes in the newest view.
fn unconfirmed(feed: &ClusterFeed) -> Vec<String> {
    let view = &feed.borrow().value;
    view.unconfirmed_nodes()
        .map(|node| node.id.to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_registration_after_the_first_view_is_not_confirmed_until_a_member_lists_it() {
    let mut fixture = MonitorFixture::start(&[]);
    fixture.put("db1/registered", "{}", 0, 2).await;
    fixture.put("db2/registered", "{}", 0, 3).await;
    let mut feed = fixture.feed().await;
    shown(&mut feed, "db1").await;
    fixture.report_status("db1", 10, "db1:3306").await;
    let update = timeout(POLL, fixture.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    let confirmed: Vec<String> = update.confirmed.keys().map(ToString::to_string).collect();
    assert_eq!(confirmed, ["db1", "db2"]);
    fixture.record(&update).await;
    for (number, (key, value)) in (10..).zip(FORGED) {
        fixture.put(key, value, 0, number).await;
    }
    sleep(POLL).await;
    assert_eq!(unconfirmed(&feed), ["n9"]);
    assert_eq!(feed.borrow().value.expected_members.len(), 2);
    fixture.report_status("db1", 11, "db1:3306,n9:3306").await;
    sleep(POLL).await;
    assert!(unconfirmed(&feed).is_empty());
    let update = timeout(POLL, fixture.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(update.confirmed.contains_key(&"n9".parse().unwrap()));
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_record_of_the_former_version_keeps_registered_members_that_are_down() {
    let fixture = MonitorFixture::start(&["db1"]);
    fixture.put("db1/registered", "{}", 0, 2).await;
    fixture.put("db3/registered", "{}", 0, 3).await;
    let mut feed = fixture.feed().await;
    shown(&mut feed, "db1").await;
    let former = MembershipRecord {
        members: ["db1".parse().unwrap()].into(),
        ..MembershipRecord::default()
    };
    let input = MonitorInput::Membership(Some(Box::new(former)));
    fixture.inputs.send(input).await.unwrap();
    fixture.report_status("db1", 10, "db1:3306").await;
    sleep(POLL).await;
    assert!(unconfirmed(&feed).is_empty());
    assert_eq!(feed.borrow().value.expected_members.len(), 2);
    for (number, (key, value)) in (10..).zip(FORGED) {
        fixture.put(key, value, 0, number).await;
    }
    sleep(POLL).await;
    assert_eq!(unconfirmed(&feed), ["n9"]);
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn i36_a_deleted_record_is_restored_and_shrinks_nothing() {
    let mut fixture = MonitorFixture::start(&[]);
    fixture.put("db1/registered", "{}", 0, 2).await;
    let mut feed = fixture.feed().await;
    shown(&mut feed, "db1").await;
    fixture.report_status("db1", 10, "db1:3306").await;
    let update = timeout(POLL, fixture.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    fixture.record(&update).await;
    fixture
        .inputs
        .send(MonitorInput::Membership(None))
        .await
        .unwrap();
    for (number, (key, value)) in (10..).zip(FORGED) {
        fixture.put(key, value, 0, number).await;
    }
    fixture.report_status("db1", 11, "db1:3306").await;
    let restored = timeout(POLL, fixture.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(restored.members, update.members);
    assert_eq!(restored.tampered, TamperedRecords::Replace);
    assert!(restored.confirmed.contains_key(&"db1".parse().unwrap()));
    sleep(POLL).await;
    assert_eq!(unconfirmed(&feed), ["n9"]);
    fixture.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_never_read_is_not_replaced() {
    let mut fixture = MonitorFixture::start(&["db1"]);
    fixture.feed().await;
    fixture
        .inputs
        .send(MonitorInput::Membership(None))
        .await
        .unwrap();
    fixture.report_status("db1", 10, "db1:3306").await;
    let update = timeout(POLL, fixture.members_updates.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(update.tampered, TamperedRecords::Keep);
    fixture.stop.cancel();
}

mod publication;
mod unseen_bootstraps;
