//! The cost of ninety days of a hundred clusters with a thousand changes a day each, nine million in all: the size of
//! etcd's database, and the time that a page of events takes through HTTP.
//!
//! The changes are encoded by the console's own code in the same blocks, but put directly: nine million single-change
//! transactions would take a day. Reading through the API verifies what was put.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot be made has to stop"
)]

#[expect(
    dead_code,
    reason = "the tests' console can do more than is needed here"
)]
#[path = "../../tests/gateway/client.rs"]
mod client;
#[expect(dead_code, reason = "the fixture serves several binaries")]
#[path = "../../tests/support/etcd.rs"]
mod etcd;
#[expect(
    dead_code,
    reason = "the tests' console can do more than is needed here"
)]
#[path = "../../tests/gateway/test_console.rs"]
mod test_console;

mod event_generator;

/// The tests compare every response with the API's document; a measurement does not.
mod openapi {
    pub(crate) fn check(
        _: &crate::client::SentRequest,
        _: http::StatusCode,
        _: &http::HeaderMap,
        _: &[u8],
    ) {
    }
}

use std::process::Command;
use std::time::{Duration, Instant};

use console_core::clock::now;
use console_core::keyspace::HistoryKeys;
use futures::{StreamExt, stream};
use galera::ClusterName;
use galera::access::Role;
use galera::publish::api::HistoryPage;
use history::{EVENTS_PER_BLOCK, LogHead, encode};
use rand::Rng;
use registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use etcd::TestEtcd;
use event_generator::EventGenerator;
use test_console::{STATE_PREFIX, TestConsole};

const CLUSTERS: usize = 100;
const DAYS: u64 = 90;
const CHANGES_A_DAY: u64 = 1_000;
/// Newest events that are not in a block yet.
const TAIL: u64 = 100;
const PAGES: usize = 500;
const TARGET_BYTES: u64 = 200_000_000;
const TARGET_P99: Duration = Duration::from_millis(100);

fn main() {
    tokio::runtime::Runtime::new().unwrap().block_on(measure());
}

async fn measure() {
    let etcd = TestEtcd::process().await;
    let registry = etcd.registry();
    let names: Vec<ClusterName> = (1..=CLUSTERS)
        .map(|number| format!("cluster-{number:03}").parse().unwrap())
        .collect();
    let began = Instant::now();
    let sizes: Vec<u64> = stream::iter(names.clone())
        .map(|name| {
            let registry = registry.clone();
            tokio::task::spawn_blocking(move || {
                futures::executor::block_on(write_history(&registry, &name))
            })
        })
        .buffer_unordered(4)
        .map(|size| size.unwrap())
        .collect()
        .await;
    let blocks: u64 = sizes.iter().sum();
    let changes = u64::try_from(CLUSTERS).unwrap() * DAYS * CHANGES_A_DAY;
    println!(
        "{changes} changes in blocks of {EVENTS_PER_BLOCK} put in {:.0} s: {} MB, {:.1} bytes a change",
        began.elapsed().as_secs_f64(),
        blocks / 1_000_000,
        blocks as f64 / changes as f64
    );
    let size = database_size(&etcd, &registry).await;
    print_result(
        "etcd's database",
        size <= TARGET_BYTES,
        &format!("{} MB", size / 1_000_000),
        "200 MB",
    );

    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let cookie = console.sign_in("dora").await.cookie.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = console.router.clone();
    let server = tokio_util::task::TaskTracker::new();
    server.spawn(async move { axum::serve(listener, router).await });
    measure_pages(&address, &cookie, &names).await;
}

