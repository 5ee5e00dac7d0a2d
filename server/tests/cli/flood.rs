//! Clients that take what they can get, in the numbers that the system permits.
//!
//! `cargo nextest run -p galera-console --test cli --no-capture flood` prints the figures.

mod attack;
mod figures;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::program::{ConsoleProcess, PASSWORD, run_with_stdin, site};

/// Connections of the flood, if the limit of open files permits as many.
const FLOOD: usize = 10_000;
/// Open files that this process needs otherwise.
const RESERVED_FILES: u64 = 500;
/// The viewer's address.
const VIEWER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// The size of the file that slow readers request.
const FILE_BYTES: usize = 1 << 20;

pub(crate) const VARIABLES: [(&str, &str); 3] = [
    ("wsrep_cluster_name", "lab"),
    ("wsrep_provider", "/usr/lib/galera/libgalera_smm.so"),
    ("version", "11.8.9-MariaDB"),
];

pub(crate) fn status(
    state: &'static str,
    cluster: &'static str,
) -> [(&'static str, &'static str); 10] {
    [
        (
            "wsrep_cluster_state_uuid",
            "00000002-0001-11ef-a1b2-c3d4e5f60718",
        ),
        ("wsrep_last_committed", "100"),
        ("wsrep_local_state_comment", state),
        ("wsrep_cluster_size", "1"),
        ("wsrep_local_index", "0"),
        ("wsrep_gcomm_uuid", "00000001-0001-11ef-a1b2-c3d4e5f60718"),
        ("wsrep_cluster_conf_id", "17"),
        ("wsrep_cluster_status", cluster),
        ("wsrep_connected", "ON"),
        ("wsrep_ready", "ON"),
    ]
}

/// A console with a database and an account, and its etcd.
struct FloodedConsole {
    serving: ConsoleProcess,
    database: FakeDatabase,
    /// Of other clusters.
    others: Vec<FakeDatabase>,
    /// The cookies of the viewer: its session and its known device.
    viewer: String,
    _etcd: TestEtcd,
    _site: TempDir,
}

impl FloodedConsole {
    async fn start() -> Self {
        Self::start_with(0).await
    }

    /// With further clusters of one database each.
    async fn start_with(others: usize) -> Self {
        let etcd = TestEtcd::process().await;
        let site = site();
        std::fs::write(site.path().join("pkg/c.wasm"), vec![b'x'; FILE_BYTES]).unwrap();
        let database =
            FakeDatabase::listen("127.0.0.1", &VARIABLES, &status("Synced", "Primary")).await;
        let mut other_databases = Vec::new();
        for index in 0..others {
            let cluster = format!("c{index}");
            let [_, provider, version] = VARIABLES;
            let variables = [("wsrep_cluster_name", cluster.as_str()), provider, version];
            let rows = status("Synced", "Primary");
            other_databases.push(FakeDatabase::listen("127.0.0.1", &variables, &rows).await);
        }
        let url = etcd.url();
        let add = ["user", "add", "vera", "--role", "viewer"];
        let add = [&add[..], &["--password-stdin", "--etcd-endpoints", &url]].concat();
        let (code, text) = run_with_stdin(&add, PASSWORD);
        assert_eq!(code, 0, "{text}");
        let mut arguments: Vec<String> = [
            "--etcd-endpoints",
            &url,
            "--site-root",
            site.path().to_str().unwrap(),
            "--write-timeout",
            "5s",
            "--cluster",
            &format!("lab={}", database.id()),
        ]
        .map(str::to_owned)
        .to_vec();
        for (index, other) in other_databases.iter().enumerate() {
            arguments.push(format!("--cluster=c{index}={}", other.id()));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let serving = ConsoleProcess::start(&arguments);
        serving.wait_until_ready().await;
        let mut console = Self {
            serving,
            database,
            others: other_databases,
            viewer: String::new(),
            _etcd: etcd,
            _site: site,
        };
        console.viewer = console.sign_in(VIEWER, "").await.unwrap();
        console
    }

    fn address(&self) -> SocketAddr {
        self.serving.address.parse().unwrap()
    }

    /// A connection from `source`.
    async fn connect(&self, source: Ipv4Addr) -> std::io::Result<TcpStream> {
        attack::connect(self.address(), source).await
    }

    /// The answer to a request of the viewer, who has a dedicated address.
    async fn request(&self, line: &str, body: &str) -> String {
        self.request_from(VIEWER, line, body, &self.viewer).await
    }

    async fn request_from(
        &self,
        source: Ipv4Addr,
        line: &str,
        body: &str,
        cookies: &str,
    ) -> String {
        let stream = self.connect(source).await.unwrap();
        let mut stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(crate::etcd::TIMEOUT)).unwrap();
        let (host, length) = (self.address(), body.len());
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: {cookies}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        // What arrived in time: the callers check it.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    /// Signs in from `source` with `cookies`, and returns the new ones.
    async fn sign_in(&self, source: Ipv4Addr, cookies: &str) -> Result<String, String> {
        let body = format!(r#"{{"username":"vera","password":"{PASSWORD}"}}"#);
        let answer = self
            .request_from(source, "POST /api/v1/session", &body, cookies)
            .await;
        if !answer.starts_with("HTTP/1.1 200 ") {
            return Err(answer);
        }
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        let cookies = head.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_cookie = name.eq_ignore_ascii_case("set-cookie");
            is_cookie.then(|| value.split(';').next().unwrap_or_default())
        });
        Ok(cookies.collect::<Vec<_>>().join("; "))
    }

