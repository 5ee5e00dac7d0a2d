//! The etcd of one test: a store in memory, or a process where the test is about etcd itself or the way to it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use registry::memory::MemoryEtcd;
use registry::{EtcdSettings, Registry};
use testing::etcd::{EtcdCluster, free_port};

/// Longest wait for anything in these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// Deadline of a call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// How long an outage may last before watches report it.
const GRACE: Duration = Duration::from_millis(500);

/// The etcd of one test.
pub(crate) enum TestEtcd {
    Memory(MemoryEtcd),
    Process(EtcdCluster),
}

impl TestEtcd {
    /// A store in memory, held to etcd by the conformance suite of `registry`.
    pub(crate) fn in_memory() -> Self {
        Self::Memory(MemoryEtcd::new().with_grace(GRACE))
    }

    /// A process that answers.
    pub(crate) async fn process() -> Self {
        Self::Process(EtcdCluster::single().await)
    }

    /// Makes it unreachable; its data stay.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Memory(store) => store.stop(),
            Self::Process(process) => process.kill(0),
        }
    }

    /// Makes a process accept requests and never answer (SIGSTOP).
    pub(crate) fn pause(&self) {
        match self {
            Self::Memory(_) => {
                panic!("a store in memory cannot be paused; use TestEtcd::process()")
            }
            Self::Process(process) => process.pause(0),
        }
    }

    /// Starts it again with its data.
    pub(crate) async fn restart(&mut self) {
        match self {
            Self::Memory(store) => store.start(),
            Self::Process(process) => {
                process.start(0);
                process.wait_until_ready(&process.registry()).await;
            }
        }
    }

    /// The client URL of a process.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Memory(_) => panic!("a store in memory has no URL; use TestEtcd::process()"),
            Self::Process(process) => process.endpoints().remove(0),
        }
    }

    /// A connection to it.
    pub(crate) fn registry(&self) -> Registry {
        match self {
            Self::Memory(store) => store.registry(),
            Self::Process(_) => registry_at(self.url(), DEADLINE),
        }
    }
}

/// A connection to the etcd at `url`, with a deadline for each call.
pub(crate) fn registry_at(url: String, deadline: Duration) -> Registry {
    let settings = EtcdSettings {
        deadline,
        grace: GRACE,
        ..EtcdSettings::new([url])
    };
    Registry::connect(settings).unwrap()
}

/// Ports that are free at the moment.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port(Ipv4Addr::LOCALHOST))
}

/// Waits until `holds`, and fails the test after [`TIMEOUT`].
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
