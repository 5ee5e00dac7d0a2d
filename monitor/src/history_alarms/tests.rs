//! What replicas find is recorded once, and the record outlives them.

use galera::judge::history_alarms::{HistoryAcknowledgement, HistoryFinding};
use registry::memory::MemoryEtcd;

use super::*;

const KEY: &str = "/s/alarms/lab";

fn cluster() -> ClusterName {
    "lab".parse().unwrap()
}

fn rivals() -> HistoryChange {
    HistoryChange::Found(HistoryFinding::RivalPrimaries {
        components: Vec::new(),
    })
}

async fn stored(registry: &Registry) -> Option<HistoryAlarmRecord> {
    let entry = registry.get(KEY).await.unwrap();
    entry.and_then(|entry| decode(&entry.value))
}

fn update(known: &HistoryAlarmRecord, changes: Vec<HistoryChange>) -> HistoryAlarmUpdate {
    HistoryAlarmUpdate {
        cluster: cluster(),
        known: known.clone(),
        changes,
        bootstraps: Vec::new(),
        tampered: TamperedRecords::Replace,
    }
}

#[tokio::test]
async fn i45_what_two_replicas_find_is_one_alarm() {
    let registry = MemoryEtcd::new().registry();
    let found = update(&HistoryAlarmRecord::default(), vec![rivals()]);
    let (one, other) = tokio::join!(write(&registry, KEY, &found), write(&registry, KEY, &found));
    one.unwrap();
    other.unwrap();
    let record = stored(&registry).await.unwrap();
    assert_eq!((record.newest, record.alarms.len()), (1, 1), "{record:#?}");
}

#[tokio::test]
async fn i45_a_record_that_was_removed_is_written_again() {
    let registry = MemoryEtcd::new().registry();
    let (sender, worker) = worker(registry.clone(), "/s", "/galera");
    let mut watch = HistoryWatch::new(cluster(), sender);
    let mut record = HistoryAlarmRecord::default();
    record.apply(&rivals(), now());
    let acknowledgement = HistoryAcknowledgement {
        by: "ann".to_owned(),
        at: now(),
        reason: "compared".to_owned(),
    };
    record.acknowledge(1, &acknowledgement);
    watch.follow_record(Some(record.clone()));
    watch.follow_record(None);
    let health = galera::view::RegistryHealth {
        reachable: true,
        since: now(),
        error: None,
    };
    let evidence = Evidence::new(cluster(), health);
    let settings = FoldSettings::default();
    let view = galera::judge::cluster::fold(&evidence, now(), &settings, None);
    let positions = KnownPositions::default();
    watch.observe(&view, &evidence, &positions, now(), &settings);
    drop(watch);
    worker.await;
    assert_eq!(stored(&registry).await, Some(record));
}

#[test]
fn keys_name_their_cluster_and_garbage_is_no_record() {
    assert_eq!(cluster_of("/s", KEY.as_bytes()), Some(cluster()));
    assert_eq!(cluster_of("/s", b"/s/positions/lab"), None);
    assert_eq!(decode(b"<script>"), None);
}

fn bootstrap() -> ObservedBootstrap {
    let history = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
    ObservedBootstrap {
        history: history.parse().unwrap(),
        seqno: 66,
        members: ["n2".parse().unwrap()].into(),
        unseen: std::collections::BTreeSet::new(),
        complete: true,
        parent: 0,
    }
}

async fn forks(registry: &Registry) -> Vec<String> {
    let listing = registry.list("/galera/lab/forks/").await.unwrap();
    let entries = listing.entries.iter();
    entries
        .map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
        .collect()
}

#[tokio::test]
async fn i46_a_bootstrap_by_hand_is_recorded_once_by_two_replicas() {
    let registry = MemoryEtcd::new().registry();
    let seen = bootstrap();
    let cluster = cluster();
    let record = || observed_forks::record(&registry, "/galera", &cluster, &seen);
    let (one, other) = tokio::join!(record(), record());
    let fork = seen.finding(Some(1));
    assert_eq!(
        (one.unwrap(), other.unwrap()),
        (Some(fork.clone()), Some(fork))
    );
    let forks = forks(&registry).await;
    assert!(
        matches!(&forks[..], [only] if only.contains("observed")),
        "{forks:?}"
    );
}

#[tokio::test]
async fn i46_what_an_action_bootstrapped_or_a_majority_may_contradict_is_not_recorded() {
    let registry = MemoryEtcd::new().registry();
    let cluster = cluster();
    let mut unseen = bootstrap();
    unseen.unseen = ["n1".parse().unwrap()].into();
    let found = observed_forks::record(&registry, "/galera", &cluster, &unseen).await;
    assert_eq!(found.unwrap(), Some(unseen.finding(None)));
    let unnamed = ObservedBootstrap {
        complete: false,
        ..bootstrap()
    };
    let found = observed_forks::record(&registry, "/galera", &cluster, &unnamed).await;
    assert_eq!(found.unwrap(), Some(unnamed.finding(None)));
    assert!(forks(&registry).await.is_empty());

    let ordered = r#"{"state_uuid":"6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b","seqno":66,"members":["n2"],"action_id":"1-2"}"#;
    let key = "/galera/lab/forks/1";
    registry.put(key, ordered, None).await.unwrap();
    let found = observed_forks::record(&registry, "/galera", &cluster, &bootstrap()).await;
    assert_eq!(found.unwrap(), None);
    assert_eq!(forks(&registry).await.len(), 1);

    // An agent of the same member restarts the cluster before the bootstrap of the action was judged.
    let restarted = r#"{"state_uuid":"6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b","seqno":500,"members":["n2"],"action_id":"auto-1","parent":1}"#;
    let key = "/galera/lab/forks/2";
    registry.put(key, restarted, None).await.unwrap();
    let found = observed_forks::record(&registry, "/galera", &cluster, &bootstrap()).await;
    assert_eq!(found.unwrap(), None);
}
