//! The labs that tests share, each: three etcd members, three nodes with agents, a console, a trickle of transactions.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use acceptance::api::ConsoleClient;
use acceptance::lab::console::LabConsole;
use acceptance::lab::traffic::{Traffic, TrafficRate};
use acceptance::live::LiveClient;
use acceptance::{Lab, eventually};
use anyhow::{Result, ensure};
use galera::view::{SourceKind, VerdictState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::views::{self, TOPIC};

/// Longest wait for the console to see what the lab's repair has brought about.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long what agents report lives.
const TTL: Duration = Duration::from_secs(5);

/// A lab with everything that tests share.
pub(crate) struct SharedLab {
    // Dropped in this order.
    pub(crate) traffic: Traffic,
    pub(crate) console: LabConsole,
    pub(crate) lab: Lab,
}

/// Labs in use at the same time: one fewer than `make test` runs tests in parallel, because some tests start their own.
const MAX_LABS: usize = 2;

/// Idle labs, and a semaphore for their use.
struct LabPool {
    free: Mutex<Vec<Arc<SharedLab>>>,
    turns: Arc<Semaphore>,
}

impl Default for LabPool {
    fn default() -> Self {
        Self {
            free: Mutex::default(),
            turns: Arc::new(Semaphore::new(MAX_LABS)),
        }
    }
}

/// Exclusive use of a shared lab, healthy at first. The last holder's end is the end of the labs.
pub(crate) struct SharedLabGuard {
    shared: Arc<SharedLab>,
    pool: Arc<LabPool>,
    _turn: OwnedSemaphorePermit,
}

impl Deref for SharedLabGuard {
    type Target = SharedLab;

    fn deref(&self) -> &SharedLab {
        &self.shared
    }
}

impl Drop for SharedLabGuard {
    fn drop(&mut self) {
        let mut free = self
            .pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.push(Arc::clone(&self.shared));
    }
}

/// Waits for one's turn and repairs what the test before has left behind.
pub(crate) async fn lab() -> Result<SharedLabGuard> {
    static POOL: Mutex<Weak<LabPool>> = Mutex::new(Weak::new());
    let pool = {
        let mut shared = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = shared.upgrade().unwrap_or_default();
        *shared = Arc::downgrade(&pool);
        pool
    };
    let turn = Arc::clone(&pool.turns).acquire_owned().await?;
    let free = {
        let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop()
    };
    let shared = match free {
        Some(shared) => match shared.repair().await {
            Ok(()) => shared,
            Err(error) => {
                println!("a shared lab is beyond repair and thrown away: {error:#}");
                drop(shared);
                SharedLab::start().await?
            }
        },
        None => SharedLab::start().await?,
    };
    Ok(SharedLabGuard {
        shared,
        pool,
        _turn: turn,
    })
}

impl SharedLab {
    async fn start() -> Result<Arc<Self>> {
        let lab = Lab::builder()
            .etcd(3)
            .agents(true)
            // A short TTL makes waiting for leases fast.
            .ttl(TTL)
            .limit_ist(u64::MAX)
            .start()
            .await?;
        let console = lab.console().await?;
        let traffic = Traffic::start(&lab, TrafficRate::TRICKLE).await?;
        let shared = Self {
            traffic,
            console,
            lab,
        };
        shared.wait_until_healthy().await?;
        Ok(Arc::new(shared))
    }

    async fn repair(&self) -> Result<()> {
        self.traffic.set_rate(TrafficRate::TRICKLE);
        self.lab.repair().await?;
        if self.console.pid().is_none() {
            self.console.launch()?;
        }
        self.console.pause(false)?;
        self.console.wait_until_ready().await?;
        self.wait_until_healthy().await
    }

    /// Waits until the console reports the cluster as healthy.
    async fn wait_until_healthy(&self) -> Result<()> {
        // Signing in fails for a moment after an etcd outage.
        let api = eventually("signing in", SETTLE_TIMEOUT, async || {
            self.console.sign_in("operator").await
        })
        .await?;
        eventually(
            "the console to see a healthy cluster",
            SETTLE_TIMEOUT,
            async || {
                // What the test before has done is no alarm of the next one.
                api.acknowledge_alarms(self.lab.cluster()).await?;
                let view = api.cluster(self.lab.cluster()).await?;
                let well = view.verdict.state == VerdictState::Healthy && view.registry.reachable;
                let ids = self.lab.ids();
                let registered = ids.iter().all(|id| {
                    views::is_fresh(&view, id, SourceKind::Registry)
                        && views::node(&view, id).is_some_and(|node| node.registered)
                });
                ensure!(well && registered, "it reports {}", views::describe(&view));
                Ok(())
            },
        )
        .await
    }

    /// A signed-in viewer.
    pub(crate) async fn viewer(&self) -> Result<ConsoleClient> {
        self.console.sign_in("viewer").await
    }

    /// A live connection that is subscribed to the cluster.
    pub(crate) async fn live(&self) -> Result<LiveClient> {
        let mut live = self.viewer().await?.live().await?;
        live.subscribe(&[TOPIC]).await?;
        Ok(live)
    }
}
