//! Looks up the granted time to live of registrations' leases: once per lease, one at a time, off the monitors' path.

use std::collections::HashMap;
use std::time::Duration;

use registry::{LeaseId, Registry};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::input::MonitorInput;

/// Lookups in the queue; further ones are dropped and requested again with the next reset.
const QUEUE: usize = 256;
/// Leases whose time to live is cached.
const CACHE_MAX: usize = 10_000;
const DEADLINE: Duration = Duration::from_secs(3);

/// A lease and where to send its time to live.
pub(super) struct LeaseLookup {
    pub(super) lease: LeaseId,
    pub(super) reply_to: mpsc::Sender<MonitorInput>,
}

pub(super) type LeaseLookupSender = mpsc::Sender<LeaseLookup>;

/// The sender for lookups, and the task that answers them.
pub(super) fn worker(registry: Registry) -> (LeaseLookupSender, impl Future<Output = ()> + Send) {
    let (sender, lookups) = mpsc::channel(QUEUE);
    (sender, run(registry, lookups))
}

async fn run(registry: Registry, mut lookups: mpsc::Receiver<LeaseLookup>) {
    let mut known: HashMap<LeaseId, u64> = HashMap::new();
    while let Some(LeaseLookup { lease, reply_to }) = lookups.recv().await {
        let ttl = match known.get(&lease) {
            Some(ttl) => Some(*ttl),
            None => match timeout(DEADLINE, registry.lease_info(lease)).await {
                Ok(Ok(Some(info))) => Some(info.granted.as_secs()),
                // Expired, or etcd does not answer: the default stays in effect.
                _ => None,
            },
        };
        let Some(ttl) = ttl else { continue };
        if known.len() == CACHE_MAX {
            known.clear();
        }
        known.insert(lease, ttl);
        // A monitor that is gone needs no reply; a busy one asks again after the next reset.
        let _ = reply_to.try_send(MonitorInput::LeaseTtl { lease, ttl });
    }
}
