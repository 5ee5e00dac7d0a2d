//! What is written when, on the in-memory etcd with a paused clock.

use registry::RegistryEntry;
use registry::memory::MemoryEtcd;

use tokio_util::task::TaskTracker;

use super::*;
use crate::observation::StatusReading;

const TTL: Duration = Duration::from_secs(10);
const PREFIX: &str = "/galera/lab/db1/";

fn responding(comment: &str, seqno: u64) -> ServerState {
    let rows = [
        ("wsrep_local_state_comment", comment.to_owned()),
        ("wsrep_cluster_status", "Primary".to_owned()),
        ("wsrep_last_committed", seqno.to_string()),
    ];
    let rows = rows.map(|(name, value)| (name.to_owned(), value));
    ServerState::Responding {
        at: Instant::now(),
        reading: Box::new(StatusReading::from_rows(&rows)),
    }
}

/// A reporter that runs, and the registry that it writes to.
struct RunningReporter {
    etcd: MemoryEtcd,
    server: watch::Sender<ServerState>,
    stop: CancellationToken,
}

impl RunningReporter {
    async fn start() -> Self {
        let etcd = MemoryEtcd::new();
        let target = ReportTarget {
            keys: RegistryKeys::new("/galera"),
            cluster: "lab".parse().unwrap(),
            node: "db1".parse().unwrap(),
        };
        let now = Timestamp::from_unix_millis(0);
        let reporter = Reporter::new(etcd.connect().registry(), target, TTL, now);
        let (server, states) = watch::channel(responding("Synced", 1));
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(reporter.run(states, stop.clone()));
        let running = Self { etcd, server, stop };
        running.wait_for("phase", "running").await;
        running
    }

    async fn entries(&self) -> BTreeMap<String, RegistryEntry> {
        let listing = self.etcd.registry().list(PREFIX).await.unwrap();
        let entries = listing.entries.into_iter().map(|entry| {
            let key = String::from_utf8(entry.key.clone()).unwrap();
            (key[PREFIX.len()..].to_owned(), entry)
        });
        entries.collect()
    }

    async fn revision(&self) -> i64 {
        self.etcd.registry().list("/").await.unwrap().revision
    }

    async fn wait_for(&self, field: &str, value: &str) -> Duration {
        let start = Instant::now();
        loop {
            let entries = self.entries().await;
            if entries
                .get(field)
                .is_some_and(|entry| entry.value == value.as_bytes())
            {
                return start.elapsed();
            }
            assert!(
                start.elapsed() < 6 * TTL,
                "{field} does not become {value}: {entries:?}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn write(&self, op: WriteOp) {
        let transaction = Transaction::new().then([op]);
        self.etcd.registry().transact(&transaction).await.unwrap();
    }

    async fn lease(&self) -> LeaseId {
        self.entries().await["phase"].lease
    }
}

impl Drop for RunningReporter {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_node_is_written_once_in_a_heartbeat_interval() {
    let running = RunningReporter::start().await;
    let (before, entries) = (running.revision().await, running.entries().await);
    for second in 0_u64..90 {
        sleep(Duration::from_secs(1)).await;
        // As the probe does: the same values, read again.
        running.server.send_replace(responding("Synced", 1));
        let registry = running.etcd.registry();
        assert!(
            registry
                .lease_info(entries["phase"].lease)
                .await
                .unwrap()
                .is_some(),
            "the lease is lost after {second} s"
        );
    }
    let writes = running.revision().await - before;
    assert!((9..=10).contains(&writes), "{writes} revisions in 90 s");
    for (field, entry) in running.entries().await {
        let rewritten = entry.mod_revision > entries[&field].mod_revision;
        assert_eq!(rewritten, field == "wsrep_last_committed", "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn commits_are_written_with_the_heartbeat_and_with_each_state() {
    let running = RunningReporter::start().await;
    let before = running.revision().await;
    for seqno in 2..=90 {
        running.server.send_replace(responding("Synced", seqno));
        sleep(Duration::from_secs(1)).await;
    }
    let writes = running.revision().await - before;
    assert!((9..=10).contains(&writes), "{writes} revisions in 89 s");
    // A console of version 0.1 believes a registration for a TTL.
    let waited = running.wait_for("wsrep_last_committed", "90").await;
    assert!(waited < TTL, "{waited:?}");

    running
        .server
        .send_replace(responding("Donor/Desynced", 95));
    let waited = running
        .wait_for("wsrep_local_state_comment", "Donor/Desynced")
        .await;
    assert!(waited < Duration::from_millis(100), "{waited:?}");
    assert_eq!(running.entries().await["wsrep_last_committed"].value, b"95");
}

#[tokio::test(start_paused = true)]
async fn what_others_remove_or_replace_is_restored_within_a_third_of_the_ttl() {
    let running = RunningReporter::start().await;
    let lease = running.lease().await;
    let status = format!("{PREFIX}wsrep_cluster_status");
    let registered = format!("{PREFIX}registered");
    for (op, field, value) in [
        (
            WriteOp::delete(status.clone()),
            "wsrep_cluster_status",
            "Primary",
        ),
        (
            WriteOp::put(status.clone(), "non-Primary", None),
            "wsrep_cluster_status",
            "Primary",
        ),
        // Even under the node's own lease, which anyone can read.
        (
            WriteOp::put(status, "non-Primary", Some(lease)),
            "wsrep_cluster_status",
            "Primary",
        ),
        (WriteOp::delete(registered), "registered", ""),
    ] {
        running.write(op.clone()).await;
        let start = Instant::now();
        loop {
            let entries = running.entries().await;
            let entry = entries.get(field);
            if entry.is_some_and(|entry| value.is_empty() || entry.value == value.as_bytes()) {
                break;
            }
            assert!(start.elapsed() < TTL / 3 + Duration::from_secs(1), "{op:?}");
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(running.lease().await, lease);
    }
}

#[tokio::test(start_paused = true)]
async fn every_key_is_restored_after_etcd_was_emptied_or_the_lease_was_lost() {
    let running = RunningReporter::start().await;
    let all: Vec<String> = running.entries().await.into_keys().collect();
    running.etcd.wipe();
    running.wait_for("phase", "running").await;
    assert_eq!(running.entries().await.into_keys().collect::<Vec<_>>(), all);

    let lease = running.lease().await;
    running.etcd.registry().revoke(lease).await.unwrap();
    running.wait_for("phase", "running").await;
    assert_eq!(running.entries().await.into_keys().collect::<Vec<_>>(), all);
    assert_ne!(running.lease().await, lease);
}

#[tokio::test(start_paused = true)]
async fn a_write_of_unknown_outcome_is_written_again_as_a_whole() {
    let running = RunningReporter::start().await;
    running.etcd.leave_next_write_unconfirmed();
    running.server.send_replace(responding("Donor/Desynced", 5));
    running
        .wait_for("wsrep_local_state_comment", "Donor/Desynced")
        .await;
    running.server.send_replace(responding("Synced", 6));
    running
        .wait_for("wsrep_local_state_comment", "Synced")
        .await;
    let entries = running.entries().await;
    assert_eq!(entries["wsrep_last_committed"].value, b"6");
    assert!(entries.contains_key("registered"));
}
