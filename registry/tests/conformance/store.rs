//! What a case may do with a back end.

use std::time::Duration;

use etcd_client::Client;
use registry::memory::MemoryEtcd;
use registry::{EtcdSettings, KeyChange, Registry, RegistryEntry, WatchEvent, WatchSubscription};
use testing::etcd::EtcdCluster;

use crate::proxy::CuttableProxy;
use crate::sealer::sealed;

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long an outage may last before a watch reports it, on connections made by [`Store::patient`].
const PATIENT: Duration = Duration::from_secs(300);

/// An empty etcd, real or in memory.
pub(crate) struct EmptyEtcd {
    pub(crate) registry: Registry,
    backend: EtcdKind,
    is_sealed: bool,
}

enum EtcdKind {
    Etcd(EtcdCluster),
    Memory(MemoryEtcd),
}

/// A connection that can be cut.
pub(crate) struct CuttableConnection {
    pub(crate) registry: Registry,
    fault: ConnectionFault,
}

enum ConnectionFault {
    Proxy(CuttableProxy),
    Memory(MemoryEtcd),
}

impl EmptyEtcd {
    pub(crate) async fn on_etcd() -> Self {
        let etcd = EtcdCluster::single().await;
        Self {
            registry: etcd.registry(),
            backend: EtcdKind::Etcd(etcd),
            is_sealed: false,
        }
    }

    pub(crate) fn in_memory() -> Self {
        let store = MemoryEtcd::new();
        Self {
            registry: store.registry(),
            backend: EtcdKind::Memory(store),
            is_sealed: false,
        }
    }

    /// The same with every record sealed.
    pub(crate) fn sealed(self) -> Self {
        Self {
            registry: sealed(self.registry),
            is_sealed: true,
            ..self
        }
    }

    /// Whether records are sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// `registry`, sealed if this store is.
    fn like_this(&self, registry: Registry) -> Registry {
        match self.is_sealed {
            true => sealed(registry),
            false => registry,
        }
    }

    /// A connection whose watches report an outage after the usual time.
    pub(crate) async fn connect(&self) -> CuttableConnection {
        self.connect_with_grace(Duration::from_secs(1)).await
    }

    /// A connection whose watches never call a cut an outage.
    pub(crate) async fn patient(&self) -> CuttableConnection {
        self.connect_with_grace(PATIENT).await
    }

    async fn connect_with_grace(&self, grace: Duration) -> CuttableConnection {
        match &self.backend {
            EtcdKind::Etcd(etcd) => {
                let proxy = CuttableProxy::in_front_of(etcd.address(0)).await;
                let settings = EtcdSettings {
                    grace,
                    ..EtcdSettings::new([proxy.endpoint()])
                };
                CuttableConnection {
                    registry: self.like_this(Registry::connect(settings).unwrap()),
                    fault: ConnectionFault::Proxy(proxy),
                }
            }
            EtcdKind::Memory(store) => {
                let store = store.connect().with_grace(grace);
                CuttableConnection {
                    registry: self.like_this(store.registry()),
                    fault: ConnectionFault::Memory(store),
                }
            }
        }
    }

    /// Discards the history before the present revision.
    pub(crate) async fn compact(&self) {
        match &self.backend {
            EtcdKind::Etcd(etcd) => {
                let revision = self.registry.list("/").await.unwrap().revision;
                let mut client = Client::connect(etcd.endpoints(), None).await.unwrap();
                client.compact(revision, None).await.unwrap();
            }
            EtcdKind::Memory(store) => store.compact(),
        }
    }

    /// Makes the store unreachable on every connection.
    pub(crate) fn stop(&mut self) {
        match &mut self.backend {
            EtcdKind::Etcd(etcd) => etcd.kill(0),
            EtcdKind::Memory(store) => store.stop(),
        }
    }

    /// Starts a stopped store with its data.
    pub(crate) async fn start(&mut self) {
        match &mut self.backend {
            EtcdKind::Etcd(etcd) => etcd.start(0),
            EtcdKind::Memory(store) => store.start(),
        }
        let end = std::time::Instant::now() + DEADLINE;
        while self.registry.ready().await.is_err() {
            assert!(std::time::Instant::now() < end, "the store does not answer");
        }
    }

    /// Replaces the store by an empty one.
    pub(crate) async fn replace(&mut self) {
        match &mut self.backend {
            EtcdKind::Etcd(etcd) => {
                etcd.wipe(0);
                etcd.start(0);
                etcd.wait_until_ready(&self.registry).await;
            }
            EtcdKind::Memory(store) => store.wipe(),
        }
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> i64 {
        self.registry.put(key, value, None).await.unwrap()
    }

    pub(crate) async fn get(&self, key: &str) -> Option<RegistryEntry> {
        self.registry.get(key).await.unwrap()
    }

    /// The keys below `prefix`.
    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        let listing = self.registry.list(prefix).await.unwrap();
        listing
            .entries
            .iter()
            .map(|entry| text(&entry.key))
            .collect()
    }

    /// Waits until `key` does not exist.
    pub(crate) async fn wait_until_absent(&self, key: &str) {
        let end = std::time::Instant::now() + DEADLINE;
        while self.get(key).await.is_some() {
            assert!(std::time::Instant::now() < end, "{key} is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl CuttableConnection {
    pub(crate) fn cut(&self) {
        match &self.fault {
            ConnectionFault::Proxy(proxy) => proxy.cut(),
            ConnectionFault::Memory(store) => store.cut(),
        }
    }

    pub(crate) fn restore(&self) {
        match &self.fault {
            ConnectionFault::Proxy(proxy) => proxy.restore(),
            ConnectionFault::Memory(store) => store.restore(),
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The next event of a watch.
pub(crate) async fn next_event(watch: &mut WatchSubscription) -> WatchEvent {
    tokio::time::timeout(DEADLINE, watch.next())
        .await
        .expect("no event within the deadline")
        .expect("a watch does not end while its subscription lives")
}

/// The keys of the next event, which must be a reset.
pub(crate) async fn next_reset(watch: &mut WatchSubscription) -> Vec<String> {
    match next_event(watch).await {
        WatchEvent::Reset { entries, .. } => entries.iter().map(|entry| text(&entry.key)).collect(),
        other => panic!("not a reset: {other:?}"),
    }
}

/// The next `count` changes, which must come as changes.
pub(crate) async fn next_changes(watch: &mut WatchSubscription, count: usize) -> Vec<KeyChange> {
    let mut all = Vec::new();
    while all.len() < count {
        match next_event(watch).await {
            WatchEvent::Changes { changes, .. } => all.extend(changes),
            other => panic!("after {} changes: {other:?}", all.len()),
        }
    }
    all
}

/// `key=value` of a put, `-key` of a deletion.
pub(crate) fn describe(change: &KeyChange) -> String {
    match change {
        KeyChange::Put(entry) => format!("{}={}", text(&entry.key), text(&entry.value)),
        KeyChange::Delete { key, .. } => format!("-{}", text(key)),
    }
}

/// The next `count` changes in words.
pub(crate) async fn next_described(watch: &mut WatchSubscription, count: usize) -> Vec<String> {
    next_changes(watch, count)
        .await
        .iter()
        .map(describe)
        .collect()
}
