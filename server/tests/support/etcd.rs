//! The etcd of one test: a store in memory, or a process where the test is about etcd itself or the way to it.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use registry::memory::MemoryEtcd;
use registry::{EtcdSettings, Registry};
use tempfile::TempDir;

/// Longest wait for anything in these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// How long an outage may last before watches report it.
const GRACE: Duration = Duration::from_millis(500);

/// The etcd of one test.
pub(crate) enum TestEtcd {
    Memory(MemoryEtcd),
    Process(EtcdProcess),
}

impl TestEtcd {
    /// A store in memory, held to etcd by the conformance suite of `registry`.
    pub(crate) fn in_memory() -> Self {
        Self::Memory(MemoryEtcd::new().with_grace(GRACE))
    }

    /// A process that answers.
    pub(crate) async fn process() -> Self {
        Self::Process(EtcdProcess::start().await)
    }

    /// Makes it unreachable; its data stay.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Memory(store) => store.stop(),
            Self::Process(process) => process.kill(),
        }
    }

    /// Starts it again with its data.
    pub(crate) async fn restart(&mut self) {
        match self {
            Self::Memory(store) => store.start(),
            Self::Process(process) => process.restart().await,
        }
    }

    /// The client URL of a process.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Memory(_) => panic!("a store in memory has no URL; use TestEtcd::process()"),
            Self::Process(process) => process.url(),
        }
    }

    /// A connection to it.
    pub(crate) fn registry(&self) -> Registry {
        match self {
            Self::Memory(store) => store.registry(),
            Self::Process(process) => process.registry(),
        }
    }
}

/// A running etcd: free ports, its own directory, ended with the test.
pub(crate) struct EtcdProcess {
    directory: TempDir,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl EtcdProcess {
    /// Starts one and waits until it answers.
    async fn start() -> Self {
        let [client, peer] = free_ports();
        let directory = tempfile::tempdir().unwrap();
        let mut etcd = Self {
            directory,
            client,
            peer,
            child: None,
        };
        etcd.restart().await;
        etcd
    }

    /// Starts it again with its data.
    async fn restart(&mut self) {
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer));
        let child = Command::new("etcd")
            .arg(format!("--data-dir={}", self.directory.path().display()))
            .args([
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
            ])
            .args([
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
            ])
            .arg(format!("--initial-cluster=default={peer}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed");
        self.child = Some(child);
        let registry = self.registry();
        eventually("etcd answers", async || registry.ready().await.is_ok()).await;
    }

    /// Kills it.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its client URL.
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// A connection to it.
    fn registry(&self) -> Registry {
        registry_at(self.url())
    }
}

/// A connection to the etcd at `url`.
pub(crate) fn registry_at(url: String) -> Registry {
    let settings = EtcdSettings {
        deadline: Duration::from_secs(2),
        grace: GRACE,
        ..EtcdSettings::new([url])
    };
    Registry::connect(settings).unwrap()
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that are free at the moment.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Waits until `holds`, and fails the test after [`TIMEOUT`].
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
