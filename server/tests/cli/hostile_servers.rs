//! The program with databases that violate the protocol in every known way.

use std::io::{Read, Write};
use std::net::TcpStream;

use sql_client::hostile::{HostileServer, Misbehavior, PASSWORD};

use crate::etcd::{TIMEOUT, TestEtcd, eventually};
use crate::program::{ConsoleProcess, site};

fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let request = "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Failed probes of the node at `port`.
fn failures(metrics: &str, port: u16) -> u64 {
    let node = format!("node=\"127.0.0.1:{port}\"");
    metrics
        .lines()
        .filter(|line| line.starts_with("galera_console_probe_failures_total{"))
        .filter(|line| line.contains(&node))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn no_hostile_database_ends_the_console_or_a_probe_or_gets_a_password() {
    let (etcd, site) = (TestEtcd::process().await, site());
    let servers: Vec<HostileServer> = Misbehavior::ALL
        .iter()
        .map(|misbehavior| HostileServer::start(*misbehavior))
        .collect();
    let nodes: Vec<String> = servers
        .iter()
        .map(|server| server.address().to_string())
        .collect();
    let password = site.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let serving = ConsoleProcess::start(&[
        "--etcd-endpoints",
        &etcd.url(),
        "--site-root",
        site.path().to_str().unwrap(),
        "--mysql-user",
        "console",
        "--mysql-password-file",
        password.to_str().unwrap(),
        "--probe-timeout",
        "500ms",
        "--cluster",
        &format!("lab={}", nodes.join(",")),
    ]);
    serving.wait_until_ready().await;
    // Three times: no probe is left out after one of them failed.
    eventually("every database was probed three times", async || {
        let metrics = metrics(&serving.address);
        let probed = |server: &HostileServer| failures(&metrics, server.address().port()) >= 3;
        servers.iter().all(probed)
    })
    .await;
    for (server, misbehavior) in servers.iter().zip(Misbehavior::ALL) {
        assert!(!server.has_password(), "{misbehavior:?}");
    }
    assert!(serving.get("/healthz").contains(" 200 "));
    let (status, log) = serving.stop_with_log();
    assert_eq!(status, 0);
    assert!(!log.contains("panicked"), "{log}");
}
