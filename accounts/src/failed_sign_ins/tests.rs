use std::net::Ipv4Addr;
use std::sync::Arc;

use galera::record::audit::{AuditEntry, verify};
use registry::memory::MemoryEtcd;

use super::*;

fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0A00_0000 + number))
}

fn name(text: &str) -> Option<UserName> {
    Some(text.parse().unwrap())
}

struct Fixture {
    etcd: MemoryEtcd,
    failures: Arc<FailedSignIns>,
}

impl Fixture {
    fn new() -> Self {
        let etcd = MemoryEtcd::new();
        Self {
            failures: replica(&etcd),
            etcd,
        }
    }

    fn fail(&self, account: Option<UserName>, from: u32) {
        let reason = FailureReason::Credentials;
        self.failures.count(account, address(from), reason, now());
    }

    async fn entries(&self) -> Vec<AuditEntry> {
        let trail = AuditTrail::new(self.etcd.registry(), "/s");
        let (entries, _) = trail.read_all().await.unwrap();
        verify(&entries).unwrap();
        entries
    }
}

fn replica(etcd: &MemoryEtcd) -> Arc<FailedSignIns> {
    let trail = AuditTrail::new(etcd.registry(), "/s");
    Arc::new(FailedSignIns::new(trail))
}

/// How many failures the entries are about.
fn total(entries: &[AuditEntry]) -> u64 {
    let counts = entries.iter().map(|entry| {
        let count = entry.record.detail.get("count");
        count.map_or(1, |count| count.parse().unwrap())
    });
    counts.sum()
}

#[tokio::test]
async fn the_first_failure_is_written_immediately_and_further_ones_as_a_count() {
    let fixture = Fixture::new();
    for _ in 0..500 {
        fixture.fail(name("dora"), 1);
        fixture.failures.write_first().await;
    }
    fixture.fail(name("dora"), 2);
    fixture.failures.write_first().await;
    let entries = fixture.entries().await;
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].record.subject.as_deref(), Some("dora"));
    assert_eq!(entries[0].record.detail["address"], "10.0.0.1");
    assert!(!entries[0].record.detail.contains_key("count"));
    fixture.failures.end_period().await;
    let entries = fixture.entries().await;
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[2].record.detail["count"], "499");
    // An attack that continues is one entry a period; one that ended begins with an immediate entry again.
    fixture.fail(name("dora"), 1);
    fixture.failures.write_first().await;
    assert_eq!(fixture.entries().await.len(), 3);
    for _ in 0..3 {
        fixture.failures.end_period().await;
    }
    assert_eq!(fixture.entries().await.len(), 4);
    fixture.fail(name("dora"), 1);
    fixture.failures.write_first().await;
    assert_eq!(fixture.entries().await.len(), 5);
}

#[tokio::test]
async fn unknown_names_are_counted_together() {
    let fixture = Fixture::new();
    for _ in 0..1_000 {
        fixture.fail(None, 1);
        fixture.failures.write_first().await;
    }
    fixture.failures.end_period().await;
    let entries = fixture.entries().await;
    assert_eq!((entries.len(), total(&entries)), (2, 1_000));
    assert_eq!(
        (entries[0].record.actor.as_str(), &entries[0].record.subject),
        ("(unknown account)", &None)
    );
}

#[tokio::test]
async fn entries_and_memory_are_bounded_and_no_failure_is_lost() {
    let fixture = Fixture::new();
    let two = replica(&fixture.etcd);
    for number in 0..5_000_u32 {
        fixture.fail(name(&format!("user{}", number % 200)), number);
        fixture.fail(None, number);
        fixture.failures.write_first().await;
        two.count(
            name("root"),
            address(number),
            FailureReason::Credentials,
            now(),
        );
    }
    // The account under attack, among the noise.
    fixture.fail(name("user7"), 9_999);
    assert!(fixture.failures.lock().groups.len() <= PAIRS_MAX + ACCOUNTS_MAX + 1);
    fixture.failures.end_period().await;
    two.end_period().await;
    let entries = fixture.entries().await;
    let most = FIRST_MAX + 2 * (PAIRS_MAX + ACCOUNTS_MAX + 1);
    assert!(entries.len() <= most, "{}", entries.len());
    assert_eq!(total(&entries), 15_001);
    let of_root = entries
        .iter()
        .filter(|entry| entry.record.subject.as_deref() == Some("root"));
    assert_eq!(of_root.count(), PAIRS_MAX + 1);
}

#[tokio::test(start_paused = true)]
async fn failures_outlive_an_unreachable_etcd_and_a_shutdown() {
    let fixture = Fixture::new();
    let shutdown = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    let running = {
        let (failures, shutdown) = (Arc::clone(&fixture.failures), shutdown.clone());
        tasks.spawn(async move { failures.run(shutdown).await })
    };
    fixture.etcd.stop();
    fixture.fail(name("dora"), 1);
    tokio::time::sleep(Duration::from_secs(30)).await;
    fixture.etcd.start();
    let trail = AuditTrail::new(fixture.etcd.registry(), "/s");
    let written = async {
        while trail.newest_sequence().await.ok() != Some(1) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PERIOD / 2, written).await.unwrap();
    fixture.fail(name("dora"), 1);
    fixture.fail(name("dora"), 1);
    shutdown.cancel();
    running.await.unwrap();
    let entries = fixture.entries().await;
    assert_eq!((entries.len(), total(&entries)), (2, 3));
}
