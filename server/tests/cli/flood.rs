//! Clients that open connections and do nothing with them, in the numbers that the system permits.
//!
//! `cargo nextest run -p galera-console --test cli --no-capture flood` prints the figures.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::program::{ConsoleProcess, PASSWORD, run_with_stdin, site};

/// Connections of the flood, if the limit of open files permits as many.
const FLOOD: usize = 10_000;
/// Open files that this process needs otherwise.
const RESERVED_FILES: u64 = 500;
/// The size of the file that slow readers request.
const FILE_BYTES: usize = 1 << 20;

const VARIABLES: [(&str, &str); 3] = [
    ("wsrep_cluster_name", "lab"),
    ("wsrep_provider", "/usr/lib/galera/libgalera_smm.so"),
    ("version", "11.8.9-MariaDB"),
];

fn status(state: &'static str, cluster: &'static str) -> [(&'static str, &'static str); 10] {
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
    viewer: String,
    _etcd: TestEtcd,
    _site: TempDir,
}

impl FloodedConsole {
    async fn start() -> Self {
        let etcd = TestEtcd::process().await;
        let site = site();
        std::fs::write(site.path().join("pkg/c.wasm"), vec![b'x'; FILE_BYTES]).unwrap();
        let database =
            FakeDatabase::listen("127.0.0.1", &VARIABLES, &status("Synced", "Primary")).await;
        let url = etcd.url();
        let add = [
            "user",
            "add",
            "vera",
            "--role",
            "viewer",
            "--password-stdin",
        ];
        let (code, text) =
            run_with_stdin(&[&add[..], &["--etcd-endpoints", &url]].concat(), PASSWORD);
        assert_eq!(code, 0, "{text}");
        let serving = ConsoleProcess::start(&[
            "--etcd-endpoints",
            &url,
            "--site-root",
            site.path().to_str().unwrap(),
            "--cluster",
            &format!("lab={}", database.id()),
            "--write-timeout",
            "5s",
        ]);
        serving.wait_until_ready().await;
        let mut console = Self {
            serving,
            database,
            viewer: String::new(),
            _etcd: etcd,
            _site: site,
        };
        console.viewer = console.sign_in().await;
        console
    }

    fn address(&self) -> SocketAddr {
        self.serving.address.parse().unwrap()
    }

    /// A connection from `source`.
    async fn connect(&self, source: Ipv4Addr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        socket.connect(self.address()).await
    }

    /// The answer to a request of the viewer, who has an address of its own.
    async fn request(&self, line: &str, body: &str) -> String {
        let stream = self.connect(Ipv4Addr::new(127, 0, 0, 3)).await.unwrap();
        let mut stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(crate::etcd::TIMEOUT)).unwrap();
        let (host, cookie, length) = (self.address(), &self.viewer, body.len());
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: {cookie}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    async fn sign_in(&self) -> String {
        let body = format!(r#"{{"username":"vera","password":"{PASSWORD}"}}"#);
        let answer = self.request("POST /api/v1/session", &body).await;
        let cookie = answer
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(_, value)| value.starts_with("galera_console_session="));
        let (_, cookie) = cookie.unwrap_or_else(|| panic!("{answer}"));
        cookie.split(';').next().unwrap().to_owned()
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
        let [third, fourth] = u16::try_from(256 + index / 100).unwrap().to_be_bytes();
        let source = Ipv4Addr::new(127, 0, third, fourth);
        if let Ok(mut stream) = console.connect(source).await {
            let request = format!(
                "GET /pkg/c.wasm HTTP/1.1\r\nHost: {}\r\n\r\n",
                console.address()
            );
            let _ = stream.write_all(request.as_bytes()).await;
            sockets.push(stream);
        }
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
