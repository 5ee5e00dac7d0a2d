//! Members that die, hang, are replaced; histories that are compacted.

use std::time::Duration;

use tokio::sync::watch;

use registry::{Error, Registry, WatchEvent, WatchSubscription};
use testing::etcd::EtcdCluster;

use crate::{next_event, next_reset, next_values};

/// Writes 1, 2, 3 … to one key, each exactly once, until `stop` is set; returns the last.
async fn write_counter(registry: Registry, stop: watch::Receiver<bool>) -> usize {
    let mut written = 0;
    let mut seen = registry.put("/w/counter", "0", None).await.unwrap();
    while !*stop.borrow() {
        match registry
            .update("/w/counter", seen, (written + 1).to_string(), None)
            .await
        {
            Ok(revision) => {
                written += 1;
                seen = revision;
            }
            // Nothing else writes this key: whatever is there now is ours.
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                let entry = registry.get("/w/counter").await.unwrap().unwrap();
                seen = entry.mod_revision;
                written = String::from_utf8(entry.value).unwrap().parse().unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    written
}

/// Reads until `stop` is set; no read may fail. Returns the longest.
async fn read_counter(registry: Registry, stop: watch::Receiver<bool>) -> Duration {
    let mut longest = Duration::ZERO;
    while !*stop.borrow() {
        let began = std::time::Instant::now();
        registry
            .get("/w/counter")
            .await
            .expect("a reader saw the death of a member");
        registry
            .list("/w/")
            .await
            .expect("a reader saw the death of a member");
        longest = longest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    longest
}

/// Follows the counter; fails unless every value comes once and in order. Ends after the value that is set as `last`.
async fn watch_counter(
    mut subscription: WatchSubscription,
    seen: watch::Sender<usize>,
    mut last: watch::Receiver<Option<usize>>,
) {
    let mut expected = 0;
    loop {
        tokio::select! {
            arrived = next_values(&mut subscription, 1) => {
                for value in arrived {
                    assert_eq!(value, expected.to_string());
                    seen.send_replace(expected);
                    expected += 1;
                }
            }
            _ = last.changed() => {}
        }
        if last.borrow().is_some_and(|last| expected > last) {
            return;
        }
    }
}

/// What the fault may wait for: that the writer and the watcher both move on.
struct CounterProgress {
    registry: Registry,
    seen: watch::Receiver<usize>,
}

impl CounterProgress {
    async fn wait_for_steps(&mut self, steps: usize) {
        let entry = self.registry.get("/w/counter").await.unwrap().unwrap();
        let goal = String::from_utf8(entry.value)
            .unwrap()
            .parse::<usize>()
            .unwrap()
            + steps;
        let arrival = self.seen.wait_for(|seen| *seen >= goal);
        tokio::time::timeout(Duration::from_secs(120), arrival)
            .await
            .expect("the watcher saw no progress within 30 s")
            .unwrap();
    }
}

/// Runs a writer, a reader and a watcher while `fault` happens; every write must be seen once, in order, and no read
/// may fail.
async fn assert_fault_is_invisible(
    etcd: &mut EtcdCluster,
    fault: impl AsyncFnOnce(&mut EtcdCluster, &mut CounterProgress),
) {
    let mut subscription = etcd.registry().watch("/w/");
    next_reset(&mut subscription).await;
    let (stop, stopped) = watch::channel(false);
    let (last_sender, last) = watch::channel(None);
    let (seen_sender, mut seen) = watch::channel(0);
    let writer = tokio::spawn(write_counter(etcd.registry(), stopped.clone()));
    let reader = tokio::spawn(read_counter(etcd.registry(), stopped));
    let watcher = tokio::spawn(watch_counter(subscription, seen_sender, last));
    seen.wait_for(|seen| *seen > 0).await.unwrap();
    let mut progress = CounterProgress {
        registry: etcd.registry(),
        seen,
    };
    fault(etcd, &mut progress).await;
    stop.send_replace(true);
    let written = writer.await.unwrap();
    let longest = reader.await.unwrap();
    assert!(longest < Duration::from_secs(12), "{longest:?}");
    last_sender.send_replace(Some(written));
    watcher.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_a_member_is_invisible() {
    let mut etcd = EtcdCluster::cluster(3).await;
    assert_fault_is_invisible(&mut etcd, async |etcd, progress| {
        for index in 0..3 {
            etcd.kill(index);
            progress.wait_for_steps(30).await;
            etcd.start(index);
            etcd.wait_until_all_ready().await;
            progress.wait_for_steps(10).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_member_is_invisible() {
    let mut etcd = EtcdCluster::cluster(3).await;
    assert_fault_is_invisible(&mut etcd, async |etcd, progress| {
        for index in 0..3 {
            etcd.pause(index);
            progress.wait_for_steps(30).await;
            etcd.resume(index);
            etcd.wait_until_all_ready().await;
            progress.wait_for_steps(10).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_outage_of_all_members_is_reported_once_and_overcome() {
    let mut etcd = EtcdCluster::cluster(3).await;
    let registry = etcd.registry();
    registry.put("/w/a", "1", None).await.unwrap();
    let mut subscription = registry.watch("/w/");
    assert_eq!(next_reset(&mut subscription).await, ["/w/a"]);
    for index in 0..3 {
        etcd.kill(index);
    }
    match next_event(&mut subscription).await {
        WatchEvent::Unreachable { error, .. } => {
            assert!(matches!(error, Error::Unavailable { .. }), "{error}");
            assert!(error.to_string().contains(&etcd.endpoints()[0]), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let error = registry.get("/w/a").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    for index in 0..3 {
        etcd.start(index);
    }
    assert!(matches!(
        next_event(&mut subscription).await,
        WatchEvent::Reachable
    ));
    assert_eq!(next_reset(&mut subscription).await, ["/w/a"]);
    etcd.wait_until_ready(&registry).await;
    registry.put("/w/a", "2", None).await.unwrap();
    assert_eq!(next_values(&mut subscription, 1).await, ["2"]);
}

#[tokio::test]
async fn an_etcd_that_is_not_there_yet_is_waited_for() {
    let mut etcd = EtcdCluster::single().await;
    etcd.kill(0);
    let mut subscription = etcd.registry().watch("/");
    assert!(matches!(
        next_event(&mut subscription).await,
        WatchEvent::Unreachable { .. }
    ));
    etcd.start(0);
    assert!(matches!(
        next_event(&mut subscription).await,
        WatchEvent::Reachable
    ));
    next_reset(&mut subscription).await;
}
