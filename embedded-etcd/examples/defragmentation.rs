//! Measures how long an embedded etcd does not answer while its database is defragmented, for docs/figures.md.
//!
//! `cargo run --package embedded-etcd --example defragmentation [IN_USE_MB [FREE_MB]]`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement, which prints what it finds"
)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use embedded_etcd::EmbeddedEtcd;
use registry::{EtcdSettings, Registry, WatchEvent};
use tokio_util::task::TaskTracker;

const VALUE_BYTES: usize = 100_000;

#[tokio::main]
async fn main() {
    let megabytes: Vec<usize> = std::env::args()
        .skip(1)
        .map(|text| text.parse().unwrap())
        .collect();
    let in_use = megabytes.first().copied().unwrap_or(90);
    let free = megabytes.get(1).copied().unwrap_or(110);
    let directory = std::env::temp_dir().join(format!("defragmentation-{}", std::process::id()));
    let etcd = EmbeddedEtcd::start(&directory).await.unwrap();
    let settings = etcd.settings();
    let registry = Registry::connect(settings.clone()).unwrap();
    while registry.ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fill(&registry, "/kept/", in_use).await;
    fill(&registry, "/deleted/", free).await;
    etcdctl(&settings, &["del", "--prefix", "/deleted/"]);
    let revision = registry.storage_status().await.unwrap().revision;
    etcdctl(&settings, &["compact", "--physical", &revision.to_string()]);
    measure(&registry).await;
    etcd.stop().await;
    std::fs::remove_dir_all(directory).unwrap();
}

async fn fill(registry: &Registry, prefix: &str, megabytes: usize) {
    for number in 0..megabytes * 1_000_000 / VALUE_BYTES {
        let key = format!("{prefix}{number}");
        registry
            .put(key, vec![b'x'; VALUE_BYTES], None)
            .await
            .unwrap();
    }
}

/// Defragments while a reader, a lease and a watch go on.
async fn measure(registry: &Registry) {
    let before = registry.storage_status().await.unwrap();
    let lease = registry.grant(Duration::from_secs(10)).await.unwrap();
    let (ended, longest) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let reader = {
        let (registry, ended, longest) =
            (registry.clone(), Arc::clone(&ended), Arc::clone(&longest));
        TaskTracker::new().spawn(async move {
            let mut failures = 0;
            while !ended.load(Ordering::Relaxed) {
                let began = Instant::now();
                failures += u32::from(registry.get("/kept/0").await.is_err());
                let took = u64::try_from(began.elapsed().as_millis()).unwrap();
                longest.fetch_max(took, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            failures
        })
    };
    let mut events = registry.watch("/kept/");
    let watch = {
        let ended = Arc::clone(&ended);
        TaskTracker::new().spawn(async move {
            let mut outages = 0;
            while !ended.load(Ordering::Relaxed) {
                let next = tokio::time::timeout(Duration::from_millis(100), events.next());
                if let Ok(Some(WatchEvent::Unreachable { .. })) = next.await {
                    outages += 1;
                }
            }
            outages
        })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    longest.store(0, Ordering::Relaxed);
    let began = Instant::now();
    registry.defragment(Duration::from_secs(120)).await.unwrap();
    let took = began.elapsed().as_millis();
    // A watch reports an outage only after its period of grace.
    tokio::time::sleep(Duration::from_secs(5)).await;
    ended.store(true, Ordering::Relaxed);
    let after = registry.storage_status().await.unwrap();
    let megabytes = |bytes: u64| bytes / 1_000_000;
    println!(
        "{} MB with {} MB in use, then {} MB",
        megabytes(before.database_size),
        megabytes(before.in_use),
        megabytes(after.database_size)
    );
    println!(
        "defragmentation {took} ms, longest read {} ms",
        longest.load(Ordering::Relaxed)
    );
    println!(
        "failed reads {}, outages that the watch reported {}, lease lost: {}",
        reader.await.unwrap(),
        watch.await.unwrap(),
        lease.lost_reason().is_some()
    );
}

fn etcdctl(settings: &EtcdSettings, arguments: &[&str]) {
    let path = |path: &Option<std::path::PathBuf>| path.clone().unwrap();
    let status = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args([
            "--command-timeout=60s",
            "--endpoints",
            &settings.endpoints[0],
        ])
        .arg("--cacert")
        .arg(path(&settings.ca))
        .arg("--cert")
        .arg(path(&settings.cert))
        .arg("--key")
        .arg(path(&settings.key))
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{arguments:?}");
}
