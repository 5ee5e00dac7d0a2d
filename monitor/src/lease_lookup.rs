//! For how long registrations are granted: looked up once a lease, one at a time, off everybody's way.

use std::collections::HashMap;
use std::time::Duration;

use registry::{LeaseId, Registry};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::input::MonitorInput;

/// Questions that wait; more are forgotten and asked again with the next reset.
const QUEUE: usize = 256;
/// Answers kept.
const CACHE_MAX: usize = 10_000;
const DEADLINE: Duration = Duration::from_secs(3);

/// A question, and whom to answer.
pub(super) struct LeaseLookup {
    pub(super) lease: LeaseId,
    pub(super) reply_to: mpsc::Sender<MonitorInput>,
}

/// Where to ask.
pub(super) type LeaseLookupSender = mpsc::Sender<LeaseLookup>;

/// A place to ask, and the task that answers.
pub(super) fn worker(registry: Registry) -> (LeaseLookupSender, impl Future<Output = ()> + Send) {
    let (sender, questions) = mpsc::channel(QUEUE);
    (sender, run(registry, questions))
}

async fn run(registry: Registry, mut questions: mpsc::Receiver<LeaseLookup>) {
    let mut known: HashMap<LeaseId, u64> = HashMap::new();
    while let Some(LeaseLookup {
        lease,
        reply_to: owner,
    }) = questions.recv().await
    {
        let ttl = match known.get(&lease) {
            Some(ttl) => Some(*ttl),
            None => match timeout(DEADLINE, registry.lease_info(lease)).await {
                Ok(Ok(Some(info))) => Some(info.granted.as_secs()),
                // Expired meanwhile, or etcd does not answer: the default goes on to hold.
                _ => None,
            },
        };
        let Some(ttl) = ttl else { continue };
        if known.len() == CACHE_MAX {
            known.clear();
        }
        known.insert(lease, ttl);
        // An owner that is gone needs no answer; one that is busy asks again after the next reset.
        let _ = owner.try_send(MonitorInput::LeaseTtl { lease, ttl });
    }
}
