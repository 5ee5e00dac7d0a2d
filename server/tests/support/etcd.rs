//! A real etcd for a test: free ports, a temporary directory, removed with the test.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use registry::{EtcdSettings, Registry};
use tempfile::TempDir;

/// Longest wait for anything in these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A running etcd.
pub(crate) struct TestEtcd {
    directory: TempDir,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl TestEtcd {
    /// Starts an etcd and waits until it answers.
    pub(crate) async fn start() -> Self {
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
    pub(crate) async fn restart(&mut self) {
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

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// A connection to it.
    pub(crate) fn registry(&self) -> Registry {
        registry_at(self.url())
    }
}

/// A connection to the etcd at `url`.
pub(crate) fn registry_at(url: String) -> Registry {
    let settings = EtcdSettings {
        deadline: Duration::from_secs(2),
        grace: Duration::from_millis(500),
        ..EtcdSettings::new([url])
    };
    Registry::connect(settings).unwrap()
}

impl Drop for TestEtcd {
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