/// Measures random pages of random clusters, by kind of query.
async fn measure_pages(address: &str, cookie: &str, names: &[ClusterName]) {
    for (what, query) in [
        ("newest page", ""),
        ("any page", "&before={any}"),
        ("any page of one node", "&node=db2.example.org&before={any}"),
        (
            "any page of a rare state",
            "&state=split_brain&before={any}",
        ),
        ("any time", "&at={time}"),
    ] {
        let mut durations = Vec::new();
        for _ in 0..PAGES {
            let name = &names[rand::rng().random_range(0..names.len())];
            let any = rand::rng().random_range(1_000..DAYS * CHANGES_A_DAY);
            let time = now().minus(Duration::from_secs(
                rand::rng().random_range(0..DAYS * 86_400),
            ));
            let query = query
                .replace("{any}", &any.to_string())
                .replace("{time}", &time.to_string());
            let path = format!("/api/v1/clusters/{name}/events?limit=100{query}");
            let began = Instant::now();
            let body = get(address, cookie, &path).await;
            durations.push(began.elapsed());
            let page: HistoryPage = serde_json::from_str(&body)
                .unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
            // A rare state or an arbitrary moment may have no events.
            let may_be_empty = query.contains("state=") || query.contains("at=");
            assert!(
                !page.events.is_empty() || page.next_before.is_some() || may_be_empty,
                "{path}"
            );
        }
        durations.sort();
        let (p50, p99) = (durations[PAGES / 2], durations[PAGES * 99 / 100]);
        let text = format!(
            "p50 {:.1} ms, p99 {:.1} ms",
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3
        );
        print_result(
            &format!("events, {what}"),
            p99 <= TARGET_P99,
            &text,
            "100 ms",
        );
    }
}

/// Writes the history of one cluster; returns the size of its blocks in bytes.
async fn write_history(registry: &Registry, name: &ClusterName) -> u64 {
    let keys = HistoryKeys::new(STATE_PREFIX);
    let mut generator = EventGenerator::new(
        now().minus(Duration::from_secs(DAYS * 86_400)),
        CHANGES_A_DAY,
    );
    let mut head = LogHead::default();
    let mut days = Vec::new();
    let mut bytes = 0;
    for block in 0..DAYS * CHANGES_A_DAY / EVENTS_PER_BLOCK {
        let events = generator.next_events(EVENTS_PER_BLOCK);
        for event in &events {
            days.extend(head.append(event));
        }
        let block_of_events = encode(&events).unwrap();
        bytes += u64::try_from(block_of_events.len()).unwrap();
        registry
            .put(keys.block(name, block), block_of_events, None)
            .await
            .unwrap();
        head.sealed += EVENTS_PER_BLOCK;
    }
    for event in generator.next_events(TAIL) {
        days.extend(head.append(&event));
        let value = serde_json::to_vec(&event).unwrap();
        registry
            .put(keys.event(name, event.sequence), value, None)
            .await
            .unwrap();
    }
    registry
        .put(keys.days(name), serde_json::to_vec(&days).unwrap(), None)
        .await
        .unwrap();
    registry
        .put(keys.head(name), serde_json::to_vec(&head).unwrap(), None)
        .await
        .unwrap();
    bytes
}

/// The size of the database after compaction and defragmentation.
async fn database_size(etcd: &TestEtcd, registry: &Registry) -> u64 {
    let before = registry.status().await.unwrap().db_size;
    let revision = registry.list("/nothing").await.unwrap().revision;
    for arguments in [
        vec![
            "compact".to_owned(),
            "--physical".to_owned(),
            revision.to_string(),
        ],
        vec!["defrag".to_owned()],
    ] {
        let done = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", etcd.url()))
            .arg("--command-timeout=60s")
            .args(arguments)
            .output()
            .expect("etcdctl is installed");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let after = registry.status().await.unwrap().db_size;
    println!(
        "etcd's database: {} MB, after compaction and defragmentation {} MB",
        before / 1_000_000,
        after / 1_000_000
    );
    after
}

/// One request on a dedicated connection.
async fn get(address: &str, cookie: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn print_result(what: &str, met: bool, measured: &str, target: &str) {
    let word = if met { "met" } else { "MISSED" };
    println!("{what}: {measured}, at most {target}: {word}");
}
