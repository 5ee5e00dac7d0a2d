//! A client that can write etcd adds, alters, moves, removes and puts back parts of the event history: none is believed, each is
//! named, and the history continues.

use std::sync::Arc;
use std::time::{Duration, Instant};

use console_core::authority::{MigrationPolicy, RecordAuthority};
use console_core::keyspace::HistoryKeys;
use console_core::state_secret::{StateSecretSealer, StateSecrets};
use galera::ClusterName;
use galera::record::history::HistoryEvent;
use galera::view::{NodeState, VerdictState};
use registry::{Registry, Transaction, WriteOp};

use crate::etcd::{TestEtcd, eventually};
use crate::event_history::{HistoryReplica, all_events, wait_for_events};
use crate::test_console::STATE_PREFIX;

const HEALTHY: (VerdictState, NodeState) = (VerdictState::Healthy, NodeState::Synced);
const DEGRADED: (VerdictState, NodeState) = (VerdictState::Degraded, NodeState::Unreachable);

/// A connection of a process that was just started.
fn sealed(etcd: &TestEtcd) -> Registry {
    let sealer = StateSecretSealer::new(STATE_PREFIX, secrets());
    etcd.registry().with_sealer(Arc::new(sealer))
}

fn secrets() -> StateSecrets {
    StateSecrets::derive("a secret of the test", None).unwrap()
}

fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

async fn stored(intruder: &Registry, key: &str) -> Vec<u8> {
    intruder.get(key).await.unwrap().unwrap().value
}

async fn put(intruder: &Registry, key: &str, value: Vec<u8>) {
    intruder.put(key, value, None).await.unwrap();
}

async fn delete(intruder: &Registry, key: &str) {
    let delete = Transaction::new().then([WriteOp::delete(key)]);
    intruder.transact(&delete).await.unwrap();
}

async fn named(sealed: &Registry, keys: &[String]) {
    let what = format!("{keys:?} are named");
    eventually(&what, async || {
        let tampered = sealed.tampered();
        keys.iter()
            .all(|key| tampered.records.iter().any(|record| record.key == *key))
    })
    .await;
}

async fn not_named(sealed: &Registry, key: &str) {
    eventually(&format!("{key} is not named"), async || {
        let tampered = sealed.tampered();
        tampered.records.iter().all(|record| record.key != key)
    })
    .await;
}

fn altered(value: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(value.to_vec()).unwrap();
    let forged = text.replace("degraded", "split_brain");
    assert_ne!(forged, text);
    forged.into_bytes()
}

async fn change_state(replica: &mut HistoryReplica, cluster: &ClusterName, rounds: usize) {
    let before = all_events(&replica.history, cluster).await.len();
    for round in 0..rounds {
        let state = if round % 2 == 0 { DEGRADED } else { HEALTHY };
        replica.set_state(cluster, state);
    }
    eventually("the changes are recorded", async || {
        all_events(&replica.history, cluster).await.len() == before + 2 * rounds
    })
    .await;
}

