//! Looks up host names, on dedicated threads: one look-up in flight for each name, a bounded number altogether, and a
//! short cache.
//!
//! The system's resolver blocks, for half a minute when no name server answers. On the runtime's blocking threads a few
//! such names would delay everything else that runs there.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::limit::LimitCounter;
use crate::threads::{ThreadLimit, ThreadSlot};

/// Default number of concurrent look-ups.
pub const LOOKUPS_MAX: usize = 32;
/// How long addresses are reused.
const FOUND_TTL: Duration = Duration::from_secs(10);
/// How long a failure is reused.
const FAILED_TTL: Duration = Duration::from_secs(2);
/// Names in the cache.
const NAMES_MAX: usize = 4_096;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolveError(Arc<str>);

type Found = Result<Arc<[IpAddr]>, ResolveError>;
type LookUp = dyn Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync;

/// Looks up host names; clones share cache and limit.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<ResolverInner>,
}

struct ResolverInner {
    look_up: Box<LookUp>,
    threads: ThreadLimit,
    limit: LimitCounter,
    names: Mutex<HashMap<String, NameEntry>>,
}

enum NameEntry {
    InFlight(watch::Receiver<Option<Found>>),
    Cached { found: Found, until: Instant },
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(LOOKUPS_MAX)
    }
}

impl Resolver {
    /// The system's resolver with at most `max` concurrent look-ups.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self::with_look_up(max, |name| {
            Ok((name, 0)
                .to_socket_addrs()?
                .map(|socket| socket.ip())
                .collect())
        })
    }

    /// A resolver that calls `look_up`, which may block.
    #[must_use]
    pub fn with_look_up(
        max: usize,
        look_up: impl Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner: Arc::new(ResolverInner {
                look_up: Box::new(look_up),
                threads: ThreadLimit::new("dns-lookup", max),
                limit: LimitCounter::new("dns_lookups", "max-dns-lookups"),
                names: Mutex::default(),
            }),
        }
    }

    /// Look-ups that had to wait for others.
    #[must_use]
    pub fn limit(&self) -> &LimitCounter {
        &self.inner.limit
    }

    /// The addresses of `host`, a name or an address. Has no deadline; a look-up continues when its caller stops waiting.
    ///
    /// # Errors
    /// [`ResolveError`], also when the name has no address.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let mut found = match self.inner.known(host) {
            Some(found) => found,
            None => {
                let slot = match self.inner.threads.try_slot() {
                    Some(slot) => slot,
                    None => {
                        self.inner.limit.refuse(format_args!(
                            "the look-up of {host} waits for others; is the name server reachable?"
                        ));
                        self.inner.threads.slot().await
                    }
                };
                self.start(host, slot)?
            }
        };
        let found = found.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|found| found.clone());
        found
            .unwrap_or_else(|| Err(ResolveError("the look-up failed".into())))
            .map(|addresses| addresses.to_vec())
    }

    /// Starts the look-up of `name` unless another caller did in the meantime.
    fn start(
        &self,
        name: &str,
        slot: ThreadSlot,
    ) -> Result<watch::Receiver<Option<Found>>, ResolveError> {
        let mut names = self.inner.lock();
        if let Some(found) = known(&names, name) {
            return Ok(found);
        }
        let (sender, receiver) = watch::channel(None);
        let (inner, owned) = (Arc::clone(&self.inner), name.to_owned());
        let started = slot.start(move || {
            let found = inner.look_up(&owned);
            inner.cache(owned, found.clone());
            sender.send_replace(Some(found));
        });
        started.map_err(|error| ResolveError(error.to_string().into()))?;
        names.insert(name.to_owned(), NameEntry::InFlight(receiver.clone()));
        Ok(receiver)
    }
}

impl ResolverInner {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, NameEntry>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, name: &str) -> Option<watch::Receiver<Option<Found>>> {
        known(&self.lock(), name)
    }

    fn look_up(&self, name: &str) -> Found {
        match (self.look_up)(name) {
            Ok(addresses) if addresses.is_empty() => Err(ResolveError("no address".into())),
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(ResolveError(error.to_string().into())),
        }
    }

    fn cache(&self, name: String, found: Found) {
        let now = Instant::now();
        let ttl = if found.is_ok() { FOUND_TTL } else { FAILED_TTL };
        let until = now + ttl;
        let mut names = self.lock();
        if names.len() >= NAMES_MAX {
            names.retain(|_, entry| match entry {
                NameEntry::InFlight(_) => true,
                NameEntry::Cached { until, .. } => *until > now,
            });
        }
        if names.len() < NAMES_MAX {
            names.insert(name, NameEntry::Cached { found, until });
        } else {
            names.remove(&name);
        }
    }
}

/// The result of `name`, cached or awaited.
fn known(names: &HashMap<String, NameEntry>, name: &str) -> Option<watch::Receiver<Option<Found>>> {
    match names.get(name)? {
        // Closed without a result: the look-up panicked.
        NameEntry::InFlight(found) if found.has_changed().is_err() && found.borrow().is_none() => {
            None
        }
        NameEntry::InFlight(found) => Some(found.clone()),
        NameEntry::Cached { found, until } if *until > Instant::now() => {
            Some(watch::channel(Some(found.clone())).1)
        }
        NameEntry::Cached { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// A resolver whose look-ups of `silent…` wait until the returned sender is dropped; it counts all look-ups.
    fn silent(max: usize) -> (Resolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        let resolver = Resolver::with_look_up(max, move |name| {
            counted.fetch_add(1, Ordering::SeqCst);
            if name.starts_with("silent") {
                let _ = released.lock().unwrap().recv();
            }
            Ok(vec![ADDRESS])
        });
        (resolver, release, count)
    }

    #[tokio::test]
    async fn callers_of_one_name_share_a_look_up_and_its_result_is_cached() {
        let (resolver, release, count) = silent(4);
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let resolver = resolver.clone();
            callers.spawn(async move { resolver.resolve("silent").await });
        }
        while count.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        drop(release);
        for found in callers.join_all().await {
            assert_eq!(found.unwrap(), [ADDRESS]);
        }
        assert_eq!(resolver.resolve("silent").await.unwrap(), [ADDRESS]);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_silent_resolver_occupies_no_blocking_thread_of_the_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (resolver, release, count) = silent(8);
        let mut waiting: Vec<_> = (0..50)
            .map(|number| {
                let resolver = resolver.clone();
                Box::pin(async move { resolver.resolve(&format!("silent{number}")).await })
            })
            .collect();
        runtime.block_on(async {
            for caller in &mut waiting {
                assert!(poll_once(caller).await.is_none());
            }
            assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7);
            assert_eq!(resolver.resolve("192.0.2.1").await.unwrap(), [ADDRESS]);
        });
        assert_eq!(resolver.limit().refused(), 42);
        assert!(count.load(Ordering::SeqCst) <= 8);
        drop(release);
        runtime.block_on(async {
            for caller in waiting {
                assert_eq!(caller.await.unwrap(), [ADDRESS]);
            }
        });
    }

    /// Polls `future` once.
    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            let polled = std::pin::Pin::new(&mut *future).poll(context);
            std::task::Poll::Ready(match polled {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error() {
        let resolver = Resolver::with_look_up(1, |_| Ok(Vec::new()));
        let error = resolver.resolve("db1").await.unwrap_err();
        assert_eq!(error.to_string(), "no address");
    }
}