    /// How long it takes until the viewer sees that the node is `state`.
    async fn wait_for_node(&self, state: &str) -> Duration {
        let began = Instant::now();
        eventually("the node's state to be seen", async || {
            let view = self.request("GET /api/v1/clusters/lab", "").await;
            view.contains(&format!("\"state\":\"{state}\""))
        })
        .await;
        began.elapsed()
    }

    async fn refusals(&self, limit: &str) -> u64 {
        let metrics = self.request("GET /metrics", "").await;
        let name = format!("galera_console_limit_refusals_total{{limit=\"{limit}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.serving.child.id()));
        files.unwrap().count()
    }

    /// Resident memory, in MB.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.serving.child.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kilobytes / 1024
    }
}

/// How many connections the system permits, at most [`FLOOD`].
fn flood_size() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let files = files.unwrap_or(u64::MAX).saturating_sub(RESERVED_FILES);
    usize::try_from(files).unwrap_or(FLOOD).min(FLOOD)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_sees_a_node_die_beside_idle_sockets_of_one_address() {
    let console = FloodedConsole::start().await;
    console.wait_for_node("synced").await;
    let size = flood_size();
    let mut sockets = Vec::with_capacity(size);
    for _ in 0..size {
        sockets.extend(console.connect(Ipv4Addr::new(127, 0, 0, 2)).await.ok());
    }
    assert!(sockets.len() > size / 2, "{} of {size}", sockets.len());
    console
        .database
        .set_status(&status("Initialized", "non-Primary"));
    let seen = console.wait_for_node("initialized").await;
    assert!(console.refusals("connections_per_address").await > 0);
    eprintln!(
        "{} idle sockets of one address: the viewer saw the change after {} ms (probed each second), {} MB resident",
        sockets.len(),
        seen.as_millis(),
        console.resident()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_sees_a_node_die_beside_readers_that_never_read_and_are_closed() {
    let console = FloodedConsole::start().await;
    console.wait_for_node("synced").await;
    let (size, before) = (flood_size(), console.resident());
    let mut sockets = Vec::with_capacity(size);
    for index in 0..size {
        // A hundred for each address, which the limit for one permits.
        sockets.extend(attack::slow_reader(console.address(), index / 100).await);
    }
    let most = console.resident();
    console
        .database
        .set_status(&status("Initialized", "non-Primary"));
    let seen = console.wait_for_node("initialized").await;
    let began = Instant::now();
    eventually("slow readers to be closed", async || {
        console.open_files() < 200
    })
    .await;
    assert!(console.refusals("write_timeout").await > 0);
    eprintln!(
        "{} readers that never read: {before} MB resident before, {most} MB with them, {} MB once they were closed {} s later; the viewer saw the change after {} ms",
        sockets.len(),
        console.resident(),
        began.elapsed().as_secs(),
        seen.as_millis()
    );
    drop(sockets);
    assert_eq!(
        console.request("GET /healthz", "").await.lines().next(),
        Some("HTTP/1.1 200 OK")
    );
}