fn sequences(events: &[HistoryEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

#[tokio::test]
async fn a_running_console_believes_nothing_of_another_client_and_restores_what_it_removed() {
    let etcd = TestEtcd::in_memory();
    let (intruder, sealed) = (etcd.registry(), sealed(&etcd));
    let (lab, prod) = (cluster("lab"), cluster("prod"));
    let mut replica = HistoryReplica::start(&sealed, "r1");
    for cluster in [&lab, &prod] {
        replica.set_state(cluster, HEALTHY);
        wait_for_events(&replica, cluster, 2).await;
        replica.set_state(cluster, DEGRADED);
    }
    wait_for_events(&replica, &prod, 4).await;
    let events = wait_for_events(&replica, &lab, 4).await;
    let days = replica.history.verdict_since(&lab);
    let keys = HistoryKeys::new(STATE_PREFIX);
    let key = |sequence| keys.event(&lab, sequence);
    let genuine = stored(&intruder, &key(4)).await;

    let mut plain = events[3].clone();
    plain.sequence = 5;
    put(&intruder, &key(5), serde_json::to_vec(&plain).unwrap()).await;
    put(&intruder, &key(4), altered(&genuine)).await;
    let moved = stored(&intruder, &keys.event(&prod, 3)).await;
    put(&intruder, &key(3), moved).await;
    let head = keys.head(&lab);
    put(&intruder, &head, altered(&stored(&intruder, &head).await)).await;
    named(&sealed, &[key(3), key(4), key(5)]).await;
    assert_eq!(all_events(&replica.history, &lab).await, events);
    assert_eq!(replica.history.verdict_since(&lab), days);
    // The head is written again, by what the console has in memory.
    not_named(&sealed, &head).await;
    delete(&intruder, &head).await;
    eventually("the head is written again", async || {
        intruder.get(head.as_str()).await.unwrap().is_some()
    })
    .await;

    // Genuine ones at their own keys are what they were.
    put(&intruder, &key(4), genuine).await;
    not_named(&sealed, &key(4)).await;
    replica.set_state(&lab, HEALTHY);
    let later = wait_for_events(&replica, &lab, 6).await;
    assert_eq!(later[..4], events);
    // The next genuine event took the place of the forged one.
    not_named(&sealed, &key(5)).await;
    replica.stop().await;
}

#[tokio::test]
async fn what_is_lost_is_named_and_the_others_are_shown_and_compacted() {
    let etcd = TestEtcd::in_memory();
    let intruder = etcd.registry();
    let lab = cluster("lab");
    let keys = HistoryKeys::new(STATE_PREFIX);
    let mut replica = HistoryReplica::start(&sealed(&etcd), "r1");
    replica.set_state(&lab, HEALTHY);
    wait_for_events(&replica, &lab, 2).await;
    change_state(&mut replica, &lab, 350).await;
    let in_tail = async || {
        let tail = intruder.list(keys.tail(&lab)).await.unwrap();
        tail.entries.len()
    };
    eventually("a block exists", async || in_tail().await == 202).await;
    replica.stop().await;

    let event = |sequence| keys.event(&lab, sequence);
    let moved = stored(&intruder, &event(601)).await;
    put(&intruder, &event(600), moved).await;
    delete(&intruder, &event(650)).await;
    let block = keys.block(&lab, 0);
    let mut forged = stored(&intruder, &block).await;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    put(&intruder, &block, forged).await;

    let restarted = sealed(&etcd);
    let mut replica = HistoryReplica::start(&restarted, "r2");
    replica.set_state(&lab, HEALTHY);
    let expected: Vec<u64> = (501..=702).filter(|n| ![600, 650].contains(n)).collect();
    eventually("the others are shown", async || {
        sequences(&all_events(&replica.history, &lab).await) == expected
    })
    .await;
    named(&restarted, &[event(600), event(650), block.clone()]).await;

    // The missing ones do not keep the others from becoming a block.
    change_state(&mut replica, &lab, 200).await;
    let expected: Vec<u64> = (501..=1_102).filter(|n| ![600, 650].contains(n)).collect();
    eventually("another block exists", async || in_tail().await == 102).await;
    assert_eq!(
        sequences(&all_events(&replica.history, &lab).await),
        expected
    );
    for sequence in [600, 650] {
        not_named(&restarted, &event(sequence)).await;
    }
    replica.stop().await;
}

#[tokio::test]
async fn a_block_that_is_missing_is_named_until_it_is_put_back() {
    let etcd = TestEtcd::in_memory();
    let intruder = etcd.registry();
    let lab = cluster("lab");
    let keys = HistoryKeys::new(STATE_PREFIX);
    let mut replica = HistoryReplica::start(&sealed(&etcd), "r1");
    replica.set_state(&lab, HEALTHY);
    wait_for_events(&replica, &lab, 2).await;
    change_state(&mut replica, &lab, 350).await;
    let block = keys.block(&lab, 0);
    eventually("a block exists", async || {
        intruder.get(block.as_str()).await.unwrap().is_some()
    })
    .await;
    replica.stop().await;
    let genuine = stored(&intruder, &block).await;
    delete(&intruder, &block).await;
    // A replica that has not read it yet.
    let restarted = sealed(&etcd);
    let mut replica = HistoryReplica::start(&restarted, "r2");
    replica.set_state(&lab, HEALTHY);
    eventually("the others are shown", async || {
        all_events(&replica.history, &lab).await.len() == 202
    })
    .await;
    named(&restarted, std::slice::from_ref(&block)).await;
    // Put back, it is read again.
    put(&intruder, &block, genuine).await;
    eventually("all are shown", async || {
        all_events(&replica.history, &lab).await.len() == 702
    })
    .await;
    not_named(&restarted, &block).await;
    replica.stop().await;
}

#[tokio::test]
async fn an_event_that_retention_deleted_and_another_client_put_back_is_not_shown() {
    let etcd = TestEtcd::in_memory();
    let intruder = etcd.registry();
    let lab = cluster("lab");
    let keys = HistoryKeys::new(STATE_PREFIX);
    let mut replica = HistoryReplica::start(&sealed(&etcd), "r1");
    replica.set_state(&lab, HEALTHY);
    wait_for_events(&replica, &lab, 2).await;
    replica.set_state(&lab, DEGRADED);
    wait_for_events(&replica, &lab, 4).await;
    let expired = stored(&intruder, &keys.event(&lab, 2)).await;
    replica.stop().await;

    let short = Duration::from_millis(1);
    let mut replica = HistoryReplica::with_retention(&sealed(&etcd), "r2", short, 200_000);
    replica.set_state(&lab, DEGRADED);
    eventually("the older ones expired", async || {
        sequences(&all_events(&replica.history, &lab).await) == [4]
    })
    .await;
    put(&intruder, &keys.event(&lab, 2), expired).await;
    replica.set_state(&lab, HEALTHY);
    eventually("the next change is recorded", async || {
        sequences(&all_events(&replica.history, &lab).await) == [4, 5, 6]
    })
    .await;
    assert_eq!(replica.history.latest_sequences().borrow()[&lab], 6);
    replica.stop().await;
    let replica = HistoryReplica::start(&sealed(&etcd), "r3");
    eventually("a new replica shows the same", async || {
        sequences(&all_events(&replica.history, &lab).await) == [4, 5, 6]
    })
    .await;
    replica.stop().await;
}

#[tokio::test]
async fn a_history_whose_head_was_deleted_continues_above_its_newest_event() {
    let etcd = TestEtcd::in_memory();
    let intruder = etcd.registry();
    let lab = cluster("lab");
    let keys = HistoryKeys::new(STATE_PREFIX);
    let mut replica = HistoryReplica::start(&sealed(&etcd), "r1");
    replica.set_state(&lab, HEALTHY);
    wait_for_events(&replica, &lab, 2).await;
    replica.set_state(&lab, DEGRADED);
    let events = wait_for_events(&replica, &lab, 4).await;
    replica.stop().await;
    delete(&intruder, &keys.head(&lab)).await;
    let mut replica = HistoryReplica::start(&sealed(&etcd), "r2");
    replica.set_state(&lab, HEALTHY);
    let later = wait_for_events(&replica, &lab, 6).await;
    assert_eq!(later[..4], events);
    replica.stop().await;
}

/// 50,000 events one by one, the form that takes longest to seal; `--no-capture` prints how long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_history_of_a_console_without_a_secret_is_sealed() {
    const CLUSTERS: usize = 100;
    const EVENTS: u64 = 500;
    let etcd = TestEtcd::process().await;
    let intruder = etcd.registry();
    let keys = HistoryKeys::new(STATE_PREFIX);
    let event = |sequence: u64| {
        serde_json::json!({
            "sequence": sequence, "at": "2026-11-29T10:00:00Z",
            "kind": "node", "node": "10.0.0.1", "name": "n1", "from": "synced", "to": "unreachable",
        })
        .to_string()
    };
    for number in 0..CLUSTERS {
        let cluster = cluster(&format!("c{number}"));
        let head = serde_json::json!({
            "sequence": EVENTS, "first": 1, "sealed": 0, "at": "2026-11-29T10:00:00Z", "since": null,
            "states": {"verdict": null, "nodes": {}}, "tally": null,
        });
        put(
            &intruder,
            &keys.head(&cluster),
            head.to_string().into_bytes(),
        )
        .await;
        let sequences: Vec<u64> = (1..=EVENTS).collect();
        for batch in sequences.chunks(100) {
            let writes = batch.iter().map(|sequence| {
                WriteOp::put(keys.event(&cluster, *sequence), event(*sequence), None)
            });
            let transaction = Transaction::new().then(writes.collect::<Vec<_>>());
            intruder.transact(&transaction).await.unwrap();
        }
    }
    let registry = sealed(&etcd);
    let authority = RecordAuthority {
        registry: registry.clone(),
        state_prefix: STATE_PREFIX.to_owned(),
        secrets: secrets(),
        migration: MigrationPolicy::Once,
        secret_file: None,
        actor: "r1".to_owned(),
    };
    let began = Instant::now();
    authority.establish().await.unwrap();
    let sealing = began.elapsed();
    let began = Instant::now();
    let stored = intruder.list(keys.live()).await.unwrap();
    let plain = began.elapsed();
    let began = Instant::now();
    let opened = registry.list(keys.live()).await.unwrap();
    let verified = began.elapsed();
    let count = usize::try_from(EVENTS).unwrap() * CLUSTERS + CLUSTERS;
    assert_eq!((stored.entries.len(), opened.entries.len()), (count, count));
    assert_eq!(registry.tampered().count(), 0);
    println!(
        "{count} records: sealed in {sealing:?}, listed in {plain:?}, and verified in {verified:?}"
    );
}

/// A replica that has only the former secret leads, and the other one seals everything with the new one.
#[tokio::test]
async fn a_secret_that_was_rotated_in_one_replica_first_loses_no_event() {
    let etcd = TestEtcd::in_memory();
    let lab = cluster("lab");
    let mut former = HistoryReplica::start(&sealed(&etcd), "r1");
    former.set_state(&lab, HEALTHY);
    wait_for_events(&former, &lab, 2).await;
    former.set_state(&lab, DEGRADED);
    let events = wait_for_events(&former, &lab, 4).await;
    let rotated = StateSecrets::derive("another", Some("a secret of the test")).unwrap();
    let sealer = StateSecretSealer::new(STATE_PREFIX, rotated);
    let newer = etcd.registry().with_sealer(Arc::new(sealer));
    let keys = HistoryKeys::new(STATE_PREFIX);
    for prefix in [keys.live(), keys.blocks(&lab)] {
        newer.reseal(prefix).await.unwrap();
    }
    former.set_state(&lab, HEALTHY);
    assert_eq!(wait_for_events(&former, &lab, 6).await[..4], events);
    let mut replica = HistoryReplica::start(&newer, "r2");
    replica.set_state(&lab, HEALTHY);
    assert_eq!(wait_for_events(&replica, &lab, 6).await[..4], events);
    former.stop().await;
    replica.set_state(&lab, DEGRADED);
    assert_eq!(wait_for_events(&replica, &lab, 8).await[..4], events);
    assert_eq!(newer.tampered().count(), 0);
    replica.stop().await;
}
