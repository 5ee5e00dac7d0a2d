//! `serve`.

use std::io::Write;
use std::net::TcpStream;

use crate::etcd::{TestEtcd, eventually};
use crate::program::site;
use crate::program::{ConsoleProcess, get_at};

#[tokio::test]
async fn shutdown_is_prompt() {
    let etcd = TestEtcd::process().await;
    let site = site();
    let serving = ConsoleProcess::start(&[
        "--etcd-endpoints",
        &etcd.url(),
        "--site-root",
        site.path().to_str().unwrap(),
    ]);
    serving.wait_until_ready().await;
    // Neither an idle connection nor half a request delays shutdown.
    let _idle = TcpStream::connect(&serving.address).unwrap();
    let mut half = TcpStream::connect(&serving.address).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let (status, log) = serving.stop_with_log();
    assert_eq!(status, 0);
    // The console had not to give up waiting for a connection.
    assert!(log.contains("Stopped"), "{log}");
    assert!(!log.contains("still running"), "{log}");
}

#[tokio::test]
async fn metrics_can_have_a_dedicated_address() {
    let etcd = TestEtcd::process().await;
    let site = site();
    let [port] = crate::etcd::free_ports();
    let metrics = format!("127.0.0.1:{port}");
    let serving = ConsoleProcess::start(&[
        "--etcd-endpoints",
        &etcd.url(),
        "--site-root",
        site.path().to_str().unwrap(),
        "--metrics-listen",
        &metrics,
    ]);
    serving.wait_until_ready().await;
    assert!(
        !serving.get("/metrics").contains(" 200 "),
        "no longer on the main address"
    );
    for (path, status) in [
        ("/metrics", " 200 "),
        ("/healthz", " 200 "),
        ("/api/v1/session", " 404 "),
        ("/", " 404 "),
    ] {
        assert!(
            get_at(&metrics, path).contains(status),
            "{path}: {}",
            get_at(&metrics, path)
        );
    }
    assert_eq!(serving.stop(), 0);
}

/// What a flood of connections needed is returned to the system by a thread of the allocator, as `.cargo/config.toml` sets it.
#[tokio::test]
async fn the_allocator_returns_memory_on_its_own_thread() {
    let (etcd, site) = (TestEtcd::process().await, site());
    let serving = ConsoleProcess::start(&[
        "--etcd-endpoints",
        &etcd.url(),
        "--site-root",
        site.path().to_str().unwrap(),
    ]);
    serving.wait_until_ready().await;
    let tasks = format!("/proc/{}/task", serving.pid().as_raw_nonzero());
    eventually("the allocator has a thread", async || {
        let threads = std::fs::read_dir(&tasks).unwrap().flatten();
        let mut names = threads.flat_map(|task| std::fs::read_to_string(task.path().join("comm")));
        names.any(|name| name.starts_with("jemalloc_bg"))
    })
    .await;
}
